//! `runyard cancel`: stop runs.

use runyard_proto::v1;
use serde_json::json;

use super::stdin;
use crate::client::retry;
use crate::context::Env;
use crate::errors::{Error, Exit, Result};

/// Flags of `cancel`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Runs; `-` reads them from stdin
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<String>,
    /// Why, for the record
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

/// Does what the verb says; every run is tried, the first error is reported.
pub(crate) async fn run(args: Args, env: &Env) -> Result<Exit> {
    let client = env.client().await?;
    let mut failed = None;
    let mut cancelled_runs = Vec::new();
    for name in stdin::names(&args.runs)? {
        let cancelled = async {
            let target = client.target(&name).await?;
            if !target.rest.is_empty() {
                return Err(Error::usage(format!("`{name}` is a part of a run"))
                    .help(format!("runs are cancelled whole: `runyard cancel {}`", target.run)));
            }
            let answer = retry(|| {
                let mut runs = client.runs();
                let request = v1::CancelRequest {
                    project: client.project.clone(),
                    run: target.run.clone(),
                    reason: args.reason.clone(),
                };
                async move { runs.cancel(request).await }
            })
            .await?;
            Ok((target.run, answer.stopped))
        };
        match cancelled.await {
            Ok((run, stopped)) => {
                env.printer.note(&format!("{run}: cancelled, {stopped} running attempts stop"));
                env.printer.next(&format!("runyard describe {run}"));
                cancelled_runs.push(json!({ "run": run, "stopped": stopped }));
            }
            Err(error) => {
                if let Some(earlier) = failed.replace(error) {
                    env.printer.warn(earlier.render().trim_end());
                }
            }
        }
    }
    if failed.is_none() || !cancelled_runs.is_empty() {
        env.printer.answer(&json!({ "index": 0, "items": cancelled_runs }))?;
    }
    failed.map_or(Ok(Exit::OK), Err)
}
