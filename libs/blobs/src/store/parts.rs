//! What has arrived of packs whose senders are gone: kept for their return, but not without end.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use fs_err as fs;

use super::StoreError;
use crate::pack::PackId;

/// What arrived of a pack is kept this long for its upload to go on.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// Parts kept for their senders at most, however small they are.
const COUNT_MAX: usize = 1_024;

const SUFFIX: &str = ".part";

/// Where the bytes of an arriving pack are.
pub(super) fn part_path(uploads: &Path, pack: PackId) -> PathBuf {
    uploads.join(format!("{pack}{SUFFIX}"))
}

/// Removes what has not grown for a day, then the oldest until the rest has at most `bytes_max` bytes.
/// What is `busy`, which somebody sends just now, stays and is not counted.
pub(super) fn sweep(
    uploads: &Path,
    bytes_max: u64,
    now: SystemTime,
    busy: impl Fn(PackId) -> bool,
) -> Result<(), StoreError> {
    let mut idle = Vec::new();
    for file in fs::read_dir(uploads).map_err(StoreError::io("list", uploads))? {
        let file = file.map_err(StoreError::io("list", uploads))?;
        let name = file.file_name().to_string_lossy().into_owned();
        if name.strip_suffix(SUFFIX).and_then(PackId::parse).is_some_and(&busy) {
            continue;
        }
        // One that is gone by now needs no sweeping.
        let Ok(meta) = file.metadata() else { continue };
        let grown = meta.modified().unwrap_or(now);
        idle.push((grown, meta.len(), file.path()));
    }
    idle.sort();
    let (mut bytes, mut count) = (idle.iter().map(|(_, len, _)| len).sum::<u64>(), idle.len());
    for (grown, len, path) in idle {
        let old = now.duration_since(grown).is_ok_and(|age| age > KEPT);
        if !old && bytes <= bytes_max && count <= COUNT_MAX {
            break;
        }
        match fs::remove_file(&path) {
            Ok(()) => {
                tracing::info!(path = %path.display(), len, "an unfinished upload was removed")
            }
            Err(error) => tracing::warn!(%error, "an unfinished upload could not be removed"),
        }
        bytes -= len;
        count -= 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(dir: &Path, n: u8, len: usize, age: Duration, now: SystemTime) -> PackId {
        let pack = PackId::of(&[n]);
        let path = part_path(dir, pack);
        fs::write(&path, vec![n; len]).expect("writes");
        let file = fs::File::options().write(true).open(&path).expect("opens");
        file.file().set_modified(now - age).expect("sets");
        pack
    }

    #[test]
    fn the_old_and_then_the_oldest_go_and_the_busy_stay() {
        let dir = tempfile::tempdir().expect("a directory");
        let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
        let ages = [30, 29, 5, 4, 3];
        let parts: Vec<PackId> =
            (0u8..).zip(ages).map(|(n, age)| part(dir.path(), n, 100, hour * age, now)).collect();
        let left =
            || parts.iter().map(|pack| part_path(dir.path(), *pack).exists()).collect::<Vec<_>>();
        let busy = |pack| pack == parts[1];
        sweep(dir.path(), 300, now, busy).expect("sweeps");
        assert_eq!(left(), [false, true, true, true, true], "older than a day, and not busy");
        sweep(dir.path(), 299, now, busy).expect("sweeps");
        assert_eq!(left(), [false, true, false, true, true], "the oldest, for the sake of room");
        sweep(dir.path(), 299, now + hour * 41 / 2, |_| false).expect("sweeps");
        assert_eq!(left(), [false, false, false, false, true], "a day later");
    }

    #[test]
    fn many_small_ones_are_bounded_too() {
        let dir = tempfile::tempdir().expect("a directory");
        let now = SystemTime::now();
        for n in 0..COUNT_MAX + 7 {
            fs::write(part_path(dir.path(), PackId::of(&n.to_le_bytes())), b"x").expect("writes");
        }
        sweep(dir.path(), u64::MAX, now, |_| false).expect("sweeps");
        assert_eq!(fs::read_dir(dir.path()).expect("lists").count(), COUNT_MAX);
    }
}
