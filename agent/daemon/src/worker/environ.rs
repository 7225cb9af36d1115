//! The variables of a worker, from its spec.

use std::ffi::OsString;
use std::path::Path;

use runyard_proto::agent::{Serve, WorkerSpec};
use runyard_runtime::workspace::{Gang, StageEnv, Workspace, host_environment};

use super::Fault;
use super::prepare::Prepared;

/// What the coordinator sets by these names is the contract's, not the stage's own.
const GIVEN: [&str; 2] = ["RUNYARD_PARAM_", "RUNYARD_MATRIX_"];

/// What of the node the variables depend on.
#[derive(Debug, Clone, Default)]
pub(super) struct Here<'a> {
    pub(super) private_tmp: bool,
    /// Where other nodes reach this one.
    pub(super) address: &'a str,
    pub(super) master_addr: &'a str,
    pub(super) master_port: u16,
}

/// The environment of a worker, in order of its names.
pub(super) fn variables(
    spec: &WorkerSpec,
    space: &Workspace,
    prepared: &Prepared,
    here: &Here<'_>,
) -> Result<Vec<(OsString, OsString)>, Fault> {
    let is_given = |name: &str| GIVEN.iter().any(|prefix| name.starts_with(prefix));
    let (given, own): (Vec<_>, Vec<_>) =
        spec.env.iter().map(|(k, v)| (k.clone(), v.clone())).partition(|(k, _)| is_given(k));
    let from = StageEnv {
        run: &spec.run,
        stage: &spec.stage,
        task: &spec.task,
        attempt: &spec.attempt,
        inputs: prepared.inputs.clone(),
        devices: spec.devices.clone(),
        venv: prepared.venv.as_deref(),
        gang: Some(gang(spec, prepared, here)),
        fencing_token: Some(spec.fencing_token).filter(|token| *token > 0),
        own,
        host: host_environment(),
        private_tmp: here.private_tmp,
        ..StageEnv::default()
    };
    let mut env = space.stage_env(&from).map_err(|error| Fault::failure(error.to_string()))?;
    let has = |env: &[(OsString, OsString)], name: &str| env.iter().any(|(k, _)| k == name);
    let mut add = |name: &str, value: OsString| env.push((name.into(), value));
    for (name, value) in given {
        add(&name, value.into());
    }
    if !spec.devices.is_empty() {
        // The same as CUDA's variable, for code that is to run on simulated devices, too.
        add("RUNYARD_DEVICES", spec.devices.join(",").into());
    }
    if let Some(serve) = &spec.serve {
        for (name, value) in replica(serve, prepared.model.as_deref(), prepared.port, here) {
            add(name, value);
        }
    }
    if !has(&env, "PYTHONUNBUFFERED") {
        env.push(("PYTHONUNBUFFERED".into(), "1".into()));
    }
    env.sort();
    Ok(env)
}

fn gang(spec: &WorkerSpec, prepared: &Prepared, here: &Here<'_>) -> Gang {
    let alone = spec.nnodes <= 1;
    Gang {
        node_rank: spec.rank,
        nodes: spec.nnodes.max(1),
        master_addr: if alone { "127.0.0.1".into() } else { here.master_addr.to_owned() },
        master_port: if alone { prepared.port } else { here.master_port },
        processes_per_node: processes(spec),
        interface: None,
        // Each process gets its own from the launcher of the ranks.
        local_rank: None,
    }
}

/// Processes that the worker's command is to have, one a device; at least one.
pub(super) fn processes(spec: &WorkerSpec) -> u32 {
    u32::try_from(spec.devices.len()).unwrap_or(u32::MAX).max(1)
}

