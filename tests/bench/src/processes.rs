//! What the kernel says of processes.

use std::path::Path;

use nix::unistd::{SysconfVar, sysconf};

/// Memory of a process, in KiB.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    /// Resident, pages shared with others included.
    pub(crate) resident_kib: u64,
    /// Resident, shared pages divided among their users; 0 where it cannot be read.
    pub(crate) proportional_kib: u64,
}

/// Memory of a process; zero once it is gone.
pub(crate) fn memory(pid: u32) -> Memory {
    let field = |file: &str, name: &str| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
        found.unwrap_or(0)
    };
    Memory {
        resident_kib: field("status", "VmRSS:"),
        proportional_kib: field("smaps_rollup", "Pss:"),
    }
}

/// CPU-seconds that a process and the children it has waited for have used; zero once it is gone.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    seconds(pid, 4)
}

/// CPU-seconds that a process alone has used; zero once it is gone.
pub(crate) fn own_cpu_seconds(pid: u32) -> f64 {
    seconds(pid, 2)
}

/// User, system, and, with four, the same of the children that were waited for.
fn seconds(pid: u32, fields: usize) -> f64 {
    let ticks: f64 =
        stat(pid).iter().skip(11).take(fields).filter_map(|text| text.parse::<f64>().ok()).sum();
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100) as f64;
    ticks / per_second
}

/// The fields of `/proc/PID/stat` behind the name: the first is the state.
fn stat(pid: u32) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name may hold spaces and parentheses.
    let behind = text.rsplit_once(')').map_or("", |(_, behind)| behind);
    behind.split_whitespace().map(str::to_owned).collect()
}

/// All processes whose command line has `text`.
pub(crate) fn with_argument(text: &str) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(text)
        })
        .collect()
}

/// The shims that live below a folder, by their locks (`pid boot-id started`).
pub(crate) fn shims(below: &Path) -> Vec<u32> {
    let mut found = Vec::new();
    let mut folders = vec![(below.to_path_buf(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder && depth < 4 {
                folders.push((entry.path(), depth + 1));
            } else if entry.file_name() == "lock" {
                let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
                let pid: Option<u32> =
                    text.split_whitespace().next().and_then(|pid| pid.parse().ok());
                found.extend(pid.filter(|pid| Path::new(&format!("/proc/{pid}")).exists()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen() {
        let own = std::process::id();
        assert!(memory(own).resident_kib > 100);
        assert!(cpu_seconds(own) >= own_cpu_seconds(own));
        assert_eq!(memory(u32::MAX).resident_kib, 0);
    }
}
