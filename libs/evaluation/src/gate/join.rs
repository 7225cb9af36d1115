//! The same test: may two models' results be compared?

use super::input::Side;
use crate::results::{Results, Table};

/// What gives rows, for whom handed over only numbers.
const THREE_LINES: &str = "\
import csv, os
with open(os.path.join(os.environ[\"RUNYARD_RESULTS\"], \"rows.csv\"), \"w\", newline=\"\") as f:
    csv.writer(f).writerows([(\"id\", \"y_true\", \"y_pred\"), *zip(ids, y_true, y_pred)])";

/// The rows of both sides if they are of the same examples under the same evaluation, else why not.
pub(crate) fn join<'a>(
    candidate: &'a Side,
    other: &'a Side,
    stored: bool,
) -> Result<(&'a Table, &'a Table), String> {
    let (ours, theirs) = (rows(candidate)?, rows(other)?);
    if candidate.evaluation_key != other.evaluation_key && !stored {
        return Err(format!(
            "{} and {} were not judged by the same evaluation (its code, data or parameters \
             differ); evaluate {} by this one, or allow the comparison with `against: {{ stored: \
             allow }}`",
            candidate.label, other.label, other.label
        ));
    }
    if ours.ids() != theirs.ids() {
        return Err(unmatched(candidate, ours, other, theirs));
    }
    if ours.targets.is_some() != theirs.targets.is_some() {
        return Err("only one of the two results has targets (y_true, target, label)".to_owned());
    }
    if let (Some(a), Some(b)) = (&ours.targets, &theirs.targets) {
        let differing: Vec<&String> = ours
            .ids
            .iter()
            .zip(a.iter().zip(b))
            .filter(|(_, (a, b))| a != b)
            .map(|x| x.0)
            .collect();
        if !differing.is_empty() {
            return Err(format!(
                "the targets of {} examples differ between {} and {}: {}",
                differing.len(),
                candidate.label,
                other.label,
                five(&differing)
            ));
        }
    }
    if ours.clusters != theirs.clusters || ours.weights != theirs.weights {
        let what = if ours.clusters == theirs.clusters { "weight" } else { "cluster_id" };
        return Err(format!("`{what}` differs between {} and {}", candidate.label, other.label));
    }
    Ok((ours, theirs))
}

fn rows(side: &Side) -> Result<&Table, String> {
    match &side.results {
        Results::Rows(table) => Ok(table),
        Results::Flat(_) => Err(format!(
            "no per-example rows of {}; a difference needs them. These three lines give them:\n\
             {THREE_LINES}",
            side.label
        )),
    }
}

fn unmatched(candidate: &Side, ours: &Table, other: &Side, theirs: &Table) -> String {
    let alone = |a: &'_ Table, b: &Table| -> Vec<String> {
        a.ids.iter().filter(|id| b.ids.binary_search(id).is_err()).cloned().collect()
    };
    let part = |label: &str, ids: Vec<String>| match ids.len() {
        0 => format!("none only in {label}"),
        count => format!("{count} only in {label}: {}", five(&ids.iter().collect::<Vec<_>>())),
    };
    format!(
        "the examples do not join: {}; {}",
        part(&candidate.label, alone(ours, theirs)),
        part(&other.label, alone(theirs, ours))
    )
}

/// Up to five ids, for a message.
pub(crate) fn five(ids: &[&String]) -> String {
    crate::results::first_five(ids.iter().map(|id| id.as_str()))
}