fn replica(
    serve: &Serve,
    model: Option<&Path>,
    port: u16,
    here: &Here<'_>,
) -> Vec<(&'static str, OsString)> {
    // A node that is reached by loopback only need not be open to anything else.
    let local = here.address == "localhost"
        || here.address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    let mut all: Vec<(&'static str, OsString)> = vec![
        ("HOST", if local { "127.0.0.1".into() } else { "0.0.0.0".into() }),
        ("PORT", port.to_string().into()),
        ("RUNYARD_REPLICA", serve.replica.to_string().into()),
        ("RUNYARD_MODEL_NAME", serve.model.clone().into()),
        ("RUNYARD_MODEL_VERSION", serve.model_version.to_string().into()),
        ("RUNYARD_MODEL_DIGEST", serve.model_root.clone().into()),
    ];
    if let Some(model) = model {
        all.push(("RUNYARD_MODEL", model.into()));
    }
    all
}

/// Starts one process a device, and ends with the first that fails. Standard output and error are
/// the worker's own. What is left when it ends is killed by the shim.
const RANKS: &str = r#"
n=$NPROC_PER_NODE
p=${TMPDIR:-/tmp}/.runyard-ranks-$$
mkfifo "$p" || exit 1
exec 9<>"$p"
rm -f "$p"
i=0
while [ "$i" -lt "$n" ]; do
  (
    LOCAL_RANK=$i RANK=$((NODE_RANK * n + i)) WORLD_SIZE=$((NNODES * n)) /bin/sh -c "$1" 9>&-
    echo "$?" >&9
  ) &
  i=$((i + 1))
done
while [ "$i" -gt 0 ]; do
  read -r status <&9 || exit 1
  [ "$status" = 0 ] || exit "$status"
  i=$((i - 1))
done
"#;

