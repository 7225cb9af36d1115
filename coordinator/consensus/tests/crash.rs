//! Power cuts and failing disks, enumerated on the simulated disk (RELIABILITY F1-F4).

mod common;

use common::{
    PEER, assert_prefix, check_after, config, dir, entry, found, live, propose, start, start_with,
};
use runyard_consensus::{
    Config, Input,
    sim::{Crash, Fault, SimDisk},
};

const ENTRIES: usize = 70;

/// The size of the batch that was under way with `acked` entries acknowledged, as `live` makes it.
fn batch(acked: usize) -> usize {
    (acked + 1 + acked % 3).min(ENTRIES) - acked
}

#[test]
fn f1_a_power_cut_at_every_disk_operation() {
    let whole = SimDisk::new();
    let (acked, result) = live(&whole, ENTRIES);
    result.expect("nothing fails");
    assert_eq!(acked, ENTRIES);
    let names: Vec<_> = whole.files().into_iter().map(|(path, _)| path).collect();
    assert!(
        names.iter().filter(|path| path.to_string_lossy().ends_with(".snap")).count() == 2,
        "the history must have snapshots: {names:?}"
    );
    assert!(
        !names.iter().any(|path| path.ends_with("0000000000000001.log")),
        "the history must have cut the log: {names:?}"
    );
    for operation in 0..whole.operations() {
        let disk = SimDisk::new();
        disk.fail(operation, Fault::PowerCut);
        let (acked, result) = live(&disk, ENTRIES);
        assert!(result.is_err(), "operation {operation} was reached");
        for plan in [
            Crash::KeepNothing,
            Crash::KeepAll,
            Crash::Seeded(operation),
            Crash::Seeded(operation + 1_000_000),
            Crash::Seeded(operation + 2_000_000),
        ] {
            let what = format!("cut at operation {operation}, {plan:?}");
            check_after(&disk, &plan, acked, batch(acked), &what);
        }
    }
}

/// A disk with some entries acknowledged and one batch written but not synced.
fn unsynced_batch() -> (SimDisk, usize) {
    let disk = SimDisk::new();
    found(&disk).expect("founded");
    let mut peer = start(&disk).expect("started");
    propose(&mut peer, 0..5).expect("works");
    // The write is the next operation, the sync the one after it.
    disk.fail(disk.operations() + 1, Fault::PowerCut);
    propose(&mut peer, 5..8).expect_err("the power goes at the sync");
    (disk, 5)
}

#[test]
fn f2_the_last_record_cut_at_every_byte() {
    let (disk, acked) = unsynced_batch();
    let (bytes, _) = disk.unsynced();
    assert!(bytes > 3 * 512, "the record must have several sectors, it has {bytes} bytes");
    for count in 0..=bytes {
        let what = format!("{count} of {bytes} bytes written");
        check_after(&disk, &Crash::Bytes(count), acked, 3, &what);
    }
}

#[test]
fn f2_every_subset_of_the_last_records_sectors() {
    let (disk, acked) = unsynced_batch();
    let (_, sectors) = disk.unsynced();
    assert!((4..=12).contains(&sectors), "{sectors} sectors");
    for kept in 0..1_u64 << sectors {
        check_after(&disk, &Crash::Sectors(kept), acked, 3, &format!("sectors {kept:b} written"));
    }
}

#[test]
fn f3_a_new_segments_name_and_bytes_are_durable_before_anything_in_it_is_acknowledged() {
    let disk = SimDisk::new();
    found(&disk).expect("founded");
    let mut peer = start(&disk).expect("started");
    let mut last_names = 0;
    let mut new_segments = 0;
    for number in 0..ENTRIES {
        propose(&mut peer, number..number + 1).expect("works");
        let names = disk.files().last().map(|(path, _)| path.clone());
        let names = names.map_or(0, |path| path.to_string_lossy().len()) + disk.files().len();
        if names != last_names {
            last_names = names;
            new_segments += 1;
        }
        check_after(&disk, &Crash::KeepNothing, number + 1, 0, &format!("after entry {number}"));
    }
    assert!(new_segments > 1);
}

#[test]
fn f3_the_last_segments_name_is_durable_even_if_nothing_syncs_the_directory_after_it() {
    let disk = SimDisk::new();
    found(&disk).expect("founded");
    let settings = || Config { snapshot_every_entries: 1_000_000, ..config(&dir(), PEER) };
    let mut peer = start_with(&disk, settings()).expect("started");
    // With no room for another reserve, the log's own step to the next segment is the last
    // change of a name: no later sync of the directory can hide that its own is missing.
    disk.set_capacity(Some(disk.used()));
    let mut acked = 0;
    loop {
        let effects = propose(&mut peer, acked..acked + 1).expect("a full disk is no error");
        match effects.replies[..] {
            [(_, Ok(_))] => acked += 1,
            _ => break,
        }
        let after = disk.crash(&Crash::KeepNothing);
        let again = start_with(&after, settings()).expect("starts on a full disk");
        assert_eq!(assert_prefix(&again.machine().entries, "last segment"), acked);
    }
    let segments =
        disk.files().into_iter().filter(|(path, _)| path.ends_with("0000000000000002.log"));
    assert_eq!(segments.count(), 1, "the log went on to its reserve");
}

#[test]
fn f4_an_io_error_at_any_operation_stops_the_peer_and_loses_nothing() {
    let whole = SimDisk::new();
    found(&whole).expect("founded");
    let first = whole.operations();
    drop(start(&whole).expect("started"));
    let (_, result) = live(&SimDisk::new(), ENTRIES);
    result.expect("nothing fails");
    let last = {
        let disk = SimDisk::new();
        live(&disk, ENTRIES).1.expect("nothing fails");
        disk.operations()
    };
    for operation in first..last {
        let disk = SimDisk::new();
        disk.fail(operation, Fault::Io);
        let (acked, result) = live(&disk, ENTRIES);
        assert!(result.is_err(), "operation {operation} failed and was noticed");
        // The process is gone, the machine goes on: what the failed sync was to save can still be
        // read, and is not on the disk. The next life must not take it for durable.
        let peer = start(&disk).unwrap_or_else(|error| panic!("operation {operation}: {error}"));
        let what = format!("I/O error at operation {operation}");
        let present = assert_prefix(&peer.machine().entries, &what);
        assert!(present >= acked, "{what}: {present} of {acked}");
        drop(peer);
        check_after(&disk, &Crash::KeepNothing, present, 0, &what);
    }
}

#[test]
fn a_retried_start_counts_up_and_repeats_nothing() {
    let disk = SimDisk::new();
    found(&disk).expect("founded");
    for round in 1..=30 {
        let mut peer = start(&disk).expect("started");
        assert_eq!(peer.identity().incarnation, round as u64);
        let present = assert_prefix(&peer.machine().entries, "restart");
        assert_eq!(present, round - 1);
        let read = peer.step([Input::Read { id: 1 }]).expect("works");
        assert!(matches!(read.reads[..], [(1, Ok(_))]), "{:?}", read.reads);
        let effects = peer.step([Input::Propose { id: 9, data: entry(present) }]).expect("works");
        assert_eq!(effects.replies, [(9, Ok(round))]);
    }
}
