//! What the tests share: small files around the part that a test is about.
#![allow(dead_code, reason = "each test crate uses its own part")]

use runyard_pipeline::{Diagnostic, Parsed, Pipeline, Severity, parse};

/// A file with these lines under `stages:`, each indented by two blanks already.
pub(crate) fn with_stages(stages: &str) -> String {
    format!("version: 1\nname: t\nstages:\n{stages}")
}

/// A file with one task and these further lines of it.
pub(crate) fn with_task(lines: &str) -> String {
    let lines: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    with_stages(&format!("  a:\n    run: x\n{lines}"))
}

pub(crate) fn accepted(source: &str) -> Parsed {
    parse("runyard.yaml", source).unwrap_or_else(|found| panic!("{}", rendered(source, &found)))
}

/// The pipeline of a file that has not even a warning.
pub(crate) fn clean(source: &str) -> Pipeline {
    let parsed = accepted(source);
    assert!(parsed.warnings.is_empty(), "{}", rendered(source, &parsed.warnings));
    parsed.pipeline
}

pub(crate) fn refused(source: &str) -> Vec<Diagnostic> {
    match parse("runyard.yaml", source) {
        Ok(_) => panic!("this was accepted:\n{source}"),
        Err(found) => {
            assert!(found.iter().any(|d| d.severity == Severity::Error));
            for diagnostic in &found {
                let label = diagnostic.labels.first().expect("every finding has a place");
                assert!(label.line >= 1 && label.column >= 1);
                assert!(source.get(label.span.clone()).is_some(), "{label:?}");
            }
            found
        }
    }
}

/// The codes of a refusal, in the order of the file.
pub(crate) fn codes(source: &str) -> Vec<String> {
    refused(source).iter().map(|d| d.code.to_string()).collect()
}

/// The only finding, as `line:column code message`.
pub(crate) fn only(source: &str) -> String {
    let found = refused(source);
    let [one] = found.as_slice() else { panic!("{}", rendered(source, &found)) };
    let label = &one.labels[0];
    format!("{}:{} {} {}", label.line, label.column, one.code, one.message)
}

pub(crate) fn rendered(source: &str, found: &[Diagnostic]) -> String {
    found.iter().map(|d| d.render(source)).collect::<Vec<_>>().join("\n")
}
