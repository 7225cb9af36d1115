//! `runyard artifacts`: what stages wrote.

use std::path::{Path, PathBuf};

use runyard_proto::v1;
use serde_json::{Value, json};

use crate::client::{Client, Target};
use crate::context::Env;
use crate::errors::{Context as _, Error, Exit, Kind, Result};
use crate::output::{Cell, Column, Look, Output, Progress, Table, bytes, json_of};

/// Flags of `artifacts`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List outputs
    Ls {
        /// Run, stage or task; STAGE:OUTPUT names one of them
        #[arg(value_name = "NAME")]
        target: String,
    },
    /// Fetch outputs, verified, into a folder
    Get {
        /// Run, stage or task; STAGE:OUTPUT names one of them
        #[arg(value_name = "NAME")]
        target: String,
        /// Only these outputs
        #[arg(value_name = "OUTPUT")]
        outputs: Vec<String>,
        /// Where to put them; each in a folder of its stage and name
        #[arg(long, value_name = "DIR", default_value = ".")]
        into: PathBuf,
        /// Replace what is there
        #[arg(long)]
        force: bool,
    },
}

/// Does what the verb says.
pub(crate) async fn run(args: Args, env: &Env) -> Result<Exit> {
    let client = env.client().await?;
    match args.verb {
        Verb::Ls { target } => {
            let (name, output) = split_output(&target);
            let target = client.target(name).await?;
            let items = outputs(&client, &target).await?;
            let items = match output {
                Some(output) => choose(items, &target, &[output.to_owned()])?,
                None => items,
            };
            env.printer.show(&Artifacts(items))?;
        }
        Verb::Get { target, outputs: mut names, into, force } => {
            let (name, output) = split_output(&target);
            names.extend(output.map(str::to_owned));
            let target = client.target(name).await?;
            let chosen = choose(outputs(&client, &target).await?, &target, &names)?;
            let places = places(&chosen, &into, force)?;
            let mut fetched = Vec::new();
            let progress = Progress::new(&env.printer);
            for (item, place) in chosen.iter().zip(places) {
                let root = &item.output.root;
                client.fetch_tree(root, &place, force, &progress).await?;
                progress.line(&format!(
                    "✓ {} ({}, {} files)",
                    place.display(),
                    bytes(item.output.bytes),
                    item.output.files
                ));
                if !env.printer.for_programs() {
                    env.printer.data(format!("{}\n", place.display()).as_bytes())?;
                }
                fetched.push(json!({
                    "task": item.task,
                    "name": item.output.name,
                    "root": root,
                    "path": place.display().to_string(),
                }));
            }
            env.printer.answer(&json!({ "index": 0, "items": fetched }))?;
        }
    }
    Ok(Exit::OK)
}

/// `digits-42/train:model` → (`digits-42/train`, `model`). A worker's rank stands there as well, but a
/// worker by itself has no outputs.
fn split_output(text: &str) -> (&str, Option<&str>) {
    // A task's label may have a colon in it.
    let from = text.rfind(']').map_or(0, |at| at + 1);
    match text[from..].split_once(':') {
        Some((head, output)) if text.contains('/') && !output.is_empty() => {
            (&text[..from + head.len()], Some(output))
        }
        _ => (text, None),
    }
}

/// An output and the task that wrote it.
struct Item {
    task: String,
    label: String,
    output: v1::Output,
}

async fn outputs(client: &Client, target: &Target) -> Result<Vec<Item>> {
    let run = client.run(&target.run).await?;
    let mut items = Vec::new();
    for task in run.stages.into_iter().flat_map(|stage| stage.tasks) {
        if !target.covers(&task.key) {
            continue;
        }
        for output in task.outputs {
            items.push(Item { task: task.key.clone(), label: task.label.clone(), output });
        }
    }
    Ok(items)
}

/// The outputs that were asked for; each name must be there.
fn choose(items: Vec<Item>, target: &Target, names: &[String]) -> Result<Vec<Item>> {
    if items.is_empty() {
        return Err(Error::not_found(format!("{} has no outputs (yet)", target.key()))
            .help(format!("`runyard describe {}` shows how far it is", target.run)));
    }
    for name in names {
        if !items.iter().any(|item| item.output.name == *name) {
            let mut known: Vec<&str> = items.iter().map(|item| item.output.name.as_str()).collect();
            known.sort_unstable();
            known.dedup();
            return Err(Error::not_found(format!("{} has no output `{name}`", target.key()))
                .help(format!("it has {}", known.join(", "))));
        }
    }
    Ok(items
        .into_iter()
        .filter(|item| names.is_empty() || names.contains(&item.output.name))
        .collect())
}

