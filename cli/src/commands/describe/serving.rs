//! A model and a deployment.

use runyard_proto::v1;
use serde_json::Value;

use super::fields;
use crate::errors::Result;
use crate::output::{Cell, Column, Look, Output, Table, age, glyph, json_of, plain};

/// One model with its versions.
#[derive(Debug)]
pub(crate) struct ModelView(pub(crate) v1::Model);

impl Output for ModelView {
    fn json(&self) -> Result<Value> {
        json_of("Model", &self.0)
    }

    fn names(&self) -> Vec<String> {
        self.0.versions.iter().map(|v| format!("{}@{}", self.0.name, v.version)).collect()
    }

    fn table(&self, look: &Look) -> Table {
        let columns = [
            Column::new("VERSION"),
            Column::new("ALIASES"),
            Column::new("STATUS"),
            Column::new("RUN"),
            Column::new("COMMIT"),
            Column::new("AGE"),
            Column::wide("ROOT"),
            Column::wide("GATE RECORD"),
        ];
        let mut table = Table::new(columns, format!("`{}` has no versions.", self.0.name));
        for version in &self.0.versions {
            let aliases: Vec<&str> = self
                .0
                .aliases
                .iter()
                .filter(|alias| alias.version == version.version)
                .map(|alias| alias.name.as_str())
                .collect();
            table.row([
                Cell::new(version.version),
                Cell::new(aliases.join(",")),
                Cell::state(&version.status),
                Cell::new(&version.run),
                Cell::new(version.commit.chars().take(8).collect::<String>()),
                Cell::age(look, version.created_ms),
                Cell::new(&version.root),
                Cell::new(&version.gate_record),
            ]);
        }
        table
    }

    fn text(&self, look: &Look) -> Option<String> {
        let aliases: Vec<String> = self
            .0
            .aliases
            .iter()
            .map(|alias| {
                let guard = if alias.protected { ", protected" } else { "" };
                format!(
                    "{} → {} ({}{guard})",
                    alias.name,
                    alias.version,
                    age(look.now_ms, alias.moved_ms)
                )
            })
            .collect();
        let head = fields(&[("model", self.0.name.clone()), ("aliases", aliases.join("; "))]);
        Some(format!("{head}\n{}", self.table(look).render(look)))
    }
}

/// One deployment with its revisions.
#[derive(Debug)]
pub(crate) struct DeploymentView(pub(crate) v1::Deployment);

impl Output for DeploymentView {
    fn json(&self) -> Result<Value> {
        json_of("Deployment", &self.0)
    }

    fn names(&self) -> Vec<String> {
        vec![self.0.name.clone()]
    }

    fn table(&self, look: &Look) -> Table {
        let columns = [
            Column::new("REVISION"),
            Column::new("STATE"),
            Column::new("MODEL"),
            Column::new("WEIGHT"),
            Column::new("READY"),
            Column::new("REQUESTS"),
            Column::new("ERRORS"),
            Column::new("AGE"),
            Column::new("REASON"),
            Column::wide("E-VALUE"),
            Column::wide("RUN"),
        ];
        let mut table = Table::new(columns, format!("`{}` has no revisions.", self.0.name));
        for revision in &self.0.revisions {
            let ready = revision.replicas.iter().filter(|replica| replica.ready).count();
            table.row([
                Cell::new(revision.number),
                Cell::state(&revision.state),
                Cell::new(format!("{}@{}", self.0.model, revision.model_version)),
                Cell::with_raw(
                    format!("{}%", f64::from(revision.weight_permille) / 10.0),
                    revision.weight_permille,
                ),
                Cell::new(format!("{ready}/{}", revision.replicas.len())),
                Cell::new(revision.requests),
                Cell::new(revision.errors),
                Cell::age(look, revision.created_ms),
                Cell::new(&revision.reason),
                Cell::new(crate::output::number(revision.e_value)),
                Cell::new(&revision.run),
            ]);
        }
        table
    }

    fn text(&self, look: &Look) -> Option<String> {
        let deployment = &self.0;
        let alias = if deployment.alias.is_empty() {
            String::new()
        } else {
            format!("@{}", deployment.alias)
        };
        let head = fields(&[
            ("deployment", deployment.name.clone()),
            ("state", format!("{} {}", glyph(&deployment.state), deployment.state)),
            ("follows", format!("{}{alias}", deployment.model)),
            ("serving", format!("revision {}", deployment.serving_revision)),
            ("addresses", deployment.addresses.join(", ")),
        ]);
        let mut replicas = String::new();
        for replica in deployment.revisions.iter().flat_map(|revision| &revision.replicas) {
            let word = if replica.ready { "ready" } else { replica.state.as_str() };
            replicas.push_str(&format!(
                "  {} {} on {} {} ({})\n",
                glyph(word),
                plain(&replica.task),
                plain(&replica.node),
                plain(&replica.address),
                plain(word)
            ));
        }
        let gap = if replicas.is_empty() { "" } else { "\nreplicas\n" };
        Some(format!("{head}\n{}{gap}{replicas}", self.table(look).render(look)))
    }
}
