//! A run, or a part of it.

use runyard_proto::v1;
use serde_json::{Value, json};

use super::{fields, git_line};
use crate::client::Target;
use crate::errors::{Error, Result};
use crate::output::{
    Cell, Column, Look, Output, Table, bytes, duration, glyph, json_of, number, plain, time,
};

/// A run, cut down to the part that is looked at.
#[derive(Debug)]
pub(crate) struct RunView {
    run: v1::Run,
    /// Empty for the whole.
    part: String,
}

/// A commit's short name, with `+` where the working tree had changes.
pub(crate) fn commit(git: &v1::Git) -> String {
    let short: String = git.commit.chars().take(8).collect();
    if git.dirty && !short.is_empty() { format!("{short}+") } else { short }
}

impl RunView {
    /// The whole run.
    pub(crate) fn new(run: v1::Run) -> Self {
        Self { run, part: String::new() }
    }

    /// The stage or task that a target names.
    pub(crate) fn part(mut run: v1::Run, target: &Target) -> Result<Self> {
        if target.rest.is_empty() {
            return Ok(Self::new(run));
        }
        for stage in &mut run.stages {
            if Some(stage.name.as_str()) != target.stage() {
                stage.tasks.clear();
            }
            stage.tasks.retain(|task| target.covers(&task.key));
        }
        run.stages.retain(|stage| !stage.tasks.is_empty());
        match run.stages.is_empty() {
            true => Err(Error::not_found(format!("there is no `{}`", target.key()))
                .help(format!("`runyard describe {}` shows its stages", target.run))),
            false => Ok(Self { run, part: target.rest.clone() }),
        }
    }

    fn tasks(&self) -> impl Iterator<Item = (&v1::Stage, &v1::Task)> {
        self.run.stages.iter().flat_map(|stage| stage.tasks.iter().map(move |task| (stage, task)))
    }

    fn head(&self, look: &Look) -> String {
        let run = &self.run;
        let git = run.git.clone().unwrap_or_default();
        let mut params: Vec<String> = run.params.iter().map(|(k, v)| format!("{k}={v}")).collect();
        params.sort();
        let cost = match (run.device_ms, run.cpu_ms) {
            (0, 0) => String::new(),
            (device, cpu) => format!(
                "{} of GPU time, {} of CPU time",
                duration(0, 1, device + 1),
                duration(0, 1, cpu + 1)
            ),
        };
        fields(&[
            ("run", run.name.clone()),
            ("state", format!("{} {}", glyph(&run.state), run.state)),
            ("reason", run.reason.clone()),
            ("created", time(run.created_ms)),
            ("took", duration(look.now_ms, run.started_ms, run.ended_ms)),
            ("by", run.principal.clone()),
            ("commit", git_line(&git)),
            ("params", params.join(" ")),
            ("cost", cost),
            ("uid", run.uid.clone()),
        ])
    }

    fn detail(&self, look: &Look) -> String {
        let mut out = String::new();
        for (_, task) in self.tasks() {
            let mut metrics: Vec<String> = task
                .metrics
                .iter()
                .map(|(name, value)| format!("{name}={}", number(*value)))
                .collect();
            metrics.sort();
            let mut values: Vec<String> =
                task.values.iter().map(|(k, v)| format!("{k}={v}")).collect();
            values.sort();
            let outputs: Vec<String> = task
                .outputs
                .iter()
                .map(|o| format!("{} ({}, {} files)", o.name, bytes(o.bytes), o.files))
                .collect();
            let short = |text: &str| text.chars().take(12).collect::<String>();
            let said = fields(&[
                ("  metrics", metrics.join(" ")),
                ("  values", values.join(" ")),
                ("  outputs", outputs.join(", ")),
                ("  cache", task.cache_reason.clone()),
                ("  content key", short(&task.content_key)),
                ("  logs", task.logs.clone()),
            ]);
            let single = task.attempts.len() < 2 && self.part.is_empty();
            let attempts: String = match single {
                true => String::new(),
                false => task.attempts.iter().map(|a| attempt(a, look)).collect(),
            };
            if !said.is_empty() || !attempts.is_empty() {
                out.push_str(&format!("\n{}\n{said}{attempts}", plain(&task.key)));
            }
            if !task.summary.is_empty() && !self.part.is_empty() {
                out.push('\n');
                task.summary.lines().for_each(|line| out.push_str(&format!("  {}\n", plain(line))));
            }
        }
        out
    }
}

