//! The clocks of this machine and the name of its present boot.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// UTC in ms.
pub fn utc_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

/// Milliseconds since boot, time asleep included. Deadlines are in it: it can't be set, and it
/// runs on while the machine is suspended.
pub fn boottime_ms() -> u64 {
    let t =
        clock_gettime(ClockId::CLOCK_BOOTTIME).expect("CLOCK_BOOTTIME exists since Linux 2.6.39");
    (t.tv_sec() as u64) * 1000 + (t.tv_nsec() as u64) / 1_000_000
}

/// The kernel's name for this boot; empty without `/proc`.
pub fn boot_id() -> String {
    // Read once: it can't change under a running process, and a forked shim inherits it.
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        text.trim().to_string()
    })
    .clone()
}
