//! F42: a renewed certificate is shown by the next connection, and open ones live on.

use std::time::{Duration, SystemTime};

use runyard_transport::ca::AGENT_LIFETIME;
use runyard_transport::{Target, Trust};

use crate::group::{Group, who};

#[tokio::test]
async fn f42_a_renewed_certificate_is_shown_by_all_clones_of_a_target() {
    let group = Group::start().await;
    let expired = group.agent_at("gpu-7", SystemTime::now() - AGENT_LIFETIME * 2);
    let target = Target::agent(&group.addresses(), &expired).expect("a target");
    let (clone, open) = (target.clone(), target.connect().await.expect("connected"));
    assert_eq!(who(open.clone()).await.expect("answered"), "expired agent gpu-7");

    let request = expired.signing_request().expect("a request");
    let signed = group.ca.sign_agent_for(
        &request,
        expired.node(),
        SystemTime::now(),
        Duration::from_secs(60),
    );
    let renewed = expired.with_certificate(signed.expect("signed").certificate).expect("it fits");
    target.show(&renewed).expect("shown");
    assert_eq!(who(clone.lazy()).await.expect("answered"), "agent gpu-7");
    assert_eq!(who(open).await.expect("answered"), "expired agent gpu-7", "as it was opened");
    let patient = target.connect_timeout(Duration::from_secs(9));
    assert_eq!(who(patient.lazy()).await.expect("answered"), "agent gpu-7");

    let user = Target::user(&group.addresses(), Trust::Pin(group.ca.pin())).expect("a target");
    user.show(&renewed).expect_err("a user shows no certificate");
}
