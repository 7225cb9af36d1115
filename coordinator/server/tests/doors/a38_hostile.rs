//! A38: floods of handshakes and of HTTP/2 frames against the port of a served coordinator. Users and
//! agents are served meanwhile, no node is taken for lost, and memory stays bounded.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use runyard_proto::agent::HeartbeatRequest;
use runyard_proto::v1::StatusRequest;
use runyard_transport::{descriptor_limit, limits, task};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::client::TlsStream;

use crate::group::{Group, Session, hello};

/// What this process, client and server together, may grow by under attack.
const GROWTH_BYTES_MAX: u64 = 128 << 20;
/// An answer that comes later is one that did not come: a node is unreachable after 10 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages = text.split(' ').nth(1).and_then(|word| word.parse::<u64>().ok());
    pages.expect("the second word is a number") * 4096
}

/// An honest agent and an honest user, who call and connect anew all the time.
struct Witness {
    stop: Arc<AtomicBool>,
    seen: tokio::task::JoinHandle<(u32, Duration)>,
    memory: u64,
}

impl Witness {
    async fn watch(group: &Arc<Group>) -> Self {
        let identity = group.join("node-1").await;
        let session =
            Session::open(group.agent(&identity), hello("node-1", 1, 1)).await.expect("open");
        let stop = Arc::new(AtomicBool::new(false));
        let (group, stopped) = (group.clone(), stop.clone());
        let seen = task::spawn("witness", async move {
            // Whole, so that it stays open.
            let session = session;
            let beat = HeartbeatRequest {
                node: "node-1".into(),
                session: session.id.clone(),
                ..HeartbeatRequest::default()
            };
            let (mut agent, mut user) = (group.agent(&identity), group.fleet(&group.admin));
            let (mut calls, mut worst) = (0, Duration::ZERO);
            while !stopped.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let both = async {
                    let known =
                        agent.heartbeat(beat.clone()).await.expect("a heartbeat").into_inner();
                    assert!(known.known, "the session was lost");
                    user.status(StatusRequest {}).await.expect("a status");
                };
                tokio::time::timeout(ANSWER_WITHIN, both).await.expect("an answer in time");
                worst = worst.max(begun.elapsed());
                calls += 2;
                if calls % 20 == 0 {
                    (agent, user) = (group.agent(&identity), group.fleet(&group.admin));
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            (calls, worst)
        });
        // What the first calls cost is not the attack's.
        tokio::time::sleep(Duration::from_millis(200)).await;
        Self { stop, seen, memory: resident_bytes() }
    }

    /// Ends the watch; panics if somebody honest was not served.
    async fn check(self, group: Arc<Group>, attack: &str) {
        let grown = resident_bytes().saturating_sub(self.memory);
        self.stop.store(true, Ordering::Relaxed);
        let (calls, worst) = self.seen.await.expect("everybody was served");
        eprintln!(
            "{attack}: {calls} calls served, the slowest pair in {worst:?}; {} MiB grown",
            grown >> 20
        );
        assert!(calls > 10, "{attack}: only {calls} calls");
        assert!(grown < GROWTH_BYTES_MAX, "{attack}: {} MiB grown", grown >> 20);
        let silent: Vec<_> = group
            .events("node-1")
            .await
            .into_iter()
            .filter(|event| event.message == "unreachable" || event.message == "lost")
            .collect();
        assert!(silent.is_empty(), "{silent:?}");
        Arc::into_inner(group).expect("nobody else has it").stop().await;
    }
}

/// A TCP connection from one of many addresses of this host.
async fn from_address(group: &Group, number: usize) -> std::io::Result<TcpStream> {
    let octet = |value: usize| u8::try_from(value % 250).expect("small");
    let source = Ipv4Addr::new(127, 7, octet(number / 250), octet(number) + 1);
    let socket = TcpSocket::new_v4()?;
    socket.bind((IpAddr::V4(source), 0).into())?;
    socket.connect(group.address.parse().expect("an address")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a38_ten_thousand_half_open_handshakes_keep_nobody_out() {
    const ATTACKS: usize = 10_000;
    let group = Arc::new(Group::start().await);
    let witness = Witness::watch(&group).await;
    let room = limits::Room::of(descriptor_limit());
    // The attacker's own descriptors are in this process, too.
    let held_max = (usize::try_from(descriptor_limit()).expect("fits") / 2).min(ATTACKS);
    let mut held = std::collections::VecDeque::new();
    let mut refused = 0;
    for number in 0..ATTACKS {
        match from_address(&group, number % 200).await {
            Ok(mut stream) => {
                // The beginning of a ClientHello that never goes on.
                let _ = stream.write_all(&[0x16, 3, 1, 2, 0, 1]).await;
                held.push_back(stream);
            }
            Err(_) => refused += 1,
        }
        if held.len() > held_max {
            held.pop_front();
        }
    }
    assert!(refused < ATTACKS / 10, "{refused} connections were not even taken");
    // The oldest gave way: of all that were opened few are open still.
    let mut open = 0;
    for stream in &held {
        let mut byte = [0];
        open += usize::from(
            matches!(stream.try_read(&mut byte), Err(e) if e.kind() == std::io::ErrorKind::WouldBlock),
        );
    }
    assert!(open <= room.half_open + 256, "{open} are open");
    witness.check(group, "10,000 half-open handshakes").await;
}

/// A bare HTTP/2 connection that keeps to no rules.
struct Raw {
    write: WriteHalf<TlsStream<TcpStream>>,
    /// How the server ended it: the error code of its GOAWAY, if it sent one.
    ended: tokio::task::JoinHandle<Option<u32>>,
}

impl Raw {
    async fn open(group: &Group) -> std::io::Result<Self> {
        let stream = group.anybody().dial().await.map_err(std::io::Error::other)?;
        let (read, mut write) = tokio::io::split(stream);
        write.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
        write.write_all(&frame(4, 0, 0, &[])).await?;
        Ok(Self { write, ended: task::spawn("raw-read", read_to_end(read)) })
    }
}

async fn read_to_end(mut read: ReadHalf<TlsStream<TcpStream>>) -> Option<u32> {
    let mut goaway = None;
    let mut head = [0; 9];
    while read.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        if read.read_exact(&mut payload).await.is_err() {
            break;
        }
        if head[3] == 7 && length >= 8 {
            goaway = Some(u32::from_be_bytes(payload[4..8].try_into().expect("four bytes")));
        }
    }
    goaway
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The headers of a call of `Fleet.Status`, by HPACK's literals without indexing.
fn call_headers() -> Vec<u8> {
    let text = |prefix: &[u8], value: &str| {
        let length = u8::try_from(value.len()).expect("short");
        [prefix, &[length], value.as_bytes()].concat()
    };
    [
        // POST, https; then :path, :authority, content-type, te.
        vec![0x83, 0x87],
        text(&[0x04], "/runyard.v1.Fleet/Status"),
        text(&[0x01], "runyard"),
        text(&[0x0f, 0x10], "application/grpc"),
        text(&[&[0x00, 2][..], b"te"].concat(), "trailers"),
    ]
    .concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a38_rapid_resets_end_their_connection_and_nobody_elses() {
    const RESETS: u32 = 100_000;
    // CVE-2023-44487: a stream opened and reset in one breath, again and again.
    const CALM: u32 = 0xb;
    let group = Arc::new(Group::start().await);
    let witness = Witness::watch(&group).await;
    let headers = call_headers();
    let (mut sent, mut cut) = (0, 0);
    while sent < RESETS {
        let mut raw = Raw::open(&group).await.expect("a connection");
        let mut stream = 1;
        loop {
            let mut burst = Vec::new();
            for _ in 0..100 {
                burst.extend(frame(1, 0x5, stream, &headers));
                burst.extend(frame(3, 0, stream, &8_u32.to_be_bytes()));
                stream += 2;
                sent += 1;
            }
            if raw.write.write_all(&burst).await.is_err() {
                break;
            }
            // Far more than the sockets between the two can hold: the server has read most of them.
            assert!(stream < 600_000, "300,000 resets on one connection were put up with");
        }
        let goaway = tokio::time::timeout(ANSWER_WITHIN, raw.ended).await;
        cut += u32::from(goaway.expect("it is closed").expect("no panic") == Some(CALM));
    }
    eprintln!("{cut} connections were told to calm down");
    assert!(cut > 0, "nobody was told why");
    // Reset only once the server has begun each of them: allowed, and no more than work.
    let mut raw = Raw::open(&group).await.expect("a connection");
    for stream in (1..20_000).step_by(2) {
        let opened = raw.write.write_all(&frame(1, 0x5, stream, &headers)).await;
        tokio::task::yield_now().await;
        if opened.is_err()
            || raw.write.write_all(&frame(3, 0, stream, &8_u32.to_be_bytes())).await.is_err()
        {
            break;
        }
    }
    witness.check(group, "rapid reset").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a38_endless_headers_end_their_connection() {
    let group = Arc::new(Group::start().await);
    let witness = Witness::watch(&group).await;
    for _ in 0..20 {
        let mut raw = Raw::open(&group).await.expect("a connection");
        // HEADERS without its end, then CONTINUATION for ever.
        let filler: Vec<u8> = [&[0x00, 2][..], b"xx", &[100], &[b'y'; 100]].concat().repeat(80);
        let mut open = raw.write.write_all(&frame(1, 0, 1, &call_headers())).await.is_ok();
        let mut frames = 0;
        while open {
            open = raw.write.write_all(&frame(9, 0, 1, &filler)).await.is_ok();
            frames += 1;
            assert!(frames < 20_000, "160 MB of headers were put up with");
        }
        let _ = tokio::time::timeout(ANSWER_WITHIN, raw.ended).await.expect("it is closed");
    }
    witness.check(group, "endless headers").await;
}
