//! A pipeline of one stage for a command.

use std::path::Path;

use serde_json::{Value, json};

use super::Source;
use crate::errors::{Error, Result};

/// The file's text. JSON is YAML, so nothing that is written here can be taken for something else.
pub(super) fn pipeline(source: &Source, folder: &Path) -> Result<String> {
    let name = match &source.name {
        Some(name) => name.clone(),
        None => folder_name(folder),
    };
    let mut stage = serde_json::Map::new();
    stage.insert("run".into(), json!(shell(&source.command)));
    let mut resources = serde_json::Map::new();
    for (key, value) in [("gpu", &source.gpus), ("cpu", &source.cpus), ("memory", &source.memory)] {
        if let Some(value) = value {
            resources.insert(key.into(), scalar(value));
        }
    }
    if !resources.is_empty() {
        stage.insert("resources".into(), Value::Object(resources));
    }
    if let Some(nodes) = source.nodes {
        stage.insert("nodes".into(), json!(nodes));
    }
    if let Some(python) = &source.python {
        stage.insert("python".into(), json!(python.display().to_string()));
    }
    let mut outputs = serde_json::Map::new();
    for output in &source.outputs {
        let (name, path) = output.split_once('=').ok_or_else(|| {
            Error::usage(format!("--out {output} has no name")).help("write --out NAME=PATH")
        })?;
        outputs.insert(name.into(), json!({ "path": path }));
    }
    if !outputs.is_empty() {
        stage.insert("outputs".into(), Value::Object(outputs));
    }
    // A command that somebody types is meant to run.
    stage.insert("cache".into(), json!(false));
    let file = json!({ "version": 1, "name": name, "stages": { "main": stage } });
    Ok(format!("{file:#}\n"))
}

/// A number where it is one: `2` and `"2"` differ in YAML.
fn scalar(text: &str) -> Value {
    match text.parse::<u64>() {
        Ok(number) => json!(number),
        Err(_) => json!(text),
    }
}

/// The folder's name made a pipeline's name.
pub(crate) fn folder_name(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let tame: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' })
        .take(40)
        .collect();
    let tame = tame.trim_matches(['-', '_']);
    if tame.is_empty() { "run".into() } else { tame.to_owned() }
}

/// Arguments as one line for `sh`, each reaching the command as it was typed.
fn shell(arguments: &[String]) -> String {
    // One argument is a line of shell already: `-- 'a | b'`.
    if let [line] = arguments {
        return line.clone();
    }
    let quoted = arguments.iter().map(|argument| {
        let tame = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
        match !argument.is_empty() && argument.chars().all(tame) {
            true => argument.clone(),
            false => format!("'{}'", argument.replace('\'', r"'\''")),
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        source: Source,
    }

    fn written(arguments: &[&str]) -> String {
        let line = Line::try_parse_from([&["run"], arguments].concat()).expect("parses");
        pipeline(&line.source, Path::new("/home/me/My Project!")).expect("is written")
    }

    #[test]
    fn a_command_becomes_a_pipeline_that_parses() {
        let text = written(&[
            "--gpus",
            "2",
            "--cpus",
            "8",
            "--memory",
            "32GB",
            "--nodes",
            "2",
            "--out",
            "model=out",
            "--",
            "python3",
            "train.py",
            "--note",
            "it's 5 > 4; $HOME",
        ]);
        let parsed = runyard_pipeline::parse("(command)", &text).expect("parses");
        let stage = &parsed.pipeline.stages[0];
        assert_eq!(parsed.pipeline.name.as_str(), "my-project");
        assert_eq!(stage.run.as_deref(), Some(r"python3 train.py --note 'it'\''s 5 > 4; $HOME'"));
        assert_eq!((stage.resources.gpu.count, stage.nodes, stage.cache), (2, 2, false));
        assert_eq!(stage.resources.cpu.get(), 8_000);
    }

    #[test]
    fn gpus_may_name_a_model() {
        let parsed = runyard_pipeline::parse(
            "(command)",
            &written(&["--gpus", "H100:4", "--", "true", "x"]),
        );
        let gpu = parsed.expect("parses").pipeline.stages[0].resources.gpu.clone();
        assert_eq!((gpu.count, gpu.models), (4, vec!["H100".to_owned()]));
    }

    #[test]
    fn one_argument_is_a_line_of_shell() {
        assert_eq!(shell(&["echo a | wc".into()]), "echo a | wc");
        assert_eq!(shell(&["echo".into(), "".into()]), "echo ''");
    }

    #[test]
    fn folders_with_odd_names_are_no_trouble() {
        for (folder, name) in [("/", "run"), ("/a/..", "run"), ("/x/Été 2", "t--2"), ("/_", "run")]
        {
            assert_eq!(folder_name(Path::new(folder)), name, "{folder}");
        }
    }
}
