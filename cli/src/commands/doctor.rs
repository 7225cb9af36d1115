//! `runyard doctor`: this installation and its way to the cluster, each check with its remedy.

mod checks;
mod node;

use runyard_proto::v1;
use serde_json::{Value, json};

use crate::client::once;
use crate::context::Env;
use crate::errors::{Exit, Kind, Result};
use crate::output::{Cell, Column, Look, Output, Table, glyph, plain};

/// Flags of `doctor`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Check a node instead, by what its agent has told the coordinator
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
}

/// Does what the verb says; exit code 1 if something failed.
pub(crate) async fn run(args: Args, env: &Env) -> Result<Exit> {
    let checks = match &args.node {
        None => checks::all(env).await,
        Some(name) => {
            let client = env.client().await?;
            let node = super::nodes::get(&client, name).await?;
            let status = once(client.fleet().status(v1::StatusRequest {})).await?;
            node::checks(&node, &status.version, env.printer.look().now_ms)
        }
    };
    let failed = checks.iter().any(|check| check.state == State::Fail);
    env.printer.show(&Checks(checks))?;
    Ok(if failed { Exit::of(Kind::Failed) } else { Exit::OK })
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    Warn,
    Fail,
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One check: what was found, and what mends it.
#[derive(Debug)]
struct Check {
    name: &'static str,
    state: State,
    found: String,
    remedy: String,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, state: State::Ok, found: found.into(), remedy: String::new() }
    }
    fn warn(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, state: State::Warn, found: found.into(), remedy: remedy.into() }
    }
    fn fail(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, state: State::Fail, found: found.into(), remedy: remedy.into() }
    }
}

struct Checks(Vec<Check>);

impl Output for Checks {
    fn json(&self) -> Result<Value> {
        let items: Vec<Value> = self
            .0
            .iter()
            .map(|check| {
                json!({
                    "name": check.name,
                    "state": check.state.word(),
                    "found": check.found,
                    "remedy": check.remedy,
                })
            })
            .collect();
        Ok(json!({ "api_version": "runyard.v1", "index": 0, "items": items }))
    }

    fn names(&self) -> Vec<String> {
        let bad = self.0.iter().filter(|check| check.state != State::Ok);
        bad.map(|check| check.name.to_owned()).collect()
    }

    fn table(&self, _look: &Look) -> Table {
        let columns = [
            Column::new("CHECK"),
            Column::new("STATE"),
            Column::new("FOUND"),
            Column::new("REMEDY"),
        ];
        let mut table = Table::new(columns, "");
        for check in &self.0 {
            table.row([
                Cell::new(check.name),
                Cell::state(check.state.word()),
                Cell::new(&check.found),
                Cell::new(&check.remedy),
            ]);
        }
        table
    }

    fn text(&self, _look: &Look) -> Option<String> {
        let width = self.0.iter().map(|check| check.name.len()).max().unwrap_or(0);
        let mut out = String::new();
        for check in &self.0 {
            let word = check.state.word();
            out.push_str(&format!(
                "{} {:width$}  {}\n",
                glyph(word),
                check.name,
                plain(&check.found)
            ));
            if !check.remedy.is_empty() {
                out.push_str(&format!("  {:width$}  → {}\n", "", plain(&check.remedy)));
            }
        }
        Some(out)
    }
}
