//! A line written to the same line at its reader.

use std::time::Duration;

use crate::Failure;
use crate::args::Args;
use crate::client::{payload, pipeline};
use crate::cluster::Cluster;
use crate::figures::{Goal, Values, goal, heading, line, skipped};
use crate::payload::{ages, now_ns};
use crate::peers::pipe_latency;

const LINES: usize = 500;
const EVERY_MS: u64 = 4;

pub(crate) async fn measure(args: &Args) -> Result<(), Failure> {
    heading(&format!(
        "a line written to the same line read, {LINES} lines, one every {EVERY_MS} ms"
    ));
    let cluster = Cluster::start(args, 1, 2, "error").await?;
    let client = cluster.client().await?;
    let (mut ours, mut pipe) = (Values::default(), Values::default());
    for _ in 0..args.rounds {
        // The reader has come before the first stamp.
        let stamps = payload(&["__stamps", &LINES.to_string(), &EVERY_MS.to_string()])?;
        let run = client.submit(pipeline(&format!("sleep 0.5; {stamps}"), 1)).await?;
        let mut log = client.follow(&run).await?;
        let (mut rest, mut seen) = (String::new(), 0);
        while let Some(record) = log.message().await? {
            let now = now_ns();
            rest.push_str(&String::from_utf8_lossy(&record.data));
            let whole = rest.rfind('\n').map_or(0, |end| end + 1);
            for age in ages(&rest[..whole], now) {
                ours.push(age);
                seen += 1;
            }
            rest.drain(..whole);
        }
        if seen != LINES {
            return Err(format!("the reader saw {seen} of {LINES} lines").into());
        }
        client.succeeded(&run).await?;
        pipe_latency(LINES, EVERY_MS)?.iter().for_each(|age| pipe.push(age));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    line("runyard", &ours.percentiles("ms"));
    line("pipe and cat", &pipe.percentiles("ms"));
    skipped("ssh, podman logs -f", "they need a server, and keys, of their own");
    goal("p99, ms", ours.percentile(99.0), Goal::Below(20.0), 2);
    Ok(())
}
