//! F42: certificates that have run out, are not yet good, or are replaced while the server runs.

use std::time::{Duration, SystemTime};

use runyard_transport::ca::Ca;
use runyard_transport::{Audience, DialError, TlsIdentity, Trust, connect_agent, connect_user};

use crate::group::{Group, who};

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn f42_an_expired_agent_is_let_in_as_that_and_a_future_one_is_not() {
    let group = Group::start().await;
    let expired = group.agent_at("gpu-7", SystemTime::now() - 31 * DAY);
    let channel = connect_agent(&group.addresses(), &expired).await.expect("connected");
    assert_eq!(who(channel).await.expect("answered"), "expired agent gpu-7");

    let future = group.agent_at("gpu-7", SystemTime::now() + 2 * DAY);
    let refused = match connect_agent(&group.addresses(), &future).await {
        Ok(channel) => who(channel).await.is_err(),
        Err(_) => true,
    };
    assert!(refused);
}

#[tokio::test]
async fn f42_an_expired_stranger_stays_a_stranger() {
    let group = Group::start().await;
    let other = Ca::create("test", SystemTime::now()).expect("a CA");
    let stranger = crate::group::agent_of(&other, "gpu-7", SystemTime::now() - 31 * DAY);
    // It trusts our server, so that it is the server who must refuse.
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("identity.pem");
    stranger.save(&path).expect("saved");
    let text = fs_err::read_to_string(&path).expect("read");
    let theirs = runyard_transport::certificate_to_pem(other.certificate());
    let ours = runyard_transport::certificate_to_pem(group.ca.certificate());
    runyard_transport::write_secret(&path, &text.replace(&theirs, &ours)).expect("written");
    let stranger = runyard_transport::AgentIdentity::load(&path).expect("loaded");
    let refused = match connect_agent(&group.addresses(), &stranger).await {
        Ok(channel) => who(channel).await.is_err(),
        Err(_) => true,
    };
    assert!(refused);
}

#[tokio::test]
async fn f42_an_expired_server_is_refused() {
    let ca = Ca::create("test", SystemTime::now() - 500 * DAY).expect("a CA");
    let old = ca.issue_server(&[], SystemTime::now() - 400 * DAY).expect("issued");
    let group = Group::with(ca, Audience::UsersAndAgents, &old).await;
    let refused = connect_user(&group.addresses(), Trust::Pin(group.ca.pin())).await;
    assert!(matches!(refused, Err(DialError::Certificate { .. })), "{refused:?}");
    // A new certificate, without a restart.
    let new = group.ca.issue_server(&[], SystemTime::now()).expect("issued");
    group.reloader.replace(&new).expect("replaced");
    connect_user(&group.addresses(), Trust::Pin(group.ca.pin())).await.expect("connected");
}

#[tokio::test]
async fn f42_two_cas_overlap_without_a_gap() {
    let group = Group::start().await;
    let old_agent = group.agent("old");
    let next = Ca::create("test", SystemTime::now()).expect("a CA");
    let new_agent = crate::group::agent_of(&next, "new", SystemTime::now());
    let now = SystemTime::now();
    let ours = group.ca.issue_server(&[], now).expect("issued");
    let both = vec![group.ca.certificate().clone(), next.certificate().clone()];
    group.reloader.replace(&TlsIdentity { client_roots: both.clone(), ..ours }).expect("replaced");
    let channel = connect_agent(&group.addresses(), &old_agent).await.expect("connected");
    assert_eq!(who(channel).await.expect("answered"), "agent old");
    let theirs = next.issue_server(&[], now).expect("issued");
    group.reloader.replace(&TlsIdentity { client_roots: both, ..theirs }).expect("replaced");
    let channel = connect_agent(&group.addresses(), &new_agent).await.expect("connected");
    assert_eq!(who(channel).await.expect("answered"), "agent new");
}
