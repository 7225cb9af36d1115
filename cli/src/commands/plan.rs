//! `runyard plan`: what a run would do.

use runyard_proto::v1;
use serde_json::Value;

use super::run::{Source, submission};
use crate::client::retry;
use crate::context::Env;
use crate::errors::{Exit, Result};
use crate::output::{Cell, Column, Look, Output, Progress, Table, json_of};

/// Flags of `plan`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
}

/// Does what the verb says. The code is uploaded, for without its digest there is no cache key.
pub(crate) async fn run(args: Args, env: &Env) -> Result<Exit> {
    let file = args.source.load(env)?;
    let client = env.client().await?;
    let progress = Progress::new(&env.printer);
    let request = submission(&client, env, &progress, &file, &args.source).await?;
    progress.clear();
    let plan = retry(|| {
        let (mut runs, request) = (client.runs(), request.clone());
        async move { runs.plan(request).await }
    })
    .await?;
    for warning in &plan.warnings {
        env.printer.warn(&format!("warning: {}", crate::output::plain(warning)));
    }
    env.printer.show(&Plan(plan))?;
    env.printer.next("runyard run");
    Ok(Exit::OK)
}

struct Plan(v1::PlanResponse);

impl Output for Plan {
    fn json(&self) -> Result<Value> {
        json_of("PlanResponse", &self.0)
    }

    fn names(&self) -> Vec<String> {
        self.0.stages.iter().map(|stage| stage.stage.clone()).collect()
    }

    fn table(&self, _look: &Look) -> Table {
        let columns = [
            Column::new("STAGE"),
            Column::new("TASKS"),
            Column::new("NEEDS"),
            Column::new("DOES"),
            Column::new("WHY"),
            Column::new("NODE"),
            Column::wide("PLACEMENT"),
        ];
        let mut table = Table::new(columns, "The pipeline has no stages.");
        for stage in &self.0.stages {
            let node = if stage.node.is_empty() { &stage.placement } else { &stage.node };
            table.row([
                Cell::new(&stage.stage),
                Cell::new(stage.tasks),
                Cell::new(stage.needs.join(",")),
                Cell::new(if stage.cached { "✓ from the cache" } else { "● runs" }),
                Cell::new(&stage.reason),
                Cell::new(node),
                Cell::new(&stage.placement),
            ]);
        }
        table
    }
}
