//! What is to be told: the newest report of each worker, and which of them were not sent yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prost::Message as _;
use runyard_proto::agent::{Phase, Report, WorkerReport};
use runyard_types::WorkerKey;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Bytes of reports in one message; the limit of a message is 4 MiB.
const MESSAGE_BYTES: usize = 1 << 20;
/// What is to be told soon waits so long: whatever happens meanwhile is told with it, and a worker
/// that begins and ends within it costs the group one entry of its log, not two.
const SOON: Duration = Duration::from_millis(8);

/// The reports of all workers here.
#[derive(Debug, Default)]
pub(crate) struct Board {
    inner: Mutex<Inner>,
    urgent: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    reports: BTreeMap<WorkerKey, WorkerReport>,
    urgent: BTreeSet<WorkerKey>,
    later: BTreeSet<WorkerKey>,
    orphans: Vec<String>,
    /// The list of orphans was not sent as it is.
    orphans_changed: bool,
    /// When what is to be told soon is to be told.
    soon: Option<Instant>,
    /// Something is to be told at once.
    at_once: bool,
}

impl Board {
    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes a worker's report, to be sent at once.
    pub(crate) fn now(&self, key: &WorkerKey, change: impl FnOnce(&mut WorkerReport)) {
        self.with(|inner| {
            change(inner.report(key));
            inner.urgent.insert(key.clone());
            inner.at_once = true;
        });
        self.urgent.notify_one();
    }

    /// Changes a worker's report, to be sent in a few milliseconds, or with what is sent before.
    pub(crate) fn soon(&self, key: &WorkerKey, change: impl FnOnce(&mut WorkerReport)) {
        self.with(|inner| {
            change(inner.report(key));
            inner.urgent.insert(key.clone());
            inner.soon.get_or_insert_with(|| Instant::now() + SOON);
        });
        self.urgent.notify_one();
    }

    /// Changes a worker's report, to be sent with the next.
    pub(crate) fn later(&self, key: &WorkerKey, change: impl FnOnce(&mut WorkerReport)) {
        self.with(|inner| {
            change(inner.report(key));
            inner.later.insert(key.clone());
        });
    }

    /// Replaces the list of orphans.
    pub(crate) fn set_orphans(&self, orphans: Vec<String>) {
        self.with(|inner| {
            inner.orphans = orphans;
            inner.orphans_changed = true;
            inner.at_once = true;
        });
        self.urgent.notify_one();
    }

    pub(crate) fn get(&self, key: &WorkerKey) -> Option<WorkerReport> {
        self.with(|inner| inner.reports.get(key).cloned())
    }

    pub(crate) fn remove(&self, key: &WorkerKey) {
        self.with(|inner| {
            inner.reports.remove(key);
            inner.urgent.remove(key);
            inner.later.remove(key);
        });
    }

    /// What a hello says of all workers. Everything is due again after it: the hello is short, and
    /// gives no result away that would be taken for the whole of it.
    pub(crate) fn hello(&self) -> Vec<WorkerReport> {
        self.with(|inner| {
            inner.urgent = inner.reports.keys().cloned().collect();
            inner.at_once = true;
            inner.orphans_changed |= !inner.orphans.is_empty();
            let brief = |report: &WorkerReport| WorkerReport {
                project: report.project.clone(),
                key: report.key.clone(),
                phase: report.phase.min(Phase::Publishing as i32),
                port: report.port,
                started_ms: report.started_ms,
                ..WorkerReport::default()
            };
            inner.reports.values().map(brief).collect()
        })
    }

    /// The next message, if there is anything to tell; with `all`, also what could wait.
    pub(crate) fn take(&self, all: bool) -> Option<Report> {
        self.with(|inner| {
            if all {
                let later = std::mem::take(&mut inner.later);
                inner.urgent.extend(later);
            }
            (inner.soon, inner.at_once) = (None, false);
            let mut report = Report::default();
            let mut bytes = 0;
            while let Some(key) = inner.urgent.first().cloned() {
                let Some(next) = inner.reports.get(&key) else {
                    inner.urgent.remove(&key);
                    continue;
                };
                bytes += next.encoded_len();
                if bytes > MESSAGE_BYTES && !report.workers.is_empty() {
                    break;
                }
                report.workers.push(next.clone());
                inner.urgent.remove(&key);
                inner.later.remove(&key);
            }
            if std::mem::take(&mut inner.orphans_changed) {
                report.orphans.clone_from(&inner.orphans);
            }
            (report != Report::default()).then_some(report)
        })
    }