/// The command and its arguments.
pub(super) fn argv(spec: &WorkerSpec) -> Vec<OsString> {
    if !spec.argv.is_empty() && !spec.per_gpu {
        return spec.argv.iter().map(OsString::from).collect();
    }
    let sh = |script: &str| vec!["/bin/sh".into(), "-c".into(), OsString::from(script)];
    if !spec.per_gpu {
        return sh(&spec.command);
    }
    let mut argv = sh(RANKS);
    argv.push("runyard-ranks".into());
    if spec.argv.is_empty() {
        argv.push(OsString::from(&spec.command));
    } else {
        argv.push(spec.argv.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ").into());
    }
    argv
}

/// The words of a command that a shell would only pass on: the first is a path, and no character
/// means anything to any shell. Empty: it needs one.
pub(super) fn direct(spec: &WorkerSpec) -> Vec<OsString> {
    if !spec.argv.is_empty() || spec.per_gpu {
        return Vec::new();
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || " /._-+:@%,=".contains(c);
    let words: Vec<&str> = spec.command.split(' ').filter(|word| !word.is_empty()).collect();
    // A word without `/` may be something of the shell's own; one with `=` sets a variable.
    let is_path = words.first().is_some_and(|word| word.contains('/') && !word.contains('='));
    match is_path && spec.command.chars().all(plain) {
        true => words.into_iter().map(OsString::from).collect(),
        false => Vec::new(),
    }
}

/// A word as a shell takes it back unchanged.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(env: &[(OsString, OsString)], name: &str) -> Option<String> {
        env.iter().find(|(k, _)| k == name).map(|(_, v)| v.to_string_lossy().into_owned())
    }

    fn spec() -> WorkerSpec {
        WorkerSpec {
            run: "digits-42".into(),
            stage: "train".into(),
            task: "digits-42/train".into(),
            attempt: "digits-42/train.1".into(),
            command: "python train.py".into(),
            devices: vec!["GPU-a".into(), "GPU-b".into()],
            env: [
                ("RUNYARD_PARAM_LR".to_owned(), "0.1".to_owned()),
                ("RUNYARD_MATRIX_SEED".to_owned(), "7".to_owned()),
                ("MODE".to_owned(), "fast".to_owned()),
            ]
            .into(),
            ..WorkerSpec::default()
        }
    }

    #[test]
    fn the_contract_with_a_stage_is_kept() {
        let space = Workspace::open(Path::new("/s"));
        let prepared = Prepared {
            inputs: vec![("train-set".into(), "/s/work/inputs/train-set".into())],
            venv: Some("/cache/envs/k".into()),
            port: 4711,
            ..Prepared::default()
        };
        let env = variables(&spec(), &space, &prepared, &Here::default()).expect("fine");
        for (name, value) in [
            ("RUNYARD_RUN", "digits-42"),
            ("RUNYARD_STAGE", "train"),
            ("RUNYARD_TASK", "digits-42/train"),
            ("RUNYARD_ATTEMPT", "digits-42/train.1"),
            ("RUNYARD_PARAM_LR", "0.1"),
            ("RUNYARD_MATRIX_SEED", "7"),
            ("RUNYARD_INPUT_TRAIN_SET", "/s/work/inputs/train-set"),
            ("RUNYARD_RESULTS", "/s/run/results"),
            ("RUNYARD_METRICS", "/s/run/metrics.jsonl"),
            ("RUNYARD_OUTPUT", "/s/run/output"),
            ("RUNYARD_SUMMARY", "/s/run/summary.md"),
            ("RUNYARD_CHECKPOINT_DIR", "/s/run/checkpoint"),
            ("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b"),
            ("RUNYARD_DEVICES", "GPU-a,GPU-b"),
            ("NODE_RANK", "0"),
            ("NNODES", "1"),
            ("NPROC_PER_NODE", "2"),
            ("MASTER_ADDR", "127.0.0.1"),
            ("MASTER_PORT", "4711"),
            ("MODE", "fast"),
            ("CI", "true"),
            ("PYTHONUNBUFFERED", "1"),
            ("VIRTUAL_ENV", "/cache/envs/k"),
        ] {
            assert_eq!(text(&env, name).as_deref(), Some(value), "{name}");
        }
        assert!(text(&env, "PATH").expect("a PATH").starts_with("/cache/envs/k/bin:"));
        let mut names: Vec<_> = env.iter().map(|(name, _)| name).collect();
        names.dedup();
        assert_eq!(names.len(), env.len(), "a variable is set twice");
    }

    #[test]
    fn a_gang_shares_one_rendezvous_and_a_replica_learns_its_model() {
        let space = Workspace::open(Path::new("/s"));
        let mut gang = spec();
        (gang.nnodes, gang.rank) = (2, 1);
        let here = Here { master_addr: "10.0.0.7", master_port: 99, ..Here::default() };
        let env = variables(&gang, &space, &Prepared::default(), &here).expect("fine");
        assert_eq!(text(&env, "MASTER_ADDR").as_deref(), Some("10.0.0.7"));
        assert_eq!(text(&env, "MASTER_PORT").as_deref(), Some("99"));
        assert_eq!(text(&env, "NODE_RANK").as_deref(), Some("1"));

        let mut served = spec();
        served.serve = Some(Serve {
            deployment: "digits".into(),
            revision: 3,
            replica: 1,
            model: "digits".into(),
            model_version: 4,
            model_root: "ab".into(),
        });
        let prepared =
            Prepared { port: 8123, model: Some("/s/model".into()), ..Prepared::default() };
        for (address, host) in [("127.0.0.1", "127.0.0.1"), ("10.0.0.8", "0.0.0.0")] {
            let here = Here { address, ..Here::default() };
            let env = variables(&served, &space, &prepared, &here).expect("fine");
            assert_eq!(text(&env, "HOST").as_deref(), Some(host));
            assert_eq!(text(&env, "PORT").as_deref(), Some("8123"));
            assert_eq!(text(&env, "RUNYARD_MODEL").as_deref(), Some("/s/model"));
            assert_eq!(text(&env, "RUNYARD_MODEL_VERSION").as_deref(), Some("4"));
            assert_eq!(text(&env, "RUNYARD_MODEL_DIGEST").as_deref(), Some("ab"));
            assert_eq!(text(&env, "RUNYARD_REPLICA").as_deref(), Some("1"));
        }
    }

    #[test]
    fn a_stage_may_not_set_what_is_ours() {
        let mut bad = spec();
        bad.env.insert("RUNYARD_RUN".into(), "x".into());
        let space = Workspace::open(Path::new("/s"));
        let fault = variables(&bad, &space, &Prepared::default(), &Here::default());
        let fault = fault.expect_err("refused");
        assert!(fault.reason.contains("RUNYARD_RUN"), "{}", fault.reason);
    }

    #[test]
    fn a_shell_runs_the_command_and_one_process_a_device_gets_its_rank() {
        let mut one = spec();
        assert_eq!(argv(&one), ["/bin/sh", "-c", "python train.py"]);
        one.argv = vec!["a b".into(), "c'd".into()];
        assert_eq!(argv(&one), ["a b", "c'd"]);
        one.per_gpu = true;
        assert_eq!(argv(&one).last().expect("a command"), r"'a b' 'c'\''d'");
    }

    #[test]
    fn only_a_command_that_means_the_same_without_a_shell_goes_without_one() {
        let words = |command: &str| {
            let words = direct(&WorkerSpec { command: command.into(), ..WorkerSpec::default() });
            words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(words("/bin/true"), ["/bin/true"]);
        assert_eq!(words("  ./train.py  --lr=0.1 a,b "), ["./train.py", "--lr=0.1", "a,b"]);
        for shells in [
            "",
            "true",
            "python3 train.py",
            "/bin/echo $HOME",
            "/bin/echo *",
            "/bin/echo a;b",
            "/bin/a | /bin/b",
            "/bin/echo 'a b'",
            "/bin/echo \"a\"",
            "/bin/echo ~/x",
            "/bin/sleep 1 &",
            "/bin/a > x",
            "A=/b /bin/true",
            "/bin/true\n/bin/false",
            "/bin/echo \\a",
            "/bin/echo {a,b}",
            "/bin/echo a #b",
            "/bin/echo `a`",
            "/bin/echo !a",
            "/bin/echo ä",
            "/bin/echo\ta",
        ] {
            assert_eq!(words(shells), [""; 0], "{shells:?}");
        }
        let own = WorkerSpec { argv: vec!["/bin/true".into()], ..WorkerSpec::default() };
        assert!(direct(&own).is_empty());
        let ranks = WorkerSpec { command: "/bin/true".into(), per_gpu: true, ..own };
        assert!(direct(&ranks).is_empty());
    }

    fn ranks(command: &str) -> (Option<i32>, String) {
        let dir = tempfile::tempdir().expect("a folder");
        let spec = WorkerSpec { per_gpu: true, command: command.into(), ..spec() };
        let argv = argv(&spec);
        // To a file: a pipe's end would come only with the last rank's.
        let path = dir.path().join("out");
        let file = fs_err::File::create(&path).expect("made").into_parts().0;
        let status = std::process::Command::new(&argv[0])
            .args(&argv[1..])
            .env("TMPDIR", dir.path())
            .envs([("NPROC_PER_NODE", "3"), ("NODE_RANK", "1"), ("NNODES", "2")])
            .stdout(file)
            .status()
            .expect("ran");
        let text = fs_err::read_to_string(&path).expect("read");
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        (status.code(), lines.join(" "))
    }

    #[test]
    fn each_rank_runs_and_the_first_failure_ends_all() {
        let (code, lines) = ranks("echo $LOCAL_RANK:$RANK/$WORLD_SIZE");
        assert_eq!((code, lines.as_str()), (Some(0), "0:3/6 1:4/6 2:5/6"));
        // The others hang; in a worker the shim kills them as soon as the first has failed.
        let begun = std::time::Instant::now();
        let (code, _) = ranks("[ $LOCAL_RANK = 1 ] && exit 7; sleep 3");
        assert_eq!(code, Some(7));
        assert!(begun.elapsed().as_secs() < 3, "it waited for ranks that hang");
    }
}
