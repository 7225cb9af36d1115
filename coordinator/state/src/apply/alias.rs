//! Aliases moved by hand.

use std::sync::Arc;

use crate::command::SetAlias;
use crate::entity::{Alias, AliasMove, Model};
use crate::event::EventKind;
use crate::refusal::Refusal;
use crate::state::{Ctx, Reply, State};

impl State {
    pub(super) fn set_alias(
        &mut self,
        ctx: &mut Ctx,
        command: &SetAlias,
    ) -> Result<Reply, Refusal> {
        let SetAlias { project, model: name, alias, version, principal, override_reason } = command;
        let model = self.model(project, name).ok_or_else(|| Refusal::not_found("model", name))?;
        if let Some(version) = version
            && model.version(*version).is_none()
        {
            return Err(Refusal::not_found("model version", format!("{name}@{version}")));
        }
        let known = model.aliases.get(alias);
        let reason = override_reason.as_deref().map(str::trim).filter(|reason| !reason.is_empty());
        if known.is_some_and(|alias| alias.protected) && reason.is_none() {
            return Err(Refusal::Denied {
                what: format!(
                    "{name}@{alias} is protected: it moves by its gate or by rollback; an admin may override it with a reason"
                ),
            });
        }
        let from = known.map(|alias| alias.version);
        if from.is_none() && version.is_none() {
            return Err(Refusal::not_found("alias", format!("{name}@{alias}")));
        }
        let by = match reason {
            Some(reason) => format!("{principal}, overriding: {reason}"),
            None => principal.clone(),
        };
        let wall = self.clock.wall;
        let mut model = Model::clone(model);
        match version {
            Some(version) => {
                let entry = model.aliases.entry(alias.clone()).or_insert_with(|| Alias {
                    version: *version,
                    protected: false,
                    moves: Vec::new(),
                });
                entry.version = *version;
                entry.moves.push(AliasMove {
                    version: *version,
                    at: wall,
                    by: by.clone(),
                    by_hand: true,
                });
            }
            None => drop(model.aliases.remove(alias)),
        }
        self.models.insert_mut((project.clone(), name.clone()), Arc::new(model));
        self.emit(
            ctx,
            Some(project),
            EventKind::AliasMoved {
                model: name.clone(),
                alias: alias.to_string(),
                from,
                to: *version,
                by,
            },
        );
        Ok(Reply::Version(version.unwrap_or(0)))
    }

    /// Moves an alias back to a version that served, as a rollback does.
    pub(super) fn move_alias_back(
        &mut self,
        ctx: &mut Ctx,
        project: &runyard_types::ProjectName,
        spec: &crate::entity::RevisionSpec,
        to: Option<u64>,
        by: &str,
    ) {
        let Some(name) = &spec.alias else { return };
        let wall = self.clock.wall;
        let Some(model) =
            self.models.get_mut(&(project.clone(), spec.model.clone())).map(Arc::make_mut)
        else {
            return;
        };
        let Some(alias) = model.aliases.get_mut(name) else { return };
        // Somebody may have moved it on meanwhile: then it is not the bad version that it names.
        if alias.version != spec.model_version {
            return;
        }
        let from = Some(alias.version);
        match to {
            Some(version) => {
                alias.version = version;
                alias.moves.push(AliasMove {
                    version,
                    at: wall,
                    by: by.to_owned(),
                    by_hand: false,
                });
            }
            None => drop(model.aliases.remove(name)),
        }
        let kind = EventKind::AliasMoved {
            model: spec.model.clone(),
            alias: name.to_string(),
            from,
            to,
            by: by.to_owned(),
        };
        self.emit(ctx, Some(project), kind);
    }
}
