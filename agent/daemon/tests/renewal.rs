//! Certificates that are renewed while workers run, late, or not at all.

mod common;

use std::path::Path;
use std::time::{Duration, SystemTime};

use common::Group;
use runyard_proto::agent::{Channel, Phase};
use runyard_transport::ca::AGENT_LIFETIME;
use runyard_transport::{AgentIdentity, AgentKey};
use tonic::Status;

/// So short that, with what it is dated back, two thirds of it are over when it is made.
const SHORT: Duration = Duration::from_secs(200);

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(now.expect("after 1970").as_millis()).expect("fits")
}

/// When the kept certificate ends, in milliseconds from now; 0 if that is over.
fn kept_ms(state_dir: &Path) -> u64 {
    let identity = AgentIdentity::load(&state_dir.join("identity.pem")).expect("it is kept whole");
    identity.validity().expect("it has dates").not_after_ms.saturating_sub(now_ms())
}

/// Waits until `gate` is there, and leaves a mark of each start.
fn waiting(gate: &Path, mark: &Path) -> String {
    format!(
        "echo start >>{}; until [ -e {} ]; do sleep 0.02; done; echo done",
        mark.display(),
        gate.display()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn f42_a_certificate_is_renewed_under_a_running_worker() {
    let group = Group::start().await;
    group.heard.set_lifetime(SHORT);
    group.heard.answer_renewals(Some(Status::unavailable("not yet")));
    let (gate, mark) = (group.folder.path().join("gate"), group.folder.path().join("mark"));
    let worker = group.worker("train", &waiting(&gate, &mark));
    group.heard.want(|set| set.workers = vec![worker.clone()]).await;
    let _agent = group.agent("a");
    group.phase(&worker.key, Phase::Running).await;
    let dir = group.state_dir("a");
    assert!(kept_ms(&dir) <= 200_000, "as it joined");
    let before = group.heard.certificate_ends_ms().len();

    group.heard.answer_renewals(None);
    // The session is opened anew, with the certificate that was kept first.
    let renewed = |heard: &common::Heard| heard.certificate_ends_ms().get(before).copied();
    let end_ms = group.wait("a session with the new certificate", renewed).await;
    let month_ms = u64::try_from(AGENT_LIFETIME.as_millis()).expect("fits");
    assert!(end_ms > now_ms() + month_ms - 3_600_000, "{end_ms}");
    assert!(kept_ms(&dir) > month_ms - 3_600_000, "a restart would find it");
    let hello = group.heard.hellos().last().cloned().expect("a hello");
    assert_eq!(hello.process_nonce, group.heard.hellos()[0].process_nonce, "the same process");
    let beats = group.heard.beats();
    group.wait("heartbeats", |heard| (heard.beats() > beats + 2).then_some(())).await;

    assert_eq!(group.heard.report(&worker.key).expect("told").phase, Phase::Running as i32);
    std::fs::write(&gate, "").expect("written");
    let done = group.released(&worker.key).await;
    assert!(done.result.as_ref().expect("a result").succeeded, "{done:?}");
    assert_eq!(group.sealed(&worker.key, Channel::Log).await, b"done\n");
    assert_eq!(std::fs::read_to_string(&mark).expect("read"), "start\n", "it ran twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn f42_a_refused_renewal_is_said_once_and_stops_nothing() {
    let group = Group::start().await;
    group.heard.set_lifetime(SHORT);
    group.heard.answer_renewals(Some(Status::permission_denied("node a was removed by ada")));
    let (gate, mark) = (group.folder.path().join("gate"), group.folder.path().join("mark"));
    let worker = group.worker("train", &waiting(&gate, &mark));
    group.heard.want(|set| set.workers = vec![worker.clone()]).await;
    let _agent = group.agent("a");
    group.wait("the refusal", |heard| (heard.renewals() > 0).then_some(())).await;
    group.phase(&worker.key, Phase::Running).await;
    std::fs::write(&gate, "").expect("written");
    let done = group.released(&worker.key).await;
    assert!(done.result.as_ref().expect("a result").succeeded, "{done:?}");
    let log = std::fs::read_to_string(group.folder.path().join("a.log")).expect("a log");
    let said: Vec<&str> = log.lines().filter(|line| line.contains("refuses to renew")).collect();
    assert_eq!(said.len(), 1, "{log}");
    for part in ["node a was removed by ada", "hours_left=0", "runyard token create agent"] {
        assert!(said[0].contains(part), "`{part}` is missing in {}", said[0]);
    }
    assert!(kept_ms(&group.state_dir("a")) <= 200_000, "the old one is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn f42_an_agent_that_slept_through_its_certificates_end_renews_it_and_is_back() {
    let group = Group::start().await;
    let dir = group.state_dir("a");
    let key = AgentKey::generate().expect("a key");
    let then = SystemTime::now() - AGENT_LIFETIME * 3;
    let node = "a".parse().expect("a name");
    let request = key.signing_request().expect("a request");
    let old = group.ca.sign_agent(&request, &node, then).expect("signed");
    let identity =
        key.with_certificate(old.certificate, group.ca.certificate().clone()).expect("it fits");
    identity.save(&dir.join("identity.pem")).expect("saved");
    assert_eq!(kept_ms(&dir), 0);
    let _agent = group.agent("a");
    let open = |heard: &common::Heard| heard.certificate_ends_ms().first().copied();
    let end_ms = group.wait("a session", open).await;
    assert!(end_ms > now_ms(), "opened with a certificate that holds");
    assert_eq!(group.heard.renewals(), 1);
    assert!(kept_ms(&dir) > 0);
}
