//! A coordinator served for real, with an agent that the test plays.

use std::path::Path;
use std::time::Duration;

use runyard_proto::agent::agent_client::AgentClient;
use runyard_proto::agent::enrol_client::EnrolClient;
use runyard_proto::agent::{
    DesiredSet, DesiredWorker, Exit, FromAgent, Hello, Inventory, JoinRequest, Phase, Report,
    Result as WorkerResult, ToAgent, WorkerReport, from_agent, to_agent,
};
use runyard_proto::v1::fleet_client::FleetClient;
use runyard_proto::v1::runs_client::RunsClient;
use runyard_proto::v1::{
    CancelRequest, CreateTokenRequest, GetRunRequest, ListRunsRequest, StatusRequest,
    SubmitRequest, WhyRequest,
};
use runyard_server::{ServerConfig, Started, init, start};
use runyard_transport::identity::AgentKey;
use runyard_transport::token::{JoinToken, UserToken};
use runyard_transport::{AuthInterceptor, Trust, connect_agent, connect_user, fetch_ca};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

const DEADLINE: Duration = Duration::from_secs(30);

type Authed = InterceptedService<Channel, AuthInterceptor>;

/// A served coordinator.
struct Coordinator {
    started: Option<Started>,
    stop: CancellationToken,
    address: String,
    ca: String,
    token: UserToken,
}

impl Coordinator {
    async fn serve(dir: &Path, ca: String, token: UserToken) -> Self {
        let stop = CancellationToken::new();
        let config = ServerConfig {
            dir: dir.to_owned(),
            listen: "127.0.0.1:0".parse().expect("an address"),
            hosts: vec!["127.0.0.1".into()],
            program: std::env::current_exe().expect("this program"),
        };
        let started = start(config, stop.clone()).await.expect("starts");
        let address = started.address.to_string();
        Self { started: Some(started), stop, address, ca, token }
    }

    async fn new(dir: &Path) -> Self {
        let made = init(dir).expect("init");
        let token = made.token.parse().expect("a token");
        Self::serve(dir, made.ca_pem, token).await
    }

    async fn channel(&self) -> Channel {
        let ca = runyard_transport::certificate_from_pem(&self.ca).expect("pem");
        connect_user(std::slice::from_ref(&self.address), Trust::Ca(ca)).await.expect("connects")
    }

    async fn runs(&self) -> RunsClient<Authed> {
        RunsClient::with_interceptor(self.channel().await, AuthInterceptor::new(&self.token))
    }

    async fn fleet(&self) -> FleetClient<Authed> {
        FleetClient::with_interceptor(self.channel().await, AuthInterceptor::new(&self.token))
    }

    async fn stop(&mut self) {
        self.stop.cancel();
        if let Some(started) = self.started.take() {
            started.wait().await.expect("stops");
        }
    }
}

/// An agent as the wire sees it.
struct Agent {
    send: mpsc::Sender<FromAgent>,
    receive: tonic::Streaming<ToAgent>,
}

impl Agent {
    /// An agent that holds no worker back, as one of an earlier version.
    async fn join(coordinator: &Coordinator, node: &str) -> Self {
        Self::join_as(coordinator, node, false).await
    }

