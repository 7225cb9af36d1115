//! Commits of a group of one beside a bare loop of append and fdatasync of the same bytes.

use std::io::{Seek as _, Write as _};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use runyard_consensus::{
    Config, Founding, GroupId, OsDisk, PeerId, RestoreError, Serialise, StateMachine,
};

use crate::Failure;
use crate::args::Args;
use crate::cluster::folder;
use crate::figures::{Values, heading, line};

const ENTRY: [u8; 200] = [7; 200];
const ROUND: Duration = Duration::from_millis(600);
/// The bare loop writes into a file of this size that is there already, as the log's segments are.
const FILE_BYTES: usize = 8 << 20;

pub(crate) fn measure(args: &Args) -> Result<(), Failure> {
    heading("commits of a group of one, 200 bytes, entries a second");
    let dir = folder(args)?;
    for window in [1, 16, 256] {
        let (mut limit, mut ours, mut ratio) =
            (Values::default(), Values::default(), Values::default());
        for round in 0..args.rounds {
            let at = |who: &str| dir.path().join(format!("{who}-{window}-{round}"));
            // Who begins alternates: what one leaves to be written back falls on the other.
            let (bare, own) = if round % 2 == 0 {
                (append_and_sync(&at("bare"), window)?, commits(&at("ours"), window)?)
            } else {
                let own = commits(&at("ours"), window)?;
                (append_and_sync(&at("bare"), window)?, own)
            };
            limit.push(bare);
            ours.push(own);
            ratio.push(own / bare);
        }
        line(&format!("{window} under way: commits"), &ours.spread(0));
        line("  append and fdatasync", &limit.spread(0));
        line("  ratio", &ratio.spread(2));
    }
    Ok(())
}

/// Entries a second of a loop that appends `window` entries and syncs.
fn append_and_sync(path: &Path, window: usize) -> Result<f64, Failure> {
    let mut file = std::fs::File::create(path)?;
    file.write_all(&vec![0; FILE_BYTES])?;
    file.sync_all()?;
    file.rewind()?;
    let batch = ENTRY.repeat(window);
    let (begun, mut entries, mut at) = (Instant::now(), 0, 0);
    while begun.elapsed() < ROUND {
        if at + batch.len() > FILE_BYTES {
            file.rewind()?;
            at = 0;
        }
        file.write_all(&batch)?;
        file.sync_data()?;
        entries += window;
        at += batch.len();
    }
    Ok(entries as f64 / begun.elapsed().as_secs_f64())
}

/// Commits a second with `window` proposals always under way.
fn commits(dir: &Path, window: usize) -> Result<f64, Failure> {
    let (group, peer) = (GroupId(1), PeerId(1));
    let config = Config::new(dir.to_owned(), group, peer);
    let segment_bytes = config.segment_bytes;
    let founding = Founding { group, peer, generation: 1, voters: vec![peer], segment_bytes };
    runyard_consensus::init(dir, &OsDisk, &founding)?;
    let handle = runyard_consensus::start(config, Arc::new(OsDisk), Count(0))?;
    if !handle.wait_ready(Duration::from_secs(10)) {
        return Err(format!("the group is not ready: {:?}", handle.status()).into());
    }
    let (done, dones) = mpsc::channel();
    let propose = || {
        let done = done.clone();
        // The receiver lives as long as anybody waits.
        handle.propose(ENTRY.to_vec(), Box::new(move |reply| drop(done.send(reply))));
    };
    let (begun, mut entries) = (Instant::now(), 0);
    (0..window).for_each(|_| propose());
    while begun.elapsed() < ROUND {
        dones.recv()??;
        entries += 1;
        propose();
    }
    let rate = f64::from(entries) / begun.elapsed().as_secs_f64();
    handle.shutdown();
    Ok(rate)
}

/// The least that a state machine can be.
struct Count(u64);

impl StateMachine for Count {
    type Reply = u64;

    fn apply(&mut self, _: u64, _: &[u8]) -> u64 {
        self.0 += 1;
        self.0
    }

    fn snapshot(&self) -> Serialise {
        let count = self.0;
        Box::new(move || count.to_le_bytes().to_vec())
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        let bytes = bytes.try_into().map_err(|_| RestoreError("not eight bytes".into()))?;
        self.0 = u64::from_le_bytes(bytes);
        Ok(())
    }
}
