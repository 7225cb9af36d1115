//! The keys. Each begins with the version of the whole layout, so that an older layout is seen and rebuilt.
//!
//! Names never contain a zero byte, so it ends them; numbers are big-endian, so that keys sort by them.

use runyard_state::EventNumber;
use runyard_types::{ProjectName, Uid};

/// Raised with every change of keys or values; what was written under another is built anew.
pub(super) const LAYOUT: u8 = 1;

/// How far the read model is: one row.
pub(super) const META: [u8; 2] = [LAYOUT, b'm'];
/// Events by number.
pub(super) const EVENTS: [u8; 2] = [LAYOUT, b'e'];
/// Numbers of events by what they are about.
pub(super) const SUBJECTS: [u8; 2] = [LAYOUT, b's'];
/// Runs by project and age.
pub(super) const RUNS: [u8; 2] = [LAYOUT, b'r'];
/// Keys of runs by their name.
pub(super) const NAMES: [u8; 2] = [LAYOUT, b'n'];

pub(super) fn event(number: EventNumber) -> Vec<u8> {
    numbered(EVENTS.to_vec(), number)
}

/// What all numbers of a subject begin with; group-wide events have no project.
pub(super) fn subject(project: Option<&ProjectName>, subject: &str) -> Vec<u8> {
    let mut key = within(SUBJECTS, project.map(ProjectName::as_str).unwrap_or_default());
    key.extend_from_slice(subject.as_bytes());
    key.push(0);
    key
}

pub(super) fn numbered(mut key: Vec<u8>, number: EventNumber) -> Vec<u8> {
    key.extend_from_slice(&number.0.to_be_bytes());
    key.extend_from_slice(&number.1.to_be_bytes());
    key
}

/// The number at the end of a key.
pub(super) fn number(key: &[u8]) -> Option<EventNumber> {
    let (rest, n) = key.split_last_chunk()?;
    let (_, index) = rest.split_last_chunk()?;
    Some((u64::from_be_bytes(*index), u32::from_be_bytes(*n)))
}

/// What all runs of a project begin with.
pub(super) fn runs(project: &ProjectName) -> Vec<u8> {
    within(RUNS, project.as_str())
}

pub(super) fn run(project: &ProjectName, created_ms: u64, uid: Uid) -> Vec<u8> {
    let mut key = runs(project);
    key.extend_from_slice(&created_ms.to_be_bytes());
    key.extend_from_slice(&uid.0.0.to_be_bytes());
    key
}

pub(super) fn name(project: &ProjectName, run: &str) -> Vec<u8> {
    let mut key = within(NAMES, project.as_str());
    key.extend_from_slice(run.as_bytes());
    key
}

fn within(kind: [u8; 2], project: &str) -> Vec<u8> {
    let mut key = kind.to_vec();
    key.extend_from_slice(project.as_bytes());
    key.push(0);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_number_and_give_it_back() {
        let project = ProjectName::default_project();
        let prefix = subject(Some(&project), "digits-1");
        let numbers = [(0, 0), (1, 2), (1, 300), (256, 0), (u64::MAX, u32::MAX)];
        let keys: Vec<_> = numbers.map(|n| numbered(prefix.clone(), n)).to_vec();
        assert!(keys.is_sorted(), "{keys:?}");
        assert_eq!(keys.iter().filter_map(|key| number(key)).collect::<Vec<_>>(), numbers);
    }

    #[test]
    fn a_name_is_no_prefix_of_a_longer_one() {
        let (short, long) =
            (ProjectName::new("a").expect("a name"), ProjectName::new("ab").expect("a name"));
        assert!(!runs(&long).starts_with(&runs(&short)));
        assert!(
            !subject(Some(&short), "digits-11").starts_with(&subject(Some(&short), "digits-1"))
        );
    }
}