    async fn join_as(coordinator: &Coordinator, node: &str, chains: bool) -> Self {
        let request = CreateTokenRequest { kind: "agent".into(), name: node.into(), ttl_ms: 0 };
        let token = coordinator
            .fleet()
            .await
            .create_token(request)
            .await
            .expect("a token")
            .into_inner()
            .token;
        let token: JoinToken = token.parse().expect("a join token");
        let addresses = [coordinator.address.clone()];
        let ca = fetch_ca(&addresses, token.pin).await.expect("the CA");
        let channel = connect_user(&addresses, Trust::Ca(ca.clone())).await.expect("connects");
        let key = AgentKey::generate().expect("a key");
        let request = JoinRequest {
            token_id: token.id.as_str().into(),
            token_secret: token.secret.expose().into(),
            node: node.into(),
            csr_der: key.signing_request().expect("a request").into(),
            version: "test".into(),
        };
        let mut enrol = EnrolClient::new(channel);
        let joined = enrol.join(request.clone()).await.expect("joins").into_inner();
        let again = enrol
            .join(JoinRequest { node: "other".into(), ..request })
            .await
            .expect_err("single use");
        assert_eq!(again.code(), Code::PermissionDenied, "a18: a join token works once");
        let identity =
            key.with_certificate(joined.certificate_der.to_vec().into(), ca).expect("an identity");
        let channel = connect_agent(&addresses, &identity).await.expect("connects");
        let (send, outgoing) = mpsc::channel(16);
        let hello = Hello {
            node: node.into(),
            boot_id: "boot".into(),
            process_nonce: 1,
            session_counter: 1,
            inventory: Some(Inventory {
                cpu_milli: 4_000,
                memory_bytes: 8 << 30,
                address: "127.0.0.1".into(),
                ..Default::default()
            }),
            version: "test".into(),
            protocol: 1,
            chains,
            ..Default::default()
        };
        send.send(FromAgent { message: Some(from_agent::Message::Hello(hello)) })
            .await
            .expect("sent");
        let receive = AgentClient::new(channel)
            .session(ReceiverStream::new(outgoing))
            .await
            .expect("a session")
            .into_inner();
        Self { send, receive }
    }

    /// The next desired set that fulfils `want`.
    async fn desired(&mut self, want: impl Fn(&DesiredSet) -> bool) -> DesiredSet {
        let mut last = None;
        let wait = async {
            while let Some(message) = self.receive.next().await {
                if let Some(to_agent::Message::Desired(set)) = message.expect("a message").message {
                    if want(&set) {
                        return Some(set);
                    }
                    last = Some(set);
                }
            }
            None
        };
        tokio::time::timeout(DEADLINE, wait)
            .await
            .unwrap_or_else(|_| panic!("no such set; the last was {last:?}"))
            .expect("the session lives")
    }

    async fn report(&self, worker: WorkerReport) {
        let report = Report { workers: vec![worker], ..Default::default() };
        self.send
            .send(FromAgent { message: Some(from_agent::Message::Report(report)) })
            .await
            .expect("sent");
    }
}

fn submission(pipeline: &str) -> SubmitRequest {
    SubmitRequest {
        idempotency_key: ulid::Ulid::generate().to_string(),
        pipeline: pipeline.into(),
        ..Default::default()
    }
}

fn report(key: &str, phase: Phase) -> WorkerReport {
    WorkerReport {
        project: "default".into(),
        key: key.into(),
        phase: phase.into(),
        ..Default::default()
    }
}

fn released(key: &str, succeeded: bool) -> WorkerReport {
    WorkerReport {
        exit: Some(Exit { code: Some(i32::from(!succeeded)), ..Default::default() }),
        result: Some(WorkerResult {
            succeeded,
            cause: if succeeded { "" } else { "failure" }.into(),
            reason: if succeeded { "" } else { "exit status 1" }.into(),
        }),
        ..report(key, Phase::Released)
    }
}

