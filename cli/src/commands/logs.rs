//! `runyard logs`: what stages wrote, as it comes or as it was.

mod lines;
mod tail;

pub(crate) use lines::Lines;
pub(crate) use tail::Tail;

use runyard_proto::v1;
use runyard_types::DurationMs;

use super::stdin;
use crate::client::{Client, Target};
use crate::context::Env;
use crate::errors::{Error, Exit, Kind, Result};
use crate::output::{Items, json_of};

/// Flags of `logs`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run, stage, task or attempt
    #[arg(value_name = "NAME")]
    target: String,
    /// Follow while it runs. This is what happens to a run anyhow; a replica of a deployment serves
    /// without end, and is followed only with this flag
    #[arg(short, long, overrides_with = "no_follow")]
    follow: bool,
    /// Print what is there and end
    #[arg(long, overrides_with = "follow")]
    no_follow: bool,
    /// Begin so many lines before the end of each worker's log
    #[arg(long, value_name = "LINES", default_value_t = 0, hide_default_value = true)]
    tail: u64,
    /// Only what was written since: a duration ago (10m) or an instant (2026-01-31T12:00:00Z)
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Only tasks that did not succeed
    #[arg(long)]
    failed: bool,
    /// Only this attempt
    #[arg(long, value_name = "N", conflicts_with = "previous")]
    attempt: Option<u32>,
    /// The attempt before the latest
    #[arg(long)]
    previous: bool,
    /// Only this worker of the gang
    #[arg(long, value_name = "RANK")]
    worker: Option<u32>,
    /// Print the time of each line
    #[arg(short, long)]
    timestamps: bool,
    /// Only lines that contain this text
    #[arg(long, value_name = "TEXT")]
    grep: Option<String>,
}

/// Does what the verb says.
pub(crate) async fn run(args: Args, env: &Env) -> Result<Exit> {
    let client = env.client().await?;
    let name = stdin::name(&args.target)?;
    // A replica of a deployment belongs to no run.
    let target = match name.split_once('@') {
        Some((head, _)) if !head.is_empty() => None,
        _ => Some(client.target(&name).await?),
    };
    let attempt = match (&target, args.previous) {
        (Some(target), true) => previous(&client, target).await?,
        (None, true) => return Err(Error::usage("--previous needs a task of a run")),
        (_, false) => args.attempt.unwrap_or(0),
    };
    let since_ms = match &args.since {
        Some(text) => since(text, env.printer.look().now_ms)?,
        None => 0,
    };
    // A run ends, and so does its log; what serves never does.
    let follow = args.follow || (!args.no_follow && target.is_some());
    let request = v1::LogsRequest {
        target: target.as_ref().map_or_else(|| name.clone(), Target::key),
        follow,
        tail_lines: args.tail,
        since_ms,
        failed: args.failed,
        attempt,
        worker: args.worker,
        ..Default::default()
    };
    let mut lines =
        Lines::new(&env.printer).timestamps(args.timestamps).containing(args.grep.clone());
    if let Some(target) = &target {
        // Known before the first line, so that lines look the same from the first to the last.
        lines.expect(&client.run(&target.run).await?, Some(target));
    }
    let mut items = env.printer.items();
    let exit = tokio::select! {
        printed = print(&client, env, request, lines, &mut items) => {
            printed?;
            Exit::OK
        }
        // Reading changes nothing: dropping it is safe.
        _ = tokio::signal::ctrl_c() => Exit::of(Kind::Interrupted),
    };
    env.printer.data(items.end().as_bytes())?;
    Ok(exit)
}

/// How long the first record may take.
const FIRST: std::time::Duration = std::time::Duration::from_secs(3600);
/// How long nothing must come for the past to be over.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(300);

async fn print(
    client: &Client,
    env: &Env,
    request: v1::LogsRequest,
    mut lines: Lines,
    items: &mut Items,
) -> Result<()> {
    let mut past = (request.tail_lines > 0).then(|| tail::Tail::new(request.tail_lines));
    let mut logs = client.logs(request);
    loop {
        let next = match &mut past {
            None => logs.next().await,
            // Until something has come, nothing tells a slow answer from an empty log.
            Some(tail) => {
                match tokio::time::timeout(if tail.is_empty() { FIRST } else { PAUSE }, logs.next())
                    .await
                {
                    Ok(Ok(Some(record))) => {
                        tail.push(record);
                        continue;
                    }
                    // The present is reached, or the end.
                    other => {
                        for record in tail.take() {
                            show(env, &mut lines, items, &record)?;
                        }
                        past = None;
                        match other {
                            Ok(end) => end,
                            Err(_) => continue,
                        }
                    }
                }
            }
        };
        match next? {
            Some(record) => show(env, &mut lines, items, &record)?,
            None => return env.printer.data(&lines.finish()),
        }
    }
}

fn show(env: &Env, lines: &mut Lines, items: &mut Items, record: &v1::LogRecord) -> Result<()> {
    match items.wanted() {
        true => env.printer.data(items.item(&json_of("LogRecord", record)?)?.as_bytes()),
        false => env.printer.data(&lines.push(record)),
    }
}

/// The number of the attempt before the latest.
async fn previous(client: &Client, target: &Target) -> Result<u32> {
    let run = client.run(&target.run).await?;
    let attempts = run
        .stages
        .iter()
        .flat_map(|stage| &stage.tasks)
        .filter(|task| target.covers(&task.key))
        .map(|task| task.attempts.len())
        .max()
        .unwrap_or(0);
    match u32::try_from(attempts) {
        Ok(attempts) if attempts > 1 => Ok(attempts - 1),
        _ => Err(Error::not_found(format!("{} has no attempt before its latest", target.key()))),
    }
}

/// `10m` before now, or an instant.
fn since(text: &str, now_ms: u64) -> Result<u64> {
    if let Ok(ago) = DurationMs::parse(text) {
        return Ok(now_ms.saturating_sub(ago.get()).max(1));
    }
    let at = humantime::parse_rfc3339_weak(text).map_err(|error| {
        Error::usage(format!("`{text}` is no time for --since"))
            .because(error)
            .help("write a duration (10m) or an instant in UTC (2026-01-31T12:00:00Z)")
    })?;
    let since = at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Ok(u64::try_from(since.as_millis()).unwrap_or(u64::MAX).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_takes_durations_and_instants() {
        assert_eq!(since("10m", 1_000_000).expect("parses"), 400_000);
        assert_eq!(since("1h", 1_000).expect("parses"), 1, "never zero, which means all");
        assert_eq!(since("1970-01-01T00:00:02Z", 9).expect("parses"), 2_000);
        assert_eq!(since("yesterday", 9).expect_err("is refused").kind, Kind::Usage);
    }
}
