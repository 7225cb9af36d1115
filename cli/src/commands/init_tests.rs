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
