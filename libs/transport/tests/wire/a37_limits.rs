//! A37: lengths that lie, compressed bombs and deep messages are refused; the server lives on.

use runyard_proto::USER_SERVER_NAME;
use runyard_transport::{Trust, connect_user, limits};

use crate::group::{Group, raw_call, who};

async fn refused(group: &Group, body: Vec<u8>, encoding: Option<&str>) -> (i32, String) {
    let client = group.foreign_client(None);
    let stream = group.foreign_connect(USER_SERVER_NAME, client).await.expect("connected");
    let answer = raw_call(stream, body, encoding).await.expect("an answer");
    let trust = Trust::Pin(group.ca.pin());
    let user = connect_user(&group.addresses(), trust).await.expect("connected");
    assert_eq!(who(user).await.expect("the server lives on"), "anonymous");
    answer
}

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("short");
    [&[flag], &length.to_be_bytes()[..], message].concat()
}

#[tokio::test]
async fn a37_a_length_of_4_gib_is_refused_at_its_prefix() {
    let group = Group::start().await;
    let (code, text) = refused(&group, vec![0, 0xff, 0xff, 0xff, 0xff], None).await;
    assert_eq!(code, tonic::Code::OutOfRange as i32, "{text}");
    let over = u32::try_from(limits::MESSAGE_BYTES_MAX + 1).expect("fits").to_be_bytes();
    let (code, text) = refused(&group, [&[0], &over[..]].concat(), None).await;
    assert_eq!(code, tonic::Code::OutOfRange as i32, "{text}");
}

#[tokio::test]
async fn a37_compressed_messages_are_not_taken() {
    let group = Group::start().await;
    let (code, text) = refused(&group, framed(1, &[0x1f, 0x8b, 8, 0]), Some("gzip")).await;
    assert_eq!(code, tonic::Code::Unimplemented as i32, "{text}");
    let (code, text) = refused(&group, framed(1, &[0x1f, 0x8b, 8, 0]), None).await;
    assert_ne!(code, 0, "{text}");
}

#[tokio::test]
async fn a37_nesting_stops_at_a_hundred() {
    let group = Group::start().await;
    // Field 100 as a group in a group …: unknown, so the decoder must walk it to skip it.
    let nested = |depth: usize| {
        let start = [0xa3, 0x06].repeat(depth);
        let end = [0xa4, 0x06].repeat(depth);
        framed(0, &[start, end].concat())
    };
    let (code, text) = refused(&group, nested(50), None).await;
    assert_eq!(code, 0, "{text}");
    let (code, text) = refused(&group, nested(150), None).await;
    assert_eq!(code, tonic::Code::Internal as i32, "{text}");
    let (code, _) = refused(&group, nested(100_000), None).await;
    assert_eq!(code, tonic::Code::Internal as i32);
}
