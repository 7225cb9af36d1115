//! A repository that knows nothing of Runyard, adopted: another data set than the examples', a large
//! file that git ignores, a mount; a failing stage, a retry, a cancelled run, a changed evaluation.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use runyard_harness::{Dice, Home, processes_of, skipped, wait_for, write_files};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_runyard");
const TEST: &str = "an_own_repository_is_adopted_judged_retried_and_cancelled";
const OVER: Duration = Duration::from_secs(300);

/// The three lines that an evaluation needs, as `init` and the contract have them.
const THREE_LINES: &str = r#"    import csv, os
    rows = csv.writer(open(os.path.join(os.environ["RUNYARD_RESULTS"], "rows.csv"), "w", newline=""))
    rows.writerows([("example_id", "y_true", "y_pred"), *zip(ids, y[ids], predicted)])
"#;
/// What the evaluation says at its end, before which the three lines go.
const LAST_LINE: &str = "    print(f\"accuracy";

/// How many bytes the ignored file has: 50 MB, or as many MB as `RUNYARD_TEST_DATA_MB` says (500 is
/// the full form).
fn data_bytes() -> u64 {
    let given = std::env::var("RUNYARD_TEST_DATA_MB").ok().and_then(|text| text.parse().ok());
    given.unwrap_or(50) * 1_000_000
}

/// Writes numbers that do not repeat, so that no chunk of the file is like another.
fn write_readings(path: &Path, bytes: u64) -> std::io::Result<()> {
    // The same in each run: what a model makes of them must not be a matter of luck.
    let mut dice = Dice::of(1);
    let mut file = BufWriter::new(std::fs::File::create(path)?);
    let mut written = 0;
    writeln!(file, "patient,a,b,c,d")?;
    for patient in 0_u64.. {
        if written >= bytes {
            break;
        }
        let mut number = || dice.between(0, 1_000_000_000);
        let [a, b, c, d] = [number(), number(), number(), number()];
        let line = format!("{patient},0.{a:09},0.{b:09},0.{c:09},0.{d:09}\n");
        file.write_all(line.as_bytes())?;
        written += line.len() as u64;
    }
    file.flush()
}

fn git(folder: &Path, args: &[&str]) {
    let done = Command::new("git")
        .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org"])
        .args(args)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .expect("git is installed");
    assert!(done.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Changes one place of a file.
#[track_caller]
fn change(path: &Path, from: &str, to: &str) {
    let text = fs_err::read_to_string(path).expect("it is there");
    assert_eq!(text.matches(from).count(), 1, "`{from}` in {text}");
    fs_err::write(path, text.replacen(from, to, 1)).expect("written");
}

fn repository(root: &Path) -> PathBuf {
    let folder = root.join("tumours");
    write_files(
        &folder,
        &[
            (".gitignore", "data/\n.config/\n"),
            // The digits example's, so that one environment serves both.
            ("requirements.txt", include_str!("../../examples/digits/requirements.txt")),
            ("train.py", include_str!("own_repository/train.py")),
            ("eval.py", include_str!("own_repository/eval.py")),
        ],
    );
    fs_err::create_dir(folder.join("data")).expect("a folder");
    write_readings(&folder.join("data/readings.csv"), data_bytes()).expect("written");
    git(&folder, &["init", "-q", "-b", "main"]);
    git(&folder, &["add", "-A"]);
    git(&folder, &["commit", "-qm", "As it always was"]);
    folder
}

fn task<'a>(run: &'a Value, stage: &str) -> &'a Value {
    let stages = run["stages"].as_array().into_iter().flatten();
    let mut found = stages.filter(|one| one["name"] == stage);
    &found.next().unwrap_or_else(|| panic!("no stage {stage} in {run}"))["tasks"][0]
}

struct Adopted {
    home: Home,
}

impl Adopted {
    /// Submits, waits, and returns the run as JSON; its exit code is part of the contract.
    #[track_caller]
    fn run(&self, flags: &[&str], code: i32) -> Value {
        let args = [&["run", "--wait", "-o", "json"], flags].concat();
        self.home.cli(&args).exits(code).json()
    }

    #[track_caller]
    fn describe(&self, run: &str) -> Value {
        self.home.cli(&["describe", run, "-o", "json"]).exits(0).json()
    }

    fn wait(&self, run: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, OVER, || {
            let now = self.describe(run);
            if holds(&now) { Ok(now) } else { Err(now.to_string()) }
        })
    }
}

