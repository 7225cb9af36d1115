//! What all steps share: submitting, asking what became of it, insisting on what was promised.

use std::path::PathBuf;

use clap::Parser;
use runyard_proto::v1;

use super::traffic::{Asker, Tally};
use super::voice::Voice;
use crate::client::{Client, retry};
use crate::commands::dev::handle::Handle;
use crate::commands::run::{Source, submission};
use crate::context::Env;
use crate::errors::{Context as _, Error, Kind, Result};
use crate::output::{Progress, plain};

/// The model, and the deployment, of the example.
pub(super) const MODEL: &str = "digits";

/// A running demo.
pub(super) struct Scene<'a> {
    pub(super) env: &'a Env,
    pub(super) handle: Handle,
    pub(super) client: Client,
    pub(super) voice: Voice,
    pub(super) asker: Asker,
    /// The example's pipeline file.
    pub(super) file: PathBuf,
}

/// `run`'s own flags, so that the demo submits by the path that people use.
#[derive(Debug, Parser)]
struct Submit {
    #[command(flatten)]
    source: Source,
}

impl Scene<'_> {
    /// Submits the example with these parameters; returns the run's name.
    pub(super) async fn submit(&self, params: &[&str]) -> Result<String> {
        let file = self.file.display().to_string();
        let mut flags = vec!["demo", "-f", &file];
        flags.extend(params.iter().flat_map(|param| ["-p", param]));
        let shown: String = flags[3..].iter().map(|flag| format!(" {flag}")).collect();
        self.voice.event("running", &format!("$ runyard run{shown}"))?;
        let source = Submit::try_parse_from(&flags)
            .context(Kind::Internal, || "the demo's own flags".into())?
            .source;
        let file = source.load(self.env)?;
        let progress = Progress::new(&self.env.printer);
        let request = submission(&self.client, self.env, &progress, &file, &source).await?;
        progress.clear();
        let answer = self.client.submit(request).await?;
        for warning in &answer.warnings {
            self.voice.event("warn", &plain(warning))?;
        }
        Ok(answer.run)
    }

    pub(super) async fn model(&self) -> Result<v1::Model> {
        retry(|| {
            let mut models = self.client.models();
            let request = v1::GetModelRequest {
                project: self.client.project.clone(),
                name: MODEL.to_owned(),
            };
            async move { models.get_model(request).await }
        })
        .await
    }

    /// The version that `champion` points at.
    pub(super) async fn champion(&self) -> Result<u64> {
        let model = self.model().await?;
        let alias = model.aliases.iter().find(|alias| alias.name == "champion");
        alias.map(|alias| alias.version).ok_or_else(|| not_so("there is no digits@champion"))
    }

    pub(super) async fn deployment(&self) -> Result<v1::Deployment> {
        retry(|| {
            let mut models = self.client.models();
            let request = v1::GetDeploymentRequest {
                project: self.client.project.clone(),
                name: MODEL.to_owned(),
            };
            async move { models.get_deployment(request).await }
        })
        .await
    }

    /// The version that serves.
    pub(super) async fn serving(&self) -> Result<u64> {
        let deployment = self.deployment().await?;
        let serving = deployment.revisions.iter().find(|r| r.number == deployment.serving_revision);
        serving.map(|revision| revision.model_version).ok_or_else(|| not_so("nothing serves"))
    }

    /// Prints a gate's own words.
    pub(super) async fn show_gate(&self, run: &str) -> Result<v1::GateView> {
        let gate = self.client.gate(&format!("{run}/gate")).await?;
        self.voice.event(&gate.decision, &format!("the gate: {}", plain(&gate.decision)))?;
        self.voice.block(&gate.text)?;
        Ok(gate)
    }

    /// Tells what came of the requests.
    pub(super) fn show_tally(&self, tally: &Tally) -> Result<()> {
        let versions: Vec<String> =
            tally.versions.iter().map(|(version, n)| format!("{n} by version {version}")).collect();
        let state = if tally.answered == tally.sent { "ok" } else { "warn" };
        self.voice.event(
            state,
            &format!("{} sent, {} answered ({})", tally.sent, tally.answered, versions.join(", ")),
        )
    }
}

/// The story did not go as it was told.
pub(super) fn not_so(what: impl Into<String>) -> Error {
    Error::failed(format!("the demo did not end as described: {}", what.into()))
}

/// Holds the story to its promise.
pub(super) fn insist(holds: bool, what: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(not_so(what())) }
}
