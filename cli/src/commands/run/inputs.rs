//! `file:` inputs: which files a run takes along.

use std::collections::BTreeSet;
use std::path::Path;

use runyard_pipeline::{Pipeline, Source};

use crate::errors::{Error, Result};

/// The paths as the file writes them; those of stages that do not run are left out.
pub(super) fn files(
    pipeline: &Pipeline,
    only: &[String],
    folder: &Path,
) -> Result<BTreeSet<String>> {
    let mut files = BTreeSet::new();
    let chosen = |name: &str| only.is_empty() || only.iter().any(|stage| stage == name);
    for stage in pipeline.stages.iter().filter(|stage| chosen(stage.name.as_str())) {
        for (name, input) in &stage.inputs {
            let Source::File(path) = &input.source else { continue };
            let here = folder.join(path);
            if !here.exists() {
                return Err(Error::not_found(format!(
                    "stage `{}` takes `file:{path}` as its input `{name}`, but `{}` does not exist",
                    stage.name,
                    here.display()
                ))
                .help("paths are relative to the pipeline file"));
            }
            files.insert(path.clone());
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::Kind;

    const FILE: &str = "version: 1\nname: d\nstages:\n  a:\n    run: cat $RUNYARD_INPUT_X\n    \
                        inputs: { x: \"file:data/x.csv\" }\n  b:\n    run: cat $RUNYARD_INPUT_Y\n    \
                        inputs: { y: \"file:other\" }\n";

    #[test]
    fn inputs_of_chosen_stages_must_be_there() {
        let dir = tempfile::tempdir().expect("tempdir");
        let pipeline = runyard_pipeline::parse("runyard.yaml", FILE).expect("parses").pipeline;
        fs_err::create_dir(dir.path().join("data")).expect("mkdir");
        fs_err::write(dir.path().join("data/x.csv"), "1").expect("write");
        let found = files(&pipeline, &["a".into()], dir.path()).expect("is there");
        assert!(found.contains("data/x.csv") && found.len() == 1);
        let error = files(&pipeline, &[], dir.path()).expect_err("`other` is not");
        assert_eq!(error.kind, Kind::NotFound);
        assert!(error.message().contains("`b`") && error.message().contains("file:other"));
    }
}
