//! The live end of a log, sent while somebody reads it.

use std::sync::Arc;

use bytes::Bytes;
use runyard_blobs::segment::Record;
use runyard_proto::agent::agent_client::AgentClient;
use runyard_proto::agent::{TailChunk, TailRequest};
use runyard_proto::v1::LogPart;
use runyard_runtime::spool::{Body, CutReason, SpoolReader};
use runyard_runtime::{State, WorkerDir};
use runyard_types::{ProjectName, WorkerKey};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::follow::{changed, record};
use crate::shared::{Job, Shared};
use crate::worker::{Fault, blocking};

/// Bytes that are read from a spool at a time.
const READ_BYTES: usize = 256 << 10;
/// Parts on their way; a slow reader holds us up, not the stage.
const PARTS_WAITING_MAX: usize = 16;

/// Serves one request to its end.
pub(crate) async fn tail(shared: &Arc<Shared>, request: TailRequest) {
    let (send, receive) = mpsc::channel(PARTS_WAITING_MAX);
    let mut client = AgentClient::new(shared.channels.calls());
    let ticket = request.ticket.clone();
    // Both to their end: the call ends when the feed has and all parts have arrived, and a call that the
    // reader ended takes no more parts, which ends the feed.
    let (ended, ()) =
        tokio::join!(client.tail(ReceiverStream::new(receive)), feed(shared, &request, send));
    if let Err(status) = ended {
        tracing::debug!(ticket, %status, "a tail ended");
    }
}

async fn feed(shared: &Arc<Shared>, request: &TailRequest, send: mpsc::Sender<TailChunk>) {
    let chunk = |part| TailChunk { ticket: request.ticket.clone(), part };
    // Names the ticket, also when there is nothing to send.
    if send.send(chunk(None)).await.is_err() {
        return;
    }
    let Some(job) = find(shared, request) else { return };
    let mut tail = Tail { at: request.from, job, reader: None };
    let mut output = tail.job.heard.output.subscribe();
    let mut state = tail.job.heard.state.subscribe();
    loop {
        output.mark_unchanged();
        state.mark_unchanged();
        let Ok(round) = tail.read(shared).await else { return };
        for record in round.records {
            if send.send(chunk(Some(part(record)))).await.is_err() {
                return;
            }
        }
        match round.next {
            Next::More => {}
            Next::End => return,
            Next::Wait if !request.follow => return,
            // Cancel-safe: both observe counters.
            Next::Wait => tokio::select! {
                () = changed(&mut output) => {}
                () = changed(&mut state) => {}
                () = send.closed() => return,
            },
        }
    }
}

fn find(shared: &Shared, request: &TailRequest) -> Option<Arc<Job>> {
    let project = ProjectName::new(&request.project).ok()?;
    shared.job(&WorkerKey::parse(&project, &request.worker).ok()?)
}

fn part(record: Record) -> LogPart {
    LogPart {
        offset: record.offset,
        at_ms: record.at_ms,
        stderr: record.stderr,
        data: record.data,
        cut_bytes: record.cut_bytes,
    }
}

struct Tail {
    job: Arc<Job>,
    at: u64,
    /// Stands at `at`: it goes on where it was, instead of through its segment again.
    reader: Option<SpoolReader>,
}

struct Round {
    records: Vec<Record>,
    next: Next,
}

enum Next {
    /// There may be more at once.
    More,
    /// Nothing now.
    Wait,
    /// Nothing ever, or only the store has it.
    End,
}

impl Tail {
    async fn read(&mut self, shared: &Arc<Shared>) -> Result<Round, Fault> {
        let shim = self.job.shim(&shared.paths).map_err(|error| Fault::caused(&error))?;
        let Some(worker) = shim else {
            return Ok(Round { records: Vec::new(), next: Next::End });
        };
        let spool = || SpoolReader::open(worker.path().join("spool")).read_from(self.at);
        let reader = self.reader.take().unwrap_or_else(spool);
        let round = blocking(move || read(&worker, reader)).await?;
        // What is sealed may have gone from the spool: the reader takes it from the store, and
        // asks again for what follows.
        let sealed_to = self.job.sealed_to();
        if round.lost_at.is_some_and(|lost| lost < sealed_to) {
            return Ok(Round { records: Vec::new(), next: Next::End });
        }
        self.at = round.reader.offset();
        self.reader = Some(round.reader);
        Ok(Round { records: round.records, next: round.next })
    }
}

