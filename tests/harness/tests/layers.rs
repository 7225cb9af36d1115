//! Who may depend on whom. The table is the design's; an arrow that is not in it fails here.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// The crates of the project that each may use.
fn allowed() -> BTreeMap<&'static str, &'static [&'static str]> {
    BTreeMap::from([
        ("runyard-types", &[] as &[&str]),
        ("runyard-proto", &["runyard-types"]),
        ("runyard-pipeline", &["runyard-types"]),
        ("runyard-evaluation", &["runyard-types"]),
        ("runyard-transport", &["runyard-proto", "runyard-types"]),
        ("runyard-blobs", &["runyard-transport", "runyard-proto", "runyard-types"]),
        ("runyard-state", &["runyard-pipeline", "runyard-evaluation", "runyard-types"]),
        ("runyard-scheduler", &["runyard-types"]),
        ("runyard-tuning", &["runyard-types"]),
        ("runyard-consensus", &[]),
        (
            "runyard-server",
            &[
                "runyard-state",
                "runyard-scheduler",
                "runyard-tuning",
                "runyard-consensus",
                "runyard-pipeline",
                "runyard-evaluation",
                "runyard-blobs",
                "runyard-transport",
                "runyard-proto",
                "runyard-types",
            ],
        ),
        ("runyard-devices", &["runyard-types"]),
        ("runyard-runtime", &["runyard-blobs", "runyard-types"]),
        (
            "runyard-gateway",
            &["runyard-evaluation", "runyard-blobs", "runyard-transport", "runyard-types"],
        ),
        (
            "runyard-daemon",
            &[
                "runyard-devices",
                "runyard-runtime",
                "runyard-gateway",
                "runyard-blobs",
                "runyard-transport",
                "runyard-pipeline",
                "runyard-evaluation",
                "runyard-proto",
                "runyard-types",
            ],
        ),
        (
            "runyard",
            &[
                "runyard-server",
                "runyard-daemon",
                "runyard-pipeline",
                "runyard-evaluation",
                "runyard-blobs",
                "runyard-transport",
                "runyard-proto",
                "runyard-types",
            ],
        ),
    ])
}

/// What the pure crates must not depend on, directly.
const IMPURE: &[&str] = &[
    "tokio",
    "tonic",
    "sled",
    "fs-err",
    "nix",
    "rand",
    "hyper",
    "axum",
    "ulid-generator",
    "tempfile",
    "reqwest",
    "tracing",
];
const PURE: &[&str] = &[
    "runyard-types",
    "runyard-pipeline",
    "runyard-evaluation",
    "runyard-state",
    "runyard-scheduler",
    "runyard-tuning",
];

/// The normal dependencies of each crate of the workspace.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    packages
        .iter()
        .map(|package| {
            let names = package["dependencies"]
                .as_array()
                .expect("dependencies")
                .iter()
                .filter(|dependency| dependency["kind"].is_null())
                .map(|dependency| dependency["name"].as_str().expect("a name").to_owned())
                .collect();
            (package["name"].as_str().expect("a name").to_owned(), names)
        })
        .collect()
}

#[test]
fn every_arrow_points_the_right_way() {
    let allowed = allowed();
    let tests = ["runyard-harness", "runyard-simulation", "runyard-bench"];
    let mut wrong = Vec::new();
    for (name, dependencies) in dependencies() {
        if tests.contains(&name.as_str()) {
            continue;
        }
        let Some(allowed) = allowed.get(name.as_str()) else {
            wrong.push(format!("{name} is not in the table of rooms"));
            continue;
        };
        for dependency in
            dependencies.iter().filter(|d| *d == "runyard" || d.starts_with("runyard-"))
        {
            if !allowed.contains(&dependency.as_str()) {
                wrong.push(format!("{name} must not depend on {dependency}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn pure_rooms_have_no_io_clock_or_randomness() {
    let dependencies = dependencies();
    let mut wrong = Vec::new();
    for &name in PURE {
        for dependency in &dependencies[name] {
            if IMPURE.contains(&dependency.as_str()) {
                wrong.push(format!("{name} is pure and must not depend on {dependency}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}
