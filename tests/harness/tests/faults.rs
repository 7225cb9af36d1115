//! The table of faults names tests. Each must be there, and each test that bears a number of a fault that
//! the table lists should be in no doubt: the names are the sources' own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The workspace's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The names of all functions that a test attribute stands over.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let rooms = ["agent", "cli", "coordinator", "libs", "proto", "tests"];
    let mut open: Vec<PathBuf> = rooms.iter().map(|room| root().join(room)).collect();
    while let Some(folder) = open.pop() {
        for entry in fs_err::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                collect(&fs_err::read_to_string(&path).expect("text"), &mut found);
            }
        }
    }
    found
}

fn collect(text: &str, found: &mut BTreeSet<String>) {
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[") {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        } else if let Some((_, rest)) = line.split_once("fn ") {
            let name = rest.split(['(', '<']).next().unwrap_or_default();
            if std::mem::take(&mut is_test) {
                found.insert(name.to_owned());
            }
        } else if !line.starts_with("//") {
            // What stands between the attribute and the function belongs to a macro's call.
            is_test &= line.is_empty() || line.starts_with(')') || line.ends_with(',');
        }
    }
}

/// The names in the last column of the page's tables.
fn named() -> Vec<String> {
    let page = fs_err::read_to_string(root().join("docs/reference/faults.md")).expect("the page");
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.ends_with(" |"));
    let last = rows.filter_map(|line| line.trim_end_matches(" |").rsplit_once(" | "));
    let names = last.flat_map(|(_, cell)| cell.split(", ").map(str::to_owned).collect::<Vec<_>>());
    let quoted = names.filter_map(|name| {
        name.strip_prefix('`').and_then(|name| name.strip_suffix('`')).map(str::to_owned)
    });
    quoted.collect()
}

#[test]
fn every_test_that_the_table_of_faults_names_is_there() {
    let (tests, named) = (tests(), named());
    assert!(named.len() > 100, "the page is read: {} names", named.len());
    assert!(!tests.contains("collect"), "what is no test is not taken for one");
    let gone: Vec<&String> = named.iter().filter(|name| !tests.contains(*name)).collect();
    assert_eq!(
        gone,
        Vec::<&String>::new(),
        "docs/reference/faults.md names tests that are not there"
    );
}

#[test]
fn every_fault_that_must_be_shown_has_a_row() {
    let named = named();
    let owed = "a1 a2 a3 a4 a6 a7 a8 a10 a13 a15 a16 a18 a19 a33 a34 a35 a37 a40 a41 \
                f1 f2 f3 f4 f5 f10 f24 f25 f28 f31 f32 f35 f40 f41";
    let shown = |number: &&str| !named.iter().any(|name| name.starts_with(&format!("{number}_")));
    assert_eq!(owed.split_whitespace().filter(shown).collect::<Vec<_>>(), Vec::<&str>::new());
}
