//! A real agent with real shims against a coordinator that says what it is told to.

mod common;

use std::time::{Duration, Instant};

use common::Group;
use runyard_blobs::{RelPath, Remote, Uploader};
use runyard_daemon::{AgentError, Config};
use runyard_proto::agent::{
    Channel, Input, OutputSpec, Phase, TailRequest, Tombstone, WorkerReport, WorkerSpec,
};
use tokio_util::sync::CancellationToken;

fn output(name: &str, path: &str) -> OutputSpec {
    OutputSpec { name: name.into(), path: path.into(), kind: "model".into() }
}

fn spec(worker: &mut runyard_proto::agent::DesiredWorker) -> &mut WorkerSpec {
    worker.spec.as_mut().expect("it has one")
}

/// The workers' folders in there; those that are kept for others begin with a dot.
fn folders(root: &std::path::Path) -> usize {
    let names = std::fs::read_dir(root).expect("there").map(|one| one.expect("one").file_name());
    names.filter(|name| !name.to_string_lossy().starts_with('.')).count()
}

fn reason(report: &WorkerReport) -> (String, String) {
    let result = report.result.clone().expect("a result");
    (result.cause, result.reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_run_and_all_that_they_leave_arrives() {
    let group = Group::start().await;
    let _agent = group.agent("a");
    let mut first = group.worker(
        "train",
        "mkdir -p out/deep; echo weights >out/w; echo more >out/deep/x; \
         echo '{\"loss\": 2}' >>$RUNYARD_METRICS; echo '{\"loss\": 0.5, \"bad\": NaN}' >>$RUNYARD_METRICS; \
         echo best=7 >>$RUNYARD_OUTPUT; echo '# fine' >$RUNYARD_SUMMARY; \
         echo id,correct >$RUNYARD_RESULTS/rows.csv; echo hello; echo world >&2",
    );
    spec(&mut first).outputs = vec![output("model", "out/")];
    spec(&mut first).collect_results = true;
    let second = group.worker("eval", "echo no; exit 3");
    group.heard.want(|set| set.workers = vec![first.clone(), second.clone()]).await;
    let done = group.released(&first.key).await;
    assert!(done.result.as_ref().expect("a result").succeeded, "{done:?}");
    let model = done.outputs.iter().find(|one| one.name == "model").expect("published");
    assert_eq!((model.files, model.bytes), (2, 13));
    let files = group.files(&model.root);
    assert_eq!(files[1], ("w".into(), b"weights\n".to_vec()));
    let results = done.outputs.iter().find(|one| one.name == "results").expect("published");
    assert_eq!(group.files(&results.root)[0].0, "rows.csv");
    assert_eq!(done.metrics["loss"], 0.5);
    assert!(done.metrics["bad"].is_nan());
    assert_eq!((done.values["best"].as_str(), done.summary.as_str()), ("7", "# fine\n"));
    assert_eq!(done.exit.as_ref().expect("an exit").code, Some(0));
    let log = group.sealed(&first.key, Channel::Log).await;
    assert_eq!(log.len() as u64, done.log_end);
    let mut lines: Vec<&[u8]> = log.split(|b| *b == b'\n').collect();
    lines.sort_unstable();
    assert_eq!(lines, [&b""[..], b"hello", b"world"]);
    let series = group.sealed(&first.key, Channel::Metrics).await;
    assert_eq!(series.len() as u64, done.metrics_end);
    let failed = group.released(&second.key).await;
    assert_eq!(reason(&failed), ("failure".into(), "exit status 3".into()));
    assert_eq!(group.sealed(&second.key, Channel::Log).await, b"no\n");
    // Told to nobody any more, both are gone from the disk.
    group.heard.want(|set| set.workers.clear()).await;
    let left = || folders(&group.state_dir("a").join("spaces"));
    group.wait("the folders to go", |_| (left() == 0).then_some(())).await;
    let phases = group.heard.phases(&first.key);
    assert!(phases.is_sorted(), "{phases:?}");
    assert!(group.heard.beats() > 0, "no heartbeat came");
    let devices =
        group.wait("devices", |heard| Some(heard.devices()).filter(|d| d.len() == 2)).await;
    assert!(devices.iter().all(|one| one.health == "ok" && one.last.is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn f24_a_killed_agent_adopts_the_living_and_finishes_the_dead() {
    let group = Group::start().await;
    let agent = group.agent("a");
    let gate = group.folder.path().join("gate");
    let mark = group.folder.path().join("mark");
    let lines = |until: &std::path::Path, own: &std::path::Path| {
        format!(
            "echo start >>{m}; i=0; until [ -e {g} ]; do i=$((i+1)); echo line $i; sleep 0.02; done; \
             echo last $i; mkdir out; echo $i >out/n",
            g = until.display(),
            m = own.display()
        )
    };
    let early = group.folder.path().join("early");
    let mut dies = group.worker("train[0]", &lines(&early, &mark));
    let mut lives = group.worker("train[1]", &lines(&gate, &mark));
    for one in [&mut dies, &mut lives] {
        spec(one).outputs = vec![output("n", "out")];
    }
    group.heard.want(|set| set.workers = vec![dies.clone(), lives.clone()]).await;
    group.phase(&dies.key, Phase::Running).await;
    group.phase(&lives.key, Phase::Running).await;
    agent.kill();
    // One ends while no agent is there.
    std::fs::write(&early, "").expect("written");
    tokio::time::sleep(Duration::from_millis(300)).await;
    group.heard.want(|set| set.workers.iter_mut().for_each(|one| one.started = true)).await;
    let before = Instant::now();
    let hellos = group.heard.hellos().len();
    let _agent = group.agent("a");
    let hello = group.wait("the second hello", |heard| heard.hellos().get(hellos).cloned()).await;
    let took = before.elapsed();
    eprintln!("adopted {} workers {took:?} after the start", hello.workers.len());
    assert_eq!(hello.workers.len(), 2, "{hello:?}");
    assert!(hello.session_counter > group.heard.hellos()[0].session_counter);
    let dead = group.released(&dies.key).await;
    assert!(dead.result.as_ref().expect("a result").succeeded, "{dead:?}");
    assert_eq!(group.heard.report(&lives.key).expect("told").phase, Phase::Running as i32);
    std::fs::write(&gate, "").expect("written");
    for key in [&dies.key, &lives.key] {
        let done = group.released(key).await;
        assert!(done.result.as_ref().expect("a result").succeeded, "{done:?}");
        let log = String::from_utf8(group.sealed(key, Channel::Log).await).expect("text");
        let count = log.lines().count();
        assert_eq!(log.lines().last(), Some(format!("last {}", count - 1).as_str()));
        let numbered = log.lines().take(count - 1).enumerate();
        for (n, line) in numbered {
            assert_eq!(line, format!("line {}", n + 1), "a line was lost or doubled");
        }
        let files = group.files(&done.outputs[0].root);
        assert_eq!(files[0].1, format!("{}\n", count - 1).into_bytes());
    }
    let starts = std::fs::read_to_string(&mark).expect("read");
    assert_eq!(starts.lines().count(), 2, "a stage ran twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn f24_a_shim_that_cannot_be_looked_at_is_not_taken_for_gone() {
    let group = Group::start().await;
    let agent = group.agent("a");
    let (gate, mark) = (group.folder.path().join("gate"), group.folder.path().join("mark"));
    let mut worker = group.worker(
        "train",
        &format!(
            "echo start >>{}; until [ -e {} ]; do sleep 0.02; done; mkdir out; echo 1 >out/n",
            mark.display(),
            gate.display()
        ),
    );
    spec(&mut worker).outputs = vec![output("n", "out")];
    group.heard.want(|set| set.workers = vec![worker.clone()]).await;
    group.wait("the stage to run", |_| mark.exists().then_some(())).await;
    group.phase(&worker.key, Phase::Running).await;
    agent.kill();
    // A loop of links: an error that no look gets past, and not "not found".
    let workers = group.state_dir("a").join("workers");
    let dirs = runyard_runtime::WorkerDir::scan(&workers).expect("listed");
    let (spec_file, aside) = (dirs[0].path().join("spec"), dirs[0].path().join("spec.aside"));
    std::fs::rename(&spec_file, &aside).expect("moved");
    std::os::unix::fs::symlink(&spec_file, &spec_file).expect("linked");
    group.heard.want(|set| set.workers[0].started = true).await;
    let agents = group.heard.hellos().len();
    let _agent = group.agent("a");
    let hello = group.wait("the second hello", |heard| heard.hellos().get(agents).cloned()).await;
    assert_eq!(hello.workers.len(), 1, "{hello:?}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let told = group.heard.report(&worker.key).expect("told");
    assert_eq!(told.phase, Phase::Running as i32, "{told:?}");
    assert!(group.heard.sealed(&worker.key, Channel::Log).is_none_or(|log| !log.complete));
    std::fs::remove_file(&spec_file).expect("removed");
    std::fs::rename(&aside, &spec_file).expect("moved back");
    std::fs::write(&gate, "").expect("written");
    let done = group.released(&worker.key).await;
    assert!(done.result.as_ref().expect("a result").succeeded, "{done:?}");
    assert_eq!(group.files(&done.outputs[0].root)[0].1, b"1\n");
    assert_eq!(std::fs::read_to_string(&mark).expect("read"), "start\n", "it ran twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_stays_until_its_metrics_are_in_the_store_too() {
    let group = Group::start().await;
    let _agent = group.agent("a");
    group.heard.holds_metrics.send_replace(true);
    let worker = group.worker("train", "echo '{\"loss\": 2}' >>$RUNYARD_METRICS; echo said");
    group.heard.want(|set| set.workers = vec![worker.clone()]).await;
    group.released(&worker.key).await;
    assert_eq!(group.sealed(&worker.key, Channel::Log).await, b"said\n");
    group.heard.want(|set| set.workers.clear()).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let left = || folders(&group.state_dir("a").join("spaces"));
    assert_eq!(left(), 1, "removed while its metrics are not in the store");
    group.heard.holds_metrics.send_replace(false);
    assert_eq!(group.sealed(&worker.key, Channel::Metrics).await, b"{\"loss\": 2}\n");
    group.wait("the folder to go", |_| (left() == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_is_followed_live_and_ends_with_the_log() {
    let group = Group::start().await;
    let _agent = group.agent("a");
    let gate = group.folder.path().join("gate");
    let command =
        format!("echo one; until [ -e {} ]; do sleep 0.02; done; echo two", gate.display());
    let worker = group.worker("train", &command);
    group.heard.want(|set| set.workers = vec![worker.clone()]).await;
    group.phase(&worker.key, Phase::Running).await;
    let ask = |ticket: &str, from, follow| TailRequest {
        ticket: ticket.into(),
        project: "default".into(),
        worker: worker.key.clone(),
        from,
        follow,
    };
    group.heard.ask_for_tail(ask("live", 0, true)).await;
    group.wait("the first line", |heard| (heard.tail("live").0 == b"one\n").then_some(())).await;
    assert!(!group.heard.tail("live").1, "it ended while the worker runs");
    group.heard.ask_for_tail(ask("now", 2, false)).await;
    group.wait("the end of the short one", |heard| heard.tail("now").1.then_some(())).await;
    assert_eq!(group.heard.tail("now").0, b"e\n");
    std::fs::write(&gate, "").expect("written");
    group.wait("the end", |heard| heard.tail("live").1.then_some(())).await;
    assert_eq!(group.heard.tail("live").0, b"one\ntwo\n");
    let nobody = TailRequest { worker: "digits-9/x.1:0".into(), ..ask("gone", 0, true) };
    group.heard.ask_for_tail(nobody).await;
    group.wait("the end of nothing", |heard| heard.tail("gone").1.then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_badly_says_why() {
    let group = Group::start().await;
    let _agent = group.agent("a");
    let mut missing = group.worker("missing", "true");
    spec(&mut missing).outputs = vec![output("model", "out/")];
    let mut link = group.worker("link", "mkdir out; ln -s /etc/passwd out/x");
    spec(&mut link).outputs = vec![output("model", "out")];
    let mut pipe = group.worker("pipe", "mkdir out; mkfifo out/f");
    spec(&mut pipe).outputs = vec![output("model", "out")];
    let mut outside = group.worker("outside", "true");
    spec(&mut outside).outputs = vec![output("model", "../x")];
    let mut rows = group.worker("rows", "true");
    spec(&mut rows).results = vec!["rows-*.csv".into()];
    spec(&mut rows).collect_results = true;
    let mut slow = group.worker("slow", "sleep 60");
    spec(&mut slow).timeout_ms = 300;
    let mut command = group.worker("command", "");
    spec(&mut command).argv = vec!["/no/such/program".into()];
    let values = group.worker("values", "echo nonsense >$RUNYARD_OUTPUT");
    let mut mount = group.worker("mount", "true");
    spec(&mut mount).inputs =
        vec![Input { name: "nas".into(), mount: "/etc/ssl".into(), ..Input::default() }];
    let cases = [
        (missing, "failure", "output `model` is missing: the stage left nothing at `out`"),
        (link, "failure", "out/x"),
        (pipe, "failure", "out/f"),
        (outside, "failure", "output `model`: `path`"),
        (rows, "failure", "`rows-*.csv`"),
        (slow, "failure", "time limit of 300ms"),
        (command, "failure", "/no/such/program"),
        (values, "failure", "line 1 of $RUNYARD_OUTPUT"),
        (mount, "error", "--mount /etc"),
    ];
    group.heard.want(|set| set.workers = cases.iter().map(|one| one.0.clone()).collect()).await;
    for (worker, cause, words) in &cases {
        let done = group.released(&worker.key).await;
        let (found, text) = reason(&done);
        assert_eq!(found, *cause, "{text}");
        assert!(text.contains(words), "{}: {text}", worker.key);
        assert!(done.outputs.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_is_read_in_place_and_stays_as_it_was() {
    let group = Group::start().await;
    let data = group.nas().join("data");
    std::fs::create_dir_all(&data).expect("made");
    std::fs::write(data.join("x.csv"), "host\n").expect("written");
    let _agent = group.agent("a");
    let inventory = group.wait("a hello", |heard| heard.hellos().first().cloned()).await;
    let isolation = inventory.inventory.expect("one").isolation;
    // `rm -rf` of a link's content, of the mount's, and of both by the host's own path.
    let mut worker = group.worker(
        "train",
        "exec 2>&1; cat sets/data/x.csv $RUNYARD_INPUT_RAW/x.csv; [ -L sets/data ] && echo link; \
         [ $RUNYARD_INPUT_NAS = $PWD/sets/data ] || echo elsewhere; \
         if [ ! -L sets/data ]; then rm -rf sets/data/* $RUNYARD_INPUT_RAW/*; touch sets/data/new; fi; \
         mkdir out; echo done >out/n",
    );
    let mount = data.to_string_lossy().into_owned();
    spec(&mut worker).inputs = vec![
        Input {
            name: "nas".into(),
            mount: mount.clone(),
            at: "sets/data".into(),
            ..Input::default()
        },
        Input { name: "raw".into(), mount: mount.clone(), ..Input::default() },
    ];
    spec(&mut worker).outputs = vec![output("n", "out")];
    // The place of the second lies in the first, which is the host's.
    let mut inside = group.worker("inside", "true");
    let at = |name: &str, at: &str| Input {
        name: name.into(),
        mount: mount.clone(),
        at: at.into(),
        ..Input::default()
    };
    spec(&mut inside).inputs = vec![at("one", "data"), at("two", "data/two")];
    group.heard.want(|set| set.workers = vec![worker.clone(), inside.clone()]).await;
    let done = group.released(&worker.key).await;
    assert!(done.result.as_ref().expect("a result").succeeded, "{done:?}");
    let log = String::from_utf8(group.sealed(&worker.key, Channel::Log).await).expect("text");
    assert!(log.starts_with("host\nhost\n") && !log.contains("elsewhere"), "{log}");
    if isolation.contains("read-only mounts: ") {
        common::skipped(&format!("a mount that can't be written to: {isolation}"));
        assert!(log.contains("link"), "{log}");
    } else {
        assert_eq!(log.matches("Read-only file system").count(), 3, "{log}");
    }
    let refused = group.released(&inside.key).await;
    let (cause, text) = reason(&refused);
    assert_eq!(cause, "failure", "{text}");
    assert!(text.contains("input `two`: `at: data/two`: `data` is a link"), "{text}");
    group.heard.want(|set| set.workers.clear()).await;
    let left = || folders(&group.state_dir("a").join("spaces"));
    group.wait("the folders to go", |_| (left() == 0).then_some(())).await;
    assert_eq!(std::fs::read(data.join("x.csv")).expect("it is there"), b"host\n");
    assert_eq!(std::fs::read_dir(&data).expect("listed").count(), 1, "something was left there");
}

#[tokio::test(flavor = "multi_thread")]
async fn f25_a_worker_whose_shim_was_killed_is_an_error_and_nothing_is_left_of_it() {
    let group = Group::start().await;
    let _agent = group.agent("a");
    let pid = group.folder.path().join("pid");
    let worker =
        group.worker("train", &format!("echo x; sleep 300 & echo > {}; wait", pid.display()));
    group.heard.want(|set| set.workers = vec![worker.clone()]).await;
    group.wait("the stage to run", |_| pid.exists().then_some(())).await;
    let workers = group.state_dir("a").join("workers");
    let dirs = runyard_runtime::WorkerDir::scan(&workers).expect("listed");
    // What the shim has not read from its pipe dies with it; what it has read must not.
    let written = || dirs[0].output().poll_new(1 << 20).expect("readable");
    group.wait("its output in the spool", |_| (!written().is_empty()).then_some(())).await;
    let shim = dirs[0].shim_pid().expect("readable").expect("it began");
    let shim = nix::unistd::Pid::from_raw(i32::try_from(shim).expect("a pid"));
    nix::sys::signal::kill(shim, nix::sys::signal::Signal::SIGKILL).expect("killed");
    let done = group.released(&worker.key).await;
    let (cause, text) = reason(&done);
    assert_eq!(cause, "error");
    assert!(text.contains("shim lost"), "{text}");
    assert!(dirs[0].remains().expect("looked").is_empty(), "processes are left");
    assert_eq!(group.sealed(&worker.key, Channel::Log).await, b"x\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tombstone_stops_and_a_graceful_stop_of_the_agent_does_not() {
    let group = Group::start().await;
    let node = "a".parse().expect("a name");
    let mut config = Config::new(group.state_dir("a"), vec![group.address.clone()], node);
    config.join = Some(group.token.clone());
    config.simulated_devices = Some(1);
    config.exe = Some(env!("CARGO_BIN_EXE_runyard-agent-test").into());
    let worker = group.worker("train", "trap 'exit 0' TERM; echo up; while :; do sleep 0.02; done");
    group.heard.want(|set| set.workers = vec![worker.clone()]).await;
    let run = |config: Config, stop: &CancellationToken| {
        runyard_transport::task::spawn("agent", runyard_daemon::run(config, stop.clone()))
    };
    let stop = CancellationToken::new();
    let first = run(config.clone(), &stop);
    group.phase(&worker.key, Phase::Running).await;
    // A second one on the same folder is told so.
    let second = run(config.clone(), &stop).await.expect("no panic").expect_err("taken");
    assert!(matches!(second, AgentError::Locked(_)), "{second}");
    stop.cancel();
    first.await.expect("no panic").expect("an orderly end");
    let dirs = runyard_runtime::WorkerDir::scan(&group.state_dir("a").join("workers"));
    assert!(dirs.expect("listed")[0].is_alive().expect("looked"), "the worker died with its agent");
    let stop = CancellationToken::new();
    let again = run(Config { join: None, ..config }, &stop);
    let tombstone = Tombstone {
        project: "default".into(),
        key: worker.key.clone(),
        reason: "cancelled by alice".into(),
        grace_ms: 2_000,
        index: 0,
    };
    group.heard.want(|set| set.tombstones = vec![tombstone]).await;
    let done = group.released(&worker.key).await;
    assert_eq!(reason(&done), ("cancelled".into(), "cancelled by alice".into()));
    stop.cancel();
    again.await.expect("no panic").expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn code_and_inputs_are_placed_and_a_gang_waits_for_its_go() {
    let group = Group::start().await;
    let agent = group.agent("a");
    let hello = group.wait("a hello", |heard| heard.hellos().first().cloned()).await;
    assert_eq!(hello.inventory.expect("one").devices.len(), 2);
    // Published as a user would.
    let code = group.folder.path().join("code");
    std::fs::create_dir_all(code.join("data")).expect("made");
    std::fs::write(code.join("run.sh"), "cat $RUNYARD_INPUT_DATA/x.csv $RUNYARD_INPUT_ONE")
        .expect("written");
    std::fs::write(code.join("data/x.csv"), "1,2\n").expect("written");
    let target = runyard_transport::Target::user(
        std::slice::from_ref(&group.address),
        runyard_transport::Trust::Pin(group.token.pin),
    );
    let remote = Remote::new(target.expect("a target").lazy(), common::project());
    let uploader = Uploader::new(remote);
    let path = |text: &str| RelPath::parse(text).expect("a path");
    let data = uploader.publish_dir(&code, &path("data")).await.expect("published");
    let root = uploader.publish_dir(&code, &path("run.sh")).await.expect("published");
    let mut worker =
        group.worker("train", "sh run.sh; echo $MASTER_ADDR $NNODES; echo $MASTER_PORT >&2");
    {
        let spec = spec(&mut worker);
        spec.code_root = root.root.to_string();
        spec.nnodes = 2;
        spec.inputs = vec![
            Input { name: "data".into(), root: data.root.to_string(), ..Input::default() },
            Input {
                name: "one".into(),
                root: data.root.to_string(),
                at: "in/renamed.csv".into(),
                ..Input::default()
            },
        ];
    }
    worker.master_addr = "127.0.0.9".into();
    group.heard.want(|set| set.workers = vec![worker.clone()]).await;
    let prepared = group.phase(&worker.key, Phase::Prepared).await;
    assert!(prepared.port > 0, "rank 0 picks the port");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(group.heard.report(&worker.key).expect("told").phase, Phase::Prepared as i32);
    // Its agent dies before the go: it is prepared anew, with the port that the gang knows.
    agent.kill();
    let _agent = group.agent("a");
    group
        .heard
        .want(|set| {
            set.workers[0].go = true;
            set.workers[0].master_port = prepared.port;
        })
        .await;
    let done = group.released(&worker.key).await;
    assert!(done.result.as_ref().expect("a result").succeeded, "{done:?}");
    let log = String::from_utf8(group.sealed(&worker.key, Channel::Log).await).expect("text");
    let mut lines: Vec<&str> = log.lines().collect();
    lines.sort_unstable();
    let port = prepared.port.to_string();
    let mut expected = vec!["1,2", "1,2", "127.0.0.9 2", port.as_str()];
    expected.sort_unstable();
    assert_eq!(lines, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_may_not_join_says_why() {
    let group = Group::start().await;
    let node: runyard_types::NodeName = "a".parse().expect("a name");
    let config = Config::new(group.state_dir("a"), vec![group.address.clone()], node.clone());
    let run = |config: Config| runyard_daemon::run(config, CancellationToken::new());
    let error = run(config.clone()).await.expect_err("no token");
    assert!(error.to_string().contains("runyard token create agent"), "{error}");
    let mut wrong = group.token.clone();
    wrong.secret = runyard_transport::token::JoinToken::generate(group.token.pin).secret;
    let error = run(Config { join: Some(wrong), ..config.clone() }).await.expect_err("refused");
    assert!(error.to_string().contains("unknown or used"), "{error}");
    let other = Group::start().await;
    let error = run(Config { join: Some(other.token.clone()), ..config }).await.expect_err("pin");
    assert!(matches!(error, AgentError::Dial(_)), "{error}");
    assert!(!group.state_dir("a").join("identity.pem").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trivial_worker_starts_at_once_and_touches_no_store() {
    let group = Group::start().await;
    let _agent = group.agent("a");
    group.wait("a hello", |heard| heard.hellos().first().cloned()).await;
    let mut started = Vec::new();
    let mut ended = Vec::new();
    for n in 0..40 {
        let worker = group.worker(&format!("t[{n}]"), "/bin/true");
        let before = Instant::now();
        group.heard.want(|set| set.workers = vec![worker.clone()]).await;
        group.phase(&worker.key, Phase::Running).await;
        started.push(before.elapsed());
        let done = group.released(&worker.key).await;
        ended.push(before.elapsed());
        assert!(done.result.expect("a result").succeeded);
        assert!(group.heard.sealed(&worker.key, Channel::Log).is_none(), "an empty log was sealed");
    }
    started.sort_unstable();
    ended.sort_unstable();
    eprintln!("desired → running p50 {:?} max {:?}", started[20], started[39]);
    eprintln!("desired → released p50 {:?} max {:?}", ended[20], ended[39]);
    assert_eq!(group.store.chunk_count(&common::project()), 0);
    assert!(started[20] < Duration::from_millis(500), "something waits where nothing should");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_session_is_opened_anew_and_everything_is_told_again() {
    let group = Group::start().await;
    let _agent = group.agent("a");
    let worker = group.worker("train", "echo x");
    group.heard.want(|set| set.workers = vec![worker.clone()]).await;
    group.released(&worker.key).await;
    // A new leader knows nothing, and has not heard of the end.
    group.heard.forget();
    let done = group.released(&worker.key).await;
    assert!(done.result.expect("a result").succeeded);
    assert_eq!(done.exit.expect("an exit").code, Some(0));
    let hellos = group.heard.hellos();
    assert!(hellos[1].session_counter > hellos[0].session_counter);
    assert_eq!(hellos[1].process_nonce, hellos[0].process_nonce);
    assert_eq!(hellos[1].index, 1, "the position that was obeyed");
    let early = hellos[1].workers.iter().find(|one| one.key == worker.key).expect("named");
    assert!(early.result.is_none(), "a hello gives no result away");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_log_is_sealed_while_it_is_written_and_its_spool_does_not_grow() {
    let group = Group::start().await;
    let _agent = group.agent("a");
    let gate = group.folder.path().join("gate");
    let line = "0123456789".repeat(10);
    let command = format!(
        "yes {line} | head -c 40000000; until [ -e {} ]; do sleep 0.02; done; echo end",
        gate.display()
    );
    let worker = group.worker("train", &command);
    group.heard.want(|set| set.workers = vec![worker.clone()]).await;
    let mut sealed_early = 0;
    group
        .wait("most of it to be sealed", |heard| {
            sealed_early = heard.sealed(&worker.key, Channel::Log)?.to;
            (sealed_early > 24_000_000).then_some(())
        })
        .await;
    assert!(group.heard.report(&worker.key).expect("told").result.is_none());
    let spool = || -> u64 {
        let dirs = runyard_runtime::WorkerDir::scan(&group.state_dir("a").join("workers"));
        let path = dirs.expect("listed")[0].path().join("spool");
        let sizes = std::fs::read_dir(path).expect("listed").flatten();
        sizes.map(|entry| entry.metadata().map_or(0, |meta| meta.len())).sum()
    };
    group.wait("the spool to be pruned", |_| (spool() < 34_000_000).then_some(())).await;
    std::fs::write(&gate, "").expect("written");
    let done = group.released(&worker.key).await;
    let log = group.sealed(&worker.key, Channel::Log).await;
    assert_eq!((log.len(), done.log_end), (40_000_004, 40_000_004));
    let whole = format!("{line}\n");
    let lines = log[..40_000_000].chunks_exact(whole.len());
    assert!(lines.clone().all(|chunk| chunk == whole.as_bytes()), "bytes were changed");
    assert!(log.ends_with(b"end\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn f28_late_and_repeated_sets_change_nothing_and_absence_kills_nobody() {
    let group = Group::start().await;
    let _agent = group.agent("a");
    let gate = group.folder.path().join("gate");
    let mark = group.folder.path().join("mark");
    let command = format!(
        "echo x >>{}; until [ -e {} ]; do sleep 0.02; done",
        mark.display(),
        gate.display()
    );
    let worker = group.worker("train", &command);
    group.heard.want(|set| (set.index, set.workers) = (50, vec![worker.clone()])).await;
    group.phase(&worker.key, Phase::Running).await;
    let tombstone = Tombstone {
        project: "default".into(),
        key: worker.key.clone(),
        reason: "of an old leader".into(),
        ..Tombstone::default()
    };
    // Late: it names the worker, and must not be obeyed.
    group.heard.want(|set| (set.index, set.tombstones) = (40, vec![tombstone.clone()])).await;
    group.heard.want(|set| (set.generation, set.index) = (0, 90)).await;
    // In order, and the worker is not in it.
    group
        .heard
        .want(|set| {
            (set.index, set.workers, set.tombstones) = (60, Vec::new(), Vec::new());
        })
        .await;
    group.wait("the orphan", |heard| heard.orphans().contains(&worker.key).then_some(())).await;
    let back = worker.clone();
    group.heard.want(|set| (set.index, set.workers) = (61, vec![back.clone(), back])).await;
    std::fs::write(&gate, "").expect("written");
    let done = group.released(&worker.key).await;
    assert!(done.result.as_ref().expect("a result").succeeded, "{done:?}");
    assert_eq!(std::fs::read_to_string(&mark).expect("read"), "x\n", "it ran twice");
    let phases = group.heard.phases(&worker.key);
    assert!(phases.is_sorted(), "{phases:?}");
}
