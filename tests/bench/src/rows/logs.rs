//! Lines through shim, spool, seal and a reader that follows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::Failure;
use crate::args::Args;
use crate::client::{Client, payload, pipeline};
use crate::cluster::Cluster;
use crate::figures::{Goal, Values, goal, heading, line};
use crate::payload::LINE_BYTES;
use crate::peers::cat_to_file;
use crate::processes::{cpu_seconds, shims};

pub(crate) async fn measure(args: &Args) -> Result<(), Failure> {
    let bytes = (args.log_mib << 20) / LINE_BYTES as u64 * LINE_BYTES as u64;
    for (how, what, least) in
        [("block", "in blocks of 64 KiB", 200.0), ("line", "one write a line", 100.0)]
    {
        heading(&format!("{} MiB of {LINE_BYTES}-byte lines, {what}, MB/s", args.log_mib));
        let mut sums = Sums::default();
        for _ in 0..args.rounds {
            // A fresh cluster each time: what an earlier log left in caches and on disk is not there.
            let cluster = Cluster::start(args, 1, 2, "error").await?;
            let client = cluster.client().await?;
            once(&cluster, &client, bytes, how, &mut sums).await?;
            sums.cat.push(bytes as f64 / 1e6 / cat_to_file(bytes, how, &cluster.marks()?)?);
        }
        line("runyard, written", &sums.written.spread(0));
        line("runyard, read to the last line", &sums.read.spread(0));
        line("pipe, cat, file", &sums.cat.spread(0));
        line("  ratio (written)", &format!("{:.2}", sums.written.median() / sums.cat.median()));
        for (name, values) in [
            ("shim", &sums.shim),
            ("agent", &sums.agent),
            ("coordinator", &sums.server),
            ("reader (this process)", &sums.reader),
        ] {
            line(&format!("CPU-seconds a GB, {name}"), &values.spread(2));
        }
        goal("written, MB/s", sums.written.median(), Goal::AtLeast(least), 0);
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Sums {
    written: Values,
    read: Values,
    cat: Values,
    shim: Values,
    agent: Values,
    server: Values,
    reader: Values,
}

async fn once(
    cluster: &Cluster,
    client: &Client,
    bytes: u64,
    how: &str,
    sums: &mut Sums,
) -> Result<(), Failure> {
    let mark = cluster.marks()?.join("lines");
    let command = payload(&["__lines", &bytes.to_string(), how, &mark.display().to_string()])?;
    let (server, agent) = (cluster.server.id(), cluster.agents[0].id());
    let cpu = [cpu_seconds(server), cpu_seconds(agent), cpu_seconds(std::process::id())];
    let begun = Instant::now();
    let run = client.submit(pipeline(&command, 1)).await?;
    let watched = watch_shim(cluster);
    let mut log = client.follow(&run).await?;
    let (mut seen, mut ended) = (0, false);
    while let Some(record) = log.message().await? {
        if record.cut_bytes > 0 || (record.offset != seen && !record.data.is_empty()) {
            return Err(format!(
                "the log has a gap at {seen}: offset {}, cut {}",
                record.offset, record.cut_bytes
            )
            .into());
        }
        seen += record.data.len() as u64;
        ended |= record.end;
        if seen == bytes && !ended {
            continue;
        }
    }
    let read = begun.elapsed().as_secs_f64();
    if seen != bytes || !ended {
        return Err(format!("the reader saw {seen} of {bytes} bytes, end: {ended}").into());
    }
    client.succeeded(&run).await?;
    let shim = watched.stop();
    let text = std::fs::read_to_string(&mark)?;
    let (from, to) = text.split_once(' ').ok_or("the payload left no times")?;
    let written = (to.parse::<u128>()? - from.parse::<u128>()?) as f64 / 1e9;
    let gb = bytes as f64 / 1e9;
    sums.written.push(gb * 1e3 / written);
    sums.read.push(gb * 1e3 / read);
    sums.shim.push(shim / gb);
    for (values, (pid, before)) in [&mut sums.server, &mut sums.agent, &mut sums.reader]
        .into_iter()
        .zip([server, agent, std::process::id()].into_iter().zip(cpu))
    {
        values.push((cpu_seconds(pid) - before) / gb);
    }
    Ok(())
}

/// Looks at the shim's CPU time until it is gone: its parent does not tell it.
struct Watched {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<f64>,
}

impl Watched {
    fn stop(self) -> f64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or(f64::NAN)
    }
}

fn watch_shim(cluster: &Cluster) -> Watched {
    let (dir, stop) = (cluster.agent_dir(0), Arc::new(AtomicBool::new(false)));
    let stopped = stop.clone();
    let thread = std::thread::spawn(move || {
        let mut most = 0.0;
        while !stopped.load(Ordering::Relaxed) {
            // Of one process only: what it waited for is the stage's.
            let used =
                shims(&dir).into_iter().map(crate::processes::own_cpu_seconds).fold(0.0, f64::max);
            most = f64::max(most, used);
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        most
    });
    Watched { stop, thread }
}
