//! The commit that the program is built from, for `runyard version`: RUNYARD_COMMIT where the packager
//! gives it, else what git says of a release build. A build for development has none: asking again after
//! each commit would compile this crate anew each time.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=RUNYARD_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = match std::env::var("RUNYARD_COMMIT") {
        Ok(commit) => commit,
        Err(_) if release => from_git().unwrap_or_default(),
        Err(_) => String::new(),
    };
    println!("cargo:rustc-env=RUNYARD_COMMIT={}", commit.trim());
}

/// The commit that is checked out, with a mark where files differ from it.
fn from_git() -> Option<String> {
    // Written at each commit and each change of branch.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo:rerun-if-changed={log}");
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changes = git(&["status", "--porcelain", "--untracked-files=no"]).unwrap_or_default();
    Some(if changes.is_empty() { commit } else { format!("{commit}-dirty") })
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
