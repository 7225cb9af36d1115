//! Honest waiting: for a value, with the last status in the failure.

use std::io::Write;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(30);

/// Waits until `look` gives a value; its error says how it stands.
///
/// # Panics
/// When the patience is over; what was waited for and the last status are in the message.
#[track_caller]
pub fn wait_for<T>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> Result<T, String>,
) -> T {
    let give_up = Instant::now() + patience;
    loop {
        match look() {
            Ok(value) => return value,
            Err(last) if Instant::now() >= give_up => {
                panic!("waited {patience:?} for {what}; last: {last}")
            }
            Err(_) => std::thread::sleep(LOOK),
        }
    }
}

/// Says, loudly, that a test did not test: past the capture of a test's output.
pub fn skipped(test: &str, lacks: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {lacks}");
}

/// The command lines of processes that belong to a folder: named in their arguments, or workers that
/// name it in their environment.
pub fn processes_of(folder: &std::path::Path) -> Vec<String> {
    let needle = folder.display().to_string();
    let ours = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(&needle);
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let found = entries.filter_map(|entry| {
        let words = std::fs::read(entry.path().join("cmdline")).ok()?;
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let worker = String::from_utf8_lossy(&environment).contains("RUNYARD_WORKER=");
        let is = ours(&words) || (worker && ours(&environment));
        is.then(|| String::from_utf8_lossy(&words).replace('\0', " "))
    });
    found.collect()
}
