//! Data that the code snapshot does not hold.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Data, Repository, is_relative};

/// Folders that are no data, ignored or not.
const NO_DATA: &[&str] = &[
    "venv",
    "env",
    "node_modules",
    "build",
    "dist",
    "wandb",
    "mlruns",
    "lightning_logs",
    "runs",
    "logs",
    "target",
    "outputs",
    "checkpoints",
    "htmlcov",
    "site",
];
const DATA_NAMES: &[&str] = &["data", "dataset", "datasets", "corpus", "inputs", "input"];
const DATA_ENDINGS: &[&str] = &[
    "csv", "tsv", "parquet", "jsonl", "json", "npz", "npy", "h5", "hdf5", "arrow", "tfrecord",
    "feather", "png", "jpg", "jpeg", "wav", "flac", "txt", "gz", "zst", "zip", "db", "sqlite",
];
/// Entries of a folder that are looked at to weigh it.
const ENTRIES_MAX: usize = 200_000;

/// What git ignores here, folders with a `/` at their end; `None` outside git.
pub(super) fn ignored(root: &Path) -> Option<Vec<String>> {
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(["-c", "core.fsmonitor=false"])
        .args(["ls-files", "--others", "--ignored", "--exclude-standard", "--directory", "-z"])
        .env("GIT_OPTIONAL_LOCKS", "0")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output
        .status
        .success()
        .then(|| text.split('\0').filter(|p| !p.is_empty()).map(str::to_owned).collect())
}

/// Ignored data; outside git, folders with a usual name.
pub(super) fn find(root: &Path, ignored: Option<&[String]>, repository: &Repository) -> Vec<Data> {
    let candidates: Vec<String> = match ignored {
        Some(paths) => paths.to_vec(),
        None => DATA_NAMES.iter().map(|name| format!("{name}/")).collect(),
    };
    let mut found = Vec::new();
    for candidate in candidates {
        let path = candidate.trim_end_matches('/').to_owned();
        let name = path.rsplit('/').next().unwrap_or_default();
        let depth = path.matches('/').count();
        let own = repository
            .train
            .iter()
            .any(|train| train.writes.iter().any(|write| within(write, &path)));
        if !is_relative(&path)
            || name.starts_with('.')
            || NO_DATA.contains(&name)
            || depth > 1
            || own
        {
            continue;
        }
        let full = root.join(&path);
        let Ok(metadata) = full.symlink_metadata() else { continue };
        let (bytes, like_data) = match metadata.is_dir() {
            true => weigh(&full),
            false => (metadata.len(), has_data_ending(&full)),
        };
        let named = repository.scripts().any(|script| script.mentions(&path));
        let usual = DATA_NAMES.contains(&name);
        if bytes > 0 && !metadata.is_symlink() && like_data && (named || usual || metadata.is_dir())
        {
            found.push(Data { path, bytes, folder: metadata.is_dir() });
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Whether `path` is `folder` or lies in it.
pub(super) fn within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn has_data_ending(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    DATA_ENDINGS.contains(&ending.as_str())
}

/// The bytes of a folder, and whether any file looks like data.
fn weigh(folder: &Path) -> (u64, bool) {
    let (mut bytes, mut like_data, mut left) = (0u64, false, ENTRIES_MAX);
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs_err::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            left = left.saturating_sub(1);
            let Ok(metadata) = entry.path().symlink_metadata() else { continue };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if metadata.is_file() {
                bytes = bytes.saturating_add(metadata.len());
                like_data |= has_data_ending(&entry.path());
            }
        }
        if left == 0 {
            break;
        }
    }
    (bytes, like_data)
}
