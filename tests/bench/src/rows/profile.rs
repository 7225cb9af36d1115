//! Where the time of one task goes: what coordinator and agent write down as they go.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Failure;
use crate::args::Args;
use crate::client::{LOOK, payload, pipeline};
use crate::cluster::Cluster;
use crate::figures::{Values, heading, line};
use crate::payload::now_ns;

/// The agent's debug log names each effect of its core, with a time in microseconds.
const LOG: &str = "error,runyard_daemon::reconciler=debug";

/// The steps, in their order, and what in the agent's log begins them.
const STEPS: [(&str, &str); 7] = [
    ("desired set obeyed", "effect=Persist("),
    ("prepare", "effect=Prepare("),
    ("start", "effect=Start("),
    ("shim launched", "phase: Running"),
    ("ended", "effect=Publish {"),
    ("released", "phase: Released"),
    ("removed", "effect=Remove("),
];

pub(crate) async fn measure(args: &Args) -> Result<(), Failure> {
    let n = args.submissions;
    heading(&format!(
        "where the time of a task goes, idle cluster, {n} tasks, ms since submission"
    ));
    let cluster = Cluster::start(args, 1, 2, LOG).await?;
    let client = cluster.client().await?;
    let marks = cluster.marks()?;
    let mut steps: BTreeMap<usize, Values> = BTreeMap::new();
    let (mut answered, mut started, mut over) =
        (Values::default(), Values::default(), Values::default());
    for number in 0..=n {
        let told = cluster.log("node-0")?.len();
        let mark = marks.join(number.to_string());
        let text = pipeline(&payload(&["__started", &mark.display().to_string()])?, 1);
        let before = now_ns();
        let run = client.submit(text).await?;
        let acknowledged = now_ns();
        client.quiet(LOOK).await?;
        let ended = now_ns();
        client.succeeded(&run).await?;
        // What the agent does after the run is over belongs to it as well.
        tokio::time::sleep(Duration::from_millis(30)).await;
        if number == 0 {
            continue;
        }
        let ms = |at: u128| (at as f64 - before as f64) / 1e6;
        answered.push(ms(acknowledged));
        over.push(ms(ended));
        started.push(ms(std::fs::read_to_string(&mark)?.parse()?));
        let log = plain(&cluster.log("node-0")?[told..]);
        for (step, (_, begins)) in STEPS.iter().enumerate() {
            let at = log.lines().find(|line| line.contains(begins)).and_then(time_of);
            if let Some(at) = at {
                steps.entry(step).or_default().push(ms(at));
            }
        }
    }
    line("submission acknowledged", &answered.percentiles("ms"));
    for (step, (name, _)) in STEPS.iter().enumerate() {
        match steps.get(&step) {
            Some(values) => line(&format!("agent: {name}"), &values.percentiles("ms")),
            None => line(&format!("agent: {name}"), "not in its log"),
        }
    }
    line("the stage's process begins", &started.percentiles("ms"));
    line("run seen to be over", &over.percentiles("ms"));
    Ok(())
}

/// The text without the colours of a terminal (`ESC [ … m`).
fn plain(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(part.split_once('m').map_or(part, |(_, rest)| rest));
    }
    out
}

/// The time that a line of the log begins with (`2026-11-23T21:15:18.123456Z`), in nanoseconds of 1970.
fn time_of(text: &str) -> Option<u128> {
    let (date, rest) = text.split_once('T')?;
    let (time, _) = rest.split_once('Z')?;
    let mut date = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.split(':');
    let hours: u128 = time.next()?.parse().ok()?;
    let minutes: u128 = time.next()?.parse().ok()?;
    let seconds: f64 = time.next()?.parse().ok()?;
    let whole =
        u128::try_from(days(year, month, day)).ok()? * 86_400 + hours * 3_600 + minutes * 60;
    Some(whole * 1_000_000_000 + (seconds * 1e9) as u128)
}

/// Days since 1970 of a date of the Gregorian calendar. The year is taken to begin in March, so that
/// the leap day comes last; 719,468 days lie between that calendar's zero and 1970.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_line_is_read() {
        let line = "\u{1b}[2m2026-11-23T21:15:18.123456Z\u{1b}[0m DEBUG effect=Start(x)";
        let at = time_of(&plain(line)).expect("a time");
        assert_eq!(at / 1_000_000_000, 1_795_468_518);
        assert_eq!(at / 1_000 % 1_000_000, 123_456);
        assert_eq!(time_of("no time here"), None);
    }

    #[test]
    fn days_are_counted_over_leap_years() {
        assert_eq!(days(1970, 1, 1), 0);
        assert_eq!(days(2000, 2, 29) + 1, days(2000, 3, 1));
        assert_eq!(days(2024, 12, 31) - days(2023, 12, 31), 366);
    }
}
