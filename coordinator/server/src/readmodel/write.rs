//! Batches: the rows that some events change, and how far that brings the read model.

use std::collections::BTreeSet;

use runyard_state::{Event, EventKind, EventNumber, State};
use runyard_types::{ProjectName, RunName, decode, encode};

use super::error::ReadModelError;
use super::keys;
use super::meta::Meta;
use super::row::RunRow;

/// Events of one batch.
const BATCH: usize = 1_000;

/// Brings `db` nearer to the state by one batch; whether it has arrived.
pub(super) fn step(db: &sled::Db, meta: &mut Meta, state: &State) -> Result<bool, ReadModelError> {
    if is_behind(meta.next, state.events_floor) {
        return bridge(db, meta, state).map(|()| false);
    }
    let found: Vec<_> =
        state.events.range(meta.next..).take(BATCH).map(|(_, event)| event).collect();
    let Some(last) = found.last() else { return Ok(true) };
    let mut batch = Batch { db, rows: sled::Batch::default(), meta: meta.clone() };
    let mut runs = BTreeSet::new();
    for event in &found {
        batch.event(event);
        if let (Some(project), Some(run)) = (&event.project, event.kind.run()) {
            runs.insert((project, run));
        }
    }
    for (project, run) in runs {
        match state.run(project, run) {
            Some(known) => batch.run(
                project,
                &RunRow::of(known),
                keys::run(project, known.created_at.0, known.uid),
            )?,
            // It was archived since; its events tell the rest.
            None => batch.finished(project, run, &found)?,
        }
    }
    batch.meta.next = after(last.number);
    let full = found.len() == BATCH;
    *meta = batch.write()?;
    Ok(!full)
}

/// Whether the state has let go of events that are wanted.
fn is_behind(next: EventNumber, floor: EventNumber) -> bool {
    floor != (0, 0) && next <= floor
}

fn after(number: EventNumber) -> EventNumber {
    (number.0, number.1 + 1)
}

/// Takes over what the state tells without its lost events: all runs. The place moves with the last row.
fn bridge(db: &sled::Db, meta: &mut Meta, state: &State) -> Result<(), ReadModelError> {
    if meta.events > 0 {
        tracing::warn!(
            from = ?meta.next, to = ?state.events_floor,
            "events between were dropped by the state before the read model saw them"
        );
    }
    let runs: Vec<_> = state.runs.values().collect();
    for some in runs.chunks(BATCH) {
        let mut batch = Batch { db, rows: sled::Batch::default(), meta: meta.clone() };
        for run in some {
            let key = keys::run(&run.project, run.created_at.0, run.uid);
            batch.run(&run.project, &RunRow::of(run), key)?;
        }
        *meta = batch.write()?;
    }
    let mut batch = Batch { db, rows: sled::Batch::default(), meta: meta.clone() };
    batch.meta.floor = state.events_floor;
    batch.meta.next = after(state.events_floor);
    *meta = batch.write()?;
    Ok(())
}

struct Batch<'a> {
    db: &'a sled::Db,
    rows: sled::Batch,
    meta: Meta,
}

impl Batch<'_> {
    fn event(&mut self, event: &Event) {
        self.rows.insert(keys::event(event.number), encode(event));
        self.meta.events += 1;
        for subject in subjects(&event.kind) {
            let key = keys::numbered(keys::subject(event.project.as_ref(), &subject), event.number);
            self.rows.insert(key, &[]);
            self.meta.subjects += 1;
        }
    }

    fn run(
        &mut self,
        project: &ProjectName,
        row: &RunRow,
        key: Vec<u8>,
    ) -> Result<(), ReadModelError> {
        let name = keys::name(project, &row.name);
        if self.db.get(&name)?.is_none() {
            self.meta.runs += 1;
            self.rows.insert(name, key.as_slice());
        }
        self.rows.insert(key, encode(row));
        Ok(())
    }

    fn finished(
        &mut self,
        project: &ProjectName,
        run: &RunName,
        events: &[&std::sync::Arc<Event>],
    ) -> Result<(), ReadModelError> {
        let Some(key) = self.db.get(keys::name(project, &run.to_string()))? else { return Ok(()) };
        let Some(bytes) = self.db.get(&key)? else { return Ok(()) };
        let mut row: RunRow = decode("a run of the read model", &bytes)?;
        for event in events.iter().filter(|event| event.project.as_ref() == Some(project)) {
            if let EventKind::RunFinished { run: own, state, .. } = &event.kind
                && own == run
            {
                row.state.clone_from(state);
            }
        }
        self.rows.insert(key, encode(&row));
        Ok(())
    }

    fn write(mut self) -> Result<Meta, ReadModelError> {
        self.rows.insert(&keys::META, encode(&self.meta));
        self.db.apply_batch(self.rows)?;
        Ok(self.meta)
    }
}

/// Under which names an event is found: its subject, what that is a part of, and its run.
fn subjects(kind: &EventKind) -> BTreeSet<String> {
    let own = kind.subject();
    let mut all: BTreeSet<String> = own
        .match_indices(['/', '@', '[', '.', ':'])
        .filter(|(at, _)| *at > 0)
        .map(|(at, _)| own[..at].to_owned())
        .collect();
    all.extend(kind.run().map(ToString::to_string));
    all.insert(own);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_found_by_all_that_it_is_a_part_of() {
        let task =
            runyard_types::TaskKey::parse(&ProjectName::default_project(), "digits-42/train[3]")
                .expect("a key");
        let kind = EventKind::AttemptStarted { attempt: "digits-42/train[3].2".to_owned(), task };
        let found: Vec<_> = subjects(&kind).into_iter().collect();
        assert_eq!(
            found,
            ["digits-42", "digits-42/train", "digits-42/train[3]", "digits-42/train[3].2"]
        );
    }
}
