//! `runyard why`: what keeps a task from running, or how a model version came to be.

mod lineage;

use std::time::Duration;

use runyard_proto::v1;
use serde_json::{Value, json};

use super::logs::Tail;
use super::stdin;
use crate::client::{Client, Target, is_run_name, retry};
use crate::context::Env;
use crate::errors::{Exit, Kind, Result};
use crate::output::{Cell, Column, Look, Output, Table, glyph, json_of, plain};

/// Flags of `why`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// RUN, RUN/STAGE, or MODEL@ALIAS, MODEL@VERSION
    #[arg(value_name = "NAME")]
    target: String,
}

/// Does what the verb says.
pub(crate) async fn run(args: Args, env: &Env) -> Result<Exit> {
    let client = env.client().await?;
    let name = stdin::name(&args.target)?;
    if let Some((model, selector)) = name.split_once('@')
        && !model.is_empty()
        && !selector.contains('/')
    {
        let lineage = lineage(&client, model, selector).await?;
        env.printer.show(&lineage::Lineage(lineage))?;
        return Ok(Exit::OK);
    }
    let target = client.target(&name).await?;
    let mut answers = Vec::new();
    for key in waiting(&client, &target).await? {
        let answer = retry(|| {
            let mut runs = client.runs();
            let request = v1::WhyRequest { project: client.project.clone(), target: key.clone() };
            async move { runs.why(request).await }
        })
        .await?;
        let last_lines = last_lines(&client, &answer.log).await;
        answers.push(Why { answer, last_lines });
    }
    let next = answers.iter().map(|why| why.answer.next.clone()).find(|next| !next.is_empty());
    env.printer.show(&Whys(answers))?;
    if let Some(next) = next {
        env.printer.next(&plain(&next));
    }
    Ok(Exit::OK)
}

/// Lines of a failed worker's log that are shown.
const LINES: u64 = 8;
/// How long they may take: the reason is worth more than its illustration.
const LINES_WITHIN: Duration = Duration::from_secs(5);

/// The last lines of a worker's log; none where they can't be had.
async fn last_lines(client: &Client, worker: &str) -> Vec<String> {
    if worker.is_empty() {
        return Vec::new();
    }
    let mut logs = client.logs(v1::LogsRequest {
        target: worker.to_owned(),
        tail_lines: LINES,
        ..Default::default()
    });
    let mut tail = Tail::new(LINES);
    let reading = async {
        while let Ok(Some(record)) = logs.next().await {
            tail.push(record);
        }
    };
    // Dropped or done, what was read until then is shown.
    let _ = tokio::time::timeout(LINES_WITHIN, reading).await;
    let bytes: Vec<u8> = tail.take().iter().flat_map(|record| record.data.to_vec()).collect();
    String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
}

/// The most tasks that are asked about, of a run or stage with many.
const TASKS_MAX: usize = 8;

/// The tasks that wait, of a run or a stage; what was named itself where none does.
async fn waiting(client: &Client, target: &Target) -> Result<Vec<String>> {
    if target.rest.contains('[') || !is_run_name(&target.run) {
        return Ok(vec![target.key()]);
    }
    let run = client.run(&target.run).await?;
    let tasks = run.stages.iter().flat_map(|stage| &stage.tasks);
    let keys: Vec<String> = tasks
        .filter(|task| target.covers(&task.key))
        .filter(|task| matches!(task.state.as_str(), "queued" | "unknown" | "starting"))
        .take(TASKS_MAX)
        .map(|task| task.key.clone())
        .collect();
    Ok(if keys.is_empty() { vec![target.key()] } else { keys })
}

async fn lineage(client: &Client, model: &str, selector: &str) -> Result<v1::LineageResponse> {
    let lineage = retry(|| {
        let mut runs = client.runs();
        let request = v1::LineageRequest {
            project: client.project.clone(),
            model: model.to_owned(),
            selector: selector.to_owned(),
        };
        async move { runs.lineage(request).await }
    })
    .await;
    lineage.map_err(|error| match error.kind {
        Kind::NotFound => {
            error.help(format!("`runyard models get {model}` lists versions and aliases"))
        }
        _ => error,
    })
}

/// What is to be said of one task, or of several of a run.
#[derive(Debug)]
struct Whys(Vec<Why>);

#[derive(Debug)]
struct Why {
    answer: v1::WhyResponse,
    /// Of the log of the worker that decided it.
    last_lines: Vec<String>,
}

impl Output for Whys {
    fn json(&self) -> Result<Value> {
        let mut items = Vec::new();
        for why in &self.0 {
            let mut item = json_of("WhyResponse", &why.answer)?;
            if let Some(map) = item.as_object_mut() {
                map.insert("last_lines".into(), json!(why.last_lines));
            }
            items.push(item);
        }
        Ok(json!({ "index": 0, "items": items }))
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|why| why.answer.task.clone()).collect()
    }

    fn table(&self, _look: &Look) -> Table {
        let mut table = Table::new(columns(), "");
        self.0.iter().for_each(|why| why.rows(&mut table));
        table
    }

    fn text(&self, look: &Look) -> Option<String> {
        let parts: Vec<String> = self.0.iter().map(|why| why.text(look)).collect();
        Some(parts.join("\n"))
    }
}

fn columns() -> [Column; 5] {
    [
        Column::new("NODES"),
        Column::new("REASON"),
        Column::new("E.G."),
        Column::new("HELD BY"),
        Column::wide("TASK"),
    ]
}

impl Why {
    fn rows(&self, table: &mut Table) {
        let why = &self.answer;
        for reason in &why.reasons {
            table.row([
                Cell::with_raw(format!("{}/{}", reason.nodes, why.nodes_total), reason.nodes),
                Cell::new(&reason.reason),
                Cell::new(reason.examples.join(", ")),
                Cell::new(reason.holders.join(", ")),
                Cell::new(&why.task),
            ]);
        }
    }

    fn text(&self, look: &Look) -> String {
        let why = &self.answer;
        let mut out =
            format!("{} {}: {}\n", glyph(&why.state), plain(&why.task), plain(&why.state));
        for line in why.sentence.lines() {
            out.push_str(&format!("  {}\n", plain(line)));
        }
        if !self.last_lines.is_empty() {
            out.push_str(&format!("  the last lines of {}:\n", plain(&why.log)));
            for line in &self.last_lines {
                out.push_str(&format!("  │ {}\n", plain(line)));
            }
        }
        let mut table = Table::new(columns(), "");
        self.rows(&mut table);
        let table = table.render(look);
        if !table.is_empty() {
            out.push_str(&format!("\n{table}"));
        }
        if why.position > 0 {
            out.push_str(&format!("\nposition in the queue: {}\n", why.position));
        }
        if !why.cheapest_change.is_empty() {
            out.push_str(&format!("it would start if: {}\n", plain(&why.cheapest_change)));
        }
        out
    }
}

#[cfg(test)]
#[path = "why_tests.rs"]
mod tests;
