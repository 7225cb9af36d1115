//! What the demo needs of this host, checked before anything starts and told in one message.

use std::path::Path;
use std::process::Stdio;

use crate::errors::{Error, Result};

/// Bytes that the Python environment, the logs and the blobs take, generously.
const SPACE: u64 = 1 << 30;
const PYTHON: &str = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2]); \
                      sys.exit(0 if sys.version_info >= (3, 9) else 9)";

/// Checks everything; the error names all that is missing, each with its remedy.
pub(super) async fn check(dir: &Path, cache: &Path) -> Result<()> {
    let mut missing = Vec::new();
    if !answers("uv", &["--version"]).await
        && let Err(problem) = python().await
    {
        missing.push(problem);
    }
    for (what, folder) in [("demo's folder", dir), ("cache folder", cache)] {
        if let Err(problem) = room(folder) {
            missing.push(format!("the {what} `{}` {problem}", folder.display()));
        }
    }
    if let Err(error) = std::net::TcpListener::bind(("127.0.0.1", 0)) {
        missing.push(format!(
            "no port of 127.0.0.1 can be opened ({error}): allow loopback connections"
        ));
    }
    match missing.as_slice() {
        [] => Ok(()),
        [one] => Err(Error::failed(format!("the demo cannot start: {one}"))),
        many => {
            let lines: String = many.iter().map(|line| format!("\n  - {line}")).collect();
            Err(Error::failed(format!(
                "the demo cannot start, {} things are missing:{lines}",
                many.len()
            )))
        }
    }
}

async fn python() -> Result<(), String> {
    let remedy = "install Python 3.9 or newer with venv and pip (Debian: `apt install python3-venv`), or `uv`";
    let asked =
        tokio::process::Command::new("python3").args(["-c", PYTHON]).stdin(Stdio::null()).output();
    let answer = match asked.await {
        Ok(answer) => answer,
        Err(_) => return Err(format!("there is no `python3` and no `uv` on the PATH: {remedy}")),
    };
    let version = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
    match answer.status.code() {
        Some(0) => Ok(()),
        Some(9) => Err(format!("`python3` is {version}, too old: {remedy}")),
        _ => {
            let said = String::from_utf8_lossy(&answer.stderr);
            let last = said.lines().last().unwrap_or("it failed").to_owned();
            Err(format!("`python3` has no venv with pip ({last}): {remedy}"))
        }
    }
}

/// Whether a program is there and runs.
pub(super) async fn answers(program: &str, args: &[&str]) -> bool {
    let mut command = tokio::process::Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().await.is_ok_and(|status| status.success())
}

/// Whether a folder can be written to and has space.
fn room(folder: &Path) -> Result<(), String> {
    let probe = folder.join(format!(".runyard-{}", std::process::id()));
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&probe, b"x"))
        .and_then(|()| std::fs::remove_file(&probe))
        .map_err(|error| {
            format!("cannot be written to ({error}): make it writable, or set XDG_CACHE_HOME")
        })?;
    let stat =
        nix::sys::statvfs::statvfs(folder).map_err(|error| format!("is of no use ({error})"))?;
    #[expect(clippy::useless_conversion, reason = "the width of these numbers differs by platform")]
    let free = u64::from(stat.blocks_available()).saturating_mul(u64::from(stat.fragment_size()));
    match free >= SPACE {
        true => Ok(()),
        false => Err(format!(
            "has {} free, and 1 GiB is needed: make room, or set XDG_CACHE_HOME",
            crate::output::bytes(free)
        )),
    }
}
