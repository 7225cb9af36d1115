//! `runyard retry`: run again what did not succeed.

use runyard_proto::v1;
use serde_json::json;

use super::stdin;
use crate::client::once;
use crate::context::Env;
use crate::errors::{Exit, Result};

/// Flags of `retry`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run, or RUN/STAGE
    #[arg(value_name = "RUN[/STAGE]")]
    target: String,
}

/// Does what the verb says.
pub(crate) async fn run(args: Args, env: &Env) -> Result<Exit> {
    let client = env.client().await?;
    let target = client.target(&stdin::name(&args.target)?).await?;
    let request = v1::RetryRequest {
        project: client.project.clone(),
        run: target.run.clone(),
        stage: target.stage().unwrap_or_default().to_owned(),
    };
    // Once: a second one could meet the new attempts already failed, and retry those.
    let answer = once(client.runs().retry(request)).await?;
    env.printer.answer(&json!({ "run": target.run, "tasks": answer.tasks }))?;
    for task in answer.tasks.iter().filter(|_| !env.printer.structured()) {
        env.printer.data(format!("{}\n", crate::output::plain(task)).as_bytes())?;
    }
    match answer.tasks.is_empty() {
        true => env.printer.note("nothing to run again"),
        false => env.printer.next(&format!("runyard logs {}", target.run)),
    }
    Ok(Exit::OK)
}
