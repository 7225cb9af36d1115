use std::path::Path;
use std::process::{Command, Stdio};

use super::*;

const TRAIN: &str = r#"
import argparse, joblib
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1, help="step size (default: %(default)s)")
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--solver", choices=["lbfgs", "saga"], default="lbfgs")
parser.add_argument("--verbose", action="store_true")
parser.add_argument("--data", default="data/wine.csv")
parser.add_argument("--out", default="out")
"#;
const EVAL: &str = r#"
import argparse, csv
parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--data", default="data/wine.csv")
rows = csv.writer(open("rows.csv", "w"))
"#;

fn repository_with(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("tempdir");
    for (name, text) in files {
        let path = dir.path().join(name);
        fs_err::create_dir_all(path.parent().expect("has a parent")).expect("mkdir");
        fs_err::write(path, text).expect("write");
    }
    dir
}

fn git_init(dir: &Path) {
    let quiet = |arguments: &[&str]| {
        let status = Command::new("git")
            .arg("-C")
            .arg(dir)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    };
    assert!(quiet(&["init", "-q"]), "these tests need git");
}

/// The file for a repository; it must parse, without warnings.
fn written(dir: &Path) -> compose::Composed {
    let repository = repository::read(dir);
    let mut composed = compose::compose(&repository, "wine", Path::new("/repo"));
    match runyard_pipeline::parse("runyard.yaml", &composed.text) {
        Ok(parsed) => {
            let warnings: Vec<String> =
                parsed.warnings.iter().map(|warning| warning.render(&composed.text)).collect();
            assert!(warnings.is_empty(), "{}\n{}", composed.text, warnings.join("\n"));
        }
        Err(found) => {
            let shown: Vec<String> = found.iter().map(|d| d.render(&composed.text)).collect();
            panic!("{}\n{}", composed.text, shown.join("\n"));
        }
    }
    composed.text.push_str(&format!("\n--- notes\n{}\n", composed.notes.join("\n")));
    composed
}

#[test]
fn argparse_scripts_with_ignored_data_and_rows() {
    let serve = "import os\nport = int(os.environ['PORT'])\nmodel = os.environ['RUNYARD_MODEL']\n";
    let dir = repository_with(&[
        ("train.py", TRAIN),
        ("eval.py", EVAL),
        ("serve.py", serve),
        ("requirements.txt", "scikit-learn\n"),
        (".gitignore", "data/\n__pycache__/\n"),
        ("data/wine.csv", "a,b\n1,2\n"),
    ]);
    git_init(dir.path());
    insta::assert_snapshot!(written(dir.path()).text);
}

#[test]
fn click_scripts_without_rows_show_the_three_lines() {
    let train = "import click, torch\n@click.command()\n@click.option('--lr', default=1e-3)\n\
                 @click.option('--mode', type=click.Choice(['fast', 'slow']), default='fast')\n\
                 def main(lr, mode):\n    torch.save(net, 'models/net.pt')\n";
    let eval = "import torch\nnet = torch.load('models/net.pt')\nprint('accuracy', 0.9)\n";
    let dir = repository_with(&[
        ("src/train.py", train),
        ("src/eval.py", eval),
        ("pyproject.toml", "[project]\nname='x'\ndependencies=[\n\"torch\"]\n"),
    ]);
    git_init(dir.path());
    insta::assert_snapshot!(written(dir.path()).text);
}

#[test]
fn scripts_without_options_outside_git() {
    let train = "import joblib\njoblib.dump(1, 'model.joblib')\n";
    let eval = "import json\njson.dump({'accuracy': 1}, open('metrics.json', 'w'))\n";
    let dir = repository_with(&[("train.py", train), ("eval.py", eval), ("data/x.csv", "1\n")]);
    insta::assert_snapshot!(written(dir.path()).text);
}

#[test]
fn a_repository_without_scripts_gets_a_stage_to_edit() {
    let dir = repository_with(&[("README.md", "hello")]);
    let text = written(dir.path()).text;
    assert!(text.contains("hello:") && text.contains("no train.py"), "{text}");
}

/// The pipeline of a repository with these scripts, and its text.
fn pipeline(files: &[(&str, &str)]) -> (runyard_pipeline::Pipeline, String) {
    let dir = repository_with(files);
    git_init(dir.path());
    let text = written(dir.path()).text;
    let file = text.split("\n--- notes").next().unwrap_or_default();
    let parsed = runyard_pipeline::parse("runyard.yaml", file).expect("`written` parsed it");
    (parsed.pipeline, text)
}

/// The command of the evaluation and the files of its results; the gate must be there.
fn evaluation(files: &[(&str, &str)]) -> (String, Vec<String>) {
    let (pipeline, text) = pipeline(files);
    let stage = pipeline.stage("eval").unwrap_or_else(|| panic!("no evaluation in\n{text}"));
    assert!(pipeline.stage("gate").is_some(), "the rows are good for a gate:\n{text}");
    let results = stage.results.as_ref().map(|results| results.files.clone()).unwrap_or_default();
    (stage.command().unwrap_or_default().to_owned(), results)
}

const SAVE: &str = "import joblib\njoblib.dump(model, 'out/model.joblib')\n";

