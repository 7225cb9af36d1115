//! `runyard nodes`: hosts with an agent.

use runyard_proto::v1;
use serde_json::Value;

use crate::client::{Client, retry};
use crate::context::Env;
use crate::errors::{Exit, Result};
use crate::output::{Cell, Column, List, Look, Output, Table, bytes, cpus};

/// Flags of `nodes`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List nodes
    Ls,
    /// All of a node: devices, workers, isolation
    Get { name: String },
    /// Place nothing more on a node; what runs goes on
    Cordon {
        name: String,
        /// Why, for the others
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Open a cordoned node again
    Uncordon { name: String },
    /// Take a lost node out of the group; its certificate opens nothing any more
    Rm {
        name: String,
        /// Also one that is not lost or still has workers: these are given up
        #[arg(long)]
        force: bool,
    },
    /// Stop a worker that a node has and nobody knows
    StopOrphan {
        node: String,
        /// As `nodes get` lists it
        worker: String,
        /// Why, for the others
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
}

/// Does what the verb says.
pub(crate) async fn run(args: Args, env: &Env) -> Result<Exit> {
    let client = env.client().await?;
    match args.verb {
        Verb::Ls => env.printer.show(&Nodes(list(&client).await?))?,
        Verb::Get { name } => {
            let node = get(&client, &name).await?;
            env.printer.show(&super::describe::NodeView(node))?;
        }
        Verb::Cordon { name, reason } => {
            let node = set(&client, &name, "cordoned", &reason).await?;
            if env.printer.structured() {
                env.printer.show(&super::describe::NodeView(node.clone()))?;
            }
            env.printer.note(&format!("{} is cordoned: nothing more is placed there", node.name));
            env.printer.next(&format!("runyard nodes uncordon {}", node.name));
        }
        Verb::Uncordon { name } => {
            let node = set(&client, &name, "open", "").await?;
            if env.printer.structured() {
                env.printer.show(&super::describe::NodeView(node.clone()))?;
            }
            env.printer.note(&format!("{} is open", node.name));
            env.printer.next("runyard nodes ls");
        }
        Verb::Rm { name, force } => {
            retry(|| {
                let (mut fleet, name) = (client.fleet(), name.clone());
                async move { fleet.remove_node(v1::RemoveNodeRequest { name, force }).await }
            })
            .await?;
            env.printer.answer(&serde_json::json!({ "node": name, "removed": true }))?;
            env.printer.note(&format!("{name} is removed: it needs a new join token to come back"));
            env.printer.next("runyard nodes ls");
        }
        Verb::StopOrphan { node, worker, reason } => {
            let request = v1::StopOrphanRequest { node, worker, reason };
            let node = retry(|| {
                let (mut fleet, request) = (client.fleet(), request.clone());
                async move { fleet.stop_orphan(request).await }
            })
            .await?;
            if env.printer.structured() {
                env.printer.show(&super::describe::NodeView(node.clone()))?;
            }
            env.printer.note(&format!("{} is asked to stop", request.worker));
            env.printer.next(&format!("runyard nodes get {}", node.name));
        }
    }
    Ok(Exit::OK)
}

async fn list(client: &Client) -> Result<List<v1::Node>> {
    let answer = retry(|| {
        let mut fleet = client.fleet();
        async move { fleet.list_nodes(v1::ListNodesRequest {}).await }
    })
    .await?;
    Ok(List { index: answer.index, items: answer.items })
}

/// One node.
pub(super) async fn get(client: &Client, name: &str) -> Result<v1::Node> {
    retry(|| {
        let (mut fleet, name) = (client.fleet(), name.to_owned());
        async move { fleet.get_node(v1::GetNodeRequest { name }).await }
    })
    .await
}

async fn set(client: &Client, name: &str, eligibility: &str, reason: &str) -> Result<v1::Node> {
    retry(|| {
        let mut fleet = client.fleet();
        let request = v1::SetEligibilityRequest {
            name: name.to_owned(),
            eligibility: eligibility.to_owned(),
            reason: reason.to_owned(),
        };
        async move { fleet.set_eligibility(request).await }
    })
    .await
}

struct Nodes(List<v1::Node>);

impl Output for Nodes {
    fn json(&self) -> Result<Value> {
        self.0.to_json("Node")
    }

    fn names(&self) -> Vec<String> {
        self.0.items.iter().map(|node| node.name.clone()).collect()
    }

    fn table(&self, look: &Look) -> Table {
        let columns = [
            Column::new("NAME"),
            Column::new("LIVENESS"),
            Column::new("ELIGIBILITY"),
            Column::new("HEALTH"),
            Column::new("GPUS"),
            Column::new("CPUS"),
            Column::new("MEMORY"),
            Column::new("WORKERS"),
            Column::wide("SEEN"),
            Column::wide("VERSION"),
            Column::wide("ADDRESS"),
            Column::wide("GATEWAY"),
            Column::wide("LABELS"),
        ];
        let mut table =
            Table::new(columns, "No nodes yet; `runyard agent --join TOKEN@HOST:PORT` adds one.");
        for node in &self.0.items {
            let labels: Vec<String> = {
                let mut labels: Vec<_> =
                    node.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
                labels.sort();
                labels
            };
            let orphans = match node.orphans.len() {
                0 => String::new(),
                count => format!(" (+{count} orphans)"),
            };
            table.row([
                Cell::new(&node.name),
                Cell::state(&node.liveness),
                Cell::state_and(&node.eligibility, &node.reason),
                Cell::state(if node.health.is_empty() { "ok" } else { &node.health }),
                Cell::new(gpus(&node.devices)),
                Cell::with_raw(
                    format!("{}/{}", cpus(node.cpu_milli_used), cpus(node.cpu_milli)),
                    format!("{}/{}", node.cpu_milli_used, node.cpu_milli),
                ),
                Cell::with_raw(
                    format!("{} / {}", bytes(node.memory_bytes_used), bytes(node.memory_bytes)),
                    format!("{}/{}", node.memory_bytes_used, node.memory_bytes),
                ),
                Cell::new(format!("{}{orphans}", node.workers.len())),
                Cell::age(look, node.last_seen_ms),
                Cell::new(&node.version),
                Cell::new(&node.address),
                Cell::new(&node.gateway),
                Cell::new(labels.join(",")),
            ]);
        }
        table
    }
}

/// `1/2 H100`: held and all, per model; simulated ones say so.
fn gpus(devices: &[v1::Device]) -> String {
    let mut models: std::collections::BTreeMap<String, (usize, usize)> = Default::default();
    for device in devices {
        let simulated = device.simulated && !device.model.contains("simulated");
        let model = format!("{}{}", device.model, if simulated { " (simulated)" } else { "" });
        let (held, all) = models.entry(model).or_default();
        *held += usize::from(!device.held_by.is_empty());
        *all += 1;
    }
    let parts: Vec<String> =
        models.iter().map(|(model, (held, all))| format!("{held}/{all} {model}")).collect();
    parts.join(", ")
}

#[cfg(test)]
#[path = "nodes_tests.rs"]
mod tests;
