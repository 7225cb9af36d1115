//! A run told while it goes: its stages, their logs, the devices that they use.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use runyard_proto::v1;

use super::voice::Voice;
use crate::client::{Client, Follow, Happening};
use crate::commands::dev::handle::nodes;
use crate::errors::{Error, Kind, Result};
use crate::output::{bytes, duration, number, percent, plain};

/// How often devices are told about.
const TELEMETRY: Duration = Duration::from_millis(2_500);
/// How often the same stage's preparation is told about.
const DETAIL: Duration = Duration::from_millis(1_500);
/// Before following anew.
const AGAIN: Duration = Duration::from_millis(200);
/// A run that takes longer is not what was described.
const RUN_MAX: Duration = Duration::from_secs(600);

/// Follows one run.
pub(super) struct Telling {
    client: Client,
    voice: Voice,
    follow: Follow,
    run: v1::Run,
    /// The words last told of each stage.
    told: BTreeMap<String, String>,
    details: BTreeMap<String, (Instant, String)>,
    /// What was read of each worker's log.
    logs: BTreeMap<String, Log>,
    telemetry: tokio::time::Interval,
    give_up: tokio::time::Instant,
}

/// The log of one worker, as it came.
#[derive(Debug, Default, Clone)]
pub(super) struct Log {
    pub(super) bytes: Vec<u8>,
    /// Records that left a gap, or said something else at an offset than before.
    pub(super) breaks: u32,
    shown: usize,
}

/// What was told.
pub(super) enum Told {
    /// The run's state has changed.
    Run,
    /// A stage wrote this line.
    Line { stage: String, line: String },
}

impl Log {
    /// Takes what is new of a record: who follows anew begins at the front.
    fn take(&mut self, record: &v1::LogRecord) {
        let reached = self.bytes.len() as u64;
        if record.offset > reached || record.cut_bytes > 0 {
            self.breaks += 1;
        }
        let known = usize::try_from(reached.saturating_sub(record.offset)).unwrap_or(usize::MAX);
        let (known, new) = record.data.split_at(known.min(record.data.len()));
        let from = usize::try_from(record.offset).unwrap_or(usize::MAX);
        if !known.is_empty() && self.bytes.get(from..from + known.len()) != Some(known) {
            self.breaks += 1;
        }
        self.bytes.extend_from_slice(new);
    }
}

impl Telling {
    pub(super) fn new(client: &Client, voice: &Voice, run: &str) -> Self {
        Self {
            client: client.clone(),
            voice: voice.clone(),
            follow: client.follow(run),
            run: v1::Run { name: run.to_owned(), ..Default::default() },
            told: BTreeMap::new(),
            details: BTreeMap::new(),
            logs: BTreeMap::new(),
            telemetry: tokio::time::interval(TELEMETRY),
            give_up: tokio::time::Instant::now() + RUN_MAX,
        }
    }

    /// The run as last seen.
    pub(super) fn run(&self) -> &v1::Run {
        &self.run
    }

    /// Whether a stage has come to a result; a skipped one has none.
    pub(super) fn is_decided(&self, stage: &str) -> bool {
        self.stage(stage)
            .is_some_and(|stage| matches!(stage.state.as_str(), "succeeded" | "failed" | "error"))
    }

    /// What was read of the logs.
    pub(super) fn logs(&self) -> &BTreeMap<String, Log> {
        &self.logs
    }

    /// A stage as last seen.
    pub(super) fn stage(&self, name: &str) -> Option<&v1::Stage> {
        self.run.stages.iter().find(|stage| stage.name == name)
    }

    /// Tells the next thing; `None` when the run is over and its logs are complete.
    pub(super) async fn next(&mut self) -> Result<Option<Told>> {
        loop {
            if let Some(told) = self.next_line()? {
                return Ok(Some(told));
            }
            tokio::select! {
                // Cancel-safe: a happening that is not taken stays in the channel.
                next = self.follow.next() => match next {
                    None => return Ok(None),
                    Some(Ok(Happening::Run(run))) => {
                        self.run = *run;
                        self.tell_stages()?;
                        return Ok(Some(Told::Run));
                    }
                    Some(Ok(Happening::Log(record))) => self.keep(&record),
                    Some(Err(error)) => self.come_back(error).await?,
                },
                // Cancel-safe: a beat that is not taken comes again.
                _ = self.telemetry.tick() => self.tell_devices().await?,
                () = tokio::time::sleep_until(self.give_up) => {
                    let told = format!("{} is not over after {} s", self.run.name, RUN_MAX.as_secs());
                    return Err(Error::new(Kind::Failed, told));
                }
            }
        }
    }

    /// Follows anew when the stream broke off because the coordinator went away.
    async fn come_back(&mut self, error: Error) -> Result<()> {
        if error.kind != Kind::Unreachable {
            return Err(error);
        }
        tracing::info!(error = error.message(), "following anew");
        tokio::time::sleep(AGAIN).await;
        self.follow = self.client.follow(&self.run.name);
        Ok(())
    }

    fn keep(&mut self, record: &v1::LogRecord) {
        self.logs.entry(record.worker.clone()).or_default().take(record);
    }

