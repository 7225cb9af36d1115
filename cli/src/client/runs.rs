//! Runs: submit, get, list, wait.

use std::time::Duration;

use runyard_proto::v1;
use tokio::time::Instant;

use super::{Client, Happening, retry};
use crate::errors::{Error, Exit, Kind, Result};

/// Items asked for in one page.
const PAGE: u32 = 1_000;

/// Whether a state of a run is its last.
pub(crate) fn is_over(state: &str) -> bool {
    matches!(state, "succeeded" | "failed" | "error" | "cancelled")
}

impl Client {
    /// Submits; the request's key makes a repetition the same submission.
    pub(crate) async fn submit(&self, request: v1::SubmitRequest) -> Result<v1::SubmitResponse> {
        retry(|| {
            let (mut runs, request) = (self.runs(), request.clone());
            async move { runs.submit(request).await }
        })
        .await
    }

    /// One run.
    pub(crate) async fn run(&self, name: &str) -> Result<v1::Run> {
        retry(|| {
            let mut runs = self.runs();
            let request = v1::GetRunRequest { project: self.project.clone(), run: name.to_owned() };
            async move { runs.get(request).await }
        })
        .await
    }

    /// Runs, newest first, at most `limit` (0: all), and the index they were read at.
    pub(crate) async fn list(&self, all: bool, limit: u32) -> Result<(u64, Vec<v1::Run>)> {
        let mut items = Vec::new();
        let mut page_token = String::new();
        let mut index = None;
        loop {
            let left = if limit == 0 { PAGE } else { (limit - items.len() as u32).min(PAGE) };
            let request = v1::ListRunsRequest {
                project: self.project.clone(),
                all,
                limit: left,
                page_token: page_token.clone(),
            };
            let page = retry(|| {
                let (mut runs, request) = (self.runs(), request.clone());
                async move { runs.list(request).await }
            })
            .await?;
            // What the first page was read at is what a watch can go on from without a gap.
            let index = *index.get_or_insert(page.index);
            items.extend(page.items);
            let enough = limit > 0 && items.len() >= limit as usize;
            if enough {
                items.truncate(limit as usize);
            }
            let stuck = page.next_page_token == page_token;
            if enough || page.next_page_token.is_empty() || stuck {
                return Ok((index, items));
            }
            page_token = page.next_page_token;
        }
    }

    /// Waits until a run is over; after `limit` it is an error of kind `Pending`.
    pub(crate) async fn wait(&self, run: &str, limit: Option<Duration>) -> Result<v1::Run> {
        let waiting = async {
            let mut follow = self.follow_state(run);
            while let Some(happening) = follow.next().await {
                if let Happening::Run(run) = happening?
                    && is_over(&run.state)
                {
                    return Ok(*run);
                }
            }
            self.run(run).await
        };
        let Some(limit) = limit else { return waiting.await };
        match tokio::time::timeout_at(Instant::now() + limit, waiting).await {
            Ok(run) => run,
            Err(_) => Err(Error::new(Kind::Pending, format!("{run} is not over after {limit:?}"))
                .help(format!("it goes on; `runyard watch {run}` waits again"))),
        }
    }

    /// The exit code that a run's end deserves.
    pub(crate) async fn exit_of(&self, run: &v1::Run) -> Result<Exit> {
        Ok(match run.state.as_str() {
            "succeeded" => Exit::OK,
            "cancelled" => Exit::of(Kind::Cancelled),
            "failed" | "error" => {
                let gate = run.stages.iter().find(|s| s.kind == "gate" && s.state == "failed");
                match gate {
                    Some(stage) => {
                        gate_exit(&self.gate(&format!("{}/{}", run.name, stage.name)).await?)
                    }
                    None => Exit::of(Kind::Failed),
                }
            }
            _ => Exit::of(Kind::Pending),
        })
    }

    /// A gate's view.
    pub(crate) async fn gate(&self, target: &str) -> Result<v1::GateView> {
        retry(|| {
            let mut models = self.models();
            let request =
                v1::GetGateRequest { project: self.project.clone(), target: target.to_owned() };
            async move { models.get_gate(request).await }
        })
        .await
    }
}

/// The exit code of a gate's verdict: what can't be tested is rejected.
pub(crate) fn gate_exit(gate: &v1::GateView) -> Exit {
    match (gate.decision.as_str(), gate.verdict.as_str()) {
        ("promoted" | "approved", _) | (_, "pass") => Exit::OK,
        ("waiting", _) => Exit::of(Kind::Pending),
        ("refused", _) => Exit::of(Kind::GateRejected),
        (_, "inconclusive") => Exit::of(Kind::GateInconclusive),
        (_, "fail" | "cannot_test") => Exit::of(Kind::GateRejected),
        _ => Exit::of(Kind::Failed),
    }
}
