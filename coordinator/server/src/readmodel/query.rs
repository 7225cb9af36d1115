//! Questions that the read model answers.

use runyard_state::{Event, EventNumber};
use runyard_types::{ProjectName, decode};

use super::error::ReadModelError;
use super::keys;
use super::meta::Meta;
use super::row::RunRow;

/// Rows looked at for one answer; then it ends early and says where to go on.
const LOOKED_AT_MAX: usize = 100_000;

/// Events in order.
#[derive(Debug, PartialEq)]
pub(crate) struct Events {
    pub(crate) items: Vec<Event>,
    /// Where to go on; it may be behind items that were passed over.
    pub(crate) next: EventNumber,
}

/// Which runs are wanted; an empty text is any.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunQuery {
    pub(crate) pipeline: String,
    pub(crate) state: String,
    /// Only runs older than this one.
    pub(crate) before: String,
    pub(crate) limit: usize,
}

pub(super) fn meta(db: &sled::Db) -> Result<Meta, ReadModelError> {
    let bytes = db.get(keys::META)?.ok_or(ReadModelError::NotReady)?;
    Ok(decode("the place of the read model", &bytes)?)
}

/// Events of a project and of the group from a number on; about a subject and its parts if one is named.
pub(super) fn events(
    db: &sled::Db,
    project: &ProjectName,
    subject: &str,
    from: EventNumber,
    limit: usize,
) -> Result<Events, ReadModelError> {
    let meta = meta(db)?;
    if from != (0, 0) && from <= meta.floor {
        return Err(ReadModelError::Compacted { floor: meta.floor });
    }
    if !subject.is_empty() {
        return about(db, project, subject, from, limit, &meta);
    }
    let mut items = Vec::new();
    let last = keys::event((u64::MAX, u32::MAX));
    for (looked, row) in db.range(keys::event(from)..=last).enumerate() {
        let (key, value) = row?;
        let number = number(&key)?;
        if items.len() == limit || looked == LOOKED_AT_MAX {
            return Ok(Events { items, next: number });
        }
        let event: Event = decode("an event of the read model", &value)?;
        if event.project.as_ref().is_none_or(|own| own == project) {
            items.push(event);
        }
    }
    Ok(Events { items, next: meta.next })
}

fn about(
    db: &sled::Db,
    project: &ProjectName,
    subject: &str,
    from: EventNumber,
    limit: usize,
    meta: &Meta,
) -> Result<Events, ReadModelError> {
    let mut numbers = Vec::new();
    for prefix in [keys::subject(Some(project), subject), keys::subject(None, subject)] {
        let range =
            keys::numbered(prefix.clone(), from)..=keys::numbered(prefix, (u64::MAX, u32::MAX));
        for row in db.range(range).take(limit.saturating_add(1)) {
            numbers.push(number(&row?.0)?);
        }
    }
    numbers.sort_unstable();
    let next = numbers.get(limit).copied().unwrap_or(meta.next);
    let mut items = Vec::new();
    for number in numbers.into_iter().take(limit) {
        let value = db.get(keys::event(number))?;
        let value = value.ok_or_else(|| {
            ReadModelError::Damaged(format!("event {}.{} is missing", number.0, number.1))
        })?;
        items.push(decode("an event of the read model", &value)?);
    }
    Ok(Events { items, next })
}

fn number(key: &[u8]) -> Result<EventNumber, ReadModelError> {
    keys::number(key).ok_or_else(|| ReadModelError::Damaged("a key without a number".to_owned()))
}

/// Runs of a project, the newest first, and the name to go on `before` if there are more.
pub(super) fn runs(
    db: &sled::Db,
    project: &ProjectName,
    query: &RunQuery,
) -> Result<(Vec<RunRow>, Option<String>), ReadModelError> {
    let first = keys::runs(project);
    let mut end = first.clone();
    end.extend_from_slice(&[0xff; 24]);
    if !query.before.is_empty() {
        let key = db.get(keys::name(project, &query.before))?;
        end = key.ok_or_else(|| ReadModelError::Cursor(query.before.clone()))?.to_vec();
    }
    let mut items: Vec<RunRow> = Vec::new();
    let mut passed = None;
    for (looked, row) in db.range(first..end).rev().enumerate() {
        let row: RunRow = decode("a run of the read model", &row?.1)?;
        if items.len() == query.limit || looked == LOOKED_AT_MAX {
            return Ok((items, passed));
        }
        passed = Some(row.name.clone());
        let wanted = |want: &str, is: &str| want.is_empty() || want == is;
        if wanted(&query.pipeline, &row.pipeline) && wanted(&query.state, &row.state) {
            items.push(row);
        }
    }
    Ok((items, None))
}
