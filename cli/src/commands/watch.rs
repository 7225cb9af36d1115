//! `runyard watch`: a run until it is done.

use std::time::Duration;

use runyard_proto::v1;
use runyard_types::DurationMs;

use super::stdin;
use crate::client::{Happening, Target, is_over};
use crate::context::Env;
use crate::errors::{Error, Exit, Kind, Result};
use crate::output::{Progress, glyph, plain};

/// Flags of `watch`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run; with --wait-for also a stage or task of it
    #[arg(value_name = "RUN")]
    run: String,
    /// Only until it has come to this state, as `running` or `succeeded` (exit code 1: it ended
    /// without it)
    #[arg(long, value_name = "STATE", value_parser = STATES)]
    wait_for: Option<String>,
    /// Give up waiting after this long (exit code 8)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// Exit with the exit status of the first process that failed
    #[arg(long)]
    exit_status: bool,
}

/// The states that a run, stage or task can be waited for.
const STATES: [&str; 9] = [
    "queued",
    "starting",
    "running",
    "succeeded",
    "failed",
    "error",
    "cancelled",
    "skipped",
    "ended",
];

/// The state of what was named, in the run's own words.
fn state_of<'a>(run: &'a v1::Run, target: &Target) -> Result<&'a str> {
    if target.rest.is_empty() {
        return Ok(&run.state);
    }
    let stage = run.stages.iter().find(|stage| stage.name == target.rest);
    let task = run.stages.iter().flat_map(|stage| &stage.tasks).find(|t| t.key == target.key());
    stage.map(|stage| stage.state.as_str()).or(task.map(|task| task.state.as_str())).ok_or_else(
        || {
            let stages: Vec<&str> = run.stages.iter().map(|stage| stage.name.as_str()).collect();
            Error::not_found(format!("{} has no `{}`", run.name, target.rest))
                .help(format!("its stages are {}", stages.join(", ")))
        },
    )
}

/// Whether a state is the one waited for, or a later one of what goes well.
fn reached(state: &str, wanted: &str) -> bool {
    let order = ["waiting", "queued", "starting", "running"];
    let place = |word: &str| order.iter().position(|known| *known == word);
    match (place(state), place(wanted)) {
        _ if state == wanted => true,
        (Some(state), Some(wanted)) => state > wanted,
        // What has succeeded has run, perhaps between two looks.
        (None, Some(_)) => state == "succeeded",
        (None, None) => wanted == "ended" && ended(state),
        (Some(_), None) => false,
    }
}

fn ended(state: &str) -> bool {
    is_over(state) || state == "skipped"
}

/// `1h30m`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    DurationMs::parse(text).map(|d| Duration::from_millis(d.get())).map_err(|e| e.to_string())
}

/// Does what the verb says.
pub(crate) async fn run(args: Args, env: &Env) -> Result<Exit> {
    let client = env.client().await?;
    let target = client.target(&stdin::name(&args.run)?).await?;
    let run = target.run.clone();
    if args.wait_for.is_none() && !target.rest.is_empty() {
        return Err(Error::usage(format!("`{}` is a part of a run", target.key()))
            .help(format!("`runyard watch {run}` watches it all, --wait-for STATE a part of it")));
    }
    let progress = Progress::new(&env.printer);
    let mut stages = progress.stages();
    let watching = async {
        let mut follow = client.follow_state(&run);
        while let Some(happening) = follow.next().await {
            if let Happening::Run(now) = happening? {
                stages.update(&now);
                if let Some(wanted) = &args.wait_for {
                    let state = state_of(&now, &target)?;
                    if reached(state, wanted) || ended(state) {
                        return Ok(*now);
                    }
                }
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
    if let Some(wanted) = &args.wait_for {
        let state = state_of(&over, &target)?;
        let key = target.key();
        env.printer.answer(&serde_json::json!({ "name": key, "state": state }))?;
        return match reached(state, wanted) {
            true => {
                env.printer.note(&format!("{} {key} is {}", glyph(state), plain(state)));
                Ok(Exit::OK)
            }
            false => Err(Error::failed(format!("{key} is {state}; it never was {wanted}"))
                .help(format!("`runyard why {key}` tells why"))),
        };
    }
    env.printer.show(&super::describe::RunView::new(over.clone()))?;
    if args.exit_status
        && let Some(code) = super::run::remote_code(&over)
    {
        return Ok(Exit(code));
    }
    client.exit_of(&over).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_reached_when_it_or_a_later_one_is_there() {
        for (state, wanted, is) in [
            ("queued", "running", false),
            ("running", "queued", true),
            ("running", "running", true),
            ("succeeded", "running", true),
            ("failed", "running", false),
            ("failed", "ended", true),
            ("skipped", "ended", true),
            ("running", "ended", false),
            ("unknown", "running", false),
            ("failed", "succeeded", false),
        ] {
            assert_eq!(reached(state, wanted), is, "{state} for {wanted}");
        }
    }

    #[test]
    fn a_part_of_a_run_has_a_state_of_its_own() {
        let task = |key: &str, state: &str| v1::Task {
            key: key.into(),
            state: state.into(),
            ..Default::default()
        };
        let stage = v1::Stage {
            name: "train".into(),
            state: "running".into(),
            tasks: vec![task("d-1/train[0]", "succeeded"), task("d-1/train[1]", "queued")],
            ..Default::default()
        };
        let run = v1::Run {
            name: "d-1".into(),
            state: "running".into(),
            stages: vec![stage],
            ..Default::default()
        };
        let of = |rest: &str| {
            state_of(&run, &Target { run: "d-1".into(), rest: rest.into() }).map(str::to_owned)
        };
        assert_eq!(of("train").expect("a stage"), "running");
        assert_eq!(of("train[1]").expect("a task"), "queued");
        assert!(of("nope").expect_err("no part").render().contains("train"));
    }
}
