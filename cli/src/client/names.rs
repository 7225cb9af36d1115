//! What people type for an entity, made the name that the coordinator knows.

use runyard_proto::v1;
use runyard_types::RunName;

use super::Client;
use crate::errors::{Error, Result};

/// A run, or something in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The run's name.
    pub(crate) run: String,
    /// `train`, `train[3]`, `train[3].2`, `train[3].2:0`; empty for the run itself.
    pub(crate) rest: String,
}

impl Target {
    /// The whole key.
    pub(crate) fn key(&self) -> String {
        match self.rest.as_str() {
            "" => self.run.clone(),
            rest => format!("{}/{rest}", self.run),
        }
    }
    /// The stage's name, if one is named.
    pub(crate) fn stage(&self) -> Option<&str> {
        let stage = self.rest.split(['[', ':']).next().unwrap_or_default();
        let stage = match self.rest.contains('[') {
            true => stage,
            // `train.2` is an attempt of `train`; stages' own names may have dots, too.
            false => match stage.rsplit_once('.') {
                Some((name, number)) if number.bytes().all(|b| b.is_ascii_digit()) => name,
                _ => stage,
            },
        };
        (!stage.is_empty()).then_some(stage)
    }
    /// Whether a task of the run is meant.
    pub(crate) fn covers(&self, key: &str) -> bool {
        let own = self.key();
        key == own
            || key.strip_prefix(&own).is_some_and(|tail| tail.starts_with(['/', '[', '.', ':']))
            || own.strip_prefix(key).is_some_and(|tail| tail.starts_with(['.', ':']))
    }
}

/// Whether a text has the form of a run's name.
pub(crate) fn is_run_name(text: &str) -> bool {
    text.parse::<RunName>().is_ok()
}

/// Characters of a uid that are enough to look for.
const PREFIX_MIN: usize = 4;

impl Client {
    /// `digits-42`, `@last`, a unique prefix of a uid; each with `/STAGE`, `[INDEX]` or `[LABEL]`.
    pub(crate) async fn target(&self, text: &str) -> Result<Target> {
        let (head, rest) = text.split_once('/').unwrap_or((text, ""));
        let run = self.run_named(head).await?;
        let rest = match label(rest) {
            None => rest.to_owned(),
            Some((stage, label, tail)) => {
                let index = index_of(&self.run(&run).await?, stage, label)?;
                format!("{stage}[{index}]{tail}")
            }
        };
        Ok(Target { run, rest })
    }

    async fn run_named(&self, head: &str) -> Result<String> {
        if is_run_name(head) {
            return Ok(head.to_owned());
        }
        if head == "@last" {
            let (_, runs) = self.list(true, 1).await?;
            let last = runs.into_iter().max_by_key(|run| run.created_ms);
            return last.map(|run| run.name).ok_or_else(|| {
                Error::not_found("there is no run yet").help("`runyard run` makes one")
            });
        }
        let prefix = head.to_ascii_uppercase();
        if prefix.len() < PREFIX_MIN || !prefix.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(Error::usage(format!("`{head}` is not a run"))
                .help("runs look like digits-42; `runyard ps -a` lists them"));
        }
        let (_, runs) = self.list(true, 0).await?;
        let found: Vec<&v1::Run> = runs.iter().filter(|run| run.uid.starts_with(&prefix)).collect();
        match found.as_slice() {
            [run] => Ok(run.name.clone()),
            [] => Err(Error::not_found(format!("no run's uid begins with `{head}`"))
                .help("`runyard ps -a -o wide` shows uids")),
            several => {
                let names: Vec<&str> =
                    several.iter().take(5).map(|run| run.name.as_str()).collect();
                Err(Error::usage(format!("{} runs' uids begin with `{head}`", several.len()))
                    .help(format!("write more of it, or the name: {}", names.join(", "))))
            }
        }
    }
}

/// `train[seed=0,suite=ood].2` → (`train`, `seed=0,suite=ood`, `.2`); `None` without a label.
fn label(rest: &str) -> Option<(&str, &str, &str)> {
    let (stage, tail) = rest.split_once('[')?;
    let (label, tail) = tail.rsplit_once(']')?;
    label.contains('=').then_some((stage, label, tail))
}

/// The index of the task with a label; the axes may come in any order.
fn index_of(run: &v1::Run, stage: &str, label: &str) -> Result<u32> {
    let sorted = |text: &str| {
        let mut axes: Vec<&str> = text.split(',').map(str::trim).collect();
        axes.sort_unstable();
        axes.join(",")
    };
    let Some(found) = run.stages.iter().find(|s| s.name == stage) else {
        return Err(Error::not_found(format!("{} has no stage `{stage}`", run.name)));
    };
    let wanted = sorted(label);
    let task = found.tasks.iter().find(|task| sorted(&task.label) == wanted);
    let index = task.and_then(|task| task.key.rsplit_once('[')?.1.strip_suffix(']')?.parse().ok());
    index.ok_or_else(|| {
        let labels: Vec<&str> =
            found.tasks.iter().take(5).map(|task| task.label.as_str()).collect();
        Error::not_found(format!("{}/{stage} has no task `{label}`", run.name))
            .help(format!("its tasks are labelled {}", labels.join(" · ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(rest: &str) -> Target {
        Target { run: "digits-42".into(), rest: rest.into() }
    }

    #[test]
    fn stages_of_keys() {
        for (rest, stage) in [
            ("", None),
            ("train", Some("train")),
            ("train[3]", Some("train")),
            ("train[3].2", Some("train")),
            ("train.2:0", Some("train")),
            ("v1.5-train", Some("v1.5-train")),
        ] {
            assert_eq!(target(rest).stage(), stage, "{rest}");
        }
    }

    #[test]
    fn a_target_covers_what_is_in_it_and_no_namesake() {
        assert!(target("").covers("digits-42/train[3]"));
        assert!(target("train").covers("digits-42/train[3]"));
        assert!(target("train[3].2").covers("digits-42/train[3]"));
        assert!(!target("train").covers("digits-42/train2"));
        assert!(!Target { run: "digits-4".into(), rest: String::new() }.covers("digits-42/train"));
    }

    #[test]
    fn labels_find_their_task_in_any_order() {
        let task = |key: &str, label: &str| v1::Task {
            key: key.into(),
            label: label.into(),
            ..Default::default()
        };
        let stage = v1::Stage {
            name: "eval".into(),
            tasks: vec![
                task("d-1/eval[0]", "seed=0,suite=clean"),
                task("d-1/eval[1]", "seed=0,suite=ood"),
            ],
            ..Default::default()
        };
        let run = v1::Run { name: "d-1".into(), stages: vec![stage], ..Default::default() };
        assert_eq!(label("eval[suite=ood, seed=0].2"), Some(("eval", "suite=ood, seed=0", ".2")));
        assert_eq!(label("eval[3]"), None);
        assert_eq!(index_of(&run, "eval", "suite=ood, seed=0").expect("is there"), 1);
        assert!(
            index_of(&run, "eval", "suite=x").expect_err("is not").render().contains("suite=clean")
        );
        assert!(index_of(&run, "train", "suite=x").is_err());
    }
}
