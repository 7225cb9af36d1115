//! The binary itself, without a cluster: exit codes, streams, files.

use std::path::Path;
use std::process::{Command, Output, Stdio};

const GOOD: &str = "version: 1\nname: demo\nstages:\n  train:\n    run: python train.py\n";
const BAD: &str =
    "version: 1\nname: demo\nstages:\n  train:\n    run: python train.py\n    gpu: 4\n";

struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        // The search for `.runyard` ends at a repository.
        fs_err::create_dir(dir.path().join(".git")).expect("mkdir");
        Self { dir }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs_err::create_dir_all(path.parent().expect("has a parent")).expect("mkdir");
        fs_err::write(path, text).expect("write");
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(arguments, &[])
    }

    fn run_with(&self, arguments: &[&str], vars: &[(&str, &str)]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_runyard"))
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .env("HOME", self.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(vars.iter().copied())
            .stdin(Stdio::null())
            .output()
            .expect("starts")
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("ends by itself")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn validate_tells_right_from_wrong() {
    let home = Home::new();
    home.write("runyard.yaml", GOOD);
    let right = home.run(&["validate"]);
    assert_eq!((code(&right), out(&right).as_str()), (0, ""), "{}", err(&right));
    home.write("bad.yaml", BAD);
    let wrong = home.run(&["validate", "-f", "bad.yaml"]);
    assert_eq!(code(&wrong), 3);
    assert!(err(&wrong).contains("bad.yaml:6:5"), "{}", err(&wrong));
    let annotated = home.run(&["validate", "-f", "bad.yaml", "--format", "github"]);
    assert!(out(&annotated).starts_with("::error file=bad.yaml,line=6,"), "{}", out(&annotated));
    let json = home.run(&["validate", "-f", "bad.yaml", "--json"]);
    let list: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON on stdout");
    assert_eq!(list["items"][0]["labels"][0]["line"], 6);
    let report: serde_json::Value = serde_json::from_slice(&json.stderr).expect("JSON on stderr");
    assert_eq!(report["error"]["code"], 3);
    assert_eq!(code(&home.run(&["validate", "-f", "none.yaml"])), 5);
}

#[test]
fn init_writes_once_and_what_it_writes_is_right() {
    let home = Home::new();
    home.write("train.py", "import joblib\njoblib.dump(1, 'out/model.joblib')\n");
    let dry = home.run(&["init", "--name", "wine", "--dry-run"]);
    assert!(code(&dry) == 0 && out(&dry).contains("name: wine"), "{}", err(&dry));
    assert!(!home.path().join("runyard.yaml").exists());
    assert_eq!(code(&home.run(&["init", "--name", "wine"])), 0);
    let written = fs_err::read_to_string(home.path().join("runyard.yaml")).expect("is there");
    assert_eq!(written, out(&dry));
    assert!(home.path().join(".runyardignore").exists());
    assert_eq!(code(&home.run(&["validate", "--strict"])), 0);
    home.write("runyard.yaml", "mine");
    let again = home.run(&["init", "--name", "wine"]);
    assert_eq!(code(&again), 6);
    assert_eq!(fs_err::read_to_string(home.path().join("runyard.yaml")).expect("is there"), "mine");
    assert_eq!(code(&home.run(&["init", "--name", "wine", "--force"])), 0);
    assert_eq!(code(&home.run(&["init", "--name", "No Name", "--force"])), 3);
}

#[test]
fn without_a_cluster_the_way_to_one_is_told() {
    let home = Home::new();
    let none = home.run(&["ps"]);
    assert_eq!(code(&none), 3);
    assert!(err(&none).contains("runyard dev") && out(&none).is_empty(), "{}", err(&none));
    let doctor = home.run(&["doctor", "--json"]);
    let checks: serde_json::Value = serde_json::from_slice(&doctor.stdout).expect("JSON");
    assert!(checks["items"].as_array().is_some_and(|items| items.len() >= 4));
}

/// A CA and a context that points where nobody listens.
fn login(home: &Home) -> std::path::PathBuf {
    use runyard_transport::{Contexts, CredentialsFile, ca::Ca, token::UserToken};
    let ca = Ca::create("test", std::time::SystemTime::now()).expect("a CA");
    let contexts = Contexts::at(home.path().join(".config/runyard"));
    let name = runyard_types::Name::new("lab").expect("a name");
    let credentials = CredentialsFile {
        addresses: vec!["127.0.0.1:1".into()],
        ca: ca.certificate().clone(),
        token: Some(UserToken::generate()),
    };
    contexts.save(&name, &credentials).expect("saves");
    contexts.set_current(&name).expect("sets");
    contexts.path(&name)
}

#[test]
fn nobody_there_is_69_and_doctor_says_so() {
    let home = Home::new();
    login(&home);
    let ps = home.run(&["ps"]);
    assert_eq!(code(&ps), 69, "{}", err(&ps));
    assert!(err(&ps).contains("127.0.0.1:1") && err(&ps).contains("context `lab`"), "{}", err(&ps));
    assert_eq!(code(&home.run(&["doctor"])), 1);
    let contexts = home.run(&["context", "ls", "-q"]);
    assert_eq!(out(&contexts), "lab\n");
    assert_eq!(code(&home.run(&["context", "use", "nope"])), 5);
}

#[test]
fn a41_a_readable_context_is_refused_before_anything_is_sent() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    let path = login(&home);
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    let ps = home.run(&["ps"]);
    assert_eq!(code(&ps), 4, "{}", err(&ps));
    assert!(err(&ps).contains("chmod 600"), "{}", err(&ps));
}

#[test]
fn pages_schema_and_versions() {
    let home = Home::new();
    let page = home.run(&["explain", "ry0202"]);
    assert!(code(&page) == 0 && out(&page).starts_with("# RY0202"), "{}", out(&page));
    assert_eq!(code(&home.run(&["explain", "RY9999"])), 5);
    assert!(out(&home.run(&["explain"])).lines().count() > 20);
    let schema: serde_json::Value =
        serde_json::from_slice(&home.run(&["schema"]).stdout).expect("JSON");
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    let version: serde_json::Value =
        serde_json::from_slice(&home.run(&["version", "--json"]).stdout).expect("JSON");
    assert_eq!(version["client"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(code(&home.run(&["nonsense"])), 3);
    assert_eq!(code(&home.run(&["--help"])), 0);
}

#[test]
fn a_results_file_is_described() {
    let home = Home::new();
    let rows: String = (0..200)
        .map(|i| format!("{i},{},{}\n", i % 3, (i % 3 + usize::from(i % 10 == 0)) % 3))
        .collect();
    home.write("rows.csv", &format!("example_id,y_true,y_pred\n{rows}"));
    let checked = home.run(&["results", "check", "rows.csv", "--json"]);
    let value: serde_json::Value = serde_json::from_slice(&checked.stdout).expect("JSON");
    assert_eq!(value["examples"], 200, "{value:#}");
    assert_eq!(value["metrics"]["correct"]["mean"], 0.9);
    assert_eq!(code(&home.run(&["results", "check", "none.csv"])), 5);
    home.write("odd.csv", "a,b\n1,2\n");
    let odd = home.run(&["results", "check", "odd.csv"]);
    assert!(code(&odd) == 3 && err(&odd).contains("odd.csv"), "{}", err(&odd));
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let home = Home::new();
    let script =
        format!("{} explain | head -n 1; exit ${{PIPESTATUS[0]}}", env!("CARGO_BIN_EXE_runyard"));
    let output = Command::new("bash").args(["-c", &script]).current_dir(home.path()).output();
    let output = output.expect("bash starts");
    assert_eq!((code(&output), err(&output).as_str()), (0, ""));
}
