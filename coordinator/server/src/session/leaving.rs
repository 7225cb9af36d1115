//! What an attempt leaves in the state: small beside its outputs, whatever the agent says.

use runyard_state::entity::TaskResult;
use runyard_types::{Cause, Outcome, encode};

use crate::shorten::shortened;

/// What values, metrics, summary and the list of outputs may take together, in bytes. An entry of the log has
/// several of them.
const RESULT_BYTES_MAX: usize = 256 << 10;
/// What a reason may take, in bytes.
const REASON_BYTES_MAX: usize = 8 << 10;

/// A reason as the state takes it.
pub(super) fn reason(text: &str) -> String {
    shortened(text, REASON_BYTES_MAX)
}

/// Ends an attempt that leaves too much with a failure that names what is too large, and leaves that out. An
/// entry that the log does not take would be proposed for ever, and the attempt would never end.
pub(super) fn bound(outcome: &mut Outcome, result: &mut TaskResult) {
    if let Outcome::Ended { reason, .. } = outcome {
        *reason = shortened(reason, REASON_BYTES_MAX);
    }
    let parts = [
        ("its values ($RUNYARD_OUTPUT)", encode(&result.values).len()),
        ("its summary ($RUNYARD_SUMMARY)", result.summary.len()),
        (
            "its metrics ($RUNYARD_METRICS), of which the last value of each name counts",
            encode(&result.metrics).len(),
        ),
        ("the list of its outputs", encode(&result.outputs).len()),
    ];
    let sum: usize = parts.iter().map(|(_, bytes)| bytes).sum();
    if sum <= RESULT_BYTES_MAX {
        return;
    }
    let (what, bytes) = parts.into_iter().max_by_key(|(_, bytes)| *bytes).unwrap_or_default();
    let too_large = format!(
        "{what}: {bytes} bytes, and all that a task leaves beside the bytes of its outputs may take {RESULT_BYTES_MAX}; write what is large to a file, and declare that as an output"
    );
    *result = TaskResult::default();
    *outcome = match std::mem::replace(outcome, Outcome::Succeeded) {
        Outcome::Succeeded => Outcome::Ended { cause: Cause::Failure, reason: too_large },
        Outcome::Ended { cause, reason } => {
            Outcome::Ended { cause, reason: format!("{reason}. Also left out: {too_large}") }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(outcome: &Outcome) -> (Cause, &str) {
        match outcome {
            Outcome::Succeeded => panic!("it succeeded"),
            Outcome::Ended { cause, reason } => (*cause, reason),
        }
    }

    #[test]
    fn what_is_too_large_is_named_and_left_out() {
        let text = "x".repeat(RESULT_BYTES_MAX + 1);
        type Fill = fn(&mut TaskResult, String);
        let cases: [(&str, Fill); 3] = [
            ("$RUNYARD_OUTPUT", |result, text| drop(result.values.insert("big".into(), text))),
            ("$RUNYARD_SUMMARY", |result, text| result.summary = text),
            ("$RUNYARD_METRICS", |result, text| result.metrics = [(text, 1.0)].into()),
        ];
        for (name, fill) in cases {
            let mut result = TaskResult::default();
            fill(&mut result, text.clone());
            let mut outcome = Outcome::Succeeded;
            bound(&mut outcome, &mut result);
            let (cause, reason) = ended(&outcome);
            assert_eq!(cause, Cause::Failure);
            assert!(
                reason.contains(name) && reason.contains("declare that as an output"),
                "{reason}"
            );
            assert_eq!(result, TaskResult::default());
        }
    }

    #[test]
    fn what_fits_stays_and_a_failure_keeps_its_cause() {
        let mut result = TaskResult { summary: "fine".into(), ..TaskResult::default() };
        let mut outcome = Outcome::Succeeded;
        bound(&mut outcome, &mut result);
        assert_eq!((outcome, result.summary.as_str()), (Outcome::Succeeded, "fine"));

        let reason = "ä".repeat(REASON_BYTES_MAX);
        let mut outcome = Outcome::Ended { cause: Cause::Error, reason };
        let summary = "x".repeat(RESULT_BYTES_MAX + 1);
        let mut result = TaskResult { summary, ..TaskResult::default() };
        bound(&mut outcome, &mut result);
        let (cause, reason) = ended(&outcome);
        assert_eq!(cause, Cause::Error);
        assert!(
            reason.len() < 2 * REASON_BYTES_MAX && reason.contains("Also left out"),
            "{reason}"
        );
    }
}