async fn wait_state(runs: &mut RunsClient<Authed>, run: &str, state: &str) {
    let mut last = String::new();
    let wait = async {
        loop {
            let request = GetRunRequest { project: String::new(), run: run.into() };
            last = runs.get(request).await.expect("the run").into_inner().state;
            if last == state {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(DEADLINE, wait).await;
    assert!(waited.is_ok(), "{run} is {last}, not {state}");
}

/// Two of its tasks fit on a node of the tests.
const MANY: &str = "version: 1\nname: many\nstages:\n  short:\n    run: 'true'\n    cache: false\n    resources: { cpu: 2 }\n    matrix: { axes: { n: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] } }\n";

/// Does what the sets say, each worker as soon as it may, until nothing is left to do. Of those that wait for
/// another's room, the most that were seen at one time.
async fn work_off(agent: &mut Agent, tasks: usize) -> usize {
    let (mut done, mut most) = (std::collections::BTreeSet::new(), 0);
    while done.len() < tasks {
        let known = done.clone();
        let set = agent.desired(|set| set.workers.iter().any(|w| !known.contains(&w.key))).await;
        let live = |worker: &&DesiredWorker| !done.contains(&worker.key);
        let behind = set.workers.iter().filter(live).filter(|w| !w.after.is_empty()).count();
        let with_room = set.workers.iter().filter(live).count() - behind;
        assert!(with_room <= 2, "the node has room for two: {set:?}");
        most = most.max(behind);
        let mut reports = Vec::new();
        // One has its room, and then, before a word of the coordinator, each whose turn it is.
        for _ in 0..set.workers.len() {
            for worker in &set.workers {
                let may = worker.after.is_empty() || done.contains(&worker.after);
                if may && done.insert(worker.key.clone()) {
                    // The last comes first: the coordinator puts them in order.
                    reports.insert(0, released(&worker.key, true));
                }
            }
        }
        let report = Report { workers: reports, ..Default::default() };
        let message = FromAgent { message: Some(from_agent::Message::Report(report)) };
        agent.send.send(message).await.expect("sent");
    }
    most
}

#[tokio::test(flavor = "multi_thread")]
async fn short_tasks_are_placed_ahead_for_an_agent_that_holds_them_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut coordinator = Coordinator::new(dir.path()).await;
    let mut agent = Agent::join_as(&coordinator, "node-1", true).await;
    let mut runs = coordinator.runs().await;
    let run = runs.submit(submission(MANY)).await.expect("submitted").into_inner().run;
    assert!(work_off(&mut agent, 10).await > 0, "none was placed ahead");
    wait_state(&mut runs, &run, "succeeded").await;
    let request = GetRunRequest { project: String::new(), run };
    let view = runs.get(request).await.expect("the run").into_inner();
    for task in &view.stages[0].tasks {
        assert_eq!(task.attempts.len(), 1, "none was tried twice: {task:?}");
        assert!(task.started_ms > 0, "it ran: {task:?}");
    }
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_another_says_so_and_is_given_back_when_that_one_takes_long() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut coordinator = Coordinator::new(dir.path()).await;
    let mut agent = Agent::join_as(&coordinator, "node-1", true).await;
    let mut runs = coordinator.runs().await;
    let run = runs.submit(submission(MANY)).await.expect("submitted").into_inner().run;
    let first = agent.desired(|set| set.workers.len() == 2).await.workers[0].key.clone();
    agent.report(released(&first, true)).await;
    let set = agent.desired(|set| set.workers.iter().any(|w| !w.after.is_empty())).await;
    let behind = set.workers.iter().find(|w| !w.after.is_empty()).expect("one waits").clone();
    let (task, before) = (behind.key.rsplit_once('.'), behind.after.rsplit_once('.'));
    let (task, before) = (task.expect("a key").0, before.expect("a key").0);
    let request = GetRunRequest { project: String::new(), run: run.clone() };
    let view = runs.get(request.clone()).await.expect("the run").into_inner();
    let shown = view.stages[0].tasks.iter().find(|one| one.key == task).expect("the task");
    assert_eq!(shown.state, "queued");
    assert_eq!(shown.reason, format!("queued on node node-1 behind {before}"));
    let target = WhyRequest { project: String::new(), target: task.into() };
    let why = runs.why(target).await.expect("why").into_inner().sentence;
    assert!(why.contains("node-1") && why.contains(before), "{why}");

    // Those with a room go on; nobody waits behind them for ever.
    let set = agent.desired(|set| set.tombstones.iter().any(|stop| stop.key == behind.key)).await;
    let tombstone = set.tombstones.iter().find(|stop| stop.key == behind.key).expect("it is there");
    assert!(tombstone.reason.contains("given back"), "{tombstone:?}");
    let unstarted = WorkerReport { exit: None, ..released(&behind.key, false) };
    agent.report(unstarted).await;
    let gone = |set: &DesiredSet| set.workers.iter().all(|worker| worker.key != behind.key);
    agent.desired(gone).await;
    let view = runs.get(request).await.expect("the run").into_inner();
    let shown = view.stages[0].tasks.iter().find(|one| one.key == task).expect("the task");
    assert_eq!((shown.state.as_str(), shown.attempts.len()), ("queued", 1), "{shown:?}");
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_one_version_behind_is_given_only_what_has_room() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut coordinator = Coordinator::new(dir.path()).await;
    let mut agent = Agent::join(&coordinator, "node-1").await;
    let mut runs = coordinator.runs().await;
    let run = runs.submit(submission(MANY)).await.expect("submitted").into_inner().run;
    assert_eq!(work_off(&mut agent, 10).await, 0);
    wait_state(&mut runs, &run, "succeeded").await;
    coordinator.stop().await;
}

const TWO: &str = "version: 1\nname: two\nstages:\n  a:\n    run: echo a\n    cache: false\n  b:\n    needs: a\n    run: echo b\n    cache: false\n";

#[tokio::test(flavor = "multi_thread")]
async fn two_stages_run_one_after_the_other_and_survive_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut coordinator = Coordinator::new(&dir.path().join("server")).await;
    let mut agent = Agent::join(&coordinator, "node-1").await;
    let mut runs = coordinator.runs().await;
    let request = submission(TWO);
    let first = runs.submit(request.clone()).await.expect("submitted").into_inner();
    assert_eq!(first.run, "two-1");
    let again = runs.submit(request.clone()).await.expect("submitted").into_inner();
    assert_eq!((again.run.as_str(), again.existed), ("two-1", true), "one key, one run");
    let other = SubmitRequest { no_cache: true, ..request };
    assert_eq!(runs.submit(other).await.expect_err("conflict").code(), Code::AlreadyExists);

    for stage in ["a", "b"] {
        let key = format!("two-1/{stage}.1:0");
        let set = agent.desired(|set| set.workers.iter().any(|worker| worker.key == key)).await;
        let worker = set.workers.iter().find(|worker| worker.key == key).expect("the worker");
        assert!(worker.go && !worker.started);
        assert_eq!(worker.spec.as_ref().expect("a spec").command, format!("echo {stage}"));
        agent.report(report(&key, Phase::Running)).await;
        agent.report(released(&key, true)).await;
    }
    wait_state(&mut runs, "two-1", "succeeded").await;

    let (ca, token) = (coordinator.ca.clone(), coordinator.token.clone());
    drop((agent, runs));
    coordinator.stop().await;
    drop(coordinator);
    let mut coordinator = Coordinator::serve(&dir.path().join("server"), ca, token).await;
    let mut runs = coordinator.runs().await;
    let list = runs
        .list(ListRunsRequest { all: true, ..Default::default() })
        .await
        .expect("a list")
        .into_inner();
    assert_eq!(list.items.len(), 1);
    assert_eq!(list.items[0].state, "succeeded");
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_skips_what_needs_it_and_why_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut coordinator = Coordinator::new(dir.path()).await;
    let mut runs = coordinator.runs().await;
    let run = runs.submit(submission(TWO)).await.expect("submitted").into_inner().run;
    let waited = tokio::time::timeout(DEADLINE, async {
        let target = WhyRequest { project: String::new(), target: run.clone() };
        // First its inputs are resolved, then it waits for a node.
        while !runs
            .why(target.clone())
            .await
            .expect("why")
            .into_inner()
            .sentence
            .contains("no node has joined")
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.expect("the reason is that there is no node");
    let mut agent = Agent::join(&coordinator, "node-1").await;
    let key = "two-1/a.1:0";
    agent.desired(|set| set.workers.iter().any(|worker| worker.key == key)).await;
    agent.report(report(key, Phase::Running)).await;
    agent.report(released(key, false)).await;
    wait_state(&mut runs, &run, "failed").await;
    let request = GetRunRequest { project: String::new(), run: run.clone() };
    let view = runs.get(request).await.expect("the run").into_inner();
    let states: Vec<_> = view.stages.iter().map(|stage| stage.state.as_str()).collect();
    assert_eq!(states, ["failed", "skipped"]);
    assert_eq!(view.stages[1].tasks[0].reason, "a failed");
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_reaches_the_agent_as_a_tombstone() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut coordinator = Coordinator::new(dir.path()).await;
    let mut agent = Agent::join(&coordinator, "node-1").await;
    let mut runs = coordinator.runs().await;
    let run = runs.submit(submission(TWO)).await.expect("submitted").into_inner().run;
    let key = "two-1/a.1:0";
    agent.desired(|set| set.workers.iter().any(|worker| worker.key == key)).await;
    agent.report(report(key, Phase::Running)).await;
    let request =
        CancelRequest { project: String::new(), run: run.clone(), reason: "enough".into() };
    assert_eq!(runs.cancel(request).await.expect("cancelled").into_inner().stopped, 1);
    let set = agent.desired(|set| !set.tombstones.is_empty()).await;
    assert_eq!(set.tombstones[0].key, key);
    assert!(set.tombstones[0].reason.contains("enough"), "{set:?}");
    agent.report(released(key, false)).await;
    wait_state(&mut runs, &run, "cancelled").await;
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a15_another_nodes_worker_is_not_an_agents_to_report() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut coordinator = Coordinator::new(dir.path()).await;
    let mut first = Agent::join(&coordinator, "node-1").await;
    let mut runs = coordinator.runs().await;
    runs.submit(submission(TWO)).await.expect("submitted");
    let key = "two-1/a.1:0";
    first.desired(|set| set.workers.iter().any(|worker| worker.key == key)).await;
    let second = Agent::join(&coordinator, "node-2").await;
    second.report(released(key, true)).await;
    first.report(report(key, Phase::Running)).await;
    first.report(released(key, false)).await;
    wait_state(&mut runs, "two-1", "failed").await;
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_without_a_token_or_with_a_wrong_one_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut coordinator = Coordinator::new(dir.path()).await;
    let mut open = FleetClient::new(coordinator.channel().await);
    assert_eq!(
        open.status(StatusRequest {}).await.expect_err("refused").code(),
        Code::Unauthenticated
    );
    let strange = AuthInterceptor::new(&UserToken::generate());
    let mut wrong = FleetClient::with_interceptor(coordinator.channel().await, strange);
    assert_eq!(
        wrong.status(StatusRequest {}).await.expect_err("refused").code(),
        Code::Unauthenticated
    );
    let mut agent = AgentClient::new(coordinator.channel().await);
    let request = runyard_proto::agent::HeartbeatRequest::default();
    assert_eq!(
        agent.heartbeat(request).await.expect_err("refused").code(),
        Code::Unauthenticated,
        "a20"
    );
    let status =
        coordinator.fleet().await.status(StatusRequest {}).await.expect("answers").into_inner();
    assert_eq!(status.principal, "admin");
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_directory_and_a_taken_port_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut coordinator = Coordinator::new(&dir.path().join("one")).await;
    let config = |dir: &Path, listen: &str| ServerConfig {
        dir: dir.to_owned(),
        listen: listen.parse().expect("an address"),
        hosts: Vec::new(),
        program: "/bin/false".into(),
    };
    let error = start(config(&dir.path().join("one"), "127.0.0.1:0"), CancellationToken::new())
        .await
        .expect_err("in use");
    let chain = format!("{error}: {}", std::error::Error::source(&error).expect("a cause"));
    assert!(chain.contains("in use by process"), "{chain}");
    init(&dir.path().join("two")).expect("init");
    let error =
        start(config(&dir.path().join("two"), &coordinator.address), CancellationToken::new())
            .await
            .expect_err("the port is taken");
    let chain = format!("{error}: {}", std::error::Error::source(&error).expect("a cause"));
    assert!(chain.contains(&coordinator.address), "{chain}");
    let error = init(&dir.path().join("two")).expect_err("a group is there");
    assert!(error.to_string().contains("has a group already"), "{error}");
    coordinator.stop().await;
}
