//! What the leader knows beyond the truth: it is told again by the agents after a failover.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use runyard_proto::agent::{RevisionReport, ToAgent, WorkerReport};
use runyard_proto::v1::Device;
use runyard_types::{DeploymentName, NodeName, ProjectName, WorkerKey};
use tokio::sync::{mpsc, watch};

/// The open session of a node.
#[derive(Debug, Clone)]
pub(crate) struct SessionHandle {
    pub(crate) id: u64,
    pub(crate) send: mpsc::Sender<Result<ToAgent, tonic::Status>>,
}

/// What is known of a node's connection.
#[derive(Debug)]
struct Contact {
    session: Option<SessionHandle>,
    heard: Instant,
    /// When the last session broke with none following; `None` while one is open.
    reset: Option<Instant>,
    devices: Vec<Device>,
}

/// Orphans of a node that are told apart; beyond, some must be stopped before others are listed.
const ORPHANS_MAX: usize = 1_000;

/// A revision of a deployment of a project.
pub(crate) type RevisionKey = (ProjectName, DeploymentName, u32);

#[derive(Debug, Default)]
struct Inner {
    contacts: BTreeMap<NodeName, Contact>,
    workers: BTreeMap<WorkerKey, WorkerReport>,
    revisions: BTreeMap<(RevisionKey, NodeName), RevisionReport>,
    next_session: u64,
    /// When the whole queue was last considered, though the first of each stage had found no room.
    looked_at_all: Option<Instant>,
    /// Workers that a node has and nobody knows.
    orphans: BTreeMap<NodeName, BTreeSet<WorkerKey>>,
    /// Projects whose work a node has had since this process leads: what is left of it may still be on its way.
    grants: BTreeSet<(NodeName, ProjectName)>,
}

/// Silence and reset of a node, as the liveness monitor sees them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heard {
    pub(crate) silent_ms: u64,
    /// Since the session broke, if none is open.
    pub(crate) reset_ms: Option<u64>,
}

/// The leader's memory.
#[derive(Debug)]
pub(crate) struct Live {
    inner: Mutex<Inner>,
    /// Moves whenever a report came, so that reconcilers wake.
    pub(crate) reports: watch::Sender<u64>,
}

