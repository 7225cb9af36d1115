use super::*;

fn lines() -> Lines {
    Lines {
        prefix: Prefix::WhenSeveral,
        timestamps: false,
        needle: None,
        sanitise: false,
        workers: BTreeMap::new(),
        mid_line: false,
    }
}

fn record(worker: &str, data: &[u8]) -> v1::LogRecord {
    v1::LogRecord {
        worker: worker.into(),
        at_ms: 1_000,
        data: data.to_vec().into(),
        ..Default::default()
    }
}

fn all(mut lines: Lines, records: &[v1::LogRecord]) -> String {
    let mut out: Vec<u8> = records.iter().flat_map(|record| lines.push(record)).collect();
    out.extend(lines.finish());
    String::from_utf8_lossy(&out).into_owned()
}

#[test]
fn one_worker_passes_byte_by_byte() {
    let mut lines = lines();
    assert_eq!(lines.push(&record("d-1/a.1:0", b"no end")), b"no end");
    assert_eq!(lines.push(&record("d-1/a.1:0", b"\xff\x00\n")), b"\xff\x00\n");
    assert!(lines.finish().is_empty());
}

#[test]
fn lines_of_several_workers_never_mix() {
    let records = [
        record("d-1/a.1:0", b"first"),
        record("d-1/b.1:0", b"b1\nb2"),
        record("d-1/a.1:0", b"a2\na3\n"),
        record("d-1/b.1:0", b" goes on\n"),
    ];
    assert_eq!(all(lines(), &records), "first\nb │ b1\na │ a2\na │ a3\nb │ b2 goes on\n");
}

#[test]
fn ranks_and_attempts_are_told_apart() {
    let records = [record("d-1/t[3].2:0", b"x\n"), record("d-1/t[3].2:1", b"y\n")];
    assert_eq!(all(lines(), &records), "x\nt[3].2:1 │ y\n");
}

#[test]
fn times_and_texts() {
    let records = [record("d-1/a.1:0", b"loss 1\nother\nloss 2")];
    let picked = lines().timestamps(true).containing(Some("loss".into()));
    assert_eq!(
        all(picked, &records),
        "1970-01-01T00:00:01.000Z loss 1\n1970-01-01T00:00:01.000Z loss 2\n"
    );
}

#[test]
fn a_cut_is_told_in_its_place() {
    let cut = v1::LogRecord { cut_bytes: 5_000_000, ..record("d-1/a.1:0", b"") };
    let records = [record("d-1/a.1:0", b"head\n"), cut, record("d-1/a.1:0", b"tail\n")];
    assert_eq!(all(lines(), &records), "head\n… 5 MB of the log were dropped here …\ntail\n");
}

#[test]
fn a35_a_log_cannot_drive_the_terminal() {
    let mut safe = lines();
    safe.sanitise = true;
    let records =
        [record("d-1/a.1:0", b"ok \x1b]52;c;"), record("d-1/a.1:0", b"ZXZpbA==\x07 done\n")];
    assert_eq!(all(safe, &records), "ok  done\n");
}

#[test]
fn a_line_without_end_is_printed_in_parts() {
    let mut lines = lines().prefix(Prefix::Always);
    let long = vec![b'x'; LINE_MAX + 1];
    assert_eq!(lines.push(&record("d-1/a.1:0", &long)).len(), LINE_MAX + 1 + "a │ \n".len());
}
