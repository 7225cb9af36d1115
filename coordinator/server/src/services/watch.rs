//! Events from a number on.

use runyard_proto::v1::{Event, EventsRequest};
use tokio::sync::mpsc;
use tonic::Status;

use super::names;
use crate::core::Core;
use crate::views;

/// Events sent between two looks at the state.
const BATCH: usize = 1_000;

/// Sends events until the reader leaves, or until the present if it does not follow.
pub(super) async fn events(
    core: Core,
    request: EventsRequest,
    send: mpsc::Sender<Result<Event, Status>>,
) {
    let project = match names::project(&request.project) {
        Ok(project) => project,
        Err(error) => return drop(send.send(Err(error)).await),
    };
    let mut changes = core.truth.watch();
    // The request names the first event wanted.
    let mut next = (request.from_index, request.from_n);
    if request.from_index == 0 && request.limit > 0 {
        next = last(&core, &project, &request);
    }
    loop {
        changes.mark_unchanged();
        let view = core.truth.view();
        if next != (0, 0) && next <= view.state.events_floor {
            let (index, n) = view.state.events_floor;
            let text = format!(
                "events up to {index}.{n} are no longer kept here; list again and go on from {}",
                index + 1
            );
            return drop(send.send(Err(Status::out_of_range(text))).await);
        }
        let found: Vec<_> = view
            .state
            .events
            .range(next..)
            .take(BATCH)
            .map(|(number, event)| (*number, std::sync::Arc::clone(event)))
            .collect();
        let full = found.len() == BATCH;
        for (number, event) in found {
            next = (number.0, number.1 + 1);
            if event.project.as_ref().is_some_and(|own| *own != project)
                || !wanted(&event, &request.subject)
            {
                continue;
            }
            if send.send(Ok(views::event(&event))).await.is_err() {
                return;
            }
        }
        if full {
            continue;
        }
        if !request.follow {
            return;
        }
        let bookmark = Event { index: view.index, bookmark: true, ..Event::default() };
        if send.send(Ok(bookmark)).await.is_err() {
            return;
        }
        drop(view);
        tokio::select! {
            // Cancel-safe: it observes a value and a closed channel.
            changed = changes.changed() => if changed.is_err() { return },
            () = send.closed() => return,
        }
    }
}

/// Whether an event is about the subject, or about a part of it.
fn wanted(event: &runyard_state::Event, subject: &str) -> bool {
    if subject.is_empty() {
        return true;
    }
    let own = event.kind.subject();
    own == subject
        || own.strip_prefix(subject).is_some_and(|rest| rest.starts_with(['/', '@', '[', '.', ':']))
        || event.kind.run().is_some_and(|run| run.to_string() == subject)
}

/// Where the last `limit` events begin.
fn last(core: &Core, project: &runyard_types::ProjectName, request: &EventsRequest) -> (u64, u32) {
    let view = core.truth.view();
    view.state
        .events
        .iter()
        .rev()
        .filter(|(_, event)| {
            event.project.as_ref().is_none_or(|own| own == project)
                && wanted(event, &request.subject)
        })
        .take(request.limit as usize)
        .last()
        .map_or((0, 0), |(number, _)| *number)
}
