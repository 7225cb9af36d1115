//! A log as a stream that survives a lost connection: joined by offset, no byte twice, none missed.

use std::collections::BTreeMap;

use runyard_proto::v1;
use tonic::Streaming;

use super::Client;
use super::retry::{Backoff, passes};
use crate::errors::Result;

/// Consecutive failures without a record between them after which a reader gives up.
const FAILURES_MAX: u32 = 40;

/// Reads records in order.
#[derive(Debug)]
pub(crate) struct LogStream {
    client: Client,
    request: v1::LogsRequest,
    stream: Option<Streaming<v1::LogRecord>>,
    /// For each worker, the offset behind what was handed out.
    seen: BTreeMap<String, u64>,
    backoff: Backoff,
    failures: u32,
}

impl Client {
    /// A log; the request's project is filled in.
    pub(crate) fn logs(&self, request: v1::LogsRequest) -> LogStream {
        LogStream {
            client: self.clone(),
            request: v1::LogsRequest { project: self.project.clone(), ..request },
            stream: None,
            seen: BTreeMap::new(),
            backoff: Backoff::default(),
            failures: 0,
        }
    }
}

impl LogStream {
    /// The next record; `None` at the end.
    ///
    /// # Cancel safety
    /// A record that was received is handed out before the next wait: dropping the future loses none.
    pub(crate) async fn next(&mut self) -> Result<Option<v1::LogRecord>> {
        loop {
            let answer = match &mut self.stream {
                Some(stream) => stream.message().await,
                None => match self.open().await {
                    Ok(()) => continue,
                    Err(status) => Err(status),
                },
            };
            match answer {
                Ok(None) => return Ok(None),
                Ok(Some(record)) => {
                    self.failures = 0;
                    self.backoff.reset();
                    if let Some(record) = unseen(&mut self.seen, record) {
                        return Ok(Some(record));
                    }
                }
                Err(status) if passes(&status) && self.failures < FAILURES_MAX => {
                    tracing::info!(%status, "the log's stream broke; reading on");
                    self.stream = None;
                    self.failures += 1;
                    self.backoff.sleep().await;
                }
                Err(status) => return Err(status.into()),
            }
        }
    }

    async fn open(&mut self) -> Result<(), tonic::Status> {
        let mut request = self.request.clone();
        if !self.seen.is_empty() {
            // The tail was counted when the reading began; what was seen since is skipped by offset.
            request.tail_lines = 0;
            if let (Some(_), Some(offset)) = (request.worker, self.seen.values().max()) {
                request.from_offset = *offset;
            }
        }
        self.stream = Some(self.client.runs().logs(request).await?.into_inner());
        Ok(())
    }
}

/// The part of a record that was not handed out yet.
fn unseen(seen: &mut BTreeMap<String, u64>, mut record: v1::LogRecord) -> Option<v1::LogRecord> {
    let end = record.offset + record.data.len() as u64 + record.cut_bytes;
    match seen.get(&record.worker) {
        Some(&reached) if end <= reached && !record.end => return None,
        Some(&reached) if record.offset < reached => {
            let skip = usize::try_from(reached - record.offset).unwrap_or(usize::MAX);
            record.data = record.data.slice(skip.min(record.data.len())..);
            record.offset = reached.min(end);
            record.cut_bytes = end - record.offset - record.data.len() as u64;
        }
        _ => {}
    }
    let reached = seen.entry(record.worker.clone()).or_default();
    *reached = (*reached).max(end);
    Some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: u64, data: &str) -> v1::LogRecord {
        v1::LogRecord {
            worker: "w".into(),
            offset,
            data: bytes::Bytes::copy_from_slice(data.as_bytes()),
            ..Default::default()
        }
    }

    #[test]
    fn after_a_break_no_byte_comes_twice_and_none_is_missed() {
        let mut seen = BTreeMap::new();
        let mut text = Vec::new();
        // The second reading begins at the front again, with other borders between its records.
        for r in [
            record(0, "abc"),
            record(3, "def"),
            record(0, "ab"),
            record(2, "cdefg"),
            record(7, "h"),
        ] {
            text.extend(unseen(&mut seen, r).into_iter().flat_map(|r| r.data));
        }
        assert_eq!(text, b"abcdefgh");
    }

    #[test]
    fn a_cut_is_handed_out_once_and_ends_always() {
        let mut seen = BTreeMap::new();
        let cut =
            v1::LogRecord { worker: "w".into(), offset: 3, cut_bytes: 10, ..Default::default() };
        unseen(&mut seen, record(0, "abc")).expect("new");
        assert_eq!(unseen(&mut seen, cut.clone()).expect("new").cut_bytes, 10);
        assert_eq!(unseen(&mut seen, cut), None);
        assert_eq!(unseen(&mut seen, record(13, "x")).expect("new").data, "x");
        let end = v1::LogRecord { worker: "w".into(), offset: 14, end: true, ..Default::default() };
        assert!(unseen(&mut seen, end).is_some());
    }
}
