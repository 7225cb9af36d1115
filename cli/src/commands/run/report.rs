//! A finished run as a pull request wants it: verdicts, cost, what was cached, lineage.

use runyard_proto::v1;
use serde_json::{Value, json};

use super::ends::{self, LogEnd};
use crate::client::Client;
use crate::commands::describe::{RunView, commit};
use crate::errors::{Kind, Result};
use crate::output::{
    Look, Output, Table, bytes, duration, escape_markdown as escape, glyph, json_of, number,
};

/// The run and its gates.
pub(super) struct Report {
    run: v1::Run,
    gates: Vec<v1::GateView>,
    /// What the logs of failed tasks ended with.
    ends: Vec<LogEnd>,
}

impl Report {
    /// Asks for the gates' decisions, and for the last lines of what went wrong.
    pub(super) async fn collect(client: &Client, run: v1::Run) -> Result<Self> {
        let mut gates = Vec::new();
        let stages = run.stages.iter().filter(|stage| stage.kind == "gate");
        for stage in stages.filter(|stage| stage.state != "skipped") {
            match client.gate(&format!("{}/{}", run.name, stage.name)).await {
                Ok(gate) => gates.push(gate),
                // A gate that was never reached has decided nothing.
                Err(error) if error.kind == Kind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let ends = ends::collect(client, &run).await;
        Ok(Self { run, gates, ends })
    }

    fn verdicts(&self) -> String {
        let mut out = String::new();
        for gate in &self.gates {
            let decision = if gate.decision.is_empty() { &gate.verdict } else { &gate.decision };
            let reason = match gate.reason.is_empty() {
                true => String::new(),
                false => format!(": {}", escape(&gate.reason)),
            };
            out.push_str(&format!(
                "\n### {} {} {}{reason}\n",
                glyph(decision),
                escape(&gate.task),
                escape(decision)
            ));
            if !gate.markdown.is_empty() {
                // Written by the coordinator's own renderer, escaped there.
                out.push_str(&format!("\n{}\n", gate.markdown.trim()));
            }
        }
        out
    }

    fn stages(&self, look: &Look) -> String {
        let mut out = "\n| Stage | Result | Took | Metrics |\n|---|---|---|---|\n".to_owned();
        for (stage, task) in self.tasks() {
            let mut metrics: Vec<String> =
                task.metrics.iter().map(|(k, v)| format!("{k} {}", number(*v))).collect();
            metrics.sort();
            metrics.truncate(6);
            let name = task.key.split_once('/').map_or(stage.name.as_str(), |(_, rest)| rest);
            let label =
                if task.label.is_empty() { String::new() } else { format!(" {}", task.label) };
            let cached = if task.cached { ", from the cache" } else { "" };
            out.push_str(&format!(
                "| {}{} | {} {}{cached} | {} | {} |\n",
                escape(name),
                escape(&label),
                glyph(&task.state),
                escape(&task.state),
                duration(look.now_ms, task.started_ms, task.ended_ms),
                escape(&metrics.join(", "))
            ));
        }
        out
    }

    fn failures(&self) -> String {
        let mut out = String::new();
        for (stage, task) in self.tasks() {
            let reason = if task.reason.is_empty() { &stage.reason } else { &task.reason };
            if matches!(task.state.as_str(), "failed" | "error") && !reason.is_empty() {
                out.push_str(&format!("\n- **{}**: {}", escape(&task.key), escape(reason)));
                let end = self.ends.iter().find(|end| end.task == task.key);
                out.push_str(&end.map(LogEnd::markdown).unwrap_or_default());
            }
        }
        if out.is_empty() { out } else { format!("\n**What went wrong**\n{out}\n") }
    }

    fn cost(&self) -> String {
        let run = &self.run;
        let cached: Vec<_> = self.tasks().filter(|(_, task)| task.cached).collect();
        let mut out = format!(
            "\n**Cost**: {} of GPU time, {} of CPU time, {} by the clock.\n",
            duration(0, 1, run.device_ms + 1),
            duration(0, 1, run.cpu_ms + 1),
            duration(run.ended_ms, super::attach::began(run), run.ended_ms)
        );
        if !cached.is_empty() {
            out.push_str("\n**From the cache**:\n\n");
            for (_, task) in cached {
                out.push_str(&format!("- {}: {}\n", escape(&task.key), escape(&task.cache_reason)));
            }
        }
        out
    }

    fn lineage(&self) -> String {
        let run = &self.run;
        let git = run.git.clone().unwrap_or_default();
        let short = |digest: &str| digest.chars().take(12).collect::<String>();
        let mut facts = vec![format!("run {}", escape(&run.name))];
        if !git.commit.is_empty() {
            let branch = format!("commit {} on {}", commit(&git), git.branch);
            facts.push(format!("{} ({})", escape(&branch), escape(&git.subject)));
        }
        if !run.code_root.is_empty() {
            facts.push(format!("code {}", short(&run.code_root)));
        }
        let mut params: Vec<String> = run.params.iter().map(|(k, v)| format!("{k}={v}")).collect();
        params.sort();
        if !params.is_empty() {
            facts.push(format!("parameters {}", escape(&params.join(" "))));
        }
        for (_, task) in self.tasks() {
            for output in &task.outputs {
                facts.push(format!(
                    "{} {} ({})",
                    escape(&format!("{}:{}", task.key, output.name)),
                    short(&output.root),
                    bytes(output.bytes)
                ));
            }
        }
        for gate in self.gates.iter().filter(|gate| !gate.record.is_empty()) {
            facts.push(format!("decision record {}", short(&gate.record)));
        }
        let lines: String = facts.iter().map(|fact| format!("- {fact}\n")).collect();
        format!("\n<details><summary>Lineage</summary>\n\n{lines}\n</details>\n")
    }

    fn tasks(&self) -> impl Iterator<Item = (&v1::Stage, &v1::Task)> {
        self.run.stages.iter().flat_map(|stage| stage.tasks.iter().map(move |task| (stage, task)))
    }
}

impl Output for Report {
    fn json(&self) -> Result<Value> {
        let mut value = RunView::new(self.run.clone()).json()?;
        if let Some(map) = value.as_object_mut() {
            let gates = self.gates.iter().map(|gate| json_of("GateView", gate));
            map.insert("gates".into(), json!(gates.collect::<Result<Vec<_>>>()?));
        }
        Ok(value)
    }

    fn names(&self) -> Vec<String> {
        vec![self.run.name.clone()]
    }

    fn table(&self, look: &Look) -> Table {
        RunView::new(self.run.clone()).table(look)
    }

    fn text(&self, look: &Look) -> Option<String> {
        let mut text = RunView::new(self.run.clone()).text(look)?;
        for gate in &self.gates {
            let shown = crate::commands::gate::GateShown(gate.clone()).text(look)?;
            text.push_str(&format!("\n{shown}"));
        }
        text.extend(self.ends.iter().map(LogEnd::text));
        Some(text)
    }

    fn markdown(&self, look: &Look) -> Option<String> {
        let run = &self.run;
        let reason = if run.reason.is_empty() {
            String::new()
        } else {
            format!(": {}", escape(&run.reason))
        };
        Some(format!(
            "## {} {} {}{reason}\n{}{}{}{}{}",
            glyph(&run.state),
            escape(&run.name),
            escape(&run.state),
            self.verdicts(),
            self.failures(),
            self.stages(look),
            self.cost(),
            self.lineage()
        ))
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