#[test]
fn an_own_repository_is_adopted_judged_retried_and_cancelled() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let root = dir.path().canonicalize().expect("is there");
    let (folder, share) = (repository(&root), root.join("share"));
    write_files(&share, &[("sites.txt", "Vienna\nGraz\n")]);
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache");
    let home = Home::new(BINARY, &folder, cache);
    let dev = home.dev(&["--mount", &share.display().to_string()]);
    let mine = Adopted { home: home.clone() };

    // Three lines for the evaluation, `init` for the rest, one line for the mount.
    change(&folder.join("eval.py"), LAST_LINE, &format!("{THREE_LINES}{LAST_LINE}"));
    let said = home.cli(&["init"]).exits(0);
    assert!(said.stderr.contains("found data data"), "{said}");
    let mount = format!(
        "stages:\n  sites: {{ run: \"cat there/sites.txt\", inputs: {{ there: {{ from: \"mount:{}\", at: there }} }} }}",
        share.display()
    );
    change(&folder.join("runyard.yaml"), "stages:", &mount);
    home.cli(&["validate"]).exits(0);

    // The first run: a champion, and the report that a pull request wants.
    let said = home.cli(&["run", "--wait", "-o", "markdown"]);
    if said.to_string().contains("cannot build the Python environment") {
        return skipped(TEST, "no package index can be reached");
    }
    let report = said.exits(0);
    for part in [
        "tumours-1 succeeded",
        "| check | champion | candidate | difference | interval | bound | adjusted p | verdict |",
        "✅ pass",
        "| train | ✓ succeeded |",
        "**Cost**",
        "parameters depth=6 trees=30",
        "(As it always was)",
    ] {
        assert!(report.stdout.contains(part), "`{part}` is missing in {report}");
    }
    let log = home.cli(&["logs", "tumours-1/train", "--no-follow"]).exits(0).stdout;
    assert!(log.contains("trained on 285 patients"), "{log}");
    let rows = fs_err::read(folder.join("data/readings.csv")).expect("read");
    let rows = rows.iter().filter(|byte| **byte == b'\n').count() - 1;
    assert!(log.contains(&format!("readings: {rows} rows")), "all of the file arrived: {log}");

    // The same again: nothing is sent, and only what reads the mount runs.
    let said = home.cli(&["run", "--wait", "-o", "json"]).exits(0);
    assert!(said.stderr.contains(" 0 B sent"), "{said}");
    let again = said.json();
    for stage in ["train", "eval"] {
        assert_eq!(task(&again, stage)["cached"], true, "{stage}: {again}");
    }
    let why = task(&again, "sites")["cache_reason"].as_str().unwrap_or_default();
    assert!(why.contains("mount"), "{again}");

    // A failing stage: its exit status is the reason, its last line is at hand, what needs it is skipped.
    let failed = mine.run(&["-p", "trees=0"], 1);
    let name = failed["name"].as_str().expect("a name");
    assert_eq!(task(&failed, "train")["attempts"][0]["outcome"], "failure", "{failed}");
    assert_eq!(task(&failed, "train")["reason"], "exit status 3", "{failed}");
    assert_eq!(task(&failed, "gate")["state"], "skipped", "{failed}");
    let said = home.cli(&["logs", name, "--failed"]).exits(0);
    assert!(said.stdout.contains("a forest of 0 trees is none"), "{said}");
    let said = home.cli(&["run", "--wait", "-o", "markdown", "-p", "trees=0"]).exits(1);
    for part in ["/train**: exit status 3", "  a forest of 0 trees is none\n"] {
        assert!(said.stdout.contains(part), "`{part}` is missing in {said}");
    }

    // A retry that succeeds, once what was missing on the share is there.
    let (list, aside) = (share.join("sites.txt"), share.join("aside"));
    fs_err::rename(&list, &aside).expect("renamed");
    let failed = mine.run(&["-p", "trees=30"], 1);
    let name = failed["name"].as_str().expect("a name").to_owned();
    assert_eq!(task(&failed, "sites")["state"], "failed", "{failed}");
    fs_err::rename(&aside, &list).expect("renamed");
    home.cli(&["retry", &name]).exits(0);
    let over = mine.wait(&name, "the retried run's end", |run| run["state"] == "succeeded");
    let attempts = task(&over, "sites")["attempts"].as_array().expect("attempts");
    assert_eq!(attempts.len(), 2, "{over}");
    let log = home.cli(&["logs", &format!("{name}/sites"), "--no-follow"]).exits(0).stdout;
    assert_eq!(log, "Vienna\nGraz\n");

    // A cancelled run: the forest grows on no longer.
    let said = home.cli(&["run", "-d", "-p", "trees=5000000"]).exits(0);
    let name = said.stdout.trim().to_owned();
    mine.wait(&name, "the large forest to grow", |run| task(run, "train")["state"] == "running");
    home.cli(&["cancel", &name, "--reason", "too large a forest"]).exits(0);
    let over = mine.wait(&name, "the cancelled run's end", |run| {
        run["state"] == "cancelled" && task(run, "train")["attempts"][0]["released"] == true
    });
    assert_eq!(task(&over, "gate")["state"], "cancelled", "{over}");
    let told = home.cli(&["describe", &name]).exits(0);
    assert!(told.stdout.contains("too large a forest"), "{told}");
    let left: Vec<String> =
        processes_of(&root).into_iter().filter(|line| line.contains("5000000")).collect();
    assert_eq!(left, Vec::<String>::new(), "the forest grows on");

    // A changed evaluation judges both models anew, by the same test.
    change(&folder.join("eval.py"), "% 2 == 1)", "% 4 == 1)");
    let said = home.cli(&["run", "--wait", "-o", "json", "-p", "trees=60"]);
    let judged = said.json();
    let champion = task(&judged, "eval.champion");
    assert_eq!(champion["state"], "succeeded", "{judged}");
    assert_eq!(champion["cached"], false, "its rows of the other test do not count: {judged}");
    // What a hundred examples can show is theirs to say; each verdict has its exit code.
    let (verdict, name) = (judged["gates"][0]["verdict"].as_str(), judged["name"].as_str());
    let code = match verdict {
        Some("pass") => 0,
        Some("fail") => 7,
        Some("inconclusive") => 9,
        _ => panic!("the two were not compared: {judged}"),
    };
    let said = said.exits(code);
    let gate = home.cli(&["gate", "show", name.expect("a name")]).exits(code);
    assert!(gate.stdout.contains("142 examples"), "every fourth patient, {said}: {gate}");
    assert!(gate.stdout.contains("champion"), "{gate}");

    assert!(dev.stop().success());
    assert_eq!(processes_of(&root), Vec::<String>::new(), "left behind");
}
