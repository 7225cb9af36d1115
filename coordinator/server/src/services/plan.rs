//! What a submission would do.

mod predict;

use runyard_proto::v1::{PlanResponse, PlannedStage, SubmitRequest};
use runyard_scheduler::{Demand, Limits, schedule};
use tonic::Status;

use super::submit;
use crate::core::Core;
use crate::reconcile::cluster;
use crate::stagespec;

pub(super) async fn plan(core: &Core, request: SubmitRequest) -> Result<PlanResponse, Status> {
    let core = core.clone();
    tokio::task::spawn_blocking(move || answer(&core, &request))
        .await
        .map_err(|_| Status::internal("planning was cut off"))?
}

fn answer(core: &Core, request: &SubmitRequest) -> Result<PlanResponse, Status> {
    let mut checked = submit::check(core, request, submit::Bytes::Known)?;
    let view = core.truth.view();
    let foreseen = predict::predict(core, &view.state, view.index, &checked, request)?;
    checked.warnings.extend(foreseen.warnings);
    let mut nodes = cluster(&view.state);
    // Where a stage would go on a cluster that is as now, but empty.
    for node in nodes.nodes.values_mut() {
        node.cpu_used = Default::default();
        node.memory_used = Default::default();
        for device in &mut node.devices {
            device.holder = None;
        }
    }
    let number = u64::MAX;
    let name = runyard_types::RunName { pipeline: checked.pipeline.name.clone(), number };
    let stages = checked
        .pipeline
        .stages
        .iter()
        .map(|stage| {
            let tasks =
                runyard_pipeline::expand_matrix(stage).map_or(0, |points| points.len() as u32);
            let mut planned = PlannedStage {
                stage: stage.name.to_string(),
                needs: stage.needs.iter().map(ToString::to_string).collect(),
                tasks,
                ..Default::default()
            };
            if stagespec::is_leaders(stage) {
                planned.placement = "carried out by the coordinator".to_owned();
            }
            if let Some(stage) = foreseen.stages.get(&stage.name) {
                planned.cached = stage.cached;
                planned.reason.clone_from(&stage.reason);
            }
            // What is not run needs no room.
            if stagespec::is_leaders(stage) || planned.cached {
                return planned;
            }
            let key = runyard_types::TaskKey {
                project: checked.project.clone(),
                parent: runyard_types::Parent::Stage {
                    run: name.clone(),
                    stage: stage.name.clone(),
                },
                index: None,
            };
            let demand = Demand {
                key,
                priority: 0,
                since_ms: 0,
                resources: stage.resources.clone(),
                nodes: stage.nodes,
                network: stage.network.clone(),
                avoid: Default::default(),
                preferred: Default::default(),
            };
            let result = schedule(&nodes, &[demand], &Limits::default());
            match (result.placements.first(), result.waiting.first()) {
                (Some(placement), _) => {
                    let names: Vec<_> =
                        placement.workers.iter().map(|worker| worker.node.to_string()).collect();
                    planned.node = names.join(", ");
                    planned.placement = format!("would go to {}", planned.node);
                }
                (None, waiting) => {
                    let reasons: Vec<String> = waiting
                        .map(|waiting| {
                            waiting
                                .reasons
                                .iter()
                                .map(|count| format!("{} {}", count.nodes, count.reason))
                                .collect()
                        })
                        .unwrap_or_default();
                    planned.placement = format!("no node could take it: {}", reasons.join(", "));
                }
            }
            planned
        })
        .collect();
    Ok(PlanResponse { stages, warnings: checked.warnings })
}
