//! Replays a seed, or looks for one that fails.

use std::process::ExitCode;
use std::time::Instant;

use runyard_simulation::{Options, run};

const USAGE: &str = "usage: runyard-simulation [--seed N] [--steps M] [--seeds COUNT] [--trace]";

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "this is a command line tool")]
fn main() -> ExitCode {
    let Some((first, count, steps, trace)) = arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let (began, mut total) = (Instant::now(), 0);
    for seed in first..first.saturating_add(count) {
        match run(Options { seed, steps, trace }) {
            Ok(summary) => {
                total += summary.steps;
                println!("seed {seed}: {summary:?}");
            }
            Err(broken) => {
                eprintln!("{broken}");
                return ExitCode::FAILURE;
            }
        }
    }
    let rate = total as f64 / began.elapsed().as_secs_f64();
    println!("{total} steps, {rate:.0} a second");
    ExitCode::SUCCESS
}

fn arguments() -> Option<(u64, u64, u64, bool)> {
    let (mut seed, mut count, mut steps, mut trace) = (0, 1, 20_000, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next()?.parse::<u64>().ok();
        match argument.as_str() {
            "--seed" => seed = number()?,
            "--seeds" => count = number()?,
            "--steps" => steps = number()?,
            "--trace" => trace = true,
            _ => return None,
        }
    }
    Some((seed, count, steps, trace))
}