    /// The next whole line that was not told yet.
    fn next_line(&mut self) -> Result<Option<Told>> {
        for (worker, log) in &mut self.logs {
            let rest = &log.bytes[log.shown..];
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { continue };
            let line = String::from_utf8_lossy(&rest[..end]).into_owned();
            log.shown += end + 1;
            let stage = stage_of(worker);
            self.voice.quote(&stage, &line)?;
            return Ok(Some(Told::Line { stage, line }));
        }
        Ok(None)
    }

    fn tell_stages(&mut self) -> Result<()> {
        for stage in &self.run.stages {
            let Some(task) = stage.tasks.first() else { continue };
            let words = words(stage, task);
            let known = self.told.insert(stage.name.clone(), words.clone());
            let quiet = matches!(stage.state.as_str(), "waiting" | "queued");
            if !quiet && known.as_ref() != Some(&words) {
                self.voice.event(&stage.state, &format!("{:<8} {words}", plain(&stage.name)))?;
            }
            let worker = task.attempts.last().and_then(|attempt| attempt.workers.first());
            if let Some(worker) = worker.filter(|w| !w.detail.is_empty() && task.ended_ms == 0) {
                let due = self
                    .details
                    .get(&stage.name)
                    .is_none_or(|(at, last)| at.elapsed() >= DETAIL && *last != worker.detail);
                if due {
                    self.details
                        .insert(stage.name.clone(), (Instant::now(), worker.detail.clone()));
                    self.voice.quote(&stage.name, &worker.detail)?;
                }
            }
        }
        Ok(())
    }

    /// The devices that this run's stages hold now.
    async fn tell_devices(&mut self) -> Result<()> {
        let tasks = self.run.stages.iter().flat_map(|stage| &stage.tasks);
        if !tasks.clone().any(|task| task.state == "running") {
            return Ok(());
        }
        // Without a coordinator there is nothing to tell, and the story goes on.
        let Ok(Ok(nodes)) = tokio::time::timeout(Duration::from_secs(1), nodes(&self.client)).await
        else {
            return Ok(());
        };
        let held = |device: &&v1::Device| {
            device.held_by.split('/').next().is_some_and(|run| run == self.run.name)
        };
        for node in &nodes {
            for device in node.devices.iter().filter(held) {
                let Some(sample) = &device.last else { continue };
                let mut facts = Vec::new();
                facts.extend(
                    sample.utilization_ratio.map(|ratio| format!("{} busy", percent(ratio))),
                );
                facts.extend(sample.memory_used_bytes.map(bytes));
                facts.extend(
                    sample.temperature_celsius.map(|c| format!("{} °C", number(c.round()))),
                );
                facts.extend(sample.power_watts.map(|w| format!("{} W", number(w.round()))));
                let label = if device.simulated { " (simulated)" } else { "" };
                let text = format!("GPU {}{label}: {}", device.index, facts.join(", "));
                self.voice.quote(&node.name, &text)?;
            }
        }
        Ok(())
    }
}

/// A stage in a line, without the time that passes.
fn words(stage: &v1::Stage, task: &v1::Task) -> String {
    let mut words = plain(&stage.state);
    if task.cached {
        words.push_str(&format!(", restored from the cache: {}", plain(&task.cache_reason)));
        return words;
    }
    if task.ended_ms > 0 {
        if task.started_ms > 0 {
            let took = duration(task.ended_ms, task.started_ms, task.ended_ms);
            words.push_str(&format!(" in {took}"));
        }
    } else if let Some(worker) = task.attempts.last().and_then(|attempt| attempt.workers.first()) {
        words.push_str(&format!(" on {}", plain(&worker.node)));
    }
    let reason = if stage.reason.is_empty() { &task.reason } else { &stage.reason };
    if !reason.is_empty() {
        words.push_str(&format!(": {}", plain(reason)));
    }
    words
}

/// `digits-2/train.1:0` → `train`.
pub(super) fn stage_of(worker: &str) -> String {
    let task = worker.split_once('/').map_or(worker, |(_, rest)| rest);
    task.split(['.', '[', ':']).next().unwrap_or(task).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_read_twice_is_one_log_and_a_gap_is_seen() {
        let record = |offset, data: &str| v1::LogRecord {
            offset,
            data: bytes::Bytes::copy_from_slice(data.as_bytes()),
            ..Default::default()
        };
        let mut log = Log::default();
        for (offset, data) in [(0, "abc"), (3, "def"), (0, "ab"), (2, "cdefgh")] {
            log.take(&record(offset, data));
        }
        assert_eq!((&log.bytes[..], log.breaks), (&b"abcdefgh"[..], 0));
        log.take(&record(9, "j"));
        assert_eq!(log.breaks, 1, "a byte is missing");
        log.take(&record(0, "xbc"));
        assert_eq!(log.breaks, 2, "the past has changed");
    }

    #[test]
    fn a_worker_names_its_stage() {
        assert_eq!(stage_of("digits-2/train.1:0"), "train");
        assert_eq!(stage_of("digits-2/train[3].2:0"), "train");
    }
}
