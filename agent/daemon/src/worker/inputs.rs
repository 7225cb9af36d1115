//! Inputs: trees of the store placed in the working directory, and folders of the host.

use std::path::{Path, PathBuf};

use runyard_blobs::{RelPath, Tree};
use runyard_proto::agent::{Input, OutputSpec, WorkerSpec};
use runyard_runtime::workspace::Workspace;

use super::prepare::{digest, downloader, refused};
use super::{Fault, blocking};
use crate::shared::{Job, Shared};

/// What was placed.
#[derive(Debug, Default)]
pub(super) struct Placed {
    /// Each input's name and absolute path.
    pub(super) inputs: Vec<(String, PathBuf)>,
    /// What of the host is only to be read: its path, and where the stage finds it.
    pub(super) mounts: Vec<(PathBuf, PathBuf)>,
}

/// Places all inputs.
pub(super) async fn place(
    shared: &Shared,
    job: &Job,
    spec: &WorkerSpec,
    space: &Workspace,
) -> Result<Placed, Fault> {
    let mut placed = Placed::default();
    for input in &spec.inputs {
        let path = if input.mount.is_empty() {
            tree(shared, job, input, space).await?
        } else {
            no_output_in(input, &spec.outputs)?;
            let (host, path) = mount(shared, input, space).await?;
            placed.mounts.push((host, path.clone()));
            path
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
        if !placed.inputs.contains(&one) {
            placed.inputs.push(one);
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
    through_no_link(&input.name, &at, &space.work())?;
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
/// are not copied. Answers its real path and where the stage finds it: a link, in whose place the
/// shim mounts it read-only where it can.
async fn mount(
    shared: &Shared,
    input: &Input,
    space: &Workspace,
) -> Result<(PathBuf, PathBuf), Fault> {
    let (name, wanted) = (input.name.clone(), PathBuf::from(&input.mount));
    let allowed = shared.config.mounts.clone();
    let link = match input.at.is_empty() {
        true => None,
        false => {
            let at = at(input)?;
            through_no_link(&name, &at, &space.work())?;
            Some(space.work().join(at.as_str()))
        }
    };
    if !shared.isolation.read_only_mounts {
        let path = &input.mount;
        tracing::warn!(input = name, path, "a stage could write into it: no read-only mounts here");
    }
    blocking(move || {
        let real = check_mount(&name, &wanted, &allowed)?;
        let Some(link) = link else { return Ok((real.clone(), real)) };
        let failed = |error: std::io::Error| Fault::error(format!("input `{name}`: {error}"));
        if let Some(parent) = link.parent() {
            fs_err::create_dir_all(parent).map_err(failed)?;
        }
        fs_err::os::unix::fs::symlink(&real, &link).map_err(failed)?;
        Ok((real, link))
    })
    .await
}

/// Refuses an output that a mount would hold: nothing can be written there, and what the host has
/// there is not the stage's.
fn no_output_in(input: &Input, outputs: &[OutputSpec]) -> Result<(), Fault> {
    if input.at.is_empty() {
        return Ok(());
    }
    let place = at(input)?;
    for output in outputs {
        let path = RelPath::parse(&output.path);
        // One that is no path is refused when it is taken.
        if path.is_ok_and(|path| Path::new(path.as_str()).starts_with(place.as_str())) {
            return Err(Fault::failure(format!(
                "output `{}`: `{}` lies in `{}`, where the input `{}` shows `mount:{}` read-only; \
                 give one of them another path",
                output.name,
                output.path,
                place.as_str(),
                input.name,
                input.mount
            )));
        }
    }
    Ok(())
}

/// Refuses an `at` that leads through a link, or is one: what is placed there would be written to
/// where the link leads, which for a mount is a folder of the host.
fn through_no_link(name: &str, at: &RelPath, work: &Path) -> Result<(), Fault> {
    let mut path = work.to_path_buf();
    for part in at.as_str().split('/') {
        path.push(part);
        if path.symlink_metadata().is_ok_and(|found| found.is_symlink()) {
            let link = path.strip_prefix(work).unwrap_or(&path).display();
            return Err(Fault::failure(format!(
                "input `{name}`: `at: {}`: `{link}` is a link or a `mount:` input, and nothing is \
                 placed in one; give it another `at`",
                at.as_str()
            )));
        }
    }
    Ok(())
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
    fn a13_nothing_is_placed_in_a_mount() {
        let dir = tempfile::tempdir().expect("a folder");
        let (work, host) = (dir.path().join("work"), dir.path().join("host"));
        fs_err::create_dir_all(work.join("plain/deep")).expect("made");
        fs_err::create_dir_all(host.join("sub")).expect("made");
        fs_err::os::unix::fs::symlink(&host, work.join("plain/data")).expect("linked");
        let check = |at: &str| through_no_link("x", &RelPath::parse(at).expect("a path"), &work);
        for good in ["plain", "plain/deep", "plain/deep/new/er", "new"] {
            check(good).expect(good);
        }
        for bad in ["plain/data", "plain/data/sub", "plain/data/new"] {
            let fault = check(bad).expect_err(bad);
            assert!(fault.reason.contains("input `x`"), "{}", fault.reason);
            assert!(fault.reason.contains("`plain/data` is a link"), "{}", fault.reason);
        }
    }

    #[test]
    fn an_output_in_a_mount_is_refused_before_anything_runs() {
        let mount = |at: &str| Input {
            name: "nas".into(),
            mount: "/mnt/nas".into(),
            at: at.into(),
            ..Input::default()
        };
        let out = |path: &str| {
            vec![OutputSpec { name: "model".into(), path: path.into(), ..OutputSpec::default() }]
        };
        for (at, path) in [("", "data"), ("data", "out"), ("data", "data2/x"), ("a/data", "a")] {
            no_output_in(&mount(at), &out(path)).expect(path);
        }
        for (at, path) in [("data", "data"), ("data/", "data/"), ("data", "data/out/w")] {
            let fault = no_output_in(&mount(at), &out(path)).expect_err(path);
            for word in ["output `model`", "input `nas`", "mount:/mnt/nas"] {
                assert!(fault.reason.contains(word), "{}", fault.reason);
            }
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
