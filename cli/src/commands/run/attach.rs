//! Staying with a run: its stages on stderr, its log on stdout.

use std::time::Duration;

use runyard_proto::v1;

use crate::client::{Client, Happening, is_over};
use crate::commands::logs::Lines;
use crate::context::Env;
use crate::errors::{Error, Exit, Kind, Result};
use crate::output::{Progress, duration, glyph, plain};

/// How staying ended.
pub(super) enum Ended {
    Over(Box<v1::Run>),
    Detached(Exit),
}

/// Stays until the run is over, Ctrl-C, or the limit.
pub(super) async fn attach(
    client: &Client,
    env: &Env,
    progress: &Progress,
    run: &str,
    logs: bool,
    limit: Option<Duration>,
) -> Result<Ended> {
    // A deadline that far is none.
    let limit = limit.unwrap_or(Duration::from_secs(86_400 * 365));
    tokio::select! {
        // All arms may be dropped at any point: staying changes nothing.
        over = stay(client, env, progress, run, logs) => Ok(Ended::Over(Box::new(over?))),
        _ = tokio::signal::ctrl_c() => {
            progress.clear();
            env.printer.warn(&detached(run));
            Ok(Ended::Detached(Exit::of(Kind::Interrupted)))
        }
        () = tokio::time::sleep(limit) => {
            progress.clear();
            Err(Error::new(Kind::Pending, format!("{run} is not over")).help(format!(
                "it goes on; `runyard watch {run}` waits again"
            )))
        }
    }
}

async fn stay(
    client: &Client,
    env: &Env,
    progress: &Progress,
    run: &str,
    logs: bool,
) -> Result<v1::Run> {
    let mut stages = progress.stages();
    let mut lines = Lines::new(&env.printer);
    // Before the first line is printed, so that all lines look alike.
    lines.expect(&client.run(run).await?, None);
    let mut last = None;
    let mut follow = if logs { client.follow(run) } else { client.follow_state(run) };
    while let Some(happening) = follow.next().await {
        match happening? {
            Happening::Run(now) => {
                lines.expect(&now, None);
                stages.update(&now);
                last = Some(*now);
            }
            Happening::Log(record) => {
                let text = lines.push(&record);
                if !text.is_empty() {
                    progress.data(&text)?;
                }
            }
        }
    }
    progress.data(&lines.finish())?;
    match last {
        Some(run) if is_over(&run.state) => Ok(run),
        _ => client.wait(run, None).await,
    }
}

/// What to say after Ctrl-C.
pub(crate) fn detached(run: &str) -> String {
    format!(
        "\ndetached: {run} goes on\n→ runyard logs {run}     to come back\n→ runyard cancel {run}   to stop it"
    )
}

/// When the run's work began; one that was restored as a whole began when it was submitted.
pub(super) fn began(run: &v1::Run) -> u64 {
    if run.started_ms > 0 { run.started_ms } else { run.created_ms.max(1) }
}

/// One line about the end.
pub(super) fn ended(run: &v1::Run) -> String {
    let reason =
        if run.reason.is_empty() { String::new() } else { format!(": {}", plain(&run.reason)) };
    format!(
        "{} {} {} in {}{reason}",
        glyph(&run.state),
        plain(&run.name),
        plain(&run.state),
        duration(run.ended_ms, began(run), run.ended_ms)
    )
}
