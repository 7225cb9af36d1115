//! What a shim promises about one worker, tried with real processes.

mod common;

use std::time::{Duration, Instant};

use common::{Yard, await_output, bytes, ended, kill9, records, skipped, text, until};
use runyard_runtime::spool::{Body, CutReason, Stream};
use runyard_runtime::{Isolate, LaunchError, Reason, SpoolLimits, State, WorkerDir};

#[test]
fn exit_code_streams_and_environment_come_back() {
    let yard = Yard::new();
    let mut spec = yard.script("echo out $A; echo err >&2; cat; exit 7");
    spec.env.push(("A".into(), "b c".into()));
    let (worker, status) = yard.run(&spec);
    assert_eq!((status.code, status.signal, status.reason), (Some(7), None, Reason::Exit));
    let all = records(&worker);
    assert_eq!(bytes(&all, Some(Stream::Stdout)), b"out b c\n");
    assert_eq!(bytes(&all, Some(Stream::Stderr)), b"err\n");
    assert_eq!(status.log_end, 12);
    worker.remove().expect("removed");
    assert!(!worker.path().exists());
}

#[test]
fn what_can_not_start_says_why() {
    let yard = Yard::new();
    let mut spec = yard.script("");
    spec.argv = vec!["no-such-command".into()];
    let (_, status) = yard.run(&spec);
    let error = status.error.expect("an error");
    assert!(error.contains("command not found: no-such-command (PATH="), "{error}");
    assert_eq!((status.code, status.reason), (Some(127), Reason::NotStarted));
    let mut spec = yard.script("");
    spec.cwd = "/no/such/folder".into();
    let error = yard.run(&spec).1.error.expect("an error");
    assert!(error.contains("working directory /no/such/folder"), "{error}");
}

#[test]
fn a_simple_command_goes_without_its_shell_and_one_that_fails_has_it() {
    let yard = Yard::new();
    let shell = |command: &str| {
        let mut spec = yard.script(command);
        spec.direct = command.split(' ').map(Into::into).collect();
        spec
    };
    let (worker, status) = yard.run(&shell("/usr/bin/env"));
    assert_eq!(status.code, Some(0));
    let said = text(&worker);
    let cwd = format!("PWD={}", yard.path().canonicalize().expect("there").display());
    assert!(said.lines().any(|l| l == cwd), "{said}");
    // Not there; and no program, but words for a shell.
    let (worker, status) = yard.run(&shell("/no/such/program x"));
    assert_eq!((status.code, status.reason), (Some(127), Reason::Exit), "{}", text(&worker));
    assert!(text(&worker).contains("/no/such/program"), "{}", text(&worker));
    let script = yard.path().join("script");
    std::fs::write(&script, "echo by the shell; exit 4\n").expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).expect("set");
    let (worker, status) = yard.run(&shell(&script.display().to_string()));
    assert_eq!((status.code, text(&worker).as_str()), (Some(4), "by the shell\n"));
}

#[test]
fn a_worker_can_be_asked_and_stopped_from_its_first_moment() {
    let yard = Yard::new();
    for _ in 0..5 {
        let worker = yard.start(&yard.script("sleep 100"));
        assert!(!worker.ping().expect("an answer").ended);
        worker.stop(Duration::from_millis(500)).expect("heard");
        assert_eq!(ended(&worker).reason, Reason::Stopped);
        assert!(!worker.path().join("sock").exists());
    }
    // One that has ended before it listened is no error.
    let worker = yard.start(&yard.script("exit 0"));
    worker.stop(Duration::ZERO).expect("over");
    assert_eq!(ended(&worker).code, Some(0));
}

#[test]
fn a_folder_starts_once() {
    let yard = Yard::new();
    let (worker, _) = yard.run(&yard.script("echo x"));
    let error = yard.launcher.launch(worker.path(), &[]).expect_err("started twice");
    assert!(
        matches!(&error, LaunchError::Refused { why, .. } if why.contains("before")),
        "{error}"
    );
    assert_eq!(text(&worker), "x\n");
}

#[test]
fn a_signal_is_told_from_an_exit_and_passed_on() {
    let yard = Yard::new();
    let (_, status) = yard.run(&yard.script("kill -SEGV $$"));
    assert_eq!((status.code, status.signal), (None, Some(11)));
    let worker = yard.start(
        &yard.script("trap 'echo saved; exit 3' USR1; echo up; while :; do sleep 0.05; done"),
    );
    await_output(&worker, "up");
    worker.signal(10).expect("heard");
    let status = ended(&worker);
    assert_eq!(status.code, Some(3));
    assert!(text(&worker).contains("saved\n"), "{}", text(&worker));
}

