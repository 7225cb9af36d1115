//! A38: unfinished handshakes are cut after five seconds and keep nobody else out.

use std::time::{Duration, Instant};

use runyard_transport::{connect_agent, limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::group::{Group, who};

/// Waits until the server has closed `stream`, while sending a byte now and then.
async fn time_to_cut(mut stream: TcpStream, drip: bool) -> Duration {
    let begun = Instant::now();
    let mut buffer = [0; 64];
    loop {
        let read = tokio::time::timeout(Duration::from_millis(500), stream.read(&mut buffer)).await;
        match read {
            Ok(Ok(0) | Err(_)) => return begun.elapsed(),
            Ok(Ok(_)) => {}
            // A further byte of a record whose length is never reached.
            Err(_) if drip => drop(stream.write_all(&[1]).await),
            Err(_) => {}
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "never cut");
    }
}

#[tokio::test]
async fn a38_a_slow_handshake_is_cut_at_its_deadline() {
    let group = Group::start().await;
    let silent = TcpStream::connect(group.addr).await.expect("connected");
    let mut slow = TcpStream::connect(group.addr).await.expect("connected");
    slow.write_all(&[0x16, 3, 1, 0x20, 0]).await.expect("sent");
    let (silent, slow) = tokio::join!(time_to_cut(silent, false), time_to_cut(slow, true));
    for took in [silent, slow] {
        assert!(took >= limits::HANDSHAKE_TIMEOUT - Duration::from_millis(600), "{took:?}");
    }
}

#[tokio::test]
async fn a38_a_flood_of_half_handshakes_keeps_no_agent_out() {
    let group = Group::start().await;
    let agent = group.agent("gpu-7");
    let open = connect_agent(&group.addresses(), &agent).await.expect("connected");
    // From the agent's own address, three times over what is kept for it.
    let mut half_open = Vec::new();
    for wave in 0..3 {
        for _ in 0..limits::HALF_OPEN_PER_IP_MAX {
            let mut stream = TcpStream::connect(group.addr).await.expect("connected");
            stream.write_all(&[0x16, 3, 1]).await.expect("sent");
            half_open.push(stream);
        }
        assert_eq!(who(open.clone()).await.expect("answered"), "agent gpu-7");
        let begun = Instant::now();
        let fresh = connect_agent(&group.addresses(), &agent).await.expect("connected");
        assert_eq!(who(fresh).await.expect("answered"), "agent gpu-7");
        let took = begun.elapsed();
        assert!(took < limits::HANDSHAKE_TIMEOUT / 2, "wave {wave}: {took:?}");
    }
    // The first of them gave way at once, long before their deadline.
    let mut buffer = [0; 64];
    let oldest = &mut half_open[0];
    let closed = tokio::time::timeout(Duration::from_secs(2), oldest.read(&mut buffer)).await;
    assert!(matches!(closed, Ok(Ok(0) | Err(_))), "{closed:?}");
}
