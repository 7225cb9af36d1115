//! `runyard ps`: runs.

use std::time::Duration;

use runyard_proto::v1;
use serde_json::Value;

use crate::context::Env;
use crate::errors::{Exit, Result};
use crate::output::{Cell, Column, List, Look, Output, Table, duration};

/// Flags of `ps`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Finished runs, too
    #[arg(short, long)]
    all: bool,
    /// At most so many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    limit: u32,
    /// Print again every two seconds
    #[arg(short, long)]
    watch: bool,
}

/// Does what the verb says.
pub(crate) async fn run(args: Args, env: &Env) -> Result<Exit> {
    if args.watch {
        env.printer.may_repeat()?;
    }
    let client = env.client().await?;
    loop {
        let (index, items) = client.list(args.all, args.limit).await?;
        if args.watch && env.printer.stdout_tty && !env.printer.for_programs() {
            // Home, and clear what is below.
            env.printer.data(b"\x1b[H\x1b[J")?;
        }
        env.printer.show(&Runs { list: List { index, items }, all: args.all })?;
        if !args.watch {
            return Ok(Exit::OK);
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

/// A list of runs.
struct Runs {
    list: List<v1::Run>,
    all: bool,
}

impl Output for Runs {
    fn json(&self) -> Result<Value> {
        self.list.to_json("Run")
    }

    fn names(&self) -> Vec<String> {
        self.list.items.iter().map(|run| run.name.clone()).collect()
    }

    fn table(&self, look: &Look) -> Table {
        let columns = [
            Column::new("NAME"),
            Column::new("STATE"),
            Column::new("STAGES"),
            Column::new("AGE"),
            Column::new("TOOK"),
            Column::new("COMMIT"),
            Column::new("REASON"),
            Column::wide("BRANCH"),
            Column::wide("BY"),
            Column::wide("UID"),
        ];
        let empty = match self.all {
            true => "No runs yet; `runyard run` makes one.",
            false => "No active runs; `runyard ps -a` shows finished ones.",
        };
        let mut table = Table::new(columns, empty);
        for run in &self.list.items {
            let over = |stage: &&v1::Stage| {
                matches!(
                    stage.state.as_str(),
                    "succeeded" | "failed" | "error" | "cancelled" | "skipped"
                )
            };
            let done = run.stages.iter().filter(over).count();
            let git = run.git.clone().unwrap_or_default();
            table.row([
                Cell::new(&run.name),
                Cell::state(&run.state),
                Cell::new(format!("{done}/{}", run.stages.len())),
                Cell::age(look, run.created_ms),
                Cell::with_raw(
                    duration(look.now_ms, run.started_ms, run.ended_ms),
                    took_ms(look.now_ms, run),
                ),
                Cell::new(super::describe::commit(&git)),
                Cell::new(&run.reason),
                Cell::new(&git.branch),
                Cell::new(&run.principal),
                Cell::new(&run.uid),
            ]);
        }
        table
    }
}

fn took_ms(now_ms: u64, run: &v1::Run) -> String {
    match (run.started_ms, run.ended_ms) {
        (0, _) => String::new(),
        (started, 0) => now_ms.saturating_sub(started).to_string(),
        (started, ended) => ended.saturating_sub(started).to_string(),
    }
}

#[cfg(test)]
#[path = "ps_tests.rs"]
mod tests;
