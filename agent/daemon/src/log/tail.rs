//! The live end of a log, sent while somebody reads it.

use std::sync::Arc;

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
    let mut client = AgentClient::new(shared.calls.clone());
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
    let mut tail = Tail { at: request.from, job };
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
        let at = self.at;
        let round = blocking(move || read(&worker, at)).await?;
        // What is sealed may have gone from the spool: the reader takes it from the store, and
        // asks again for what follows.
        let sealed_to = self.job.sealed_to();
        if round.lost_at.is_some_and(|lost| lost < sealed_to) {
            return Ok(Round { records: Vec::new(), next: Next::End });
        }
        self.at = round.at;
        Ok(Round { records: round.records, next: round.next })
    }
}

struct Read {
    records: Vec<Record>,
    at: u64,
    lost_at: Option<u64>,
    next: Next,
}

fn read(worker: &WorkerDir, at: u64) -> Result<Read, Fault> {
    // The state first: what was written before the end is then there to be read.
    let state = worker.state().map_err(|error| Fault::caused(&error))?;
    let over = matches!(state, State::Released | State::Lost { .. });
    let mut reader = SpoolReader::open(worker.path().join("spool")).read_from(at);
    let records = if over {
        let end = worker.status().ok().flatten().map(|status| status.log_end);
        reader.poll_final(READ_BYTES, end)
    } else {
        reader.poll_new(READ_BYTES)
    };
    let records = records.map_err(|error| Fault::caused(&error))?;
    let lost = |body: &Body| matches!(body, Body::Cut { reason: CutReason::Lost, .. });
    let lost_at = records.iter().find(|one| lost(&one.body)).map(|one| one.offset);
    let next = match (reader.ended(), records.is_empty()) {
        (true, _) => Next::End,
        (false, true) => Next::Wait,
        (false, false) => Next::More,
    };
    let at = reader.offset();
    let mut records: Vec<Record> = records.into_iter().map(record).collect();
    records.retain(|one| one.end() > one.offset);
    Ok(Read { records, at, lost_at, next })
}
