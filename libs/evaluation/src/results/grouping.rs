//! Ids that look like parts of something larger.

use std::collections::BTreeSet;

/// The number of groups that ids seem to form (`doc7_0`, `doc7_1`, …), if they do. Examples of one
/// document are not independent, and an interval that takes them so is too narrow.
pub(crate) fn looks_grouped(ids: &[String]) -> Option<usize> {
    let mut stems = BTreeSet::new();
    for id in ids {
        let stem = id.trim_end_matches(|c: char| c.is_ascii_digit());
        let cut = stem.strip_suffix(['_', '-', '.', '/', ':', '#'])?;
        if stem.len() == id.len() || !cut.ends_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        stems.insert(cut);
    }
    let (groups, n) = (stems.len(), ids.len());
    (groups >= 2 && groups * 10 <= n * 7).then_some(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbered_parts_of_numbered_things() {
        let ids = |make: &dyn Fn(usize) -> String| (0..60).map(make).collect::<Vec<_>>();
        assert_eq!(looks_grouped(&ids(&|i| format!("doc{}_{}", i / 4, i % 4))), Some(15));
        assert_eq!(looks_grouped(&ids(&|i| format!("gsm8k/{i}"))), None);
        assert_eq!(looks_grouped(&ids(&|i| format!("{i}"))), None);
    }
}
