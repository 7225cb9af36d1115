//! A log as a stream, resumed where a browser was cut off.

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::response::sse::Event;
use runyard_proto::v1::runs_server::Runs;
use runyard_proto::v1::{LogRecord, LogsRequest};
use runyard_types::WorkerKey;
use serde::Deserialize;
use serde_json::json;

use super::answer::Refused;
use super::login::{credentials, request};
use super::utf8::Utf8;
use super::{api, sse};
use crate::core::Core;
use crate::services::RunsService;

/// Which part of a log.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LogFilter {
    project: String,
    follow: bool,
    /// About the last so many lines; all if 0.
    tail: u64,
    since_ms: u64,
    failed: bool,
    attempt: u32,
    worker: Option<u32>,
}

/// The records of a run, stage, task, attempt or worker. An event's id is `WORKER@END`, the offset behind it.
pub(super) async fn stream(
    State(core): State<Core>,
    headers: HeaderMap,
    Path(target): Path<String>,
    Query(filter): Query<LogFilter>,
) -> Result<Response, Refused> {
    let project = api::project(&filter.project)?;
    let seen = headers.get("last-event-id").and_then(|value| value.to_str().ok()).and_then(seen);
    let is_worker = WorkerKey::parse(&project, &target).is_ok();
    let from_offset = seen.as_ref().filter(|_| is_worker).map_or(0, |(_, offset)| *offset);
    let ask = LogsRequest {
        project: filter.project,
        target,
        follow: filter.follow,
        tail_lines: if seen.is_some() { 0 } else { filter.tail },
        since_ms: filter.since_ms,
        failed: filter.failed,
        attempt: filter.attempt,
        worker: filter.worker,
        from_offset,
    };
    let authorization = credentials(&headers)?;
    let source = RunsService::new(core.clone()).logs(request(&headers, ask)?).await?.into_inner();
    let placed = {
        let core = core.clone();
        move |worker: &str| {
            let view = core.truth.view();
            let (attempt, _) = view.state.worker(&WorkerKey::parse(&project, worker).ok()?)?;
            Some(attempt.placed_at.0)
        }
    };
    let mut lines = Lines {
        resume: seen.map(|(worker, offset)| Resume::new(worker, offset, &placed)),
        ..Lines::default()
    };
    sse::answer(&core, authorization, source, move |record| lines.show(record, &placed))
}

fn seen(id: &str) -> Option<(String, u64)> {
    let (worker, offset) = id.rsplit_once('@')?;
    Some((worker.to_owned(), offset.parse().ok()?))
}

/// Where a browser was when it was cut off.
#[derive(Debug)]
struct Resume {
    worker: String,
    offset: u64,
    /// When that worker was placed; workers are shown in that order.
    placed: Option<u64>,
    reached: bool,
}

impl Resume {
    fn new(worker: String, offset: u64, placed: impl Fn(&str) -> Option<u64>) -> Self {
        Self { placed: placed(&worker), worker, offset, reached: false }
    }

    /// What of a record was not seen before.
    fn unseen(
        &mut self,
        mut record: LogRecord,
        placed: impl Fn(&str) -> Option<u64>,
    ) -> Option<LogRecord> {
        if record.worker != self.worker {
            // A worker placed later was not shown yet, whether or not the one resumed is still asked for.
            let earlier = !self.reached && placed(&record.worker) <= self.placed;
            return (!earlier).then_some(record);
        }
        self.reached = true;
        let end = record.offset + record.cut_bytes + record.data.len() as u64;
        if end <= self.offset && !record.end {
            return None;
        }
        if record.offset < self.offset && record.cut_bytes == 0 {
            let skip = usize::try_from(self.offset - record.offset)
                .unwrap_or(usize::MAX)
                .min(record.data.len());
            record.data = record.data.slice(skip..);
            record.offset = self.offset;
        }
        Some(record)
    }
}

/// Records as events.
#[derive(Debug, Default)]
struct Lines {
    resume: Option<Resume>,
    worker: String,
    utf8: Utf8,
}

impl Lines {
    fn show(&mut self, record: LogRecord, placed: impl Fn(&str) -> Option<u64>) -> Option<Event> {
        let (id, data) = self.json(record, placed)?;
        Some(Event::default().event("record").id(id).data(data.to_string()))
    }

    fn json(
        &mut self,
        record: LogRecord,
        placed: impl Fn(&str) -> Option<u64>,
    ) -> Option<(String, serde_json::Value)> {
        let record = match &mut self.resume {
            Some(resume) => resume.unseen(record, placed)?,
            None => record,
        };
        if record.worker != self.worker {
            self.worker.clone_from(&record.worker);
            self.utf8 = Utf8::default();
        }
        let mut text = self.utf8.push(&record.data);
        if record.end || record.cut_bytes > 0 {
            text += &self.utf8.finish();
        }
        let end = record.offset + record.cut_bytes + record.data.len() as u64;
        // Half a character is sent again after a break.
        let id = format!("{}@{}", record.worker, end.saturating_sub(self.utf8.waiting() as u64));
        let data = json!({
            "worker": record.worker, "offset": record.offset, "at_ms": record.at_ms, "stderr": record.stderr,
            "text": text, "cut_bytes": record.cut_bytes, "end": record.end,
        });
        Some((id, data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKERS: [&str; 3] = ["d-1/a.1:0", "d-1/b.1:0", "d-1/c.1:0"];

    fn placed(worker: &str) -> Option<u64> {
        WORKERS.iter().position(|own| *own == worker).map(|at| at as u64)
    }

    fn records() -> Vec<LogRecord> {
        let mut all = Vec::new();
        for worker in WORKERS {
            // Two of the cuts go through a character.
            let bytes = "eins €zwei 🙂\ndrei\n".as_bytes();
            for (from, to) in [(0, 6), (6, 15), (15, 18), (18, 23)] {
                all.push(LogRecord {
                    worker: worker.to_owned(),
                    offset: from as u64,
                    data: bytes[from..to].into(),
                    ..LogRecord::default()
                });
            }
            all.push(LogRecord {
                worker: worker.to_owned(),
                offset: 23,
                end: true,
                ..LogRecord::default()
            });
        }
        all
    }

    #[test]
    fn a_cut_stream_goes_on_without_gap_or_double() {
        let mut whole = Lines::default();
        let shown: Vec<_> =
            records().into_iter().filter_map(|record| whole.json(record, placed)).collect();
        let text = |shown: &[(String, serde_json::Value)]| {
            shown
                .iter()
                .map(|(_, data)| data["text"].as_str().unwrap_or_default().to_owned())
                .collect::<String>()
        };
        let expected = "eins €zwei 🙂\ndrei\n".repeat(3);
        assert_eq!(text(&shown), expected);
        for cut in 0..shown.len() {
            let (worker, offset) = seen(&shown[cut].0).expect("an id");
            let mut rest =
                Lines { resume: Some(Resume::new(worker, offset, placed)), ..Lines::default() };
            let after: Vec<_> =
                records().into_iter().filter_map(|record| rest.json(record, placed)).collect();
            assert_eq!(
                text(&shown[..=cut]) + &text(&after),
                expected,
                "cut behind {}",
                shown[cut].0
            );
        }
    }

    #[test]
    fn a_new_attempt_is_shown_from_its_beginning() {
        let mut lines = Lines {
            resume: Some(Resume::new("d-1/a.1:0".to_owned(), 8, placed)),
            ..Lines::default()
        };
        let new = records().into_iter().filter(|record| record.worker == WORKERS[1]);
        assert_eq!(new.filter_map(|record| lines.json(record, placed)).count(), 5);
    }
}
