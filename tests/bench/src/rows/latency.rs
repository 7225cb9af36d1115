//! Submission to process started, on an idle cluster.

use std::path::Path;
use std::time::Duration;

use crate::Failure;
use crate::args::Args;
use crate::client::{LOOK, payload, pipeline};
use crate::cluster::Cluster;
use crate::figures::{Goal, Values, goal, heading, line};
use crate::payload::now_ns;
use crate::peers::HyperQueue;

/// Between two submissions: the cluster is idle again.
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) async fn measure(args: &Args) -> Result<(), Failure> {
    let n = args.submissions;
    heading(&format!("submit to process started, idle cluster, {n} times"));
    let mut hq = HyperQueue::start(&args.hq)?;
    let cluster = Cluster::start(args, 1, 2, "error").await?;
    let client = cluster.client().await?;
    let marks = cluster.marks()?;
    let (mut ours, mut accepted, mut over) =
        (Values::default(), Values::default(), Values::default());
    let mut theirs = Values::default();
    // The first is not counted: it opens what later ones share.
    for number in 0..=n {
        let mark = marks.join(format!("ours-{number}"));
        let text = pipeline(&payload(&["__started", &mark.display().to_string()])?, 1);
        let before = now_ns();
        let run = client.submit(text).await?;
        let answered = now_ns();
        client.quiet(LOOK).await?;
        let ended = now_ns();
        client.succeeded(&run).await?;
        let started = read_mark(&mark)?;
        let ms = |from: u128, to: u128| to.saturating_sub(from) as f64 / 1e6;
        if number > 0 {
            ours.push(ms(before, started));
            accepted.push(ms(before, answered));
            over.push(ms(started, ended));
        }
        if let Some(hq) = &mut hq {
            let mark = marks.join(format!("theirs-{number}"));
            let own = std::env::current_exe()?.display().to_string();
            let took = hq.one(&[&own, "__started", &mark.display().to_string()], &mark)?;
            if number > 0 {
                theirs.push(ms(took.submitted_ns, read_mark(&mark)?));
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    line("runyard", &ours.percentiles("ms"));
    line("  submission acknowledged after", &accepted.percentiles("ms"));
    line("  run over, after the start", &over.percentiles("ms"));
    if !theirs.is_empty() {
        line("HyperQueue", &theirs.percentiles("ms"));
        line("  ratio of the medians", &format!("{:.2}", ours.median() / theirs.median()));
    }
    goal("p50, ms", ours.percentile(50.0), Goal::Below(10.0), 2);
    goal("p99, ms", ours.percentile(99.0), Goal::Below(30.0), 2);
    Ok(())
}

/// When a payload's `main` began; the file may be there before its text.
fn read_mark(path: &Path) -> Result<u128, Failure> {
    for _ in 0..1_000 {
        if let Ok(started) = std::fs::read_to_string(path).unwrap_or_default().parse() {
            return Ok(started);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(format!("{} holds no time", path.display()).into())
}
