//! `runyard gate`: decisions about candidates.

use runyard_proto::v1;
use serde_json::Value;

use crate::client::{Client, gate_exit, once};
use crate::context::Env;
use crate::errors::{Error, Exit, Result};
use crate::output::{Cell, Column, Look, Output, Table, glyph, json_of, plain};

/// Flags of `gate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// What a gate decided, with its figures (exit code 7: rejected, 9: inconclusive)
    Show {
        /// Run, or RUN/STAGE
        name: String,
    },
    /// Let a waiting candidate pass
    Approve(Decision),
    /// Refuse a waiting candidate
    Reject(Decision),
}

#[derive(Debug, clap::Args)]
struct Decision {
    /// Run, or RUN/STAGE
    name: String,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Does what the verb says.
pub(crate) async fn run(args: Args, env: &Env) -> Result<Exit> {
    let client = env.client().await?;
    match args.verb {
        Verb::Show { name } => {
            let target = client.target(&name).await?.key();
            let gate = client.gate(&target).await?;
            let exit = gate_exit(&gate);
            env.printer.show(&GateShown(gate))?;
            Ok(exit)
        }
        Verb::Approve(decision) => decide(&client, env, decision, true).await,
        Verb::Reject(decision) => decide(&client, env, decision, false).await,
    }
}

async fn decide(client: &Client, env: &Env, decision: Decision, approve: bool) -> Result<Exit> {
    let reason = decision.reason.trim();
    if reason.is_empty() {
        return Err(Error::usage("a decision needs a reason").help("write --reason TEXT"));
    }
    let target = client.target(&decision.name).await?.key();
    let request = v1::DecideGateRequest {
        project: client.project.clone(),
        target: target.clone(),
        approve,
        reason: reason.to_owned(),
    };
    let gate = once(client.models().decide_gate(request)).await?;
    env.printer.note(&format!("{}: {}", plain(&gate.task), plain(&gate.decision)));
    if env.printer.structured() {
        env.printer.show(&GateShown(gate))?;
    }
    env.printer.next(&format!("runyard gate show {target}"));
    Ok(Exit::OK)
}

/// A gate as it is shown.
#[derive(Debug)]
pub(crate) struct GateShown(pub(crate) v1::GateView);

impl Output for GateShown {
    fn json(&self) -> Result<Value> {
        json_of("GateView", &self.0)
    }

    fn names(&self) -> Vec<String> {
        vec![self.0.task.clone()]
    }

    fn table(&self, _look: &Look) -> Table {
        let columns = [
            Column::new("GATE"),
            Column::new("VERDICT"),
            Column::new("DECISION"),
            Column::new("APPROVER"),
            Column::new("REASON"),
            Column::wide("RECORD"),
        ];
        let mut table = Table::new(columns, "");
        let state = |word: &str| match word {
            "" => Cell::new(""),
            word => Cell::state(word),
        };
        table.row([
            Cell::new(&self.0.task),
            state(&self.0.verdict),
            state(&self.0.decision),
            Cell::new(&self.0.approver),
            Cell::new(&self.0.reason),
            Cell::new(&self.0.record),
        ]);
        table
    }

    fn text(&self, _look: &Look) -> Option<String> {
        let gate = &self.0;
        let word = if gate.decision.is_empty() { "undecided" } else { gate.decision.as_str() };
        let mut out = format!("{} {}: {}", glyph(word), plain(&gate.task), plain(word));
        if !gate.approver.is_empty() {
            out.push_str(&format!(" by {}", plain(&gate.approver)));
        }
        if !gate.reason.is_empty() {
            out.push_str(&format!(" ({})", plain(&gate.reason)));
        }
        out.push('\n');
        if !gate.text.is_empty() {
            out.push('\n');
            gate.text.lines().for_each(|line| out.push_str(&format!("{}\n", plain(line))));
        }
        Some(out)
    }

    fn markdown(&self, _look: &Look) -> Option<String> {
        (!self.0.markdown.is_empty()).then(|| format!("{}\n", self.0.markdown.trim_end()))
    }
}
