//! `runyard metrics`: what stages measured, and the devices under them.

mod spark;

use runyard_proto::v1;
use serde_json::Value;

use crate::client::retry;
use crate::context::Env;
use crate::errors::{Error, Exit, Result};
use crate::output::{Cell, Column, Format, Look, Output, Table, json_of, number};

/// Flags of `metrics`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run, stage or task
    #[arg(value_name = "NAME")]
    target: String,
    /// Only these metrics
    #[arg(value_name = "METRIC")]
    names: Vec<String>,
    /// Devices in place of metrics
    #[arg(long)]
    gpu: bool,
    /// At most so many points of each series; thinned out by the coordinator
    #[arg(long, value_name = "N")]
    points: Option<u32>,
    /// Print again every two seconds
    #[arg(short, long)]
    watch: bool,
}

/// Points that a sparkline needs.
const POINTS_TABLE: u32 = 400;
/// Points asked for where all are wanted.
const POINTS_ALL: u32 = 1_000_000;

/// Does what the verb says.
pub(crate) async fn run(args: Args, env: &Env) -> Result<Exit> {
    if args.watch {
        env.printer.may_repeat()?;
    }
    let client = env.client().await?;
    let target = client.target(&args.target).await?.key();
    let points = args.points.unwrap_or(match env.printer.for_programs() {
        true => POINTS_ALL,
        false => POINTS_TABLE,
    });
    loop {
        let answer = retry(|| {
            let mut runs = client.runs();
            let request = v1::MetricsRequest {
                project: client.project.clone(),
                target: target.clone(),
                names: args.names.clone(),
                points_max: points,
            };
            async move { runs.metrics(request).await }
        })
        .await?;
        let missing: Vec<&str> = args
            .names
            .iter()
            .filter(|name| !answer.series.iter().any(|series| series.name == **name))
            .map(String::as_str)
            .collect();
        if !missing.is_empty() && !args.watch {
            return Err(Error::not_found(format!("{target} has no metric {}", missing.join(", ")))
                .help(format!("`runyard metrics {target}` lists what it has")));
        }
        if args.watch && env.printer.stdout_tty && !env.printer.for_programs() {
            env.printer.data(b"\x1b[H\x1b[J")?;
        }
        let csv = env.printer.format == Some(Format::Csv);
        match args.gpu {
            true => env.printer.show(&Devices { answer, csv })?,
            false => env.printer.show(&Metrics { answer, csv })?,
        }
        if !args.watch {
            return Ok(Exit::OK);
        }
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    }
}

struct Metrics {
    answer: v1::MetricsResponse,
    /// One row a point, in place of one a series.
    csv: bool,
}

impl Output for Metrics {
    fn json(&self) -> Result<Value> {
        json_of("MetricsResponse", &self.answer)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.answer.series.iter().map(|s| s.name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    fn table(&self, _look: &Look) -> Table {
        let empty = "No metrics; a stage writes JSON lines to $RUNYARD_METRICS.";
        if self.csv {
            let columns = [
                Column::new("TASK"),
                Column::new("METRIC"),
                Column::new("STEP"),
                Column::new("AT MS"),
                Column::new("VALUE"),
            ];
            let mut table = Table::new(columns, empty);
            for series in &self.answer.series {
                for point in &series.points {
                    table.row([
                        Cell::new(&series.task),
                        Cell::new(&series.name),
                        Cell::new(point.step),
                        Cell::new(point.at_ms),
                        Cell::new(point.value),
                    ]);
                }
            }
            return table;
        }
        let columns = [
            Column::new("TASK"),
            Column::new("METRIC"),
            Column::new("LAST"),
            Column::new("STEP"),
            Column::new("TREND"),
            Column::new("MIN"),
            Column::new("MAX"),
            Column::wide("POINTS"),
        ];
        let mut table = Table::new(columns, empty);
        for series in &self.answer.series {
            let values: Vec<f64> = series.points.iter().map(|point| point.value).collect();
            let finite = || values.iter().copied().filter(|value| value.is_finite());
            let last = series.points.last();
            table.row([
                Cell::new(&series.task),
                Cell::new(&series.name),
                Cell::new(last.map(|point| number(point.value)).unwrap_or_default()),
                Cell::new(last.map(|point| point.step.to_string()).unwrap_or_default()),
                Cell::new(spark::line(&values)),
                Cell::new(finite().reduce(f64::min).map(number).unwrap_or_default()),
                Cell::new(finite().reduce(f64::max).map(number).unwrap_or_default()),
                Cell::new(values.len()),
            ]);
        }
        table
    }
}

struct Devices {
    answer: v1::MetricsResponse,
    csv: bool,
}

impl Output for Devices {
    fn json(&self) -> Result<Value> {
        json_of("MetricsResponse", &self.answer)
    }

    fn names(&self) -> Vec<String> {
        self.answer.devices.iter().map(|series| series.device.clone()).collect()
    }

    fn table(&self, _look: &Look) -> Table {
        let columns = [
            Column::new("NODE"),
            Column::new("GPU"),
            Column::wide("AT MS"),
            Column::new("BUSY"),
            Column::new("MEMORY"),
            Column::new("TEMP"),
            Column::new("POWER"),
        ];
        let mut table = Table::new(columns, "No devices.");
        for series in &self.answer.devices {
            let samples = &series.samples;
            let shown = if self.csv {
                samples.as_slice()
            } else {
                &samples[samples.len().saturating_sub(1)..]
            };
            for sample in shown {
                let trend = |pick: fn(&v1::DeviceSample) -> Option<f64>, text: String| {
                    let values: Vec<f64> = samples.iter().filter_map(pick).collect();
                    let text = match values.is_empty() {
                        true => String::new(),
                        false => format!("{} {text}", spark::line(&values)),
                    };
                    Cell::with_raw(text, pick(sample).map(|v| v.to_string()).unwrap_or_default())
                };
                let word = |value: Option<f64>, unit: &str| {
                    value.map(|value| format!("{}{unit}", number(value))).unwrap_or_default()
                };
                table.row([
                    Cell::new(&series.node),
                    Cell::new(&series.device),
                    Cell::new(sample.at_ms),
                    trend(
                        |s| s.utilization_ratio,
                        sample.utilization_ratio.map(crate::output::percent).unwrap_or_default(),
                    ),
                    trend(
                        |s| s.memory_used_bytes.map(|bytes| bytes as f64),
                        sample.memory_used_bytes.map(crate::output::bytes).unwrap_or_default(),
                    ),
                    trend(|s| s.temperature_celsius, word(sample.temperature_celsius, " °C")),
                    trend(|s| s.power_watts, word(sample.power_watts, " W")),
                ]);
            }
        }
        table
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
