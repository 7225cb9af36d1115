//! `runyard watch`: a run until it is done.

use std::time::Duration;

use runyard_types::DurationMs;

use super::stdin;
use crate::client::{Happening, is_over};
use crate::context::Env;
use crate::errors::{Error, Exit, Kind, Result};
use crate::output::Progress;

/// Flags of `watch`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run
    #[arg(value_name = "RUN")]
    run: String,
    /// Give up waiting after this long (exit code 8)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// Exit with the exit status of the first process that failed
    #[arg(long)]
    exit_status: bool,
}

/// `1h30m`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    DurationMs::parse(text).map(|d| Duration::from_millis(d.get())).map_err(|e| e.to_string())
}

/// Does what the verb says.
pub(crate) async fn run(args: Args, env: &Env) -> Result<Exit> {
    let client = env.client().await?;
    let run = client.target(&stdin::name(&args.run)?).await?.run;
    let progress = Progress::new(&env.printer);
    let mut stages = progress.stages();
    let watching = async {
        let mut follow = client.follow_state(&run);
        while let Some(happening) = follow.next().await {
            if let Happening::Run(now) = happening? {
                stages.update(&now);
                if is_over(&now.state) {
                    return Ok(*now);
                }
            }
        }
        client.run(&run).await
    };
    let limit = args.timeout.unwrap_or(Duration::MAX / 4);
    let over = tokio::select! {
        // All arms may be dropped: watching changes nothing.
        over = watching => over?,
        () = tokio::time::sleep(limit.min(Duration::from_secs(86_400 * 365))) => {
            progress.clear();
            return Err(Error::new(Kind::Pending, format!("{run} is not over")).help("it goes on"));
        }
        _ = tokio::signal::ctrl_c() => {
            progress.clear();
            env.printer.warn(&super::run::detached(&run));
            return Ok(Exit::of(Kind::Interrupted));
        }
    };
    progress.clear();
    env.printer.show(&super::describe::RunView::new(over.clone()))?;
    if args.exit_status
        && let Some(code) = super::run::remote_code(&over)
    {
        return Ok(Exit(code));
    }
    client.exit_of(&over).await
}
