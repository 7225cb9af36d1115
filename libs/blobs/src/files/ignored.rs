//! The files of a code snapshot: what neither `.gitignore` nor `.runyardignore` excludes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use ignore::WalkBuilder;
use nix::sys::stat::SFlag;

use super::scan::{Skipped, kind, odd_kind, utf8};
use super::{FileError, Found, Listing, Root, ScanLimits};
use crate::tree::RelPath;

/// Rules of our own; a `!pattern` in it brings back what git ignores.
const IGNORE_FILE: &str = ".runyardignore";
/// Never part of a snapshot, whatever the rules say.
const NEVER: [&str; 2] = [".git", ".runyard"];

/// Lists the code in `dir`. Rules of parent directories count only inside a git work tree; a person's
/// global rules never do, so that a snapshot is the same for everyone. Empty directories are no code;
/// links and other non-files are left out and named in [`Listing::skipped`].
pub fn scan_code(dir: &Path, limits: ScanLimits) -> Result<Listing, FileError> {
    let mut listing = Listing::new(Root::open(dir)?);
    let in_git = dir
        .canonicalize()
        .is_ok_and(|full| full.ancestors().any(|parent| parent.join(".git").exists()));
    let walk = WalkBuilder::new(dir)
        .standard_filters(false)
        .git_ignore(true)
        .git_exclude(in_git)
        .parents(in_git)
        .require_git(false)
        .add_custom_ignore_filename(IGNORE_FILE)
        .follow_links(false)
        .filter_entry(|entry| !NEVER.iter().any(|never| entry.file_name() == *never))
        .build();
    let mut bytes = 0_u64;
    for entry in walk {
        let entry = entry.map_err(|error| FileError::Ignore(dir.to_owned(), error.to_string()))?;
        if let Some(error) = entry.error() {
            return Err(FileError::Ignore(dir.to_owned(), error.to_string()));
        }
        let is_dir = entry.file_type().is_some_and(|kind| kind.is_dir());
        let Ok(below) = entry.path().strip_prefix(dir) else { continue };
        if is_dir || below.as_os_str().is_empty() {
            continue;
        }
        let path = rel_path(below.as_os_str())?;
        let stat = match listing.root.stat(&path) {
            Ok(stat) => stat,
            // An editor's temporary file may be gone again.
            Err(FileError::Missing(..)) => continue,
            Err(other) => return Err(other),
        };
        if let Some(why) = odd_kind(&stat).filter(|_| kind(&stat) != SFlag::S_IFDIR) {
            listing.skipped.push(Skipped { path: path.to_string(), why });
            continue;
        }
        bytes = bytes.saturating_add(u64::try_from(stat.st_size).unwrap_or(0));
        if bytes > limits.bytes {
            let path = dir.to_owned();
            return Err(FileError::TooLarge { path, what: "bytes of code", limit: limits.bytes });
        }
        listing.files.push(Found::new(path, &stat));
        listing.check(&limits)?;
    }
    listing.files.sort_by(|a, b| a.path.cmp(&b.path));
    listing.skipped.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(listing)
}

fn rel_path(path: &OsStr) -> Result<RelPath, FileError> {
    let mut whole = RelPath::default();
    for name in path.as_bytes().split(|&byte| byte == b'/') {
        whole = whole.join(&utf8(&whole, name)?)?;
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(dir: &Path) -> Vec<String> {
        let listing = scan_code(dir, ScanLimits::default()).expect("lists");
        listing.files.iter().map(|file| file.path.to_string()).collect()
    }

    fn write(dir: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = dir.join(name);
            fs_err::create_dir_all(path.parent().expect("a parent")).expect("creates");
            fs_err::write(path, text).expect("writes");
        }
    }

    #[test]
    fn both_kinds_of_rules_hold_without_git() {
        let dir = tempfile::tempdir().expect("a directory");
        write(
            dir.path(),
            &[
                (".gitignore", "data/\n*.pyc\n/top\n"),
                (".runyardignore", "notes.md\n!data/keep.csv\n!data/\ndata/*\n!data/keep.csv\n"),
                ("train.py", ""),
                ("top", ""),
                ("sub/top", ""),
                ("sub/.gitignore", "inner\n"),
                ("sub/inner", ""),
                ("sub/x.pyc", ""),
                ("notes.md", ""),
                ("data/big.csv", ""),
                ("data/keep.csv", ""),
                (".hidden", ""),
                (".git/config", ""),
                ("sub/.git", "gitdir: elsewhere"),
                (".runyard/cache", ""),
            ],
        );
        let expected = [
            ".gitignore",
            ".hidden",
            ".runyardignore",
            "data/keep.csv",
            "sub/.gitignore",
            "sub/top",
            "train.py",
        ];
        assert_eq!(code(dir.path()), expected);
    }

    #[test]
    fn rules_of_parents_count_inside_git_only() {
        let dir = tempfile::tempdir().expect("a directory");
        write(dir.path(), &[(".gitignore", "*.log\n"), ("project/a.log", ""), ("project/b", "")]);
        assert_eq!(code(&dir.path().join("project")), ["a.log", "b"]);
        fs_err::create_dir(dir.path().join(".git")).expect("creates");
        assert_eq!(code(&dir.path().join("project")), ["b"]);
    }

    #[test]
    fn links_are_left_out_and_named() {
        let dir = tempfile::tempdir().expect("a directory");
        write(dir.path(), &[("a", "x")]);
        std::os::unix::fs::symlink("/etc", dir.path().join("etc")).expect("links");
        let listing = scan_code(dir.path(), ScanLimits::default()).expect("lists");
        assert_eq!(listing.files.len(), 1);
        assert_eq!(listing.skipped, [Skipped { path: "etc".into(), why: "a symbolic link" }]);
    }
}
