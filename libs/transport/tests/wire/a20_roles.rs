//! A20: a certificate serves its role and no other.

use std::time::SystemTime;

use runyard_proto::{AGENT_SERVER_NAME, USER_SERVER_NAME};
use runyard_transport::ca::Ca;
use runyard_transport::{
    AgentIdentity, Audience, DialError, Target, TlsIdentity, Trust, connect_agent, connect_user,
};

use crate::group::{Group, agent_of, raw_call, who};

/// The agent's key and certificate as something that a server or a foreign client can show.
fn as_tls(agent: &AgentIdentity, ca: &Ca, folder: &std::path::Path) -> TlsIdentity {
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject;
    let path = folder.join("identity.pem");
    agent.save(&path).expect("saved");
    TlsIdentity {
        chain: vec![agent.certificate().clone(), ca.certificate().clone()],
        key: PrivateKeyDer::from_pem_file(&path).expect("a key"),
        client_roots: vec![ca.certificate().clone()],
    }
}

/// Whether a foreign client that shows `shown` to `name` can make a call.
async fn can_call(group: &Group, name: &str, shown: Option<&TlsIdentity>) -> bool {
    let Ok(stream) = group.foreign_connect(name, group.foreign_client(shown)).await else {
        return false;
    };
    raw_call(stream, vec![0, 0, 0, 0, 0], None).await.is_ok_and(|(code, _)| code == 0)
}

#[tokio::test]
async fn a20_agents_are_known_by_their_certificate_and_users_are_not_asked() {
    let group = Group::start().await;
    let agent = connect_agent(&group.addresses(), &group.agent("gpu-7")).await.expect("connected");
    assert_eq!(who(agent).await.expect("answered"), "agent gpu-7");
    let trust = Trust::Pin(group.ca.pin());
    let user = connect_user(&group.addresses(), trust).await.expect("connected");
    assert_eq!(who(user).await.expect("answered"), "anonymous");
}

#[tokio::test]
async fn a20_an_agents_certificate_opens_no_other_door() {
    let group = Group::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let agent = as_tls(&group.agent("gpu-7"), &group.ca, folder.path());
    // As a user: the server does not ask, so it stays anonymous.
    let user = group.foreign_connect(USER_SERVER_NAME, group.foreign_client(Some(&agent))).await;
    assert!(raw_call(user.expect("connected"), vec![0; 5], None).await.is_ok());

    // As a server: clients of ours refuse it.
    let ca = Ca::from_der(group.ca.certificate(), group.ca.key_der()).expect("the same CA");
    let fake = Group::with(ca, Audience::UsersAndAgents, &agent).await;
    let refused = connect_user(&fake.addresses(), Trust::Pin(group.ca.pin())).await;
    assert!(matches!(refused, Err(DialError::Certificate { .. })), "{refused:?}");

    // As a peer: the peers' port refuses it, and takes a peer's.
    let peers = peers_port(&group.ca).await;
    assert!(!can_call(&peers, "peer.runyard", Some(&agent)).await);
    assert!(!can_call(&peers, "peer.runyard", None).await);
    let peer = group.ca.issue_peer(2, SystemTime::now()).expect("issued");
    assert!(can_call(&peers, "peer.runyard", Some(&peer)).await);
    let channel = Target::peer(&peers.addresses(), &peer).expect("usable").connect().await;
    assert_eq!(who(channel.expect("connected")).await.expect("answered"), "peer 2");
}

async fn peers_port(ca: &Ca) -> Group {
    let ca = Ca::from_der(ca.certificate(), ca.key_der()).expect("the same CA");
    let identity = ca.issue_peer(1, SystemTime::now()).expect("issued");
    Group::with(ca, Audience::Peers, &identity).await
}

#[tokio::test]
async fn a20_the_agents_name_takes_agents_only() {
    let group = Group::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let now = SystemTime::now();
    let agent = as_tls(&group.agent("gpu-7"), &group.ca, folder.path());
    assert!(can_call(&group, AGENT_SERVER_NAME, Some(&agent)).await);
    assert!(!can_call(&group, AGENT_SERVER_NAME, None).await, "no certificate");
    let server = group.ca.issue_server(&[], now).expect("issued");
    assert!(!can_call(&group, AGENT_SERVER_NAME, Some(&server)).await, "a server's");
    let peer = group.ca.issue_peer(1, now).expect("issued");
    assert!(!can_call(&group, AGENT_SERVER_NAME, Some(&peer)).await, "a peer's");
    let other = Ca::create("test", now).expect("a CA");
    let stranger = as_tls(&agent_of(&other, "gpu-7", now), &other, folder.path());
    assert!(!can_call(&group, AGENT_SERVER_NAME, Some(&stranger)).await, "another CA's");
}

#[tokio::test]
async fn a20_a_peer_does_not_talk_to_a_mere_server() {
    let group = Group::start().await;
    let peer = group.ca.issue_peer(2, SystemTime::now()).expect("issued");
    let refused = Target::peer(&group.addresses(), &peer).expect("usable").connect().await;
    assert!(matches!(refused, Err(DialError::Certificate { .. })), "{refused:?}");
}
