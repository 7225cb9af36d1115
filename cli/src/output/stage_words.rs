//! A stage in a line.

use runyard_proto::v1;

use super::{duration, plain};

/// A stage's state in words; the time that it took is told when `now` is given or it has ended.
pub(super) fn words(stage: &v1::Stage, now_ms: u64) -> String {
    let tasks = &stage.tasks;
    let mut words = plain(&stage.state);
    if tasks.len() > 1 {
        let done = tasks.iter().filter(|task| task.ended_ms > 0).count();
        words.push_str(&format!(" {done}/{}", tasks.len()));
    }
    let cached = tasks.iter().filter(|task| task.cached).count();
    if cached > 0 && cached == tasks.len() {
        words.push_str(" from the cache");
        let reason = tasks.first().map(|task| plain(&task.cache_reason)).unwrap_or_default();
        if !reason.is_empty() {
            words.push_str(&format!(" ({reason})"));
        }
        return words;
    }
    let attempt =
        tasks.iter().filter(|task| task.ended_ms == 0).find_map(|task| task.attempts.last());
    if let Some(attempt) = attempt {
        let nodes: Vec<String> = attempt.workers.iter().map(|worker| plain(&worker.node)).collect();
        if !nodes.is_empty() {
            words.push_str(&format!(" on {}", nodes.join(", ")));
        }
        let detail = attempt.workers.iter().find(|worker| !worker.detail.is_empty());
        if let (Some(worker), "preparing") = (detail, attempt.state.as_str()) {
            words.push_str(&format!(": {}", plain(&worker.detail)));
        }
    }
    let started = tasks.iter().map(|task| task.started_ms).filter(|at| *at > 0).min().unwrap_or(0);
    let ended = tasks.iter().map(|task| task.ended_ms).max().unwrap_or(0);
    let over = tasks.iter().all(|task| task.ended_ms > 0);
    // A gate or deployment is carried out by the coordinator: it has no attempt that started.
    if over && ended > 0 && started > 0 {
        words.push_str(&format!(" in {}", duration(ended, started, ended)));
    } else if now_ms > 0 && started > 0 {
        words.push_str(&format!(" {}", duration(now_ms, started, 0)));
    }
    let reason =
        [&stage.reason, &tasks.first().map(|task| task.reason.clone()).unwrap_or_default()]
            .into_iter()
            .find(|reason| !reason.is_empty())
            .map(|reason| plain(reason));
    if let Some(reason) = reason {
        words.push_str(&format!(": {reason}"));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_told_in_a_line() {
        let worker = v1::Worker { node: "gpu-01".into(), ..Default::default() };
        let attempt =
            v1::Attempt { state: "running".into(), workers: vec![worker], ..Default::default() };
        let running = v1::Task { attempts: vec![attempt], started_ms: 1_000, ..Default::default() };
        let stage =
            |state: &str, tasks| v1::Stage { state: state.into(), tasks, ..Default::default() };
        assert_eq!(
            words(&stage("running", vec![running.clone()]), 61_000),
            "running on gpu-01 1m00s"
        );
        let cached = v1::Task {
            cached: true,
            cache_reason: "same code, data and parameters as digits-1".into(),
            ..Default::default()
        };
        assert_eq!(
            words(&stage("succeeded", vec![cached]), 5),
            "succeeded from the cache (same code, data and parameters as digits-1)"
        );
        let done = v1::Task { started_ms: 1_000, ended_ms: 3_000, ..Default::default() };
        assert_eq!(words(&stage("running", vec![done, running]), 0), "running 1/2 on gpu-01");
    }
}
