//! Nodes: joining, sessions, liveness, eligibility.

use std::sync::Arc;

use crate::command::{JoinNode, NodeHello, SetEligibility, SetLiveness};
use crate::entity::{Eligibility, Liveness, Node, TokenKind, Used};
use crate::event::EventKind;
use crate::refusal::Refusal;
use crate::state::{Ctx, Reply, State};

impl State {
    pub(super) fn join_node(&mut self, ctx: &mut Ctx, command: JoinNode) -> Result<Reply, Refusal> {
        let JoinNode { name, fingerprint, token, secret_hash } = command;
        let refused = || {
            Refusal::Denied {
            what: "the join token is unknown, used, revoked or expired; make a new one with `runyard token create`"
                .to_owned(),
        }
        };
        let known = self.tokens.get(&token).ok_or_else(refused)?;
        let expired = known.expires_at.is_some_and(|at| at <= self.clock.wall);
        if known.kind != TokenKind::AgentJoin
            || known.hash != secret_hash
            || known.used
            || known.revoked
            || expired
        {
            return Err(refused());
        }
        if let Some(node) = self.nodes.get(&name) {
            return Err(Refusal::conflict(format!(
                "there is a node `{name}` already ({}); give this one another name, or remove that one",
                node.liveness.as_str()
            )));
        }
        if let Some(token) = self.tokens.get_mut(&token) {
            token.used = true;
        }
        let node = Node {
            name: name.clone(),
            fingerprint,
            joined_at: self.clock.wall,
            liveness: Liveness::Joined,
            liveness_since: self.clock.elapsed,
            eligibility: Eligibility::Open,
            reason: String::new(),
            boot_id: String::new(),
            session_counter: 0,
            version: String::new(),
            cpu: Default::default(),
            memory: Default::default(),
            devices: Vec::new(),
            labels: Default::default(),
            networks: Vec::new(),
            isolation: String::new(),
            address: String::new(),
            gateway: String::new(),
            platform: String::new(),
            mounts: Vec::new(),
            chains: false,
            workers: Default::default(),
            next: Default::default(),
            used: Used::default(),
            orphans: Default::default(),
        };
        self.nodes.insert_mut(name.clone(), Arc::new(node));
        self.emit(ctx, None, EventKind::NodeJoined { node: name });
        Ok(Reply::Done)
    }

    pub(super) fn node_hello(
        &mut self,
        ctx: &mut Ctx,
        command: NodeHello,
    ) -> Result<Reply, Refusal> {
        let elapsed = self.clock.elapsed;
        let node = self.node_mut(&command.name)?;
        if command.session_counter < node.session_counter {
            return Err(Refusal::precondition(format!(
                "session {} of node {} is older than {}",
                command.session_counter, command.name, node.session_counter
            )));
        }
        let changed = node.liveness != Liveness::Ready;
        node.liveness = Liveness::Ready;
        if changed {
            node.liveness_since = elapsed;
        }
        node.session_counter = command.session_counter;
        node.boot_id = command.boot_id;
        node.version = command.version;
        node.cpu = command.cpu;
        node.memory = command.memory;
        node.devices = command.devices;
        node.labels = command.labels;
        node.networks = command.networks;
        node.isolation = command.isolation;
        node.address = command.address;
        node.gateway = command.gateway;
        node.platform = command.platform;
        node.mounts = command.mounts;
        node.chains = command.chains;
        if changed {
            let liveness = Liveness::Ready.as_str().to_owned();
            self.emit(ctx, None, EventKind::NodeLiveness { node: command.name, liveness });
        }
        Ok(Reply::Done)
    }

    pub(super) fn set_liveness(
        &mut self,
        ctx: &mut Ctx,
        command: SetLiveness,
    ) -> Result<Reply, Refusal> {
        let elapsed = self.clock.elapsed;
        let node = self.node_mut(&command.node)?;
        if node.liveness == command.liveness {
            return Ok(Reply::Done);
        }
        node.liveness = command.liveness;
        node.liveness_since = elapsed;
        let liveness = command.liveness.as_str().to_owned();
        self.emit(ctx, None, EventKind::NodeLiveness { node: command.node, liveness });
        Ok(Reply::Done)
    }

    pub(super) fn set_eligibility(
        &mut self,
        ctx: &mut Ctx,
        command: SetEligibility,
    ) -> Result<Reply, Refusal> {
        let SetEligibility { node: name, eligibility, reason, principal } = command;
        let node = self.node_mut(&name)?;
        if node.eligibility == eligibility && node.reason == reason {
            return Ok(Reply::Done);
        }
        node.eligibility = eligibility;
        node.reason.clone_from(&reason);
        let word = eligibility.as_str().to_owned();
        self.emit(
            ctx,
            None,
            EventKind::NodeEligibility {
                node: name.clone(),
                eligibility: word.clone(),
                reason,
                principal,
            },
        );
        // What only waits there can as well run elsewhere.
        if eligibility != Eligibility::Open {
            self.give_back_all(ctx, &name, &format!("node {name} is {word}"));
        }
        Ok(Reply::Done)
    }
}