#[test]
fn stop_deadline_and_timeout_end_a_stage_and_say_which() {
    let yard = Yard::new();
    let script = "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.05; done";
    let worker = yard.start(&yard.script(script));
    await_output(&worker, "up");
    let answer = worker.ping().expect("an answer");
    assert!(!answer.ended && answer.log_offset == 3, "{answer:?}");
    worker.stop(Duration::from_secs(10)).expect("heard");
    let status = ended(&worker);
    assert_eq!((status.code, status.reason), (Some(5), Reason::Stopped));
    assert!(text(&worker).contains("bye\n"), "{}", text(&worker));

    let worker = yard.start(&yard.script(script));
    await_output(&worker, "up");
    let now = runyard_runtime::clock::boottime_ms();
    worker.deadline(now + 100).expect("heard");
    worker.deadline(now + 400).expect("a later one replaces it");
    let status = ended(&worker);
    assert_eq!(status.reason, Reason::Deadline);
    assert!(runyard_runtime::clock::boottime_ms() >= now + 400, "the first deadline still held");

    let mut spec = yard.script("trap '' TERM; echo up; while :; do sleep 0.05; done");
    (spec.timeout_ms, spec.grace_ms) = (Some(200), 100);
    let status = yard.run(&spec).1;
    assert_eq!((status.reason, status.signal), (Reason::Timeout, Some(9)));
}

#[test]
fn f24_workers_outlive_their_launcher_and_are_adopted_without_losing_a_byte() {
    use std::io::{BufRead, BufReader, Write};
    let yard = Yard::new();
    let mut agent = std::process::Command::new(env!("CARGO_BIN_EXE_runyard-shim-test"))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("an agent");
    let mut to = agent.stdin.take().expect("piped");
    let mut from = BufReader::new(agent.stdout.take().expect("piped")).lines();
    let zygote = from.next().expect("a line").expect("read");
    let zygote: u32 = zygote.strip_prefix("zygote ").expect("its pid").parse().expect("a number");
    let script = "i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); [ $((i%10)) = 0 ] && sleep 0.1; done; exit 4";
    let mut workers = Vec::new();
    for _ in 0..20 {
        let worker = WorkerDir::create(yard.path(), &yard.script(script)).expect("a worker");
        writeln!(to, "{}", worker.path().display()).expect("asked");
        assert_eq!(from.next().expect("a line").expect("read"), "ok");
        workers.push(worker);
    }
    agent.kill().expect("killed");
    agent.wait().expect("reaped");
    until("the zygote to follow its agent", || {
        !std::path::Path::new(&format!("/proc/{zygote}")).exists()
    });
    let adopted = WorkerDir::scan(yard.path()).expect("scanned");
    assert_eq!(adopted.len(), 20);
    assert!(adopted.iter().any(|w| w.state().expect("a state") == State::Running), "too quick");
    let expected: String = (0..300).map(|i| format!("line {i}\n")).collect();
    for worker in adopted {
        assert_eq!(ended(&worker).code, Some(4));
        assert_eq!(text(&worker), expected, "log bytes were lost");
    }
}

#[test]
fn a_dead_zygote_is_replaced() {
    let yard = Yard::new();
    kill9(yard.launcher.zygote_pid().expect("a zygote"));
    assert_eq!(yard.run(&yard.script("exit 2")).1.code, Some(2));
    let worker = yard.start(&yard.script("sleep 0.2; exit 3"));
    kill9(yard.launcher.zygote_pid().expect("a zygote"));
    assert_eq!(ended(&worker).code, Some(3), "a shim died with its zygote");
}

const HYDRA: &str = "sh -c 'trap \"\" TERM HUP; echo one; while :; do sleep 1000; done' & \
    setsid sh -c 'trap \"\" TERM HUP; echo two; sleep 1000 & wait; sleep 1000' & \
    (setsid setsid nohup sleep 1000 >/dev/null 2>&1 &) ; trap '' TERM; \
    sleep 0.1; echo up; while :; do sleep 1000; done";

#[test]
fn f25_a_killed_shim_takes_everything_along() {
    for isolate in [Isolate::Auto, Isolate::User, Isolate::None] {
        let yard = Yard::new();
        let mut spec = yard.script(HYDRA);
        spec.isolation = isolate;
        let worker = yard.start(&spec);
        await_output(&worker, "up");
        assert!(worker.remains().expect("looked").len() >= 5, "{:?}", worker.remains());
        kill9(worker.shim_pid().expect("readable").expect("a shim"));
        until("the lock to fall", || !worker.is_alive().expect("looked"));
        assert_eq!(worker.state().expect("a state"), State::Lost { rebooted: false });
        let left = worker.clean_up(Duration::from_secs(5)).expect("cleaned");
        assert!(left.is_empty(), "{isolate:?}: leaked {left:?}");
        assert!(worker.status().expect("readable").is_none(), "a lost shim never succeeds");
    }
}

