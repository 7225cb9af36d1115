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
            // A line may be cut anywhere, also where a segment ends.
            let mut line = Line::default();
            for reference in manifest.from_offset(0) {
                let bytes = core
                    .store
                    .get_blob(&project, &reference.digest)
                    .map_err(crate::errors::store)?;
                points(bytes, &mut line, &mut series)?;
            }
            line_points(&line.bytes, line.at_ms, &mut series);
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

/// The beginning of a line whose end is still to come, and when the newest part of it was written.
#[derive(Debug, Default)]
struct Line {
    bytes: Vec<u8>,
    at_ms: u64,
}

/// The points of a segment whose records are parts of lines of JSON.
fn points(
    bytes: bytes::Bytes,
    line: &mut Line,
    series: &mut BTreeMap<String, Vec<Point>>,
) -> Result<(), Status> {
    let segment = Segment::open(bytes).map_err(|error| Status::data_loss(error.to_string()))?;
    for record in segment.records_from(0) {
        let record = record.map_err(|error| Status::data_loss(error.to_string()))?;
        line.at_ms = record.at_ms;
        for part in record.data.split_inclusive(|byte| *byte == b'\n') {
            line.bytes.extend_from_slice(part);
            if part.ends_with(b"\n") {
                line_points(&line.bytes, line.at_ms, series);
                line.bytes.clear();
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use runyard_blobs::segment::{Record, SegmentWriter};

    use super::*;

    fn segment(from: u64, at_ms: u64, text: &str) -> bytes::Bytes {
        let mut writer = SegmentWriter::new(from).expect("a writer");
        let data = bytes::Bytes::copy_from_slice(text.as_bytes());
        let record = Record { offset: from, at_ms, stderr: false, data, cut_bytes: 0 };
        writer.push(&record).expect("a record");
        writer.finish().expect("a segment")
    }

    #[test]
    fn a_line_that_is_cut_by_the_end_of_a_segment_is_one_line() {
        let text =
            "{\"step\":1,\"loss\":0.5}\n{\"step\":2,\"loss\":0.25}\n{\"step\":3,\"loss\":0.125}";
        for cut in 0..=text.len() {
            let (mut series, mut line) = (BTreeMap::new(), Line::default());
            for (from, at_ms, part) in [(0, 10, &text[..cut]), (cut, 20, &text[cut..])] {
                if !part.is_empty() {
                    let bytes = segment(from as u64, at_ms, part);
                    points(bytes, &mut line, &mut series).expect("readable");
                }
            }
            line_points(&line.bytes, line.at_ms, &mut series);
            let loss = &series["loss"];
            let found: Vec<(i64, f64)> = loss.iter().map(|p| (p.step, p.value)).collect();
            assert_eq!(found, [(1, 0.5), (2, 0.25), (3, 0.125)], "cut at {cut}");
            assert!(loss.iter().all(|point| point.at_ms >= 10), "each has its time: {loss:?}");
        }
    }
}
