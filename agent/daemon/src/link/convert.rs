//! From a desired set on the wire to the core's.

use std::sync::Arc;

use runyard_proto::agent as wire;
use runyard_types::{ProjectName, WorkerKey};

use crate::core::{DesiredSet, DesiredWorker, Position, Tombstone};

/// A set, and the specs of its workers.
pub(super) fn desired(
    set: wire::DesiredSet,
) -> (DesiredSet, Vec<(WorkerKey, Arc<wire::DesiredWorker>)>) {
    let at = Position { generation: set.generation, index: set.index };
    let mut specs = Vec::new();
    let mut workers = Vec::new();
    for worker in set.workers {
        let Some(key) = key(&worker.project, &worker.key) else { continue };
        let alone = worker.spec.as_ref().is_none_or(|spec| spec.nnodes <= 1);
        // A worker that is alone waits for nobody: it starts as soon as it is prepared.
        let go = worker.go || alone;
        let after = match worker.after.as_str() {
            "" => None,
            after => match self::key(&worker.project, after) {
                Some(after) => Some(after),
                // To start it could give its room out twice.
                None => continue,
            },
        };
        workers.push(DesiredWorker { key: key.clone(), go, started: worker.started, after });
        specs.push((key, Arc::new(worker)));
    }
    let tombstones = set.tombstones.into_iter().filter_map(|stop| {
        let key = key(&stop.project, &stop.key)?;
        Some(Tombstone { key, reason: stop.reason, grace_ms: stop.grace_ms })
    });
    (DesiredSet { at, workers, tombstones: tombstones.collect() }, specs)
}

/// A key that is none is a coordinator's fault; the rest of its set is good.
fn key(project: &str, text: &str) -> Option<WorkerKey> {
    let parsed = ProjectName::new(project).map_err(|error| error.to_string());
    let parsed = parsed
        .and_then(|project| WorkerKey::parse(&project, text).map_err(|error| error.to_string()));
    match parsed {
        Ok(key) => Some(key),
        Err(error) => {
            tracing::error!(key = text, error, "a worker's key is malformed; passed over");
            None
        }
    }
}