struct Read {
    records: Vec<Record>,
    reader: SpoolReader,
    lost_at: Option<u64>,
    next: Next,
}

fn read(worker: &WorkerDir, mut reader: SpoolReader) -> Result<Read, Fault> {
    let mut records = reader.poll_new(READ_BYTES).map_err(|error| Fault::caused(&error))?;
    if records.is_empty() && !reader.ended() {
        // Whether anything can follow is asked only now: it costs more than a look at the spool.
        let state = worker.state().map_err(|error| Fault::caused(&error))?;
        if matches!(state, State::Released | State::Lost { .. }) {
            let end = worker.status().ok().flatten().map(|status| status.log_end);
            let last = reader.poll_final(READ_BYTES, end);
            records = last.map_err(|error| Fault::caused(&error))?;
        }
    }
    let lost = |body: &Body| matches!(body, Body::Cut { reason: CutReason::Lost, .. });
    let lost_at = records.iter().find(|one| lost(&one.body)).map(|one| one.offset);
    let next = match (reader.ended(), records.is_empty()) {
        (true, _) => Next::End,
        (false, true) => Next::Wait,
        (false, false) => Next::More,
    };
    let records = joined(records.into_iter().map(record));
    Ok(Read { records, reader, lost_at, next })
}

/// Joins what follows each other and was read in the same millisecond from the same stream: a reader sees no
/// difference, and a stage that writes line by line costs no message for each.
fn joined(records: impl Iterator<Item = Record>) -> Vec<Record> {
    let mut joined: Vec<Record> = Vec::new();
    let mut run: Vec<Bytes> = Vec::new();
    let mut run_bytes = 0;
    let close = |joined: &mut Vec<Record>, run: &mut Vec<Bytes>| {
        if let (Some(last), true) = (joined.last_mut(), run.len() > 1) {
            last.data = run.concat().into();
        }
        run.clear();
    };
    for record in records.filter(|one| one.end() > one.offset) {
        let follows = joined.last().is_some_and(|last| {
            let plain = last.cut_bytes == 0 && record.cut_bytes == 0;
            let same = (last.at_ms, last.stderr) == (record.at_ms, record.stderr);
            let end = last.offset + run_bytes as u64;
            plain && same && end == record.offset && run_bytes + record.data.len() <= READ_BYTES
        });
        run_bytes = record.data.len() + if follows { run_bytes } else { 0 };
        if !follows {
            close(&mut joined, &mut run);
            run.push(record.data.clone());
            joined.push(record);
        } else {
            run.push(record.data);
        }
    }
    close(&mut joined, &mut run);
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(offset: u64, at_ms: u64, stderr: bool, text: &'static str) -> Record {
        let data = Bytes::from_static(text.as_bytes());
        Record { offset, at_ms, stderr, data, cut_bytes: 0 }
    }

    #[test]
    fn records_of_one_millisecond_and_stream_are_joined_and_nothing_else_is() {
        let cut = Record { cut_bytes: 5, ..data(13, 8, false, "") };
        let records = [
            data(0, 7, false, "ab"),
            data(2, 7, false, "cd"),
            data(4, 7, false, "e"),
            data(5, 7, true, "x"),
            data(6, 8, true, "y"),
            data(7, 8, true, "zz"),
            data(9, 8, false, ""),
            data(9, 8, false, "out"),
            cut.clone(),
            data(18, 8, false, "after"),
        ];
        let expected = [
            data(0, 7, false, "abcde"),
            data(5, 7, true, "x"),
            data(6, 8, true, "yzz"),
            data(9, 8, false, "out"),
            cut,
            data(18, 8, false, "after"),
        ];
        assert_eq!(joined(records.into_iter()), expected);
    }

    #[test]
    fn a_joined_record_stays_within_what_is_read_at_a_time() {
        let half = Bytes::from(vec![b'x'; READ_BYTES / 2]);
        let piece = |n: u64| Record {
            offset: n * half.len() as u64,
            at_ms: 1,
            stderr: false,
            data: half.clone(),
            cut_bytes: 0,
        };
        let joined = joined((0..5).map(piece));
        let sizes: Vec<usize> = joined.iter().map(|one| one.data.len()).collect();
        assert_eq!(sizes, [READ_BYTES, READ_BYTES, READ_BYTES / 2]);
        assert_eq!(joined[1].offset, READ_BYTES as u64);
    }
}
