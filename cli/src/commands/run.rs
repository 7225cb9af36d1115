//! `runyard run`: check, upload, submit, attach.

mod adhoc;
mod attach;
mod ends;
mod git;
mod inputs;
mod report;
mod source;
mod submission;

use std::time::Duration;

use runyard_proto::v1;

pub(crate) use adhoc::folder_name;
pub(crate) use attach::detached;
pub(crate) use source::Source;
pub(crate) use submission::{Freight, planned, submission};

use crate::client::{Client, is_over};
use crate::context::Env;
use crate::errors::{Exit, Kind, Result};
use crate::output::{Progress, json_of, plain};

/// Flags of `run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    /// Submit and come back
    #[arg(short, long, conflicts_with_all = ["wait", "exit_status"])]
    detach: bool,
    /// Wait for the end without the logs; then print the run (-o markdown: the report for a pull request)
    #[arg(long)]
    wait: bool,
    /// Give up waiting after this long (exit code 8); the run goes on
    #[arg(long, value_name = "DURATION", value_parser = super::watch::parse_duration)]
    timeout: Option<Duration>,
    /// Exit with the exit status of the command itself
    #[arg(long)]
    exit_status: bool,
}

/// Does what the verb says.
pub(crate) async fn run(args: Args, env: &Env) -> Result<Exit> {
    let file = args.source.load(env)?;
    let client = env.client().await?;
    let progress = Progress::new(&env.printer);
    let submitting = submit(&client, env, &progress, &file, &args);
    let submitted = tokio::select! {
        submitted = submitting => submitted?,
        // What was uploaded stays for the next try; nothing is half submitted, because a submission
        // is one call.
        _ = tokio::signal::ctrl_c() => {
            progress.clear();
            env.printer.warn("stopped before the run was known to be submitted; `runyard ps` tells");
            return Ok(Exit::of(Kind::Interrupted));
        }
    };
    let run = submitted.run.clone();
    if args.detach {
        progress.clear();
        if env.printer.structured() {
            env.printer.answer(&json_of("SubmitResponse", &submitted)?)?;
            return Ok(Exit::OK);
        }
        env.printer.data(format!("{run}\n").as_bytes())?;
        env.printer.next(&format!("runyard logs {run}"));
        return Ok(Exit::OK);
    }
    let logs = !args.wait && !env.printer.for_programs();
    let over = match attach::attach(&client, env, &progress, &run, logs, args.timeout).await? {
        attach::Ended::Over(run) => *run,
        attach::Ended::Detached(exit) => return Ok(exit),
    };
    progress.clear();
    finish(&client, env, &args, over).await
}

async fn submit(
    client: &Client,
    env: &Env,
    progress: &Progress,
    file: &super::pipeline_file::PipelineFile,
    args: &Args,
) -> Result<v1::SubmitResponse> {
    let request = submission(client, env, progress, file, &args.source).await?;
    let answer = client.submit(request).await?;
    for warning in &answer.warnings {
        env.printer.warn(&format!("warning: {}", plain(warning)));
    }
    progress.line(&format!("● {} submitted", plain(&answer.run)));
    Ok(answer)
}

/// Prints the end, and makes it an exit code.
async fn finish(client: &Client, env: &Env, args: &Args, run: v1::Run) -> Result<Exit> {
    debug_assert!(is_over(&run.state), "attaching ends with the run");
    if args.wait || env.printer.for_programs() {
        let report = report::Report::collect(client, run.clone()).await?;
        env.printer.show(&report)?;
    } else {
        env.printer.note(&attach::ended(&run));
        env.printer.next(&format!("runyard describe {}", run.name));
    }
    if args.exit_status
        && let Some(code) = remote_code(&run)
    {
        return Ok(Exit(code));
    }
    client.exit_of(&run).await
}

/// The exit status of the first process that failed, of the latest attempts; signals as 128 + n.
pub(crate) fn remote_code(run: &v1::Run) -> Option<u8> {
    let tasks = run.stages.iter().flat_map(|stage| &stage.tasks);
    let workers =
        tasks.filter_map(|task| task.attempts.last()).flat_map(|attempt| &attempt.workers);
    let codes: Vec<i32> = workers
        .filter_map(|worker| worker.exit_code.or(worker.signal.map(|signal| 128 + signal)))
        .collect();
    let code = codes.iter().find(|code| **code != 0).or(codes.first())?;
    u8::try_from(*code).ok()
}
