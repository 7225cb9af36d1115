//! A run as it goes: its state after each change, and its log.

use std::time::Duration;

use runyard_proto::v1;
use runyard_transport::task;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::Streaming;

use super::retry::{Backoff, retry};
use super::{Client, is_over};
use crate::errors::Result;

/// What is seen of a run.
#[derive(Debug)]
pub(crate) enum Happening {
    /// Its state, whole; the last one is over.
    Run(Box<v1::Run>),
    /// A record of its log.
    Log(v1::LogRecord),
}

/// How many happenings wait for a slow reader.
const QUEUE: usize = 256;
/// Changes that come together are looked at once.
const SETTLE: Duration = Duration::from_millis(50);
/// How often to look without an event, in case one was missed.
const LOOK: Duration = Duration::from_secs(5);

/// A stream of happenings; it ends when the run is over and its log complete.
#[derive(Debug)]
pub(crate) struct Follow {
    receiver: mpsc::Receiver<Result<Happening>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Follow {
    /// The next happening; `None` at the end.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Option<Result<Happening>> {
        self.receiver.recv().await
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Client {
    /// Follows a run's state and log.
    pub(crate) fn follow(&self, run: &str) -> Follow {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let tasks = vec![self.spawn_state(run, sender.clone()), self.spawn_log(run, sender)];
        Follow { receiver, tasks }
    }

    /// Follows a run's state only.
    pub(crate) fn follow_state(&self, run: &str) -> Follow {
        let (sender, receiver) = mpsc::channel(QUEUE);
        Follow { receiver, tasks: vec![self.spawn_state(run, sender)] }
    }

    fn spawn_state(&self, run: &str, sender: mpsc::Sender<Result<Happening>>) -> JoinHandle<()> {
        let (client, run) = (self.clone(), run.to_owned());
        task::spawn("follow-state", async move {
            if let Err(error) = watch(&client, &run, &sender).await {
                // A closed channel means that nobody wants to know.
                let _ = sender.send(Err(error)).await;
            }
        })
    }

    fn spawn_log(&self, run: &str, sender: mpsc::Sender<Result<Happening>>) -> JoinHandle<()> {
        let request =
            v1::LogsRequest { target: run.to_owned(), follow: true, ..Default::default() };
        let mut logs = self.logs(request);
        task::spawn("follow-log", async move {
            loop {
                let happening = match logs.next().await {
                    Ok(None) => return,
                    Ok(Some(record)) => Ok(Happening::Log(record)),
                    Err(error) => Err(error),
                };
                let failed = happening.is_err();
                if sender.send(happening).await.is_err() || failed {
                    return;
                }
            }
        })
    }

    /// Events about a subject from an index on.
    pub(crate) async fn events(&self, request: v1::EventsRequest) -> Result<Streaming<v1::Event>> {
        retry(|| {
            let mut runs = self.runs();
            let request = v1::EventsRequest { project: self.project.clone(), ..request.clone() };
            async move { runs.events(request).await }
        })
        .await
    }
}

/// Sends the run's state at first, after each event about it, and now and then.
async fn watch(client: &Client, run: &str, sender: &mpsc::Sender<Result<Happening>>) -> Result<()> {
    let mut events = None;
    let mut backoff = Backoff::default();
    let mut last = None;
    loop {
        let now = client.run(run).await?;
        let over = is_over(&now.state);
        if last.as_ref() != Some(&now) {
            last = Some(now.clone());
            if sender.send(Ok(Happening::Run(Box::new(now)))).await.is_err() {
                return Ok(());
            }
        }
        if over {
            return Ok(());
        }
        let Some(stream) = &mut events else {
            let (index, _) = client.list(true, 1).await?;
            let request = v1::EventsRequest {
                from_index: index + 1,
                follow: true,
                subject: run.to_owned(),
                ..Default::default()
            };
            events = Some(client.events(request).await?);
            // What happened before the stream began is seen by looking again.
            continue;
        };
        match tokio::time::timeout(LOOK, news(stream)).await {
            Err(_) => {}
            Ok(true) => {
                backoff.reset();
                tokio::time::sleep(SETTLE).await;
            }
            // Cut (as a slow reader, by a lost coordinator, behind the floor): begin anew at the present.
            Ok(false) => {
                events = None;
                backoff.sleep().await;
            }
        }
    }
}

/// Waits for an event; false when the stream has ended. Bookmarks only tell the number reached.
async fn news(stream: &mut Streaming<v1::Event>) -> bool {
    while let Ok(Some(event)) = stream.message().await {
        if !event.bookmark {
            return true;
        }
    }
    false
}
