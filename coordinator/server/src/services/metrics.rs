//! Metric points of tasks, from their sealed and live ends.

use std::collections::BTreeMap;

use runyard_blobs::segment::{Manifest, Segment};
use runyard_proto::v1::{MetricsRequest, MetricsResponse, Point, Series};
use tonic::Status;

use super::names;
use crate::core::Core;

/// Points of a series that are answered unless fewer are asked for.
const POINTS_MAX: usize = 10_000;

pub(super) async fn metrics(
    core: &Core,
    request: MetricsRequest,
) -> Result<MetricsResponse, Status> {
    let core = core.clone();
    tokio::task::spawn_blocking(move || read(&core, &request))
        .await
        .map_err(|_| Status::internal("reading metrics was cut off"))?
}

fn read(core: &Core, request: &MetricsRequest) -> Result<MetricsResponse, Status> {
    let project = names::project(&request.project)?;
    let view = core.truth.view();
    let target = names::target(&view.state, &project, &request.target)?;
    let limit = if request.points_max == 0 { POINTS_MAX } else { request.points_max as usize };
    let mut answer = MetricsResponse::default();
    for task in target.tasks(&view.state) {
        let mut series: BTreeMap<String, Vec<Point>> = BTreeMap::new();
        let sealed = task
            .attempts
            .last()
            .and_then(|attempt| attempt.workers.first())
            .map(|worker| &worker.metrics);
        if let Some(digest) = sealed.and_then(|sealed| sealed.manifest) {
            let bytes = core.store.get_blob(&project, &digest).map_err(crate::errors::store)?;
            let manifest =
                Manifest::decode(&bytes).map_err(|error| Status::data_loss(error.to_string()))?;
            for reference in manifest.from_offset(0) {
                let bytes = core
                    .store
                    .get_blob(&project, &reference.digest)
                    .map_err(crate::errors::store)?;
                points(bytes, &mut series)?;
            }
        }
        for (name, value) in &task.result.metrics {
            let points = series.entry(name.clone()).or_default();
            if points.is_empty() {
                points.push(Point {
                    step: 0,
                    at_ms: task.ended_at.map_or(0, |at| at.0),
                    value: *value,
                });
            }
        }
        for (name, points) in series {
            if request.names.is_empty() || request.names.contains(&name) {
                let points = thin(points, limit);
                answer.series.push(Series { task: task.key.to_string(), name, points });
            }
        }
    }
    Ok(answer)
}

/// The points of a segment whose records are lines of JSON.
fn points(bytes: bytes::Bytes, series: &mut BTreeMap<String, Vec<Point>>) -> Result<(), Status> {
    let segment = Segment::open(bytes).map_err(|error| Status::data_loss(error.to_string()))?;
    let mut carry = Vec::new();
    for record in segment.records_from(0) {
        let record = record.map_err(|error| Status::data_loss(error.to_string()))?;
        carry.extend_from_slice(&record.data);
        while let Some(end) = carry.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = carry.drain(..=end).collect();
            line_points(&line, record.at_ms, series);
        }
    }
    line_points(&carry, 0, series);
    Ok(())
}

fn line_points(line: &[u8], at_ms: u64, series: &mut BTreeMap<String, Vec<Point>>) {
    let Ok(serde_json::Value::Object(fields)) = serde_json::from_slice(line) else { return };
    let step = fields.get("step").and_then(serde_json::Value::as_i64);
    let mut put = |name: &str, value: Option<f64>| {
        let Some(value) = value.filter(|value| value.is_finite()) else { return };
        let points = series.entry(name.to_owned()).or_default();
        points.push(Point { step: step.unwrap_or(points.len() as i64), at_ms, value });
    };
    if let (Some(name), Some(value)) =
        (fields.get("name").and_then(serde_json::Value::as_str), fields.get("value"))
    {
        put(name, value.as_f64());
        return;
    }
    for (name, value) in
        fields.iter().filter(|(name, _)| !matches!(name.as_str(), "step" | "timestamp" | "time"))
    {
        put(name, value.as_f64());
    }
}

/// Every n-th point, the last one always.
fn thin(points: Vec<Point>, limit: usize) -> Vec<Point> {
    if points.len() <= limit || limit == 0 {
        return points;
    }
    let stride = points.len().div_ceil(limit);
    let last = points.len() - 1;
    points
        .into_iter()
        .enumerate()
        .filter(|(at, _)| at % stride == 0 || *at == last)
        .map(|(_, point)| point)
        .collect()
}
