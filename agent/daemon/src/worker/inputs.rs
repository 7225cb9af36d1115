//! Inputs: trees of the store placed in the working directory, and folders of the host.

use std::path::{Path, PathBuf};

use runyard_blobs::{RelPath, Tree};
use runyard_proto::agent::{Input, WorkerSpec};
use runyard_runtime::workspace::Workspace;

use super::prepare::{digest, downloader, refused};
use super::{Fault, blocking};
use crate::shared::{Job, Shared};

/// Places all inputs; answers each one's name and absolute path.
pub(super) async fn place(
    shared: &Shared,
    job: &Job,
    spec: &WorkerSpec,
    space: &Workspace,
) -> Result<Vec<(String, PathBuf)>, Fault> {
    let mut placed = Vec::new();
    for input in &spec.inputs {
        let path = if input.mount.is_empty() {
            tree(shared, job, input, space).await?
        } else {
            mount(shared, input, space).await?
        };
        // The outputs of a matrix lie side by side in one folder, which is what the stage is told.
        let told = match input.folder.as_str() {
            "" => path,
            folder => space.work().join(
                RelPath::parse(folder)
                    .map_err(|error| {
                        Fault::failure(format!("input `{}`: `at`: {error}", input.name))
                    })?
                    .as_str(),
            ),
        };
        let one = (input.name.clone(), told);
        if !placed.contains(&one) {
            placed.push(one);
        }
    }
    Ok(placed)
}

async fn tree(
    shared: &Shared,
    job: &Job,
    input: &Input,
    space: &Workspace,
) -> Result<PathBuf, Fault> {
    let what = format!("input `{}`", input.name);
    let downloader = downloader(shared, job, &what);
    let tree = downloader
        .tree(digest(&what, &input.root)?)
        .await
        .map_err(|error| refused(&what, &error))?;
    let at = at(input)?;
    let (folder, path) = target(&tree, &at, &input.at, &space.work());
    downloader
        .fetch_tree(&tree, &RelPath::default(), &folder)
        .await
        .map_err(|error| refused(&what, &error))?;
    // A single file under another name is renamed once it is there.
    if let (Some(file), true) = (tree.files.first(), path != folder) {
        let here = folder.join(file.path.as_str());
        if here != path {
            let to = path.clone();
            blocking(move || {
                fs_err::rename(&here, &to).map_err(|error| Fault::error(error.to_string()))
            })
            .await?;
        }
    }
    Ok(path)
}

/// The folder to fetch into, and what the stage is told. A tree of one file asked for at a path
/// with the file's own extension (`at: data/train.csv`) goes there as that file; everything else
/// is a folder.
fn target(tree: &Tree, at: &RelPath, written: &str, work: &Path) -> (PathBuf, PathBuf) {
    let path = work.join(at.as_str());
    let extension = |name: &str| Path::new(name).extension().map(|e| e.to_owned());
    if let [file] = tree.files.as_slice()
        && tree.dirs.is_empty()
        && !file.path.as_str().contains('/')
        && !written.ends_with('/')
        && extension(file.path.as_str()).is_some()
        && extension(file.path.as_str()) == extension(at.as_str())
    {
        let folder = path.parent().unwrap_or(work).to_path_buf();
        return (folder, path);
    }
    (path.clone(), path)
}

fn at(input: &Input) -> Result<RelPath, Fault> {
    let default = format!("inputs/{}", input.name);
    let written = if input.at.is_empty() { &default } else { &input.at };
    RelPath::parse(written)
        .map_err(|error| Fault::failure(format!("input `{}`: `at`: {error}", input.name)))
}

/// A folder or file of the host, below one that this node allows. It is given as it is: its bytes
/// are not copied.
async fn mount(shared: &Shared, input: &Input, space: &Workspace) -> Result<PathBuf, Fault> {
    let (name, wanted) = (input.name.clone(), PathBuf::from(&input.mount));
    let allowed = shared.config.mounts.clone();
    let link = match input.at.is_empty() {
        true => None,
        false => Some(space.work().join(at(input)?.as_str())),
    };
    blocking(move || {
        let real = check_mount(&name, &wanted, &allowed)?;
        let Some(link) = link else { return Ok(real) };
        let failed = |error: std::io::Error| Fault::error(format!("input `{name}`: {error}"));
        if let Some(parent) = link.parent() {
            fs_err::create_dir_all(parent).map_err(failed)?;
        }
        fs_err::os::unix::fs::symlink(&real, &link).map_err(failed)?;
        Ok(link)
    })
    .await
}

fn check_mount(name: &str, wanted: &Path, allowed: &[PathBuf]) -> Result<PathBuf, Fault> {
    let shown = wanted.display();
    let refused = |why: String| {
        Fault::error(format!("input `{name}`: this node does not give `mount:{shown}`: {why}"))
    };
    let remedy = format!(
        "start its agent with `--mount {}`",
        wanted.parent().filter(|parent| parent.as_os_str().len() > 1).unwrap_or(wanted).display()
    );
    if !wanted.is_absolute() {
        return Err(refused("the path is not absolute".into()));
    }
    // By what it really is: a link may lead anywhere.
    let below = |path: &Path| {
        allowed.iter().any(|one| one.canonicalize().is_ok_and(|one| path.starts_with(one)))
    };
    match wanted.canonicalize() {
        Ok(real) if below(&real) => Ok(real),
        Ok(_) if allowed.is_empty() => Err(refused(format!("it allows no mounts; {remedy}"))),
        Ok(real) => {
            let list: Vec<String> = allowed.iter().map(|one| one.display().to_string()).collect();
            let list = list.join(", ");
            let real = real.display();
            Err(refused(format!("`{real}` is not below what it allows ({list}); {remedy}")))
        }
        Err(error) => Err(refused(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_given_only_below_what_is_allowed_whatever_links_say() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().canonicalize().expect("real");
        for name in ["data/set", "secret"] {
            fs_err::create_dir_all(root.join(name)).expect("made");
        }
        let link = root.join("data/way-out");
        fs_err::os::unix::fs::symlink(root.join("secret"), &link).expect("linked");
        let allowed = vec![root.join("data")];
        let given = check_mount("x", &root.join("data/set"), &allowed).expect("given");
        assert_eq!(given, root.join("data/set"));
        for (bad, allowed, word) in [
            (root.join("secret"), &allowed[..], "--mount"),
            (link, &allowed[..], "not below"),
            (root.join("data/../secret"), &allowed[..], "not below"),
            (root.join("data/set"), &[][..], "allows no mounts"),
            (root.join("data/gone"), &allowed[..], "No such file"),
            ("data".into(), &allowed[..], "not absolute"),
        ] {
            let fault = check_mount("x", &bad, allowed).expect_err(word);
            assert!(fault.reason.contains(word), "{}", fault.reason);
            assert!(fault.reason.contains("input `x`"), "{}", fault.reason);
        }
    }

    #[test]
    fn a13_at_stays_in_the_working_directory() {
        for bad in ["/etc", "../x", "a/../../b", "a\0b"] {
            let input = Input { name: "x".into(), at: bad.into(), ..Input::default() };
            let fault = at(&input).expect_err(bad);
            assert!(fault.reason.contains("input `x`"), "{}", fault.reason);
        }
        let input = Input { name: "data".into(), ..Input::default() };
        assert_eq!(at(&input).expect("fine").as_str(), "inputs/data");
    }
}
