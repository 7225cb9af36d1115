//! A node.

use runyard_proto::v1;
use serde_json::Value;

use super::fields;
use crate::errors::Result;
use crate::output::{
    Cell, Column, Look, Output, Table, age, bytes, cpus, glyph, json_of, percent, plain,
};

/// One node.
#[derive(Debug)]
pub(crate) struct NodeView(pub(crate) v1::Node);

impl Output for NodeView {
    fn json(&self) -> Result<Value> {
        json_of("Node", &self.0)
    }

    fn names(&self) -> Vec<String> {
        vec![self.0.name.clone()]
    }

    fn table(&self, _look: &Look) -> Table {
        let columns = [
            Column::new("GPU"),
            Column::new("MODEL"),
            Column::new("MEMORY"),
            Column::new("BUSY"),
            Column::new("TEMP"),
            Column::new("POWER"),
            Column::new("HEALTH"),
            Column::new("HELD BY"),
            Column::wide("UUID"),
        ];
        let mut table = Table::new(columns, "");
        for device in &self.0.devices {
            let last = device.last.unwrap_or_default();
            let memory = match last.memory_used_bytes {
                Some(used) => format!("{} / {}", bytes(used), bytes(device.memory_bytes)),
                None => bytes(device.memory_bytes),
            };
            let plain_model = device.simulated && !device.model.contains("simulated");
            let simulated = if plain_model { " (simulated)" } else { "" };
            table.row([
                Cell::new(device.index),
                Cell::new(format!("{}{simulated}", device.model)),
                Cell::new(memory),
                Cell::new(last.utilization_ratio.map(percent).unwrap_or_default()),
                Cell::new(
                    last.temperature_celsius.map(|t| format!("{t:.0} °C")).unwrap_or_default(),
                ),
                Cell::new(last.power_watts.map(|p| format!("{p:.0} W")).unwrap_or_default()),
                Cell::state(if device.health.is_empty() { "ok" } else { &device.health }),
                Cell::new(&device.held_by),
                Cell::new(&device.uuid),
            ]);
        }
        table
    }

    fn text(&self, look: &Look) -> Option<String> {
        let node = &self.0;
        let mut labels: Vec<String> = node.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        labels.sort();
        let eligibility = match node.reason.is_empty() {
            true => node.eligibility.clone(),
            false => format!("{} ({})", node.eligibility, node.reason),
        };
        let head = fields(&[
            ("node", node.name.clone()),
            ("liveness", format!("{} {}", glyph(&node.liveness), node.liveness)),
            ("eligibility", eligibility),
            ("health", node.health.clone()),
            ("seen", format!("{} ago", age(look.now_ms, node.last_seen_ms))),
            ("CPUs", format!("{} of {} in use", cpus(node.cpu_milli_used), cpus(node.cpu_milli))),
            (
                "memory",
                format!("{} of {} in use", bytes(node.memory_bytes_used), bytes(node.memory_bytes)),
            ),
            ("isolation", node.isolation.clone()),
            (
                "networks",
                match node.networks.is_empty() {
                    true => "default (what nodes share that name none)".to_owned(),
                    false => node.networks.join(", "),
                },
            ),
            ("labels", labels.join(" ")),
            ("address", node.address.clone()),
            ("gateway", node.gateway.clone()),
            ("version", node.version.clone()),
            ("boot", node.boot_id.clone()),
        ]);
        let list = |title: &str, items: &[String]| match items.is_empty() {
            true => String::new(),
            false => {
                let lines: String =
                    items.iter().map(|item| format!("  {}\n", plain(item))).collect();
                format!("\n{title}\n{lines}")
            }
        };
        let devices = self.table(look).render(look);
        let gap = if devices.is_empty() { "" } else { "\n" };
        Some(format!(
            "{head}{gap}{devices}{}{}",
            list("workers", &node.workers),
            list("orphans (kept until you stop them)", &node.orphans)
        ))
    }
}
