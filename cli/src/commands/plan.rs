//! `runyard plan`: what a run would do.

use runyard_proto::v1;
use serde_json::{Value, json};

use super::run::{Freight, Source, planned};
use crate::client::retry;
use crate::context::Env;
use crate::errors::{Exit, Result};
use crate::output::{Cell, Column, Look, Output, Progress, Table, bytes, json_of, plain};

/// Flags of `plan`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
}

/// Does what the verb says. Code and inputs are hashed here: nothing is uploaded.
pub(crate) async fn run(args: Args, env: &Env) -> Result<Exit> {
    let file = args.source.load(env)?;
    let client = env.client().await?;
    let progress = Progress::new(&env.printer);
    let (request, freight) = planned(&client, env, &progress, &file, &args.source).await?;
    progress.clear();
    let plan = retry(|| {
        let (mut runs, request) = (client.runs(), request.clone());
        async move { runs.plan(request).await }
    })
    .await?;
    for warning in &plan.warnings {
        env.printer.warn(&format!("warning: {}", plain(warning)));
    }
    env.printer.show(&Plan { answer: plan, freight })?;
    env.printer.next("runyard run");
    Ok(Exit::OK)
}

struct Plan {
    answer: v1::PlanResponse,
    freight: Freight,
}

impl Output for Plan {
    fn json(&self) -> Result<Value> {
        let mut value = json_of("PlanResponse", &self.answer)?;
        let parts = self.freight.parts.iter().map(
            |(name, bytes, missing)| json!({ "name": name, "bytes": bytes, "send_bytes": missing }),
        );
        if let Some(map) = value.as_object_mut() {
            map.insert("upload".into(), parts.collect());
        }
        Ok(value)
    }

    fn text(&self, look: &Look) -> Option<String> {
        let mut out = self.table(look).render(look);
        let sent: u64 = self.freight.parts.iter().map(|(_, _, missing)| missing).sum();
        match sent {
            0 => out.push_str("\nto send: nothing, all of it is in the store\n"),
            sent => out.push_str(&format!("\nto send: {}\n", bytes(sent))),
        }
        for (name, all, missing) in self.freight.parts.iter().filter(|(.., missing)| *missing > 0) {
            // The list of files itself is sent as well.
            let part = match missing >= all {
                true => format!("all of it, {}", bytes(*all)),
                false => format!("{} of {}", bytes(*missing), bytes(*all)),
            };
            out.push_str(&format!("  {}: {part}\n", plain(name)));
        }
        Some(out)
    }

    fn names(&self) -> Vec<String> {
        self.answer.stages.iter().map(|stage| stage.stage.clone()).collect()
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
        for stage in &self.answer.stages {
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
