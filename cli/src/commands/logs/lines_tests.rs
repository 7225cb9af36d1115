use super::*;

fn lines() -> Lines {
    Lines {
        prefix: Prefix::WhenSeveral,
        timestamps: false,
        needle: None,
        sanitise: false,
        workers: BTreeMap::new(),
        mid_line: false,
        width: 0,
        reset: false,
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

fn run_of(stages: &[(&str, &[&str])]) -> v1::Run {
    let task = |key: &&str| v1::Task { key: format!("d-1/{key}"), ..Default::default() };
    let stage = |(name, tasks): &(&str, &[&str])| v1::Stage {
        name: (*name).into(),
        tasks: tasks.iter().map(task).collect(),
        ..Default::default()
    };
    v1::Run { name: "d-1".into(), stages: stages.iter().map(stage).collect(), ..Default::default() }
}

#[test]
fn lines_look_the_same_from_the_first_to_the_last() {
    let mut several = lines();
    several.expect(&run_of(&[("a", &["a"]), ("train", &["train[0]", "train[11]"])]), None);
    let records = [
        record("d-1/a.1:0", b"first\n"),
        record("d-1/train[0].1:0", b"x\n"),
        record("d-1/train[11].2:1", b"y\n"),
        record("d-1/a.1:0", b"last\n"),
    ];
    assert_eq!(
        all(several, &records),
        "a         │ first\ntrain[0]  │ x\ntrain[11].2:1 │ y\na         │ last\n"
    );
    // One task needs no name, unless a later stage will bring more.
    let mut one = lines();
    one.expect(&run_of(&[("a", &["a"])]), None);
    assert_eq!(all(one, &records[..1]), "first\n");
    let mut later = lines();
    later.expect(&run_of(&[("a", &["a"]), ("b", &[])]), None);
    assert_eq!(all(later, &records[..1]), "a │ first\n");
    let mut chosen = lines();
    chosen.expect(
        &run_of(&[("a", &["a"]), ("b", &[])]),
        Some(&Target { run: "d-1".into(), rest: "a".into() }),
    );
    assert_eq!(all(chosen, &records[..1]), "first\n");
}

#[test]
fn a_colour_that_a_stage_left_on_does_not_reach_the_next_prefix() {
    let mut raw = lines().timestamps(false);
    (raw.prefix, raw.reset) = (Prefix::Always, true);
    let records = [record("d-1/a.1:0", b"\x1b[31mred\n"), record("d-1/b.1:0", b"plain\n")];
    assert_eq!(all(raw, &records), "\x1b[0ma │ \x1b[31mred\n\x1b[0mb │ plain\n");
}

#[test]
fn labels_leave_out_what_is_always_the_same() {
    for (worker, told) in [
        ("d-1/train.1:0", "train"),
        ("d-1/train.2:0", "train.2"),
        ("d-1/train[3].1:2", "train[3]:2"),
        ("d-1/v1.5", "v1.5"),
        ("digits@2/replica[0].1:0", "digits@2/replica[0]"),
    ] {
        assert_eq!(label(worker), told);
    }
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
    let mut lines = lines();
    lines.prefix = Prefix::Always;
    let long = vec![b'x'; LINE_MAX + 1];
    assert_eq!(lines.push(&record("d-1/a.1:0", &long)).len(), LINE_MAX + 1 + "a │ \n".len());
}
