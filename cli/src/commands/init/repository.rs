//! What a repository has: scripts, requirements, data that git ignores.

mod data;

use std::collections::BTreeSet;
use std::path::Path;

use super::argv::arguments;
use super::options::{Opt, options};
use super::python::{Value, calls, strings};

/// A script, with what its text tells.
#[derive(Debug, Clone)]
pub(super) struct Script {
    /// Relative to the repository.
    pub(super) path: String,
    pub(super) options: Vec<Opt>,
    /// String literals, for the paths among them.
    pub(super) literals: BTreeSet<String>,
    /// Relative paths that it writes, as far as they are literals.
    pub(super) writes: Vec<String>,
    /// Literal paths that it reads.
    pub(super) reads: Vec<String>,
    pub(super) text: String,
}

/// A folder or file of data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Data {
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) folder: bool,
}

/// A repository as `init` sees it.
#[derive(Debug, Clone, Default)]
pub(super) struct Repository {
    pub(super) prepare: Option<Script>,
    pub(super) train: Option<Script>,
    pub(super) eval: Option<Script>,
    pub(super) serve: Option<Script>,
    /// `requirements.txt`, or `pyproject.toml`.
    pub(super) python: Option<String>,
    /// Whether the requirements name a library that computes on GPUs.
    pub(super) gpu: bool,
    pub(super) data: Vec<Data>,
    pub(super) in_git: bool,
}

const PREPARE: &[&str] = &["prepare.py", "preprocess.py", "prepare_data.py", "make_data.py"];
const TRAIN: &[&str] = &["train.py", "training.py", "fit.py", "train_model.py"];
const EVAL: &[&str] = &["eval.py", "evaluate.py", "evaluation.py", "evaluate_model.py"];
const SERVE: &[&str] = &["serve.py", "server.py", "serving.py", "app.py", "api.py"];
/// Folders in which scripts are looked for, the repository itself first.
const FOLDERS: &[&str] = &["", "src", "scripts"];
/// The largest script that is read, in bytes.
const SCRIPT_BYTES_MAX: u64 = 1 << 20;

/// Reads a repository. What can't be read is passed over.
pub(super) fn read(root: &Path) -> Repository {
    let python =
        ["requirements.txt", "pyproject.toml"].iter().find(|name| root.join(name).is_file());
    let requirements = python.and_then(|name| fs_err::read_to_string(root.join(name)).ok());
    let lower = requirements.unwrap_or_default().to_ascii_lowercase();
    let gpu = ["torch", "tensorflow", "jax", "cupy", "transformers", "vllm"];
    let train = script(root, TRAIN);
    let ignored = data::ignored(root);
    let mut repository = Repository {
        prepare: script(root, PREPARE),
        eval: script(root, EVAL),
        serve: script(root, SERVE),
        python: python.map(|name| (*name).to_owned()),
        gpu: gpu.iter().any(|name| {
            lower.lines().any(|line| line.trim_start_matches([' ', '"', '\'']).starts_with(name))
        }),
        data: Vec::new(),
        in_git: ignored.is_some(),
        train,
    };
    repository.data = data::find(root, ignored.as_deref(), &repository);
    repository
}

fn script(root: &Path, names: &[&str]) -> Option<Script> {
    let paths = FOLDERS
        .iter()
        .flat_map(|folder| names.iter().map(move |name| Path::new(folder).join(name)));
    for path in paths {
        let full = root.join(&path);
        let small = full.metadata().is_ok_and(|m| m.is_file() && m.len() <= SCRIPT_BYTES_MAX);
        if let (true, Ok(bytes)) = (small, fs_err::read(&full)) {
            return Some(understand(
                path.display().to_string(),
                String::from_utf8_lossy(&bytes).into(),
            ));
        }
    }
    None
}

fn understand(path: String, text: String) -> Script {
    let literals = strings(&text).into_iter().collect();
    let mut options = options(&text);
    if options.is_empty() {
        options = arguments(&text);
    }
    Script { path, options, literals, writes: writes(&text), reads: reads(&text), text }
}

/// Literal paths given to calls that read.
fn reads(text: &str) -> Vec<String> {
    let calls = calls(text);
    let read = calls.iter().filter_map(|call| {
        let method = call.method();
        let reads = match method {
            "open" => match call.positional.get(1).or(call.keyword("mode")) {
                Some(Value::Text(mode)) => !mode.contains(['w', 'a', 'x']),
                _ => true,
            },
            "load" | "loadtxt" | "genfromtxt" | "load_dataset" => true,
            _ => method.starts_with("read_"),
        };
        match call.positional.first() {
            Some(Value::Text(path)) if reads => Some(path.clone()),
            _ => None,
        }
    });
    read.collect()
}

/// Literal paths given to calls that write.
fn writes(text: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for call in calls(text) {
        let second = || call.positional.get(1);
        let path = match call.method() {
            // dump(object, path), torch.save(object, path)
            "dump" => second().or(call.keyword("filename")),
            "save" if call.name.contains("torch") || call.positional.len() > 1 => second(),
            "save" | "save_model" | "save_pretrained" | "save_weights" | "to_csv" | "to_json"
            | "to_parquet" | "savez" | "savetxt" | "write_csv" | "write_ndjson" | "write_text" => {
                call.positional.first()
            }
            // pickle.dump(model, open("model.pkl", "wb")), json.dump(…, open("metrics.json", "w"))
            "open" => match second().or(call.keyword("mode")) {
                Some(Value::Text(mode)) if mode.contains(['w', 'a', 'x']) => {
                    call.positional.first()
                }
                _ => None,
            },
            _ => None,
        };
        if let Some(Value::Text(path)) = path
            && is_relative(path)
            && !paths.contains(path)
        {
            paths.push(path.clone());
        }
    }
    paths
}

/// Whether a text can be a path within the repository.
pub(super) fn is_relative(path: &str) -> bool {
    let tame = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    !path.is_empty()
        && !path.starts_with('/')
        && path.chars().all(tame)
        && !path.split('/').any(|part| part == "..")
}

impl Repository {
    /// The scripts, in the order in which they run.
    pub(super) fn scripts(&self) -> impl Iterator<Item = &Script> {
        [&self.prepare, &self.train, &self.eval, &self.serve].into_iter().flatten()
    }
}

impl Script {
    /// Whether a path, or something in it, stands among the literals.
    pub(super) fn mentions(&self, path: &str) -> bool {
        self.literals
            .iter()
            .any(|text| data::within(text.trim_start_matches("./").trim_end_matches('/'), path))
    }
    /// Whether its text has a word.
    pub(super) fn has(&self, word: &str) -> bool {
        self.text.contains(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_script_writes() {
        let text = r#"
joblib.dump(model, "models/m.joblib")
torch.save(net.state_dict(), "net.pt")
pickle.dump(m, open("p.pkl", "wb"))
json.dump(metrics, open("metrics.json", mode="w"))
frame.to_csv("rows.csv", index=False)
open("data/train.csv")
np.save("/abs.npy", x)
model.save_pretrained(f"{args.out}/x")
"#;
        assert_eq!(
            writes(text),
            ["models/m.joblib", "net.pt", "p.pkl", "metrics.json", "rows.csv"]
        );
    }

    #[test]
    fn paths_of_a_folder() {
        let script = understand("train.py".into(), "pd.read_csv('./data/a.csv')".into());
        assert!(script.mentions("data") && !script.mentions("dat"));
        assert!(!is_relative("../x") && !is_relative("/x") && is_relative("a/b-c.csv"));
    }
}
