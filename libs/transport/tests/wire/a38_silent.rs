//! A38: connections whose handshake is done and that say nothing are cut, and their number is bounded.

use std::time::{Duration, Instant};

use runyard_transport::{Target, Trust, connect_agent, limits, raise_descriptor_limit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::group::{Group, who};

async fn cut_after(mut stream: TlsStream<TcpStream>) -> Duration {
    let begun = Instant::now();
    let mut buffer = [0; 256];
    loop {
        let read = tokio::time::timeout(Duration::from_secs(30), stream.read(&mut buffer)).await;
        if matches!(read.expect("never cut"), Ok(0) | Err(_)) {
            return begun.elapsed();
        }
    }
}

#[tokio::test]
async fn a38_silence_after_the_handshake_is_cut_and_a_few_bytes_do_not_help() {
    let group = Group::start().await;
    let user = Target::user(&group.addresses(), Trust::Pin(group.ca.pin())).expect("a target");
    let silent = user.dial().await.expect("connected");
    let mut dripping = user.dial().await.expect("connected");
    // The beginning of HTTP/2's preface: which protocol it will be is open still.
    dripping.write_all(b"PRI * HTTP").await.expect("sent");
    // One that speaks lives on, however little it says afterwards.
    let speaking = user.connect().await.expect("connected");
    assert_eq!(who(speaking.clone()).await.expect("answered"), "anonymous");
    let (silent, dripping) = tokio::join!(cut_after(silent), cut_after(dripping));
    for took in [silent, dripping] {
        assert!(took + Duration::from_millis(600) >= limits::FIRST_BYTES_WITHIN, "{took:?}");
        assert!(took < limits::FIRST_BYTES_WITHIN * 3, "{took:?}");
    }
    assert_eq!(who(speaking).await.expect("answered"), "anonymous");
}

#[tokio::test]
async fn a38_a_crowd_of_users_leaves_room_for_agents_and_gives_its_places_back() {
    let room = limits::Room::of(raise_descriptor_limit());
    let group = Group::start().await;
    let user = Target::user(&group.addresses(), Trust::Pin(group.ca.pin())).expect("a target");
    let mut crowd = Vec::new();
    loop {
        // Some of a crowd that is slow to gather are cut off again meanwhile: more come, as they would.
        assert!(
            crowd.len() < 3 * room.anonymous_per_ip,
            "{} of one address are served",
            crowd.len()
        );
        for _ in 0..32 {
            let mut stream = user.dial().await.expect("connected");
            // As an honest client begins.
            let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
            crowd.push(stream);
        }
        if crowd.len() < room.anonymous_per_ip {
            continue;
        }
        let refused = match user.connect().await {
            Ok(channel) => who(channel).await.is_err(),
            Err(_) => true,
        };
        if refused {
            break;
        }
    }
    let agent = group.agent("gpu-7");
    let begun = Instant::now();
    let channel = connect_agent(&group.addresses(), &agent).await.expect("connected");
    assert_eq!(who(channel).await.expect("answered"), "agent gpu-7");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    drop(crowd);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let channel = user.connect().await.expect("connected");
        if who(channel).await.is_ok_and(|who| who == "anonymous") {
            break;
        }
        assert!(Instant::now() < deadline, "the places never came back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
