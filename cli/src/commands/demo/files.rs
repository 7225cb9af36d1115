//! The example, carried in the binary, so that an installed one can show it.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;

use super::prerequisites::answers;
use crate::errors::{Context as _, Error, Kind, Result};

macro_rules! example {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../examples/digits/", $name)))),*]
    };
}

const FILES: &[(&str, &str)] = example![
    "runyard.yaml",
    "requirements.txt",
    "prepare.py",
    "train.py",
    "evaluate.py",
    "serve.py",
    "warmup.jsonl",
];
/// The digits that the pixels of the warm-up show.
pub(super) const DIGITS: [u64; 3] = [4, 2, 7];

#[derive(Deserialize)]
struct WarmUp {
    body: serde_json::Value,
}

/// The body of a real request: the pixels of the warm-up.
pub(super) fn request() -> Result<String> {
    let (_, lines) = FILES
        .iter()
        .find(|(name, _)| *name == "warmup.jsonl")
        .ok_or_else(|| Error::new(Kind::Internal, "the example has no warm-up"))?;
    let warm_up: WarmUp = serde_json::from_str(lines.lines().next().unwrap_or_default())
        .context(Kind::Internal, || "the example's warm-up is no JSON".into())?;
    Ok(warm_up.body.to_string())
}

/// Writes the example into `dir/digits`, as a git repository where git is there, so that the lineage
/// names a commit. Returns its pipeline file.
pub(super) async fn write(dir: &Path) -> Result<PathBuf> {
    let folder = dir.join("digits");
    fs_err::create_dir_all(&folder)
        .context(Kind::Failed, || "cannot make the example's folder".into())?;
    for (name, text) in FILES {
        fs_err::write(folder.join(name), text)
            .context(Kind::Failed, || "cannot write the example".into())?;
    }
    if answers("git", &["--version"]).await {
        for step in [
            &["init", "-q", "-b", "main"][..],
            &["add", "."],
            &["commit", "-q", "-m", "Digits, a first model"],
        ] {
            git(&folder, step).await;
        }
    }
    Ok(folder.join("runyard.yaml"))
}

/// Without git's help the demo works as well, so a failure is no error.
async fn git(folder: &Path, step: &[&str]) {
    let mut command = tokio::process::Command::new("git");
    // Whatever a person's own configuration asks for (signing, hooks, templates) is not for this folder.
    command
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .args(["-c", "user.name=Runyard demo", "-c", "user.email=demo@localhost"])
        .args(step)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if !command.status().await.is_ok_and(|status| status.success()) {
        tracing::info!(?step, "git did not");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_parses_and_its_warm_up_is_a_request() {
        let (_, text) = FILES.iter().find(|(name, _)| *name == "runyard.yaml").expect("is there");
        let parsed = runyard_pipeline::parse("runyard.yaml", text)
            .unwrap_or_else(|found| panic!("{found:?}"));
        assert!(parsed.warnings.is_empty(), "{:?}", parsed.warnings);
        let body: serde_json::Value =
            serde_json::from_str(&request().expect("a request")).expect("json");
        let pixels = body["pixels"].as_array().expect("a list");
        assert_eq!(pixels.len(), DIGITS.len());
        assert!(pixels.iter().all(|row| row.as_array().is_some_and(|row| row.len() == 64)));
    }
}
