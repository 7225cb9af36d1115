//! How output is taken from a stage.

mod common;

use std::time::{Duration, Instant};

use common::{Yard, bytes, ended, records, until};
use runyard_runtime::spool::{Body, Stream};

#[test]
fn a_stage_that_writes_line_by_line_makes_few_records_and_no_byte_less() {
    const LINES: usize = 20_000;
    let yard = Yard::new();
    // `echo` is the shell's own: one write for each line.
    let script = format!("i=0; while [ $i -lt {LINES} ]; do echo \"line $i\"; i=$((i+1)); done");
    let begin = Instant::now();
    let (worker, _) = yard.run(&yard.script(&script));
    let took = begin.elapsed();
    let all = records(&worker);
    let full: String = (0..LINES).map(|i| format!("line {i}\n")).collect();
    assert!(bytes(&all, Some(Stream::Stdout)) == full.as_bytes(), "other bytes");
    let data = all.iter().filter(|r| matches!(r.body, Body::Data(_))).count();
    // A millisecond is left between two of them.
    let most = took.as_millis() as usize + 10;
    assert!(data <= most, "{data} records for {LINES} lines in {took:?}");
}

#[test]
fn a_line_after_silence_and_the_end_of_a_busy_stage_are_not_held_back() {
    let yard = Yard::new();
    let worker = yard.start(&yard.script("echo one; echo two; echo three; exec sleep 30"));
    // Written in a row, then silence: all of it comes, without another write to push it out.
    until("three lines", || {
        let mut reader = worker.output();
        let all = reader.poll_new(1 << 20).expect("readable");
        bytes(&all, None) == b"one\ntwo\nthree\n"
    });
    worker.stop(Duration::ZERO).expect("told");
    let begin = Instant::now();
    ended(&worker);
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}