    /// Until something should be sent.
    ///
    /// # Cancel safety
    /// It only observes; what is due stays so until it is taken.
    pub(crate) async fn urgent(&self) {
        loop {
            let soon = match self.with(|inner| (inner.at_once, inner.soon)) {
                (true, _) => return,
                (false, soon) => soon,
            };
            let more = self.urgent.notified();
            match soon {
                None => more.await,
                // Cancel-safe: a clock, and a notice that only makes us look again.
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(at) => return,
                    () = more => {}
                },
            }
        }
    }
}

impl Inner {
    fn report(&mut self, key: &WorkerKey) -> &mut WorkerReport {
        self.reports.entry(key.clone()).or_insert_with(|| WorkerReport {
            project: key.attempt.task.project.to_string(),
            key: key.to_string(),
            ..WorkerReport::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use runyard_types::ProjectName;

    use super::*;

    fn key(number: u32) -> WorkerKey {
        let text = format!("d-1/train[{number}].1:0");
        WorkerKey::parse(&ProjectName::default_project(), &text).expect("a key")
    }

    #[test]
    fn the_newest_is_sent_once_and_again_after_a_hello() {
        let board = Board::default();
        board.now(&key(1), |report| report.phase = Phase::Running as i32);
        board.later(&key(2), |report| report.detail = "building".into());
        board.now(&key(1), |report| report.phase = Phase::Released as i32);
        let first = board.take(false).expect("one");
        assert_eq!(first.workers.len(), 1);
        assert_eq!(first.workers[0].phase, Phase::Released as i32);
        assert_eq!(board.take(false), None);
        assert_eq!(board.take(true).expect("the other").workers[0].detail, "building");
        let hello = board.hello();
        assert_eq!(hello.len(), 2);
        assert!(hello.iter().all(|report| report.phase <= Phase::Publishing as i32));
        assert_eq!(board.take(false).expect("all").workers.len(), 2);
    }

    /// True when it is over at its first look.
    fn is_over_at_once(future: std::pin::Pin<&mut impl Future<Output = ()>>) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        future.poll(&mut context).is_ready()
    }

    #[tokio::test]
    async fn a_worker_that_ends_at_once_is_told_once_and_one_that_runs_soon() {
        let board = Board::default();
        let begun = Instant::now();
        board.soon(&key(1), |report| report.phase = Phase::Running as i32);
        board.urgent().await;
        assert!(begun.elapsed() >= SOON, "{:?}", begun.elapsed());
        // Still due: nobody has taken it.
        board.urgent().await;
        assert_eq!(board.take(false).expect("one").workers[0].phase, Phase::Running as i32);

        board.soon(&key(2), |report| report.phase = Phase::Running as i32);
        board.soon(&key(3), |report| report.phase = Phase::Running as i32);
        board.now(&key(2), |report| report.phase = Phase::Released as i32);
        // At once: it does not even give way to the clock.
        let first = std::pin::pin!(board.urgent());
        assert!(is_over_at_once(first), "it waits");
        let told = board.take(false).expect("both");
        assert_eq!(told.workers.len(), 2);
        assert_eq!(told.workers[0].phase, Phase::Released as i32);
        // Nothing is left of it to wake up for.
        let idle = tokio::time::timeout(SOON * 5, board.urgent()).await;
        assert!(idle.is_err(), "it was told already");
    }

    #[test]
    fn messages_stay_small_and_nothing_is_left_out() {
        let board = Board::default();
        for number in 0..40 {
            board.now(&key(number), |report| report.summary = "x".repeat(60 << 10));
        }
        let mut seen = 0;
        while let Some(report) = board.take(false) {
            assert!(report.encoded_len() < 2 << 20);
            seen += report.workers.len();
        }
        assert_eq!(seen, 40);
    }
}
