//! Events: past ones out of the read model, new ones as a stream.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::response::sse::Event;
use runyard_proto::v1;
use runyard_proto::v1::runs_server::Runs;
use runyard_state::EventNumber;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_stream::StreamExt;
use tonic::Status;

use super::answer::{API_VERSION, Answer, Refused, value};
use super::login::{credentials, request, user};
use super::{api, sse};
use crate::core::Core;
use crate::services::RunsService;
use crate::views;

/// Events in one page of a list.
const PAGE: u32 = 1_000;

/// Which events.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EventFilter {
    project: String,
    /// The first number wanted, `index.n`; the oldest that is held if empty.
    from: String,
    subject: String,
    limit: u32,
    /// The newest so many, instead of those from a number on.
    last: u32,
}

/// A page of events, oldest first, and where to go on.
pub(super) async fn list(
    State(core): State<Core>,
    headers: HeaderMap,
    Query(filter): Query<EventFilter>,
) -> Answer {
    user(&core, &headers)?;
    if filter.last > 0 {
        return newest(core, &headers, filter).await;
    }
    let project = api::project(&filter.project)?;
    let from = match filter.from.as_str() {
        "" => (0, 0),
        text => number(text)?,
    };
    let limit = if filter.limit == 0 { PAGE } else { filter.limit.min(PAGE) } as usize;
    let index = core.truth.view().index;
    let model = std::sync::Arc::clone(&core.read_model);
    let found =
        tokio::task::spawn_blocking(move || model.events(&project, &filter.subject, from, limit))
            .await
            .map_err(|_| Status::internal("the search was cut off"))?
            .map_err(api::read_model)?;
    let items = found
        .items
        .iter()
        .map(|event| shown(&views::event(event)))
        .collect::<Result<Vec<_>, _>>()?;
    let next = format!("{}.{}", found.next.0, found.next.1);
    Ok(Json(json!({ "api_version": API_VERSION, "index": index, "items": items, "next": next })))
}

async fn newest(core: Core, headers: &HeaderMap, filter: EventFilter) -> Answer {
    let index = core.truth.view().index;
    let ask = v1::EventsRequest {
        project: filter.project,
        subject: filter.subject,
        limit: filter.last.min(PAGE),
        ..v1::EventsRequest::default()
    };
    let mut source = RunsService::new(core).events(request(headers, ask)?).await?.into_inner();
    let mut items = Vec::new();
    while let Some(event) = source.next().await {
        items.push(shown(&event?)?);
    }
    Ok(Json(json!({ "api_version": API_VERSION, "index": index, "items": items })))
}

fn shown(event: &v1::Event) -> Result<Value, Refused> {
    value("runyard.v1.Event", event)
}

fn number(text: &str) -> Result<EventNumber, Status> {
    let parse = || {
        let (index, n) = text.split_once('.').unwrap_or((text, "0"));
        Some((index.parse().ok()?, n.parse().ok()?))
    };
    parse().ok_or_else(|| {
        Status::invalid_argument(format!("`{text}` is no event number; write it as 1234.0"))
    })
}

/// The number behind the one that a browser saw last.
fn behind(last: EventNumber) -> EventNumber {
    last.1.checked_add(1).map_or((last.0 + 1, 0), |n| (last.0, n))
}

/// New events as they come, from the present or from where a browser was cut off. A bookmark's number says
/// that nothing of its index follows.
pub(super) async fn stream(
    State(core): State<Core>,
    headers: HeaderMap,
    Query(filter): Query<EventFilter>,
) -> Result<Response, Refused> {
    let seen = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let from = match (seen, filter.from.as_str()) {
        (Some(seen), _) => behind(number(seen)?),
        (None, "") => (core.truth.view().index + 1, 0),
        (None, from) => number(from)?,
    };
    let ask = v1::EventsRequest {
        project: filter.project,
        from_index: from.0,
        from_n: from.1,
        follow: true,
        subject: filter.subject,
        limit: 0,
    };
    let authorization = credentials(&headers)?;
    let source = RunsService::new(core.clone()).events(request(&headers, ask)?).await?.into_inner();
    sse::answer(&core, authorization, source, |event| {
        let n = if event.bookmark { u32::MAX } else { event.n };
        let name = if event.bookmark { "bookmark" } else { "event" };
        let shown = shown(&event).ok()?;
        Some(
            Event::default().event(name).id(format!("{}.{n}", event.index)).data(shown.to_string()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_goes_on_behind_what_was_seen() {
        assert_eq!(number("12.3").map(behind).expect("a number"), (12, 4));
        assert_eq!(number("12").expect("a number"), (12, 0));
        assert_eq!(behind((12, u32::MAX)), (13, 0), "behind a bookmark");
        for bad in ["", "x", "1.x", "1.2.3", "-1.0"] {
            assert!(number(bad).is_err(), "{bad}");
        }
    }
}
