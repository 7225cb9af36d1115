//! Shares, watches and rollbacks, without the network.

use super::*;
use crate::exchange::Exchange;
use crate::route::{Ready, Replica, RouteRevision};
use runyard_types::TaskKey;

fn deployment(seed: u64, folder: &std::path::Path) -> Arc<Deployment> {
    let latches = Latches::open(folder).expect("an empty folder");
    let (draws, changes) = (Draws::new(seed), watch::Sender::new(0));
    let shared = Arc::new(Shared { draws, latches, changes });
    let project = ProjectName::default_project();
    let name = DeploymentName::new("digits").expect("a name");
    Arc::new(Deployment::new(project, name, shared))
}

fn route(canary: u32) -> Route {
    let project = ProjectName::default_project();
    let revision = |number, weight_permille| RouteRevision {
        number,
        weight_permille,
        replicas: vec![Replica {
            task: TaskKey::parse(&project, &format!("digits@{number}/replica[0]")).expect("a key"),
            address: format!("127.0.0.1:{number}"),
        }],
        ready: Ready::default(),
        baseline_requests: 0,
        baseline_errors: 0,
    };
    Route {
        project: project.clone(),
        deployment: DeploymentName::new("digits").expect("a name"),
        revisions: vec![revision(1, 1_000 - canary), revision(2, canary)],
        latch: 0,
        serving: 1,
        drain_ms: 0,
    }
}

/// Sends requests through everything but the network; answers after how many the canary was
/// rolled back.
fn serve(deployment: &Arc<Deployment>, n: u64, fails: impl Fn(u32, u64) -> bool) -> Option<u64> {
    // Drawn apart from the revisions, and anew for each deployment.
    let chance = Draws::new(deployment.shared.draws.next());
    (0..n).find(|_| {
        let choice = deployment.choice();
        let revision = choice.draw(&deployment.shared.draws).expect("one is ready").clone();
        let number = revision.number;
        let replica = revision.replica(&deployment.shared.draws, &[]).expect("it has one");
        let shares = Some(Arc::clone(&choice.shares));
        Exchange::begin(deployment, revision, replica, shares).settle(fails(number, chance.next()));
        deployment.lock().latch.is_some()
    })
}

fn ready(seed: u64, folder: &std::path::Path, canary: u32) -> Arc<Deployment> {
    let deployment = deployment(seed, folder);
    for (_, replica) in deployment.update(Some(&route(canary))) {
        replica.set_ready();
    }
    deployment.readiness_changed();
    deployment
}

#[test]
fn shares_over_twenty_thousand_requests_lie_in_the_band_of_chance() {
    let folder = tempfile::tempdir().expect("a folder");
    let deployment = ready(7, folder.path(), 200);
    assert_eq!(serve(&deployment, 20_000, |_, _| false), None);
    let canary = deployment.reports()[1].requests as f64;
    let band = 3.29 * (20_000.0_f64 * 0.2 * 0.8).sqrt();
    assert!((canary - 4_000.0).abs() <= band, "{canary} of 20000");
}

#[test]
fn equal_revisions_are_not_rolled_back() {
    let folder = tempfile::tempdir().expect("a folder");
    // Both fail one request in twenty.
    let rolled_back = (0..40)
        .filter(|&seed| {
            let deployment = ready(seed, folder.path(), 200);
            serve(&deployment, 5_000, |_, chance| chance % 20 == 0).is_some()
        })
        .count();
    // At alpha 0.01 more than three of forty come once in 1,200 choices of seeds.
    assert!(rolled_back <= 3, "{rolled_back} of 40");
}

#[test]
fn a_worse_canary_is_rolled_back_soon() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut needed: Vec<u64> = (0..41)
        .map(|seed| {
            let deployment = ready(seed, folder.path(), 100);
            let fails = |number, chance: u64| chance % 200 < if number == 2 { 10 } else { 1 };
            serve(&deployment, 100_000, fails).expect("it is found")
        })
        .collect();
    needed.sort_unstable();
    // 5 % against 0.5 % at 10 %: a median of five seconds at 200 requests a second.
    assert!(needed[20] <= 1_000, "median {}", needed[20]);
}

/// Counts what is said as a warning.
#[derive(Clone, Default)]
struct Warnings(Arc<std::sync::atomic::AtomicU64>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn a_crossing_that_nothing_can_be_done_about_is_said_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let deployment = deployment(5, folder.path());
    let mut alone = route(1_000);
    alone.serving = 2;
    alone.revisions.remove(0);
    for (_, replica) in deployment.update(Some(&alone)) {
        replica.set_ready();
    }
    deployment.readiness_changed();
    let warnings = Warnings::default();
    tracing::subscriber::with_default(warnings.clone(), || {
        assert_eq!(serve(&deployment, 500, |_, _| true), None);
    });
    assert_eq!(warnings.0.load(Ordering::Relaxed), 1);
    // With a revision to go back to it goes back all the same.
    let mut warm = route(1_000);
    warm.serving = 1;
    for (_, replica) in deployment.update(Some(&warm)) {
        replica.set_ready();
    }
    deployment.readiness_changed();
    assert_eq!(serve(&deployment, 10, |number, _| number == 2), Some(0));
}

#[test]
fn a_rollback_is_in_force_before_it_is_on_disk_and_told_after() {
    let folder = tempfile::tempdir().expect("a folder");
    let deployment = ready(3, folder.path(), 500);
    serve(&deployment, 10_000, |number, _| number == 2).expect("it is found");
    assert_eq!(deployment.choice().shares.of(1), 1.0);
    assert!(!deployment.reports()[1].rolled_back);
    deployment.shared.latches.write().expect("room on the disk");
    let report = &deployment.reports()[1];
    assert!(report.rolled_back && report.affected == report.errors, "{report:?}");
}
