//! Tokens, known by their hash.

use runyard_types::TimestampMs;

use crate::command::{CreateToken, RevokeToken};
use crate::entity::{Token, TokenKind};
use crate::event::EventKind;
use crate::refusal::Refusal;
use crate::state::{Ctx, Reply, State};

impl State {
    pub(super) fn create_token(
        &mut self,
        ctx: &mut Ctx,
        command: CreateToken,
    ) -> Result<Reply, Refusal> {
        let CreateToken { id, kind, name, hash, ttl, principal } = command;
        if self.tokens.contains_key(&id) {
            return Err(Refusal::conflict(format!("there is a token `{id}` already")));
        }
        let created_at = self.clock.wall;
        let expires_at = ttl.map(|ttl| TimestampMs(created_at.0.saturating_add(ttl.0)));
        let token = Token {
            id: id.clone(),
            kind,
            name,
            hash,
            created_at,
            expires_at,
            used: false,
            revoked: false,
        };
        self.tokens.insert_mut(id.clone(), token);
        let kind = match kind {
            TokenKind::User => "user",
            TokenKind::AgentJoin => "join",
        };
        self.emit(ctx, None, EventKind::TokenCreated { id, kind: kind.to_owned(), principal });
        Ok(Reply::Done)
    }

    pub(super) fn revoke_token(
        &mut self,
        ctx: &mut Ctx,
        command: &RevokeToken,
    ) -> Result<Reply, Refusal> {
        let token = self
            .tokens
            .get_mut(&command.id)
            .ok_or_else(|| Refusal::not_found("token", &command.id))?;
        if token.revoked {
            return Ok(Reply::Done);
        }
        token.revoked = true;
        let kind = EventKind::TokenRevoked {
            id: command.id.clone(),
            principal: command.principal.clone(),
        };
        self.emit(ctx, None, kind);
        Ok(Reply::Done)
    }
}