fn attempt(attempt: &v1::Attempt, look: &Look) -> String {
    let state = if attempt.outcome.is_empty() { &attempt.state } else { &attempt.outcome };
    let held = match attempt.released || attempt.ended_ms == 0 {
        true => "",
        false => ", devices not released yet",
    };
    let mut out = format!(
        "  {} {} {} {}{held}{}\n",
        glyph(state),
        plain(&attempt.key),
        plain(state),
        duration(look.now_ms, attempt.started_ms, attempt.ended_ms),
        if attempt.reason.is_empty() {
            String::new()
        } else {
            format!(": {}", plain(&attempt.reason))
        },
    );
    for worker in &attempt.workers {
        let mut said = vec![format!("on {}", plain(&worker.node))];
        if let Some(code) = worker.exit_code {
            said.push(format!("exit {code}"));
        }
        if let Some(signal) = worker.signal {
            said.push(format!("signal {signal}"));
        }
        if worker.oom {
            said.push("out of memory".into());
        }
        if worker.memory_peak_bytes > 0 {
            said.push(format!("peak {}", bytes(worker.memory_peak_bytes)));
        }
        if !worker.devices.is_empty() {
            said.push(format!("{} GPUs", worker.devices.len()));
        }
        if worker.log_bytes > 0 {
            said.push(format!("log {}", bytes(worker.log_bytes)));
        }
        out.push_str(&format!("      {}: {}\n", plain(&worker.key), said.join(", ")));
    }
    out
}

impl Output for RunView {
    fn json(&self) -> Result<Value> {
        let mut value = json_of("Run", &self.run)?;
        if let Some(map) = value.as_object_mut() {
            map.insert("api_version".into(), json!("runyard.v1"));
        }
        Ok(value)
    }

    fn names(&self) -> Vec<String> {
        match self.part.is_empty() {
            true => vec![self.run.name.clone()],
            false => self.tasks().map(|(_, task)| task.key.clone()).collect(),
        }
    }

    fn table(&self, look: &Look) -> Table {
        let columns = [
            Column::new("TASK"),
            Column::new("STATE"),
            Column::new("TOOK"),
            Column::new("NODE"),
            Column::new("TRY"),
            Column::new("REASON"),
            Column::wide("KIND"),
            Column::wide("LABEL"),
            Column::wide("NEEDS"),
        ];
        let mut table = Table::new(columns, "The run has no stages.");
        for (stage, task) in self.tasks() {
            let name = task.key.split_once('/').map_or(task.key.as_str(), |(_, rest)| rest);
            let label =
                if task.label.is_empty() { String::new() } else { format!(" {}", task.label) };
            let last = task.attempts.last();
            let nodes: Vec<&str> = last
                .map(|attempt| attempt.workers.iter().map(|w| w.node.as_str()).collect())
                .unwrap_or_default();
            let reason = if task.reason.is_empty() { &stage.reason } else { &task.reason };
            table.row([
                Cell::new(format!("{name}{label}")),
                Cell::state_and(&task.state, if task.cached { "cached" } else { "" }),
                Cell::new(duration(look.now_ms, task.started_ms, task.ended_ms)),
                Cell::new(nodes.join(",")),
                Cell::new(if task.attempts.is_empty() {
                    String::new()
                } else {
                    task.attempts.len().to_string()
                }),
                Cell::new(reason),
                Cell::new(&stage.kind),
                Cell::new(&task.label),
                Cell::new(stage.needs.join(",")),
            ]);
        }
        table
    }

    fn text(&self, look: &Look) -> Option<String> {
        let head = self.head(look);
        let table = self.table(look).render(look);
        Some(format!("{head}\n{table}{}", self.detail(look)))
    }
}

#[cfg(test)]
#[path = "run_view_tests.rs"]
mod tests;