/// Where each goes: `DIR/STAGE/OUTPUT`, with the task's label between them in a matrix.
fn places(items: &[Item], into: &Path, force: bool) -> Result<Vec<PathBuf>> {
    let mut places = Vec::new();
    for item in items {
        let task = item.task.rsplit('/').next().unwrap_or_default();
        let stage = task.split('[').next().unwrap_or_default();
        let mut place = into.join(safe(stage)?);
        if !item.label.is_empty() {
            place.push(safe(&item.label)?);
        }
        place.push(safe(&item.output.name)?);
        if place.symlink_metadata().is_ok() && !force {
            return Err(Error::new(
                Kind::Conflict,
                format!("`{}` is there already", place.display()),
            )
            .help("--force replaces it, --into DIR goes elsewhere"));
        }
        if let Some(parent) = place.parent() {
            fs_err::create_dir_all(parent)
                .context(Kind::Failed, || format!("cannot make `{}`", parent.display()))?;
        }
        places.push(place);
    }
    Ok(places)
}

/// A single part of a path, whatever the coordinator says.
fn safe(part: &str) -> Result<&str> {
    match part.is_empty() || matches!(part, "." | "..") || part.contains(['/', '\0']) {
        true => Err(Error::new(
            Kind::Internal,
            format!("`{}` is no name for a folder", part.escape_debug()),
        )),
        false => Ok(part),
    }
}

struct Artifacts(Vec<Item>);

impl Output for Artifacts {
    fn json(&self) -> Result<Value> {
        let mut items = Vec::new();
        for item in &self.0 {
            let mut value = json_of("Output", &item.output)?;
            if let Some(map) = value.as_object_mut() {
                map.insert("task".into(), json!(item.task));
                map.insert("label".into(), json!(item.label));
            }
            items.push(value);
        }
        Ok(json!({ "api_version": "runyard.v1", "index": 0, "items": items }))
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|item| item.output.name.clone()).collect()
    }

    fn table(&self, _look: &Look) -> Table {
        let columns = [
            Column::new("TASK"),
            Column::new("OUTPUT"),
            Column::new("TYPE"),
            Column::new("SIZE"),
            Column::new("FILES"),
            Column::wide("ROOT"),
        ];
        let mut table = Table::new(columns, "No outputs.");
        for item in &self.0 {
            table.row([
                Cell::new(&item.task),
                Cell::new(&item.output.name),
                Cell::new(&item.output.kind),
                Cell::bytes(item.output.bytes),
                Cell::new(item.output.files),
                Cell::new(&item.output.root),
            ]);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(task: &str, label: &str, name: &str) -> Item {
        let output = v1::Output { name: name.into(), ..Default::default() };
        Item { task: task.into(), label: label.into(), output }
    }

    #[test]
    fn one_output_of_a_stage_can_be_named_in_one_word() {
        for (text, name, output) in [
            ("d-1/train:model", "d-1/train", Some("model")),
            ("d-1/train", "d-1/train", None),
            ("d-1", "d-1", None),
            ("d-1/eval[3]:rows", "d-1/eval[3]", Some("rows")),
            ("d-1/eval[suite=a:b]:rows", "d-1/eval[suite=a:b]", Some("rows")),
            ("d-1/eval[suite=a:b]", "d-1/eval[suite=a:b]", None),
            ("@last/train:", "@last/train:", None),
        ] {
            assert_eq!(split_output(text), (name, output), "{text}");
        }
    }

    #[test]
    fn an_output_that_is_not_there_is_named_with_those_that_are() {
        let target = Target { run: "d-1".into(), rest: "train".into() };
        let items = || vec![item("d-1/train", "", "model"), item("d-1/train", "", "log")];
        let chosen = choose(items(), &target, &["log".into()]).expect("is there");
        assert_eq!(chosen.len(), 1);
        assert_eq!(chosen[0].output.name, "log");
        let error = choose(items(), &target, &["nope".into()]).err().expect("is not");
        assert_eq!(error.kind, Kind::NotFound);
        assert!(error.render().contains("log, model"), "{}", error.render());
    }

    #[test]
    fn each_output_has_a_place_of_its_own() {
        let dir = tempfile::tempdir().expect("tempdir");
        let items =
            [item("d-1/train", "", "model"), item("d-1/eval[1]", "seed=0,suite=ood", "out")];
        let found = places(&items, dir.path(), false).expect("are free");
        assert_eq!(found[0], dir.path().join("train/model"));
        assert_eq!(found[1], dir.path().join("eval/seed=0,suite=ood/out"));
        fs_err::write(&found[0], "mine").expect("write");
        let error = places(&items, dir.path(), false).expect_err("is taken");
        assert_eq!(error.kind, Kind::Conflict);
        assert!(places(&items, dir.path(), true).is_ok());
    }

    #[test]
    fn a10_a_name_that_climbs_is_no_place() {
        let dir = tempfile::tempdir().expect("tempdir");
        for name in ["..", "a/b", "", "a\0"] {
            assert!(places(&[item("d-1/t", "", name)], dir.path(), true).is_err(), "{name:?}");
        }
    }
}
