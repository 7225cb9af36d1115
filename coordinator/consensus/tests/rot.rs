//! Damage that no power cut explains is refused, never repaired by forgetting (F5, F6, F8).

mod common;

use std::path::{Path, PathBuf};

use common::{
    GROUP, Numbers, PEER, assert_prefix, config, dir, entry, found, founding, live, propose, start,
    start_with,
};
use runyard_consensus::{
    Config, DiskState, Input, PeerId, ProposeError, StartError, init,
    sim::{Crash, SimDisk},
};

const ENTRIES: usize = 65;

fn history() -> SimDisk {
    let disk = SimDisk::new();
    live(&disk, ENTRIES).1.expect("nothing fails");
    disk
}

fn named(disk: &SimDisk, suffix: &str) -> Vec<PathBuf> {
    let all = disk.files().into_iter().map(|(path, _)| path);
    all.filter(|path| path.to_string_lossy().ends_with(suffix)).collect()
}

fn segments(disk: &SimDisk) -> Vec<PathBuf> {
    named(disk, ".log").into_iter().filter(|path| !path.ends_with("reserve.log")).collect()
}

#[test]
fn f5_a_thousand_flipped_bits_are_refused_or_harmless_never_a_silent_loss() {
    let disk = history();
    let mut numbers = Numbers(5);
    let (mut refused, mut harmless, mut older_snapshot) = (0, 0, 0);
    let files = disk.files();
    for round in 0..1_000 {
        let (path, size) = &files[numbers.below(files.len() as u64) as usize];
        if *size == 0 {
            continue;
        }
        let (byte, bit) = (numbers.below(*size as u64) as usize, numbers.below(8) as u8);
        let rotten = disk.crash(&Crash::KeepAll);
        rotten.flip(path, byte, bit).expect("the byte is there");
        let before = rotten.bytes(path).expect("the file is there");
        let what = format!("round {round}: {} byte {byte} bit {bit}", path.display());
        match start(&rotten) {
            Ok(peer) => {
                assert_eq!(assert_prefix(&peer.machine().entries, &what), ENTRIES, "{what}");
                harmless += 1;
                older_snapshot += usize::from(peer.notes().iter().any(|n| n.contains("snapshot")));
            }
            Err(error) => {
                let message = error.to_string();
                assert!(
                    matches!(&error, StartError::Corrupt { file, .. } if file == path),
                    "{what}: {message}"
                );
                assert!(message.contains("replace this peer"), "{what}: {message}");
                assert_eq!(rotten.bytes(path).expect("still there"), before, "{what}: changed");
                refused += 1;
            }
        }
    }
    assert!(
        refused > 100 && harmless > 100 && older_snapshot > 20,
        "{refused} {harmless} {older_snapshot}"
    );
}

#[test]
fn f5_every_bit_of_the_last_synced_record_counts() {
    let disk = SimDisk::new();
    found(&disk).expect("founded");
    let mut peer = start(&disk).expect("started");
    propose(&mut peer, 0..1).expect("works");
    drop(peer);
    let segment = segments(&disk).remove(0);
    let bytes = disk.bytes(&segment).expect("there");
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("written") + 1;
    let start_of_last = end - 512;
    for bit in 0..512 * 8 {
        let rotten = disk.crash(&Crash::KeepAll);
        rotten.flip(&segment, start_of_last + bit / 8, (bit % 8) as u8).expect("there");
        let error = start(&rotten).err().unwrap_or_else(|| panic!("bit {bit} went unnoticed"));
        assert!(matches!(error, StartError::Corrupt { .. }), "bit {bit}: {error}");
    }
}

#[test]
fn f5_both_snapshots_rotten_is_refused() {
    let disk = history();
    let snapshots = named(&disk, ".snap");
    assert_eq!(snapshots.len(), 2);
    for path in &snapshots {
        disk.flip(path, 300, 1).expect("there");
    }
    let error = start(&disk).expect_err("nothing to begin from");
    assert!(matches!(&error, StartError::Corrupt { file, .. } if *file == snapshots[1]), "{error}");
}

#[test]
fn f5_a_missing_newest_snapshot_gives_way_to_the_one_before_it() {
    let disk = history();
    let newest = named(&disk, ".snap").pop().expect("two");
    runyard_consensus::Disk::remove(&disk, &newest).expect("there");
    let peer = start(&disk).expect("the older one and the log have it all");
    assert_eq!(assert_prefix(&peer.machine().entries, "older snapshot"), ENTRIES);
    let notes = peer.notes().join("\n");
    assert!(notes.contains(&newest.display().to_string()), "{notes}");
}

