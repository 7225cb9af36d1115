//! The last lines of each worker's log: the coordinator sends at least as many, the reader cuts the rest.

use std::collections::{BTreeMap, VecDeque};

use runyard_proto::v1::LogRecord;

/// Keeps back what there is until the present is reached, then only as many lines of it.
#[derive(Debug)]
pub(crate) struct Tail {
    lines: usize,
    kept: BTreeMap<String, Kept>,
}

/// The end of one worker's log so far.
#[derive(Debug, Default)]
struct Kept {
    records: VecDeque<LogRecord>,
    /// Line ends in `records`.
    ends: usize,
}

impl Tail {
    /// So many lines of each worker.
    pub(crate) fn new(lines: u64) -> Self {
        Self { lines: usize::try_from(lines).unwrap_or(usize::MAX), kept: BTreeMap::new() }
    }

    /// Whether nothing has come yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Takes a record of the past.
    pub(crate) fn push(&mut self, record: LogRecord) {
        let kept = self.kept.entry(record.worker.clone()).or_default();
        kept.ends += ends(&record);
        kept.records.push_back(record);
        // A record may go when what follows it has lines enough, the unfinished one not counted.
        while let Some(first) = kept.records.front()
            && kept.records.len() > 1
            && kept.ends - ends(first) > self.lines
        {
            kept.ends -= ends(first);
            kept.records.pop_front();
        }
    }

    /// The last lines of all workers, in their order.
    pub(crate) fn take(&mut self) -> Vec<LogRecord> {
        let lines = self.lines;
        std::mem::take(&mut self.kept).into_values().flat_map(|kept| kept.cut(lines)).collect()
    }
}

impl Kept {
    fn cut(mut self, lines: usize) -> VecDeque<LogRecord> {
        // A line without its end counts as one.
        let last = self.records.iter().rev().find_map(|record| record.data.last());
        let unfinished = usize::from(last.is_some_and(|last| *last != b'\n'));
        let mut surplus = (self.ends + unfinished).saturating_sub(lines);
        while surplus > 0 {
            let Some(first) = self.records.front_mut() else { break };
            match first.data.iter().position(|b| *b == b'\n') {
                Some(at) => {
                    first.data = first.data.slice(at + 1..);
                    first.offset += at as u64 + 1;
                    surplus -= 1;
                }
                // The rest of a line that began here is cut with it.
                None if first.end => break,
                None => drop(self.records.pop_front()),
            }
        }
        self.records
    }
}

fn ends(record: &LogRecord) -> usize {
    record.data.iter().filter(|b| **b == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(lines: u64, parts: &[&str]) -> String {
        let mut tail = Tail::new(lines);
        for part in parts {
            let data = bytes::Bytes::copy_from_slice(part.as_bytes());
            tail.push(LogRecord { worker: "w".into(), data, ..Default::default() });
        }
        let text = tail.take().iter().flat_map(|record| record.data.to_vec()).collect::<Vec<u8>>();
        String::from_utf8(text).expect("UTF-8")
    }

    #[test]
    fn exactly_the_last_lines_are_left_wherever_records_are_cut() {
        let text = "one\ntwo\nthree\nfour\nfive";
        for lines in 1..=5 {
            let expected: Vec<&str> = text.split('\n').rev().take(lines).collect();
            let expected: Vec<&str> = expected.into_iter().rev().collect();
            for cut in 0..=text.len() {
                for cut2 in cut..=text.len() {
                    let parts = [&text[..cut], &text[cut..cut2], &text[cut2..]];
                    assert_eq!(last(lines as u64, &parts), expected.join("\n"), "{parts:?}");
                }
            }
        }
        assert_eq!(last(9, &["a\nb\n"]), "a\nb\n");
        assert_eq!(last(1, &["a\n", "b\n"]), "b\n");
    }

    #[test]
    fn little_is_kept_of_much() {
        let mut tail = Tail::new(3);
        for _ in 0..10_000 {
            let data = bytes::Bytes::from_static(b"line\n");
            tail.push(LogRecord { worker: "w".into(), data, ..Default::default() });
        }
        assert!(tail.kept["w"].records.len() <= 4);
    }
}
