//! `runyard events`: what happened.

use runyard_proto::v1;
use serde_json::{Value, json};

use crate::client::Client;
use crate::context::Env;
use crate::errors::{Exit, Kind, Result};
use crate::output::{Cell, Column, Items, Look, Output, Table, json_of, plain, time};

/// Flags of `events`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only about this: a run, a node, a model, a deployment
    subject: Option<String>,
    /// Go on as things happen
    #[arg(short, long)]
    follow: bool,
    /// Begin at this event number
    #[arg(long, value_name = "INDEX", default_value_t = 0, hide_default_value = true)]
    from: u64,
    /// At most so many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    limit: u32,
}

/// Does what the verb says.
pub(crate) async fn run(args: Args, env: &Env) -> Result<Exit> {
    let client = env.client().await?;
    let mut request = v1::EventsRequest {
        from_index: args.from,
        follow: args.follow,
        subject: args.subject.unwrap_or_default(),
        limit: args.limit,
        ..Default::default()
    };
    if !args.follow {
        let events = read(&client, request).await?;
        env.printer.show(&Events(events))?;
        return Ok(Exit::OK);
    }
    let mut items = env.printer.items();
    let exit = tokio::select! {
        // Both may be dropped: reading changes nothing.
        ended = follow(&client, env, &mut request, &mut items) => {
            ended?;
            Exit::OK
        }
        _ = tokio::signal::ctrl_c() => {
            env.printer.note(&format!("→ runyard events -f --from {}", request.from_index));
            Exit::of(Kind::Interrupted)
        }
    };
    env.printer.data(items.end().as_bytes())?;
    Ok(exit)
}

/// Prints events as they come; after a break it goes on behind the last one, kept in `request`.
async fn follow(
    client: &Client,
    env: &Env,
    request: &mut v1::EventsRequest,
    items: &mut Items,
) -> Result<()> {
    let mut left = request.limit;
    loop {
        let mut stream = client.events(request.clone()).await?;
        loop {
            let event = match stream.message().await {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(status) if crate::client::passes(&status) => break,
                Err(status) => return Err(status.into()),
            };
            if event.bookmark {
                (request.from_index, request.from_n) = (event.index + 1, 0);
                continue;
            }
            (request.from_index, request.from_n) = (event.index, event.n + 1);
            let text = match items.wanted() {
                true => items.item(&json_of("Event", &event)?)?,
                false => line(&event),
            };
            env.printer.data(text.as_bytes())?;
            left = left.saturating_sub(1);
            if request.limit > 0 && left == 0 {
                return Ok(());
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
}

fn line(event: &v1::Event) -> String {
    format!(
        "{}  {}  {}  {}\n",
        time(event.at_ms),
        plain(&event.kind),
        plain(&event.subject),
        plain(&event.message)
    )
}

/// The events about a subject, at most `limit`.
pub(super) async fn collect(client: &Client, subject: &str, limit: u32) -> Result<Vec<v1::Event>> {
    read(client, v1::EventsRequest { subject: subject.to_owned(), limit, ..Default::default() })
        .await
}

async fn read(client: &Client, request: v1::EventsRequest) -> Result<Vec<v1::Event>> {
    let mut stream = client.events(v1::EventsRequest { follow: false, ..request }).await?;
    let mut events = Vec::new();
    while let Some(event) = stream.message().await? {
        if !event.bookmark {
            events.push(event);
        }
    }
    Ok(events)
}

/// A list of events.
#[derive(Debug)]
pub(crate) struct Events(pub(crate) Vec<v1::Event>);

impl Output for Events {
    fn json(&self) -> Result<Value> {
        let items: Vec<Value> =
            self.0.iter().map(|event| json_of("Event", event)).collect::<Result<_>>()?;
        let index = self.0.last().map_or(0, |event| event.index);
        Ok(json!({ "api_version": "runyard.v1", "index": index, "items": items }))
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|event| event.index.to_string()).collect()
    }

    fn table(&self, look: &Look) -> Table {
        let columns = [
            Column::wide("INDEX"),
            Column::new("AGE"),
            Column::new("KIND"),
            Column::new("SUBJECT"),
            Column::new("MESSAGE"),
            Column::wide("TIME"),
        ];
        let mut table = Table::new(columns, "Nothing has happened.");
        for event in &self.0 {
            table.row([
                Cell::new(event.index),
                Cell::age(look, event.at_ms),
                Cell::new(&event.kind),
                Cell::new(&event.subject),
                Cell::new(&event.message),
                Cell::new(time(event.at_ms)),
            ]);
        }
        table
    }
}