#[test]
fn predictions_of_an_argparse_script_are_results() {
    let eval = r#"
import argparse, csv, json
p = argparse.ArgumentParser()
p.add_argument("--model-dir", default="out")
p.add_argument("--data", default="data/test.csv")
p.add_argument("--metrics", default="metrics.json")
p.add_argument("--rows", required=True, help="a line for each example")
args = p.parse_args()
with open(args.rows, "w") as f:
    writer = csv.writer(f)
json.dump(scores, open(args.metrics, "w"))
"#;
    let files = [
        ("train.py", SAVE),
        ("eval.py", eval),
        (".gitignore", "data/\n"),
        ("data/test.csv", "a\n1\n"),
    ];
    let (command, results) = evaluation(&files);
    assert_eq!(results, ["rows.csv"], "{command}");
    assert!(command.contains("--rows rows.csv"), "{command}");
    assert!(command.contains("--model-dir \"$RUNYARD_INPUT_MODEL\""), "{command}");
    assert!(!command.contains("RUNYARD_PARAM_ROWS"), "where to write is no parameter: {command}");
}

#[test]
fn predictions_of_a_click_script_are_results() {
    let eval = r#"
import click, json, os
@click.command()
@click.option("--checkpoint", type=click.Path(exists=True), required=True)
@click.option("--output-dir", type=click.Path(), default="eval_out")
@click.option("--batch-size", default=64)
def main(checkpoint, output_dir, batch_size):
    with open(os.path.join(output_dir, "predictions.jsonl"), "w") as f:
        for row in rows: f.write(json.dumps(row) + "\n")
"#;
    let (command, results) = evaluation(&[("src/train.py", SAVE), ("src/evaluate.py", eval)]);
    assert_eq!(results, ["eval_out/predictions.jsonl"], "{command}");
    assert!(command.starts_with("mkdir -p eval_out && "), "{command}");
    assert!(command.contains("--output-dir eval_out"), "{command}");
    assert!(command.contains("--checkpoint \"$RUNYARD_INPUT_MODEL\""), "{command}");
    assert!(command.contains("--batch-size \"$RUNYARD_PARAM_BATCH_SIZE\""), "{command}");
}

#[test]
fn predictions_of_a_plain_sys_argv_script_are_results() {
    let train = "import sys, pickle\ndata = sys.argv[1]\nout = sys.argv[2]\nlr = float(sys.argv[3]) if len(sys.argv) > 3 else 0.1\n\
                 pickle.dump(model, open(out, 'wb'))\n";
    let eval = "import sys, pandas as pd\nmodel_path, data = sys.argv[1:3]\n\
                test = pd.read_csv('data/rows.csv')\n\
                pd.DataFrame(rows).to_csv('predictions.csv', index=False)\n";
    let files = [
        ("train.py", train),
        ("eval.py", eval),
        (".gitignore", "data/\n"),
        ("data/rows.csv", "a\n1\n"),
    ];
    let (command, results) = evaluation(&files);
    assert_eq!(results, ["predictions.csv"], "what is read is not what is written");
    assert_eq!(command, "python eval.py \"$RUNYARD_INPUT_MODEL\" data");
    let (pipeline, text) = pipeline(&files);
    let train = pipeline.stage("train").and_then(|stage| stage.command()).unwrap_or_default();
    assert_eq!(
        train, "mkdir -p out && python train.py data out \"$RUNYARD_PARAM_LR\"",
        "each argument in its place:\n{text}"
    );
}

#[test]
fn rows_in_the_results_folder_need_no_pattern() {
    let eval = "import os\nout = os.environ['RUNYARD_RESULTS']\n";
    let dir = repository_with(&[("train.py", "open('out/m', 'w')"), ("eval.py", eval)]);
    let text = written(dir.path()).text;
    assert!(!text.contains("results: \"") && text.contains("\n  gate:"), "{text}");
    let dir = repository_with(&[("train.py", "pass"), ("eval.py", eval)]);
    let text = written(dir.path()).text;
    assert!(text.contains("results: {}"), "{text}");
}

#[test]
fn huge_data_is_a_mount() {
    let dir = repository_with(&[("train.py", "open('data/x.bin')\n"), ("data/a.csv", "")]);
    let huge = fs_err::File::create(dir.path().join("data/x.npy")).expect("create");
    // A sparse file: the length counts, no space is taken.
    huge.set_len(compose::MOUNT_BYTES + 1).expect("a long file");
    let text = written(dir.path()).text;
    assert!(text.contains("mount:/repo/data") && text.contains("file:data"), "{text}");
}

#[test]
fn hostile_scripts_and_names_still_give_a_file_that_parses() {
    let train = "p.add_argument('--x: y', default=1)\np.add_argument('--help2', default='a\\n# b: c', help='say \"hi\" {')\n\
                 p.add_argument('--on', default='yes')\np.add_argument('--n', type=int, default=3.5)\n\
                 p.add_argument('--big', type=int, default=99999999999999999999)\n\
                 p.add_argument('--choice', choices=['a', None], default='a')\nopen('../../etc/x', 'w')\n\
                 p.add_argument('--out', default='/abs/dir')\n";
    let dir = repository_with(&[("train.py", train)]);
    let text = written(dir.path()).text;
    assert!(!text.contains("/abs/dir") && !text.contains("etc/x"), "{text}");
}
