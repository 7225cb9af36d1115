//! Interpreters and builders on this host.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::EnvironmentError;

/// A Python interpreter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Python {
    /// Where it really lies (a shim of a version manager is followed).
    pub path: PathBuf,
    /// Its full version, as `3.11.7`.
    pub version: String,
}

/// The interpreter for a version (`3.11`, `3.11.7`), or the host's `python3`.
pub fn find_python(wanted: Option<&str>) -> Result<Python, EnvironmentError> {
    let mut names: Vec<String> = Vec::new();
    if let Some(w) = wanted {
        let minor: Vec<&str> = w.split('.').take(2).collect();
        names.push(format!("python{}", minor.join(".")));
    }
    names.extend(["python3".to_string(), "python".to_string()]);
    let mut tried = Vec::new();
    for name in names {
        let Some(python) = ask(&name) else {
            tried.push(format!("{name}: none"));
            continue;
        };
        if wanted.is_none_or(|w| matches_version(&python.version, w)) {
            return Ok(python);
        }
        tried.push(format!("{name}: {}", python.version));
    }
    let wanted = wanted.unwrap_or("3").to_string();
    Err(EnvironmentError::NoPython { wanted, tried: tried.join(", ") })
}

/// `3.11` matches `3.11.7` and not `3.1.1`.
fn matches_version(have: &str, wanted: &str) -> bool {
    have == wanted || have.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('.'))
}

fn ask(name: &str) -> Option<Python> {
    const SCRIPT: &str =
        "import platform, sys; print(platform.python_version()); print(sys.executable)";
    let out = Command::new(name)
        .args(["-I", "-c", SCRIPT])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    let mut lines = text.lines();
    let version = lines.next()?.trim().to_string();
    let path = PathBuf::from(lines.next()?.trim());
    version.starts_with('3').then_some(Python { path, version })
}

/// `uv` on the PATH.
pub(super) fn find_uv() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|d| d.join("uv")).find(|p| is_executable(p))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_match_by_part() {
        assert!(matches_version("3.11.7", "3.11") && matches_version("3.11.7", "3.11.7"));
        assert!(!matches_version("3.1.1", "3.11") && !matches_version("3.11.7", "3.1"));
    }

    #[test]
    fn a_missing_version_is_named_with_what_was_found() {
        let text = find_python(Some("3.99")).expect_err("no such Python").to_string();
        assert!(text.contains("Python 3.99") && text.contains("python3.99"), "{text}");
    }
}
