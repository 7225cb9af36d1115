//! A coordinator that says what it is told to, and remembers what it hears; agents as processes.
#![allow(dead_code, reason = "each test file uses its part")]

mod fake;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use runyard_blobs::segment::Segment;
use runyard_blobs::{BlobService, LocalStore};
use runyard_proto::agent::agent_server::AgentServer;
use runyard_proto::agent::enrol_server::EnrolServer;
use runyard_proto::agent::{Channel, DesiredWorker, Phase, WorkerReport, WorkerSpec};
use runyard_proto::v1::blobs_server::BlobsServer;
use runyard_transport::ca::Ca;
use runyard_transport::token::JoinToken;
use runyard_transport::{Audience, limits, listen, task};
use runyard_types::{Digest, ProjectName};

pub(crate) use fake::{Fake, Heard};

pub(crate) const LONG: Duration = Duration::from_secs(30);

/// A group of one fake coordinator, and a folder for agents.
pub(crate) struct Group {
    pub(crate) heard: Arc<Heard>,
    pub(crate) store: Arc<LocalStore>,
    pub(crate) token: JoinToken,
    pub(crate) ca: Arc<Ca>,
    pub(crate) address: String,
    pub(crate) folder: tempfile::TempDir,
}

impl Group {
    pub(crate) async fn start() -> Self {
        runyard_transport::install_crypto();
        let folder = visible_folder();
        let ca = Arc::new(Ca::create("test", SystemTime::now()).expect("a CA"));
        let identity = ca.issue_server(&["localhost".into()], SystemTime::now()).expect("issued");
        let store = Arc::new(LocalStore::open(folder.path().join("store")).expect("a store"));
        let token = JoinToken::generate(ca.pin());
        let any = "127.0.0.1:0".parse().expect("an address");
        let listener = listen(any, Audience::UsersAndAgents, &identity).await.expect("a port");
        let address = listener.local_addr().to_string();
        let heard = Arc::new(Heard::default());
        let fake = Fake {
            heard: heard.clone(),
            store: store.clone(),
            ca: ca.clone(),
            token: token.clone(),
            address: address.clone(),
        };
        let max = limits::MESSAGE_BYTES_MAX;
        let blobs = BlobService::new(store.clone(), Arc::new(|_, _, _, _| Ok(())));
        let server = limits::server()
            .add_service(EnrolServer::new(fake.clone()).max_decoding_message_size(max))
            .add_service(AgentServer::new(fake).max_decoding_message_size(max))
            .add_service(BlobsServer::new(blobs).max_decoding_message_size(max))
            .serve_with_incoming(listener);
        drop(task::spawn("fake", server));
        Self { heard, store, token, ca, address, folder }
    }

    pub(crate) fn state_dir(&self, node: &str) -> PathBuf {
        self.folder.path().join(node)
    }

    /// What the agents allow as mounts. It is for the test to make.
    pub(crate) fn nas(&self) -> PathBuf {
        self.folder.path().join("nas")
    }