#[test]
fn f5_the_log_is_kept_behind_the_older_of_the_two_snapshots() {
    let disk = SimDisk::new();
    found(&disk).expect("founded");
    // More than a segment lies between two snapshots, so that a cut behind the newer one shows.
    let settings = || Config { snapshot_every_entries: 60, ..config(&dir(), PEER) };
    let mut peer = start_with(&disk, settings()).expect("started");
    let entries = 200;
    for number in 0..entries {
        propose(&mut peer, number..number + 1).expect("works");
    }
    drop(peer);
    let first = segments(&disk).remove(0);
    assert!(!first.ends_with("0000000000000001.log"), "the log was cut at all");
    let newest = named(&disk, ".snap").pop().expect("two");
    runyard_consensus::Disk::remove(&disk, &newest).expect("there");
    let peer = start_with(&disk, settings()).expect("the older one and the log have it all");
    assert_eq!(assert_prefix(&peer.machine().entries, "older snapshot"), entries);
}

#[test]
fn f5_a_snapshot_beyond_the_logs_end_proves_a_loss() {
    let disk = history();
    let newest = named(&disk, ".snap").pop().expect("two");
    let bytes = disk.bytes(&newest).expect("there");
    let beyond = dir().join("own-0000000000009999.snap");
    runyard_consensus::Disk::create(&disk, &beyond).expect("made");
    disk.overwrite(&beyond, bytes).expect("there");
    let error = start(&disk).expect_err("acknowledged entries are gone");
    assert!(matches!(&error, StartError::LostAcknowledged { file, .. } if *file == beyond));
    assert!(error.to_string().contains("9999"), "{error}");
}

/// A history with several segments and no snapshot.
fn long_log(peer: PeerId) -> SimDisk {
    let disk = SimDisk::new();
    init(&dir(), &disk, &founding(peer, &[peer])).expect("founded");
    let config = Config { snapshot_every_entries: 1_000_000, ..config(&dir(), peer) };
    let mut running = start_with(&disk, config).expect("started");
    for number in 0..100 {
        propose(&mut running, number..number + 1).expect("works");
    }
    drop(running);
    assert!(segments(&disk).len() >= 4, "{:?}", segments(&disk));
    disk
}

