//! Memory and CPU of a cluster with nothing to do.

use std::time::Duration;

use crate::Failure;
use crate::args::Args;
use crate::client::{payload, pipeline};
use crate::cluster::Cluster;
use crate::figures::{Goal, goal, heading, line};
use crate::peers::HyperQueue;
use crate::processes::{cpu_seconds, memory, shims};

pub(crate) async fn measure(args: &Args) -> Result<(), Failure> {
    heading(&format!("idle for {} s: a coordinator, two agents, a worker that sleeps", args.idle));
    let hq = HyperQueue::start(&args.hq)?;
    let cluster = Cluster::start(args, 2, 2, "error").await?;
    let client = cluster.client().await?;
    let mark = cluster.marks()?.join("rest");
    let run =
        client.submit(pipeline(&payload(&["__rest", &mark.display().to_string()])?, 1)).await?;
    while !mark.exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut watched = vec![("coordinator".to_owned(), cluster.server.id(), 40.0)];
    for (n, agent) in cluster.agents.iter().enumerate() {
        watched.push((format!("agent {n}"), agent.id(), 20.0));
        let found = shims(&cluster.agent_dir(n));
        watched.extend(found.into_iter().map(|pid| ("shim".to_owned(), pid, 3.0)));
    }
    if !watched.iter().any(|(name, ..)| name == "shim") {
        return Err("the sleeping worker's shim was not found".into());
    }
    if let Some(hq) = &hq {
        watched.push(("HyperQueue, all in one process".to_owned(), hq.pid, f64::INFINITY));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before: Vec<f64> = watched.iter().map(|(_, pid, _)| cpu_seconds(*pid)).collect();
    tokio::time::sleep(Duration::from_secs(args.idle)).await;
    for ((name, pid, limit), before) in watched.iter().zip(before) {
        let memory = memory(*pid);
        let mb = |kib: u64| kib as f64 * 1024.0 / 1e6;
        let resident = mb(memory.resident_kib);
        let share = (cpu_seconds(*pid) - before) / args.idle as f64 * 100.0;
        let own = mb(memory.proportional_kib);
        line(
            name,
            &format!(
                "resident {resident:.1} MB (proportional {own:.1}), CPU {share:.2} % of a core"
            ),
        );
        if limit.is_finite() {
            goal(&format!("{name}, resident MB"), resident, Goal::Below(*limit), 1);
            goal(&format!("{name}, % of a core"), share, Goal::Below(0.5), 2);
        }
    }
    client.cancel(&run).await
}