    /// An agent as a process of its own, which ends with what this returns.
    pub(crate) fn agent(&self, node: &str) -> Agent {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join(format!("{node}.log")))
            .expect("a log");
        let child = Command::new(env!("CARGO_BIN_EXE_runyard-agent-test"))
            .arg(self.state_dir(node))
            .args([&self.address, node, "2", &self.token.expose()])
            .arg(self.nas())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("started");
        Agent { child }
    }

    /// A worker of `digits-1`, run by a shell.
    pub(crate) fn worker(&self, task: &str, command: &str) -> DesiredWorker {
        let task = format!("digits-1/{task}");
        DesiredWorker {
            project: "default".into(),
            key: format!("{task}.1:0"),
            spec: Some(WorkerSpec {
                run: "digits-1".into(),
                stage: "train".into(),
                attempt: format!("{task}.1"),
                task,
                nnodes: 1,
                command: command.into(),
                grace_ms: 500,
                collect_outputs: true,
                ..WorkerSpec::default()
            }),
            go: false,
            ..DesiredWorker::default()
        }
    }

    pub(crate) async fn wait<T>(&self, what: &str, mut look: impl FnMut(&Heard) -> Option<T>) -> T {
        let end = Instant::now() + LONG;
        let mut changed = self.heard.changed.subscribe();
        loop {
            changed.mark_unchanged();
            if let Some(found) = look(&self.heard) {
                return found;
            }
            assert!(Instant::now() < end, "waited in vain for {what}: {:#?}", self.heard.reports());
            let _ = tokio::time::timeout(Duration::from_millis(200), changed.changed()).await;
        }
    }

    /// The report of a worker once nothing of it is left.
    pub(crate) async fn released(&self, key: &str) -> WorkerReport {
        self.phase(key, Phase::Released).await
    }

    pub(crate) async fn phase(&self, key: &str, phase: Phase) -> WorkerReport {
        let found = |heard: &Heard| heard.report(key).filter(|one| one.phase >= phase as i32);
        self.wait(&format!("{key} to be {phase:?}"), found).await
    }

    /// The bytes of a worker's sealed log, checked to be without gap or overlap.
    pub(crate) async fn sealed(&self, key: &str, channel: Channel) -> Vec<u8> {
        let complete = |heard: &Heard| heard.sealed(key, channel).filter(|one| one.complete);
        let sealed = self.wait(&format!("{key}'s {channel:?} to be sealed"), complete).await;
        let mut bytes = Vec::new();
        for digest in sealed.segments {
            let blob = self.store.get_blob(&project(), &digest).expect("it is stored");
            for record in Segment::open(blob).expect("a segment").records_from(bytes.len() as u64) {
                let record = record.expect("a record");
                assert_eq!(record.offset, bytes.len() as u64, "a gap or an overlap");
                assert_eq!(record.cut_bytes, 0);
                bytes.extend_from_slice(&record.data);
            }
        }
        assert_eq!(bytes.len() as u64, sealed.to);
        bytes
    }

    /// The files of a published output, with their bytes.
    pub(crate) fn files(&self, root: &str) -> Vec<(String, Vec<u8>)> {
        let root = Digest::parse(root).expect("a digest");
        let tree = self.store.tree(&project(), root).expect("it is whole");
        let project = project();
        let source = self.store.source(&project);
        let read = |file: &runyard_blobs::TreeFile| {
            let bytes = runyard_blobs::tree::read_file(&source, file, 1 << 30).expect("readable");
            (file.path.to_string(), bytes)
        };
        tree.files.iter().map(read).collect()
    }
}

/// A folder that workers see as well. They have a `/tmp` and a `/var/tmp` of their own, and the build's
/// folder may lie there.
fn visible_folder() -> tempfile::TempDir {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let candidates = [Some(PathBuf::from(env!("CARGO_TARGET_TMPDIR"))), cache, home];
    let common = ["/var/cache", "/var/lib", "/srv", "/opt"].map(|path| Some(PathBuf::from(path)));
    let hidden = |path: &PathBuf| path.starts_with("/tmp") || path.starts_with("/var/tmp");
    let made = candidates.into_iter().chain(common).flatten().find_map(|candidate| {
        std::fs::create_dir_all(&candidate).ok()?;
        let real = candidate.canonicalize().ok().filter(|real| !hidden(real))?;
        tempfile::Builder::new().prefix("runyard-test-").tempdir_in(real).ok()
    });
    made.expect("a folder outside /tmp and /var/tmp that can be written; set XDG_CACHE_HOME to one")
}

pub(crate) fn project() -> ProjectName {
    ProjectName::default_project()
}

/// An agent's process.
pub(crate) struct Agent {
    pub(crate) child: Child,
}

impl Agent {
    /// As `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says loudly that something was not tested.
pub(crate) fn skipped(why: &str) {
    eprintln!("\n*** skipped: {why}\n");
}