fn assert_refused(disk: &SimDisk, file: &Path, what: &str) {
    match start(disk) {
        Err(StartError::Corrupt { file: found, .. }) => assert_eq!(found, file, "{what}"),
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn f6_swapped_stale_foreign_and_missing_segments_are_refused() {
    let disk = long_log(PEER);
    let names = segments(&disk);
    let bytes = |disk: &SimDisk, path: &Path| disk.bytes(path).expect("there");

    let swapped = disk.crash(&Crash::KeepAll);
    let (first, second) = (bytes(&disk, &names[1]), bytes(&disk, &names[2]));
    swapped.overwrite(&names[1], second).expect("there");
    swapped.overwrite(&names[2], first).expect("there");
    assert_refused(&swapped, &names[1], "swapped");

    let foreign = disk.crash(&Crash::KeepAll);
    foreign.overwrite(&names[1], bytes(&long_log(PeerId(8)), &names[1])).expect("there");
    assert_refused(&foreign, &names[1], "another peer's");

    let missing = disk.crash(&Crash::KeepAll);
    runyard_consensus::Disk::remove(&missing, &names[1]).expect("there");
    assert_refused(&missing, &names[2], "missing");

    let stale = disk.crash(&Crash::KeepAll);
    let mut earlier = bytes(&disk, &names[1]);
    let cut = earlier.len() / 1024 * 512;
    earlier[cut..].fill(0);
    stale.overwrite(&names[1], earlier).expect("there");
    match start(&stale) {
        Err(StartError::Corrupt { file, .. }) => {
            assert!(file == names[1] || file == names[2], "{}", file.display());
        }
        other => panic!("stale: {other:?}"),
    }

    let short = disk.crash(&Crash::KeepAll);
    let mut bytes = bytes(&disk, &names[3]);
    bytes.truncate(bytes.len() - 512);
    short.overwrite(&names[3], bytes).expect("there");
    assert_refused(&short, &names[3], "cut short");
}

#[test]
fn f6_another_peers_directory_is_refused_by_name() {
    let disk = long_log(PeerId(8));
    let error = start(&disk).expect_err("not ours");
    assert!(matches!(error, StartError::WrongIdentity { found_peer: PeerId(8), .. }), "{error}");
}

#[test]
fn f7_an_empty_directory_is_no_peer() {
    let error = start(&SimDisk::new()).expect_err("nothing there");
    assert!(matches!(error, StartError::Empty { .. }));
    assert!(error.to_string().contains("replace this peer"), "{error}");
}

#[test]
fn a_directory_with_something_in_it_is_not_founded() {
    let disk = history();
    assert!(matches!(found(&disk), Err(StartError::NotEmpty { .. })));
}

#[test]
fn a_generation_goes_up_and_never_back() {
    let disk = history();
    let raised = Config { generation: Some(4), ..config(&dir(), PEER) };
    assert_eq!(start_with(&disk, raised).expect("raised").identity().generation, 4);
    assert_eq!(start(&disk).expect("kept").identity().generation, 4);
    let lower = Config { generation: Some(3), ..config(&dir(), PEER) };
    let error = start_with(&disk, lower).expect_err("lower");
    assert!(matches!(error, StartError::OldGeneration { found: 4, asked: 3, .. }));
    let identity = runyard_consensus::identity(&dir(), &disk).expect("readable");
    assert_eq!((identity.group, identity.peer, identity.generation), (GROUP, PEER, 4));
}

#[test]
fn f8_the_reserve_then_read_only_then_healed() {
    let disk = SimDisk::new();
    found(&disk).expect("founded");
    let no_snapshots = || Config { snapshot_every_entries: 1_000_000, ..config(&dir(), PEER) };
    let mut peer = start_with(&disk, no_snapshots()).expect("started");
    assert_eq!(peer.disk_state(), DiskState::Ready);
    disk.set_capacity(Some(disk.used() + 1_000));

    let mut seen = vec![DiskState::Ready];
    let mut acked = 0;
    loop {
        let effects = propose(&mut peer, acked..acked + 1).expect("a full disk is no error");
        let state = peer.disk_state();
        if seen.last() != Some(&state) {
            seen.push(state);
        }
        match &effects.replies[..] {
            [(_, Ok(_))] => acked += 1,
            [(_, Err(ProposeError::DiskFull))] => break,
            other => panic!("{other:?}"),
        }
    }
    // Whether a small entry would still have fitted decides if the state says so already.
    assert_eq!(seen[..2], [DiskState::Ready, DiskState::Reserve]);
    assert!(acked > 30, "{acked}");
    let read = peer.step([Input::Read { id: 3 }]).expect("reads go on");
    assert!(matches!(read.reads[..], [(3, Ok(_))]));

    drop(peer);
    let mut peer = start_with(&disk, no_snapshots()).expect("starts on a full disk");
    assert_eq!(assert_prefix(&peer.machine().entries, "full"), acked);
    disk.set_capacity(None);
    peer.step([]).expect("works");
    assert_eq!(peer.disk_state(), DiskState::Ready);
    let effects = propose(&mut peer, acked..acked + 1).expect("works");
    assert_eq!(effects.replies, [(acked as u64, Ok(acked + 1))]);
}

#[test]
fn f8_a_snapshot_frees_room_by_itself() {
    let disk = SimDisk::new();
    found(&disk).expect("founded");
    let mut peer = start(&disk).expect("started");
    // Room for two snapshots of some size and a few segments, not for the whole history.
    disk.set_capacity(Some(disk.used() + 5 * (32 << 10)));
    let entries = 400;
    for number in 0..entries {
        let mut small = entry(number);
        small.truncate(20);
        let effects = peer.step([Input::Propose { id: 1, data: small }]).expect("works");
        assert!(
            matches!(effects.replies[..], [(1, Ok(_))]),
            "entry {number}: {:?}",
            effects.replies
        );
    }
    assert_eq!(peer.machine().entries.len(), entries);
}

#[test]
fn f8_no_room_at_a_write_stops_the_peer() {
    let disk = SimDisk::new();
    found(&disk).expect("founded");
    let mut peer = start(&disk).expect("started");
    disk.fail(disk.operations(), runyard_consensus::sim::Fault::NoSpace);
    propose(&mut peer, 0..1).expect_err("a preallocated segment had no room");
}
