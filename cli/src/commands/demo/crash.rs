//! Killing the coordinator in the middle of a search, and proving that nothing was lost.

use std::time::{Duration, Instant};

use runyard_proto::v1;

use super::scene::{Scene, insist, not_so};
use super::telling::{Telling, stage_of};
use crate::commands::dev::cluster::COORDINATOR;
use crate::errors::Result;

/// How long the coordinator stays down.
const DOWN: Duration = Duration::from_millis(1_500);

/// What the crash was.
pub(super) struct Crash {
    /// From the kill until it served again.
    pub(super) away: Duration,
}

/// `candidate 9/36: …` → (9, 36).
fn candidate(line: &str) -> Option<(u32, u32)> {
    let (number, rest) = line.strip_prefix("candidate ")?.split_once('/')?;
    let (of, _) = rest.split_once(':')?;
    Some((number.parse().ok()?, of.parse().ok()?))
}

/// Whether a line of the search is a third of the way through.
pub(super) fn is_in_the_middle(line: &str) -> bool {
    candidate(line).is_some_and(|(number, of)| number * 3 >= of)
}

/// Kills it, waits, starts it again.
pub(super) async fn crash(scene: &Scene<'_>, line: &str) -> Result<Crash> {
    let begun = Instant::now();
    let pid = scene.handle.with(|cluster| cluster.kill(COORDINATOR)).await??;
    let pid = pid.ok_or_else(|| not_so("there was no coordinator to kill"))?;
    let at = line.split(':').next().unwrap_or(line);
    scene.voice.event("failed", &format!("kill -9 {pid}: the coordinator is gone, at {at}"))?;
    tokio::time::sleep(DOWN).await;
    scene.handle.with(|cluster| cluster.start_one(COORDINATOR)).await??;
    let away = begun.elapsed();
    scene.voice.event(
        "ok",
        "the coordinator is back, from its log on disk; the search went on meanwhile",
    )?;
    Ok(Crash { away })
}

/// Holds the log that was followed through the crash, and the one that is stored, to what the search
/// must have written. Returns the number of its lines.
pub(super) async fn check_log(scene: &Scene<'_>, telling: &Telling) -> Result<usize> {
    let train = telling.stage("train").and_then(|stage| stage.tasks.first());
    let attempts = train.map_or(0, |task| task.attempts.len());
    insist(attempts == 1, || format!("the search had {attempts} attempts, not one"))?;
    let mut own = telling.logs().iter().filter(|(worker, _)| stage_of(worker) == "train");
    let (Some((_, followed)), None) = (own.next(), own.next()) else {
        return Err(not_so("the search has not the log of one worker"));
    };
    insist(followed.breaks == 0, || {
        format!("the log that was followed has {} gaps", followed.breaks)
    })?;
    let mut stored = Vec::new();
    let request =
        v1::LogsRequest { target: format!("{}/train", telling.run().name), ..Default::default() };
    let mut logs = scene.client.logs(request);
    while let Some(record) = logs.next().await? {
        stored.extend_from_slice(&record.data);
    }
    insist(stored == followed.bytes, || {
        format!(
            "the stored log has {} bytes, the one followed {}",
            stored.len(),
            followed.bytes.len()
        )
    })?;
    let text = String::from_utf8_lossy(&stored);
    let seen: Vec<(u32, u32)> = text.lines().filter_map(candidate).collect();
    let of = seen.last().map_or(0, |(_, of)| *of);
    let whole: Vec<(u32, u32)> = (1..=of).map(|number| (number, of)).collect();
    insist(of > 0 && seen == whole, || format!("of {of} candidates, the log has {}", seen.len()))?;
    Ok(text.lines().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_is_read_from_its_lines() {
        let line = "candidate 12/36: C=1 gamma=0.05 accuracy 0.9811, best 0.9822, 3.1 s";
        assert_eq!(candidate(line), Some((12, 36)));
        assert!(is_in_the_middle(line));
        assert!(!is_in_the_middle("candidate 11/36: C=1"));
        assert!(!is_in_the_middle("training `search` on 898 examples"));
    }
}
