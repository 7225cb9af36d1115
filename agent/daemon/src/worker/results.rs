//! Which files of a working directory a stage's `results:` names.

use std::path::Path;

use globset::{GlobBuilder, GlobMatcher};
use runyard_blobs::RelPath;

/// Entries that are looked at; a workspace with more is asked for narrower patterns.
const ENTRIES_MAX: u64 = 1_000_000;

/// The files below `work` that any of the patterns names, sorted. Links are not followed; one that
/// is named is in the answer, to be refused by its name.
pub(super) fn matching(work: &Path, patterns: &[String]) -> Result<Vec<RelPath>, String> {
    let matchers = patterns.iter().map(|text| matcher(text)).collect::<Result<Vec<_>, _>>()?;
    let mut found = Vec::new();
    let mut left = ENTRIES_MAX;
    walk(work, &RelPath::default(), &mut left, &mut |path| {
        if matchers.iter().any(|one| one.is_match(path.as_str())) {
            found.push(path.clone());
        }
    })?;
    found.sort();
    Ok(found)
}

fn matcher(text: &str) -> Result<GlobMatcher, String> {
    let clean = text.strip_prefix("./").unwrap_or(text);
    GlobBuilder::new(clean)
        .literal_separator(true)
        .build()
        .map(|glob| glob.compile_matcher())
        .map_err(|error| format!("`results`: `{text}`: {}", error.kind()))
}

fn walk(
    root: &Path,
    below: &RelPath,
    left: &mut u64,
    visit: &mut impl FnMut(&RelPath),
) -> Result<(), String> {
    let path = root.join(below.as_str());
    let failed = |error: std::io::Error| format!("cannot list {}: {error}", path.display());
    for entry in std::fs::read_dir(&path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        *left = left.checked_sub(1).ok_or_else(|| {
            format!("the working directory has more than {ENTRIES_MAX} entries; name the results' files one by one, or write them to $RUNYARD_RESULTS")
        })?;
        // A name that no tree can hold is no result; as part of one it is refused later.
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
        let Ok(path) = below.join(&name) else { continue };
        if entry.file_type().map_err(failed)?.is_dir() {
            walk(root, &path, left, visit)?;
        } else {
            visit(&path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_files_and_links_are_not_walked_through() {
        let dir = tempfile::tempdir().expect("a folder");
        let write = |name: &str| {
            let path = dir.path().join(name);
            fs_err::create_dir_all(path.parent().expect("one")).expect("made");
            fs_err::write(path, "x").expect("written");
        };
        for name in ["rows.csv", "out/a.csv", "out/deep/b.csv", "out/a.txt"] {
            write(name);
        }
        fs_err::os::unix::fs::symlink("out", dir.path().join("link")).expect("linked");
        let found = |patterns: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
            let found = matching(dir.path(), &patterns).expect("matched");
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(found(&["rows.csv"]), ["rows.csv"]);
        assert_eq!(found(&["*.csv"]), ["rows.csv"]);
        assert_eq!(found(&["out/**/*.csv"]), ["out/a.csv", "out/deep/b.csv"]);
        assert_eq!(found(&["./out/*.csv", "*.csv"]), ["out/a.csv", "rows.csv"]);
        assert_eq!(found(&["link/*.csv"]), Vec::<String>::new());
        assert!(matching(dir.path(), &["[".into()]).expect_err("bad").contains("`[`"));
    }
}