#[test]
fn f26_a_stopped_shim_loses_nothing() {
    let yard = Yard::new();
    let worker = yard.start(&yard.script("echo a; sleep 0.3; echo b; exit 6"));
    await_output(&worker, "a");
    let shim =
        nix::unistd::Pid::from_raw(worker.shim_pid().expect("readable").expect("a shim") as i32);
    nix::sys::signal::kill(shim, nix::sys::signal::Signal::SIGSTOP).expect("stopped");
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(
        worker.state().expect("a state"),
        State::Running,
        "absence of an answer is no death"
    );
    nix::sys::signal::kill(shim, nix::sys::signal::Signal::SIGCONT).expect("woken");
    assert_eq!(ended(&worker).code, Some(6));
    assert_eq!(text(&worker), "a\nb\n");
}

#[test]
fn f30_life_is_the_lock_not_a_number() {
    let yard = Yard::new();
    let worker = WorkerDir::create(yard.path(), &yard.script("true")).expect("a worker");
    assert_eq!(worker.state().expect("a state"), State::Prepared);
    // A foreign process now has the number that the lock names, and carries no mark.
    let mut foreign = std::process::Command::new("sleep").arg("100").spawn().expect("a sleeper");
    let lock = worker.path().join("lock");
    let boot = runyard_runtime::clock::boot_id();
    std::fs::write(&lock, format!("{} {boot} 1\n", foreign.id())).expect("written");
    assert_eq!(worker.state().expect("a state"), State::Lost { rebooted: false });
    assert!(worker.clean_up(Duration::from_secs(1)).expect("cleaned").is_empty());
    assert!(foreign.try_wait().expect("looked").is_none(), "a foreign process was signalled");
    std::fs::write(&lock, format!("{} 11111111-2222 1\n", foreign.id())).expect("written");
    assert_eq!(worker.state().expect("a state"), State::Lost { rebooted: true });
    foreign.kill().expect("killed");
    foreign.wait().expect("reaped");
}

#[test]
fn f32_daemons_die_within_the_grace_and_two_seconds() {
    for isolate in [Isolate::Auto, Isolate::User, Isolate::None] {
        let yard = Yard::new();
        let mut spec = yard.script(HYDRA);
        spec.isolation = isolate;
        let worker = yard.start(&spec);
        await_output(&worker, "up");
        let begin = Instant::now();
        worker.stop(Duration::from_millis(300)).expect("heard");
        let status = ended(&worker);
        assert!(
            begin.elapsed() < Duration::from_millis(2300),
            "{isolate:?}: {:?}",
            begin.elapsed()
        );
        assert!(begin.elapsed() >= Duration::from_millis(300), "the grace was cut short");
        assert_eq!((status.signal, status.reason), (Some(9), Reason::Stopped), "{status:?}");
        assert!(worker.remains().expect("looked").is_empty(), "{isolate:?}");
        // And one that ends by itself while its daemons, which hold the pipes, do not.
        let mut spec = yard.script(
            &HYDRA
                .replace("while :; do sleep 1000; done", "exit 9")
                .replace("sh -c 'trap \"\" TERM HUP; echo one; exit 9'", "sleep 1000"),
        );
        spec.isolation = isolate;
        let begin = Instant::now();
        let (worker, status) = yard.run(&spec);
        assert_eq!(status.code, Some(9), "{isolate:?} {status:?}");
        assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
        assert!(worker.remains().expect("looked").is_empty(), "{isolate:?}");
    }
}

#[test]
fn f34_over_its_quota_a_log_keeps_head_and_end_and_names_the_cut() {
    let yard = Yard::new();
    let mut spec =
        yard.script("i=0; while [ $i -lt 60000 ]; do echo \"line $i\"; i=$((i+1)); done");
    spec.spool = SpoolLimits { segment_bytes: 16_384, head_bytes: 20_000, tail_bytes: 30_000 };
    let (worker, status) = yard.run(&spec);
    let full: String = (0..60_000).map(|i| format!("line {i}\n")).collect();
    assert_eq!(status.log_end, full.len() as u64);
    let mut kept = 0;
    for r in records(&worker) {
        let (at, end) = (r.offset as usize, r.end() as usize);
        match &r.body {
            Body::Data(data) => {
                assert_eq!(data, &full.as_bytes()[at..end], "other bytes at {at}");
                kept += data.len() as u64;
            }
            Body::Cut { len, reason } => {
                assert_eq!((*len, *reason), (status.log_dropped, CutReason::Quota));
                assert!(at >= 20_000 && end <= full.len() - 30_000, "cut {at}..{end}");
            }
            Body::End => {}
        }
    }
    assert_eq!(kept + status.log_dropped, status.log_end);
    // A shim that had to wait reads as much as the pipe holds at once, and a record is kept whole.
    assert!(status.log_dropped > 100_000, "{status:?}");
}

