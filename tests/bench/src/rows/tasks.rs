//! Many small tasks in one matrix, two at a time, with all guarantees on.

use std::time::{Duration, Instant};

use crate::Failure;
use crate::args::Args;
use crate::client::pipeline;
use crate::cluster::Cluster;
use crate::figures::{Goal, Values, goal, heading, line};
use crate::peers::{HyperQueue, xargs};
use crate::processes::cpu_seconds;

/// A look costs the coordinator a walk over all tasks: few enough not to be what is measured.
const LOOK: Duration = Duration::from_millis(25);

pub(crate) async fn measure(args: &Args) -> Result<(), Failure> {
    let mut hq = HyperQueue::start(&args.hq)?;
    let cluster = Cluster::start(args, 1, 2, "error").await?;
    let client = cluster.client().await?;
    // What the first run of all sets up is not a task's cost.
    let first = client.submit(pipeline("/bin/true", 1)).await?;
    client.succeeded(&first).await?;
    for &n in &args.tasks {
        heading(&format!("{n} × /bin/true in one matrix, two slots, tasks a second"));
        let (mut ours, mut spawned) = (Values::default(), Values::default());
        let (mut theirs, mut bare) = (Values::default(), Values::default());
        let (mut ratios, mut server, mut agent) =
            (Values::default(), Values::default(), Values::default());
        let rate = |seconds: f64| n as f64 / seconds;
        for _ in 0..args.rounds {
            let cpu = (cpu_seconds(cluster.server.id()), cpu_seconds(cluster.agents[0].id()));
            let begun = Instant::now();
            let run = client.submit(pipeline("/bin/true", n)).await?;
            client.quiet(LOOK).await?;
            let own = rate(begun.elapsed().as_secs_f64());
            server.push((cpu_seconds(cluster.server.id()) - cpu.0) * 1e3 / n as f64);
            agent.push((cpu_seconds(cluster.agents[0].id()) - cpu.1) * 1e3 / n as f64);
            client.succeeded(&run).await?;
            ours.push(own);
            spawned.push(rate(xargs(n)?));
            if let Some(hq) = &mut hq {
                let with_files = rate(hq.tasks(n, true)?.seconds);
                bare.push(rate(hq.tasks(n, false)?.seconds));
                theirs.push(with_files);
                ratios.push(own / with_files);
            }
        }
        line("runyard", &ours.spread(0));
        line("xargs -P2", &spawned.spread(0));
        line("  ratio", &format!("{:.2}", ours.median() / spawned.median()));
        if !theirs.is_empty() {
            line("HyperQueue, output to files", &theirs.spread(0));
            line("HyperQueue, no output", &bare.spread(0));
            line(
                "  ratio to the better of both",
                &format!("{:.2}", ours.median() / theirs.median().max(bare.median())),
            );
            goal("of HyperQueue's tasks a second", ratios.median(), Goal::AtLeast(1.5), 2);
        }
        line(
            "CPU, ms a task",
            &format!("coordinator {}, agent {}", server.spread(2), agent.spread(2)),
        );
    }
    Ok(())
}