impl Live {
    pub(crate) fn new() -> Self {
        Self { inner: Mutex::default(), reports: watch::Sender::new(0) }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Opens a session, taking over from an older one of the node.
    pub(crate) fn open_session(
        &self,
        node: &NodeName,
        send: mpsc::Sender<Result<ToAgent, tonic::Status>>,
    ) -> u64 {
        self.with(|inner| {
            inner.next_session += 1;
            let id = inner.next_session;
            let contact = inner.contacts.entry(node.clone()).or_insert_with(|| Contact {
                session: None,
                heard: Instant::now(),
                reset: None,
                devices: Vec::new(),
            });
            contact.session = Some(SessionHandle { id, send });
            contact.heard = Instant::now();
            contact.reset = None;
            // What its gateway did meanwhile it tells first of all.
            inner.revisions.retain(|(_, of), _| of != node);
            id
        })
    }

    /// Notes that a session broke, unless another has taken over.
    pub(crate) fn close_session(&self, node: &NodeName, id: u64) {
        self.with(|inner| {
            if let Some(contact) = inner.contacts.get_mut(node)
                && contact.session.as_ref().is_some_and(|session| session.id == id)
            {
                contact.session = None;
                contact.reset = Some(Instant::now());
            }
        });
    }

    pub(crate) fn session(&self, node: &NodeName) -> Option<SessionHandle> {
        self.with(|inner| inner.contacts.get(node)?.session.clone())
    }

    /// Notes a sign of life; false if the node has no such session.
    pub(crate) fn heard(&self, node: &NodeName, session: u64) -> bool {
        self.with(|inner| match inner.contacts.get_mut(node) {
            Some(contact) if contact.session.as_ref().is_some_and(|open| open.id == session) => {
                contact.heard = Instant::now();
                true
            }
            _ => false,
        })
    }

    /// How long ago a node was heard; `None` if never since this process leads.
    pub(crate) fn silence(&self, node: &NodeName) -> Option<Heard> {
        self.with(|inner| {
            let contact = inner.contacts.get(node)?;
            Some(Heard {
                silent_ms: contact.heard.elapsed().as_millis() as u64,
                reset_ms: contact.reset.map(|at| at.elapsed().as_millis() as u64),
            })
        })
    }

    pub(crate) fn set_devices(&self, node: &NodeName, devices: Vec<Device>) {
        self.with(|inner| {
            if let Some(contact) = inner.contacts.get_mut(node) {
                contact.devices = devices;
            }
        });
    }

    pub(crate) fn devices(&self, node: &NodeName) -> Vec<Device> {
        self.with(|inner| {
            inner.contacts.get(node).map(|contact| contact.devices.clone()).unwrap_or_default()
        })
    }

    pub(crate) fn set_worker(&self, key: WorkerKey, report: WorkerReport) {
        self.with(|inner| {
            // Reports go forward only: one that was overtaken must not erase a result.
            let overtaken = inner.workers.get(&key).is_some_and(|known| known.phase > report.phase);
            if !overtaken {
                inner.workers.insert(key, report);
            }
        });
    }

    /// Notes that a node has, or had, work of a project.
    pub(crate) fn grant(&self, node: &NodeName, project: &ProjectName) {
        self.with(|inner| {
            inner.grants.insert((node.clone(), project.clone()));
        });
    }

    pub(crate) fn is_granted(&self, node: &NodeName, project: &ProjectName) -> bool {
        self.with(|inner| inner.grants.contains(&(node.clone(), project.clone())))
    }

    pub(crate) fn worker(&self, key: &WorkerKey) -> Option<WorkerReport> {
        self.with(|inner| inner.workers.get(key).cloned())
    }

    /// Forgets workers that are no longer of interest.
    pub(crate) fn retain_workers(&self, keep: impl Fn(&WorkerKey) -> bool) {
        self.with(|inner| inner.workers.retain(|key, _| keep(key)));
    }

    /// Notes a worker that a node has and nobody knows.
    pub(crate) fn add_orphan(&self, node: &NodeName, key: WorkerKey) {
        self.with(|inner| {
            let orphans = inner.orphans.entry(node.clone()).or_default();
            if orphans.len() < ORPHANS_MAX {
                orphans.insert(key);
            }
        });
    }

    /// Notes that nothing is left of a worker.
    pub(crate) fn drop_orphan(&self, node: &NodeName, key: &WorkerKey) {
        self.with(|inner| {
            if let Some(orphans) = inner.orphans.get_mut(node) {
                orphans.remove(key);
            }
        });
    }

    /// Forgets a node that is no longer part of the group.
    pub(crate) fn forget(&self, node: &NodeName) {
        self.with(|inner| {
            inner.contacts.remove(node);
            inner.orphans.remove(node);
            inner.revisions.retain(|(_, gateway), _| gateway != node);
            inner.grants.retain(|(owner, _)| owner != node);
        });
    }

    /// Forgets a node's: a hello names them all again.
    pub(crate) fn clear_orphans(&self, node: &NodeName) {
        self.with(|inner| drop(inner.orphans.remove(node)));
    }

    pub(crate) fn orphans(&self, node: &NodeName) -> BTreeSet<WorkerKey> {
        self.with(|inner| inner.orphans.get(node).cloned().unwrap_or_default())
    }

    /// Projects whose work the node has had.
    pub(crate) fn projects(&self, node: &NodeName) -> Vec<ProjectName> {
        self.with(|inner| {
            let own = inner.grants.iter().filter(|(owner, _)| owner == node);
            own.map(|(_, project)| project.clone()).collect()
        })
    }

    /// Forgets revisions that are no longer of interest.
    pub(crate) fn retain_revisions(&self, keep: impl Fn(&RevisionKey) -> bool) {
        self.with(|inner| inner.revisions.retain(|(key, _), _| keep(key)));
    }

    pub(crate) fn set_revision(&self, node: &NodeName, key: RevisionKey, report: RevisionReport) {
        self.with(|inner| drop(inner.revisions.insert((key, node.clone()), report)));
    }

    /// What each gateway says of a revision.
    pub(crate) fn revision(&self, key: &RevisionKey) -> Vec<RevisionReport> {
        self.with(|inner| {
            inner
                .revisions
                .iter()
                .filter(|((own, _), _)| own == key)
                .map(|(_, report)| report.clone())
                .collect()
        })
    }

    /// What the gateway of a node says of a revision in its open session.
    pub(crate) fn revision_at(&self, node: &NodeName, key: &RevisionKey) -> Option<RevisionReport> {
        self.with(|inner| {
            inner.contacts.get(node)?.session.as_ref()?;
            inner.revisions.get(&(key.clone(), node.clone())).cloned()
        })
    }

    /// Whether the whole queue was not considered for so long; it is now.
    pub(crate) fn may_look_at_all(&self, every: Duration) -> bool {
        self.with(|inner| {
            let due = inner.looked_at_all.is_none_or(|at| at.elapsed() >= every);
            if due {
                inner.looked_at_all = Some(Instant::now());
            }
            due
        })
    }

    pub(crate) fn notify(&self) {
        self.reports.send_modify(|count| *count += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f28_a_report_that_was_overtaken_erases_no_result() {
        use runyard_proto::agent::{Phase, Result};
        let live = Live::new();
        let key = WorkerKey::parse(&ProjectName::default_project(), "a-1/b.1:0").expect("a key");
        let result = Some(Result { succeeded: true, ..Result::default() });
        let at = |phase: Phase, result| WorkerReport {
            phase: phase.into(),
            result,
            ..WorkerReport::default()
        };
        live.set_worker(key.clone(), at(Phase::Finished, result));
        live.set_worker(key.clone(), at(Phase::Running, None));
        assert!(live.worker(&key).expect("known").result.is_some());
        live.set_worker(key.clone(), at(Phase::Released, None));
        assert_eq!(live.worker(&key).expect("known").phase, Phase::Released as i32);
    }

    #[test]
    fn reports_of_revisions_that_are_over_are_forgotten() {
        let live = Live::new();
        let node: NodeName = "n1".parse().expect("a name");
        let key = |number| {
            let deployment: DeploymentName = "digits".parse().expect("a name");
            (ProjectName::default_project(), deployment, number)
        };
        for number in 1..=3 {
            live.set_revision(&node, key(number), RevisionReport::default());
        }
        live.retain_revisions(|(_, _, number)| *number == 3);
        let left = |number| live.revision(&key(number)).len();
        assert_eq!((left(1), left(2), left(3)), (0, 0, 1));
    }
}
