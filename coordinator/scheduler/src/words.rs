//! Counts and lists as people write them.

use runyard_types::CpuMilli;

/// `1 CPU`, `0.5 CPUs`, `8 CPUs`.
pub(crate) fn cpus(cpu: CpuMilli) -> String {
    format!("{cpu} CPU{}", if cpu.get() == 1_000 { "" } else { "s" })
}

/// `1 GPU`, `8 GPUs`.
pub(crate) fn gpus(count: usize) -> String {
    format!("{count} GPU{}", if count == 1 { "" } else { "s" })
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn list(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [head @ .., last] => format!("{} and {last}", head.join(", ")),
    }
}
