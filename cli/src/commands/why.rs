//! `runyard why`: what keeps a task from running, or how a model version came to be.

mod lineage;

use runyard_proto::v1;
use serde_json::Value;

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
    for key in waiting(&client, &target).await? {
        let answer = retry(|| {
            let mut runs = client.runs();
            let request = v1::WhyRequest { project: client.project.clone(), target: key.clone() };
            async move { runs.why(request).await }
        })
        .await?;
        env.printer.show(&Why(answer))?;
    }
    Ok(Exit::OK)
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

#[derive(Debug)]
struct Why(v1::WhyResponse);

impl Output for Why {
    fn json(&self) -> Result<Value> {
        json_of("WhyResponse", &self.0)
    }

    fn names(&self) -> Vec<String> {
        vec![self.0.task.clone()]
    }

    fn table(&self, _look: &Look) -> Table {
        let columns = [
            Column::new("NODES"),
            Column::new("REASON"),
            Column::new("E.G."),
            Column::new("HELD BY"),
        ];
        let mut table = Table::new(columns, "");
        for reason in &self.0.reasons {
            table.row([
                Cell::with_raw(format!("{}/{}", reason.nodes, self.0.nodes_total), reason.nodes),
                Cell::new(&reason.reason),
                Cell::new(reason.examples.join(", ")),
                Cell::new(reason.holders.join(", ")),
            ]);
        }
        table
    }

    fn text(&self, look: &Look) -> Option<String> {
        let why = &self.0;
        let mut out =
            format!("{} {} is {}\n", glyph(&why.state), plain(&why.task), plain(&why.state));
        if !why.sentence.is_empty() {
            out.push_str(&format!("{}\n", plain(&why.sentence)));
        }
        let table = self.table(look).render(look);
        if !table.is_empty() {
            out.push_str(&format!("\n{table}"));
        }
        if why.position > 0 {
            out.push_str(&format!("\nposition in the queue: {}\n", why.position));
        }
        if !why.cheapest_change.is_empty() {
            out.push_str(&format!("it would start if: {}\n", plain(&why.cheapest_change)));
        }
        Some(out)
    }
}

#[cfg(test)]
#[path = "why_tests.rs"]
mod tests;
