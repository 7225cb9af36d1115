//! The Python environment of a stage: built from what its code says, or one of the host.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use runyard_proto::agent::Python;
use runyard_runtime::environment::{Built, EnvironmentError, EnvironmentSpec};
use runyard_runtime::workspace::Workspace;

use super::{Fault, blocking, chain};
use crate::shared::{Job, Shared};

/// A build says so many times a second, at most, how far it is.
const TELL_EVERY: Duration = Duration::from_millis(300);

/// An environment to run in.
#[derive(Debug)]
pub(super) struct Environment {
    pub(super) path: PathBuf,
    pub(super) built: Option<Built>,
}

/// The environment that a stage asks for.
pub(super) async fn environment(
    shared: &Arc<Shared>,
    job: &Arc<Job>,
    python: &Python,
    space: &Workspace,
) -> Result<Environment, Fault> {
    let (shared, job) = (shared.clone(), job.clone());
    let (python, work) = (python.clone(), space.work());
    blocking(move || {
        if !python.venv.is_empty() {
            return of_host(&python.venv, &work);
        }
        let requirements = requirements(&python, &work)?;
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let spec = EnvironmentSpec {
            requirements,
            python: some(&python.version),
            index: some(&python.index),
        };
        let mut told: Option<Instant> = None;
        let built = shared.environments.get(&spec, |line| {
            if !line.trim().is_empty() && told.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
                told = Some(Instant::now());
                let line: String = line.chars().take(200).collect();
                shared.board.now(&job.key, |report| {
                    report.phase = runyard_proto::agent::Phase::Preparing as i32;
                    report.detail = format!("building the Python environment: {line}");
                });
            }
            match job.cancel.is_cancelled() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        let built = built.map_err(|error| fault(&error))?;
        shared.board.later(&job.key, |report| {
            let how = if built.cached { "from the cache" } else { "built" };
            report.detail = format!("Python {} environment {how}", built.python.version);
        });
        Ok(Environment { path: built.path.clone(), built: Some(built) })
    })
    .await
}

/// What the user's list asks for can't be installed: theirs. No interpreter, no disk: the node's.
fn fault(error: &EnvironmentError) -> Fault {
    match error {
        EnvironmentError::Step { .. } => Fault::failure(chain(error)),
        _ => Fault::caused(error),
    }
}

fn of_host(venv: &str, work: &Path) -> Result<Environment, Fault> {
    let path = work.join(venv);
    if path.join("bin/python").exists() {
        return Ok(Environment { path, built: None });
    }
    Err(Fault::error(format!(
        "`python: venv: {venv}`: there is no `{}` on this node",
        path.join("bin/python").display()
    )))
}

/// The bytes of the list of requirements.
fn requirements(python: &Python, work: &Path) -> Result<Vec<u8>, Fault> {
    if python.requirements_path.is_empty() {
        return Ok(python.requirements.clone().into_bytes());
    }
    let path = &python.requirements_path;
    let read = super::own_files::read(work, path, LIST_BYTES_MAX);
    let text = read.map_err(|why| Fault::failure(format!("`python: {path}`: {why}")))?;
    let name = Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match name {
        "pyproject.toml" => of_project(path, &text),
        "uv.lock" | "poetry.lock" | "Pipfile.lock" | "pdm.lock" => Err(Fault::failure(format!(
            "`python: {path}`: this kind of lock file can't be installed yet; export it to a \
             requirements file (`uv export -o requirements.txt`) and name that"
        ))),
        _ => Ok(text),
    }
}

/// No list of requirements is larger.
const LIST_BYTES_MAX: u64 = 16 << 20;

/// The dependencies of a project, as a list of requirements.
fn of_project(path: &str, text: &[u8]) -> Result<Vec<u8>, Fault> {
    #[derive(serde::Deserialize)]
    struct File {
        project: Option<Project>,
    }
    #[derive(serde::Deserialize)]
    struct Project {
        #[serde(default)]
        dependencies: Vec<String>,
    }
    let refused = |why: String| Fault::failure(format!("`python: {path}`: {why}"));
    let text = std::str::from_utf8(text).map_err(|_| refused("it is not UTF-8".into()))?;
    let file: File = toml::from_str(text).map_err(|error| refused(error.message().to_owned()))?;
    let project = file.project.ok_or_else(|| {
        refused("it has no `[project]` table; name a requirements file instead".into())
    })?;
    Ok(project.dependencies.iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_come_from_the_code_or_the_message_and_others_are_refused_with_a_remedy() {
        let dir = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            fs_err::write(dir.path().join(name), text).expect("written");
        };
        write("requirements.txt", "numpy\n");
        write("pyproject.toml", "[project]\nname='x'\ndependencies=['numpy>=2', 'pandas']\n");
        write("uv.lock", "");
        let read = |path: &str| {
            let python = Python { requirements_path: path.into(), ..Python::default() };
            requirements(&python, dir.path())
        };
        assert_eq!(read("requirements.txt").expect("read"), b"numpy\n");
        assert_eq!(read("pyproject.toml").expect("read"), b"numpy>=2\npandas\n");
        let text = read("uv.lock").expect_err("refused").reason;
        assert!(text.contains("uv export"), "{text}");
        let text = read("gone.txt").expect_err("absent").reason;
        assert!(text.contains("gone.txt"), "{text}");
        let sent = Python { requirements: "a".into(), ..Python::default() };
        assert_eq!(requirements(&sent, dir.path()).expect("sent"), b"a");
    }
}
