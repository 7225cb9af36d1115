//! Agents and workers that do not fit what the coordinator remembers, and nodes that it forgets.

use runyard_proto::agent::{Hello, Phase};
use runyard_proto::v1::{RemoveNodeRequest, StopOrphanRequest};
use tonic::Code;

use crate::group::{Group, Session, hello, report, wait_for};

const ORPHAN: &str = "old-3/train.1:0";

async fn wait_orphans(group: &Group, expected: &[&str]) {
    wait_for("the orphans", async || match group.node("node-1").await.orphans {
        orphans if orphans == expected => Ok(()),
        orphans => Err(format!("{orphans:?}")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f28_a_worker_that_nobody_knows_is_shown_and_kept_until_it_is_stopped() {
    let group = Group::start().await;
    let identity = group.join("node-1").await;
    let greeting = Hello { workers: vec![report(ORPHAN, Phase::Running)], ..hello("node-1", 1, 1) };
    let mut session = Session::open(group.agent(&identity), greeting).await.expect("open");
    wait_orphans(&group, &[ORPHAN]).await;
    let set = session.desired(|_| true).await;
    assert!(set.tombstones.is_empty(), "absence kills nobody: {set:?}");
    let events = group.events("node-1").await;
    let told = events.iter().filter(|event| event.kind == "node.orphans").count();
    assert_eq!(told, 1, "{events:?}");

    let stop = |worker: &str| StopOrphanRequest {
        node: "node-1".into(),
        worker: worker.into(),
        reason: "of the old group".into(),
    };
    let mut fleet = group.fleet(&group.admin);
    let unknown = fleet.stop_orphan(stop("old-4/train.1:0")).await.expect_err("there is none");
    assert_eq!(unknown.code(), Code::NotFound);
    assert!(unknown.message().contains("runyard nodes get node-1"), "{}", unknown.message());
    fleet.stop_orphan(stop(ORPHAN)).await.expect("asked to stop");
    let set = session.desired(|set| !set.tombstones.is_empty()).await;
    assert_eq!((set.tombstones[0].key.as_str(), set.tombstones.len()), (ORPHAN, 1));
    assert_eq!(set.tombstones[0].project, "default");
    assert!(set.tombstones[0].reason.ends_with(": of the old group"), "{set:?}");

    session.report(report(ORPHAN, Phase::Released)).await;
    wait_orphans(&group, &[]).await;
    session.desired(|set| set.tombstones.is_empty()).await;
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_obeyed_more_than_the_log_has_is_not_given_orders() {
    let group = Group::start().await;
    let identity = group.join("node-1").await;
    let mut session =
        Session::open(group.agent(&identity), hello("node-1", 1, 1)).await.expect("open");
    let set = session.desired(|_| true).await;
    let ahead =
        |index, counter| Hello { generation: set.generation, index, ..hello("node-1", 1, counter) };
    let refused = Session::open(group.agent(&identity), ahead(set.index + 1_000, 2)).await;
    let refused = refused.err().expect("its log was lost");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    for part in [
        format!("entry {}", set.index + 1_000),
        format!("generation {}", set.generation),
        "node node-1".to_owned(),
        "What runs on the node runs on".to_owned(),
    ] {
        assert!(refused.message().contains(&part), "{}", refused.message());
    }
    Session::open(group.agent(&identity), ahead(set.index, 2)).await.expect("not ahead");
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_node_is_cut_off_and_its_name_is_free() {
    let group = Group::start().await;
    let identity = group.join("node-1").await;
    let mut session =
        Session::open(group.agent(&identity), hello("node-1", 1, 1)).await.expect("open");
    session.desired(|_| true).await;
    let mut fleet = group.fleet(&group.admin);
    let remove = |force| RemoveNodeRequest { name: "node-1".into(), force };
    let refused = fleet.remove_node(remove(false)).await.expect_err("it is there");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("--force"), "{}", refused.message());
    fleet.remove_node(remove(true)).await.expect("removed");
    let end = session.ended().await.expect("it is told why");
    assert!(end.message().contains("node-1"), "{end:?}");
    let again = Session::open(group.agent(&identity), hello("node-1", 1, 2)).await;
    let again = again.err().expect("its certificate opens nothing");
    assert_eq!(again.code(), Code::PermissionDenied, "{again:?}");
    assert_eq!(fleet.remove_node(remove(true)).await.expect_err("gone").code(), Code::NotFound);

    let identity = group.join("node-1").await;
    Session::open(group.agent(&identity), hello("node-1", 2, 1)).await.expect("a new one");
    group.stop().await;
}