#[test]
fn f34_a_full_disk_stops_no_stage_and_the_status_still_comes() {
    if !nix::unistd::Uid::effective().is_root() {
        return skipped("a full disk: only root can mount a small tmpfs");
    }
    let yard = Yard::new();
    let disk = yard.path().join("disk");
    std::fs::create_dir(&disk).expect("made");
    let size = Some("size=1m");
    let flags = nix::mount::MsFlags::empty();
    if let Err(e) = nix::mount::mount(Some("tmpfs"), &disk, Some("tmpfs"), flags, size) {
        return skipped(&format!("a full disk: no tmpfs can be mounted here: {e}"));
    }
    let spec = yard.script("head -c 5000000 /dev/zero; echo end; exit 8");
    let worker = WorkerDir::create(&disk, &spec).expect("a worker");
    yard.launcher.launch(worker.path(), &[]).expect("launched");
    let status = ended(&worker);
    assert_eq!((status.code, status.log_end), (Some(8), 5_000_004));
    // All of the disk, less what else lies on it, may hold output.
    assert!(status.log_dropped > 5_000_004 - (1 << 20), "{status:?}");
    let all = records(&worker);
    let cut: u64 =
        all.iter().map(|r| if let Body::Cut { len, .. } = r.body { len } else { 0 }).sum();
    assert_eq!(cut, status.log_dropped, "the cut is not what was dropped");
    nix::mount::umount2(&disk, nix::mount::MntFlags::MNT_DETACH).expect("unmounted");
}

#[test]
fn f35_a_hundred_megabytes_without_a_newline_come_through_byte_exact_in_a_small_shim() {
    let yard = Yard::new();
    let source = yard.path().join("source");
    let mut noise = Vec::with_capacity(100 << 20);
    let mut x = 0x2545_F491_4F6C_DD1Du64;
    while noise.len() < 100 << 20 {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        noise.extend(x.to_le_bytes().map(|b| if b == b'\n' { 0 } else { b }));
    }
    std::fs::write(&source, &noise).expect("written");
    let worker = yard.start(&yard.script("cat source; sleep 2"));
    until("all output", || worker.ping().expect("an answer").log_offset == noise.len() as u64);
    let pid = worker.shim_pid().expect("readable").expect("a shim");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the shim's memory");
    let field = |name: &str| -> u64 {
        let line = status.lines().find(|l| l.starts_with(name)).expect(&status);
        line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
    };
    eprintln!(
        "shim: VmRSS {} kB (anon {}, file {}), VmHWM {} kB",
        field("VmRSS"),
        field("RssAnon"),
        field("RssFile"),
        field("VmHWM")
    );
    assert!(field("VmHWM") < 3 << 10, "the shim takes {} kB", field("VmHWM"));
    worker.stop(Duration::ZERO).expect("heard");
    ended(&worker);
    let got = bytes(&records(&worker), Some(Stream::Stdout));
    assert_eq!(blake3::hash(&got), blake3::hash(&noise), "{} bytes came", got.len());
}

#[test]
fn a26_secrets_reach_the_stage_and_not_its_log() {
    let yard = Yard::new();
    let spec = yard.script("printf 'a '; printf hunt; sleep 0.2; printf 'er22 b\\n'; [ \"$TOKEN\" = hunter$((20+2)) ] && echo known");
    let worker = WorkerDir::create(yard.path(), &spec).expect("a worker");
    yard.launcher.launch(worker.path(), &[("TOKEN".into(), "hunter22".into())]).expect("launched");
    ended(&worker);
    assert_eq!(text(&worker), "a *** b\nknown\n");
    let mut grep = std::process::Command::new("grep");
    let found = grep.args(["-rl", "hunter22"]).arg(yard.path()).output().expect("grep runs");
    assert_eq!(found.status.code(), Some(1), "the secret is on disk: {found:?}");
}

#[test]
fn a29_a_stage_inherits_three_descriptors_and_no_ignored_signal() {
    let yard = Yard::new();
    for isolate in [Isolate::Auto, Isolate::None] {
        let mut spec = yard.script("for n in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19; do [ -e /proc/$$/fd/$n ] && echo $n; done; grep SigIgn /proc/self/status; grep SigBlk /proc/self/status; exec readlink /proc/self/fd/0");
        spec.isolation = isolate;
        let (worker, _) = yard.run(&spec);
        let zero = "0000000000000000";
        assert_eq!(
            text(&worker),
            format!("0\n1\n2\nSigIgn:\t{zero}\nSigBlk:\t{zero}\n/dev/null\n")
        );
    }
}
