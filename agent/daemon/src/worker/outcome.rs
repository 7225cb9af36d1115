//! From how a shim saw its stage end to an outcome in words.

use runyard_proto::agent::{Exit, WorkerSpec};
use runyard_runtime::{ExitStatus, Reason};
use runyard_types::{Cause, Outcome};

use super::Fault;

/// The exit as it is reported.
pub(super) fn exit(status: &ExitStatus) -> Exit {
    Exit {
        code: status.code,
        signal: status.signal,
        oom: status.oom(),
        memory_peak_bytes: status.peak_memory_bytes,
        cpu_ms: status.cpu_ms,
        started_ms: status.started_ms,
        ended_ms: status.ended_ms,
    }
}

/// What the end means: the user's failure, our error, or success.
pub(super) fn outcome(status: &ExitStatus, spec: &WorkerSpec) -> Outcome {
    match fault(status, spec) {
        None => Outcome::Succeeded,
        Some(fault) => fault.outcome(),
    }
}

fn fault(status: &ExitStatus, spec: &WorkerSpec) -> Option<Fault> {
    match status.reason {
        Reason::Timeout => {
            let limit = duration(spec.timeout_ms);
            return Some(Fault::failure(format!("it ran longer than its time limit of {limit}")));
        }
        Reason::Stopped => {
            return Some(Fault { cause: Cause::Cancelled, reason: "it was asked to stop".into() });
        }
        Reason::Deadline => {
            let text = "its lease ran out: the node could not reach the group in time";
            return Some(Fault::error(text));
        }
        Reason::NotStarted => {
            let why = status.error.clone().unwrap_or_else(|| "no reason was given".into());
            // A shell is always there; a command that the user named may not be.
            let own = !spec.argv.is_empty() && !spec.per_gpu;
            let text = format!("it could not be started: {why}");
            return Some(if own { Fault::failure(text) } else { Fault::error(text) });
        }
        Reason::Exit => {}
    }
    if let Some(error) = &status.error {
        return Some(Fault::error(format!("its shim failed: {error}")));
    }
    if status.oom() {
        return Some(Fault::failure(out_of_memory(status, spec)));
    }
    match (status.code, status.signal) {
        (Some(0), _) => None,
        (Some(code), _) => Some(Fault::failure(exited(code))),
        (None, Some(signal)) => Some(Fault::failure(format!("killed by {}", signal_name(signal)))),
        (None, None) => Some(Fault::error("its shim saw neither an exit status nor a signal")),
    }
}

fn exited(code: i32) -> String {
    match code {
        126 => "exit status 126 (the command is not executable)".into(),
        127 => "exit status 127 (command not found)".into(),
        // A shell reports a child's signal so.
        129..=159 => format!("exit status {code} ({} in a child)", signal_name(code - 128)),
        _ => format!("exit status {code}"),
    }
}

fn out_of_memory(status: &ExitStatus, spec: &WorkerSpec) -> String {
    let peak = size(status.peak_memory_bytes);
    match spec.resources.as_ref().map_or(0, |resources| resources.memory_bytes) {
        0 => format!("out of memory (peak {peak}); ask for more with `resources: memory:`"),
        limit => format!(
            "out of memory: it used {peak} of the {} it asked for; raise `resources: memory:`",
            size(limit)
        ),
    }
}

fn signal_name(number: i32) -> String {
    match nix::sys::signal::Signal::try_from(number) {
        Ok(signal) => format!("signal {number} ({signal})"),
        Err(_) => format!("signal {number}"),
    }
}

fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => {
            let tenths = bytes.saturating_mul(10) / unit;
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} bytes"),
    }
}

fn duration(ms: u64) -> String {
    const UNITS: [(&str, u64); 4] =
        [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
    let exact = UNITS.iter().find(|(_, unit)| ms >= *unit && ms.is_multiple_of(*unit));
    match exact {
        Some((name, unit)) => format!("{}{name}", ms / unit),
        None => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use runyard_proto::v1::Resources;

    use super::*;

    fn said(status: ExitStatus) -> (Option<Cause>, String) {
        let spec = WorkerSpec {
            timeout_ms: 5_400_000,
            resources: Some(Resources { memory_bytes: 2 << 30, ..Resources::default() }),
            ..WorkerSpec::default()
        };
        match outcome(&status, &spec) {
            Outcome::Succeeded => (None, String::new()),
            Outcome::Ended { cause, reason } => (Some(cause), reason),
        }
    }

    #[test]
    fn every_end_has_its_words_and_its_cause() {
        let code = |code| ExitStatus { code: Some(code), ..ExitStatus::default() };
        let because = |reason| ExitStatus { reason, signal: Some(15), ..ExitStatus::default() };
        let killed = ExitStatus { signal: Some(9), ..ExitStatus::default() };
        let oom = ExitStatus { oom_kills: 1, peak_memory_bytes: 2 << 30, ..killed.clone() };
        let absent =
            ExitStatus { error: Some("no such file".into()), ..because(Reason::NotStarted) };
        for (status, cause, words) in [
            (code(3), Cause::Failure, "exit status 3"),
            (code(127), Cause::Failure, "command not found"),
            (code(139), Cause::Failure, "signal 11 (SIGSEGV)"),
            (killed, Cause::Failure, "killed by signal 9 (SIGKILL)"),
            (oom, Cause::Failure, "2.0 GiB of the 2.0 GiB"),
            (because(Reason::Timeout), Cause::Failure, "time limit of 90m"),
            (because(Reason::Stopped), Cause::Cancelled, "asked to stop"),
            (because(Reason::Deadline), Cause::Error, "lease"),
            (absent, Cause::Error, "no such file"),
            (ExitStatus::default(), Cause::Error, "neither"),
        ] {
            let (found, text) = said(status);
            assert_eq!(found, Some(cause), "{text}");
            assert!(text.contains(words), "{text}");
        }
        assert_eq!(said(code(0)), (None, String::new()));
    }

    #[test]
    fn a_command_of_the_user_that_is_not_there_is_a_failure() {
        let status = ExitStatus {
            reason: Reason::NotStarted,
            error: Some("trian: not found".into()),
            ..ExitStatus::default()
        };
        let spec = WorkerSpec { argv: vec!["trian".into()], ..WorkerSpec::default() };
        let Outcome::Ended { cause, reason } = outcome(&status, &spec) else { panic!("it failed") };
        assert_eq!(cause, Cause::Failure);
        assert!(reason.contains("trian"), "{reason}");
    }
}
