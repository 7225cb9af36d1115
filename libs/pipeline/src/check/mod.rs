//! Second pass: references are followed, the graph is ordered, names and expressions are checked.

mod collide;
mod expressions;
mod gates;
mod graph;
mod links;
mod sizes;
mod variables;

use runyard_types::PipelineName;

use crate::model::{Pipeline, Stage};
use crate::read::{Cx, Draft};

/// Checks what the first pass left. `None` where the graph has no order or the name is missing; the
/// findings say why.
pub(crate) fn check(cx: &mut Cx<'_>, mut draft: Draft) -> Option<Pipeline> {
    expressions::check(cx, &mut draft);
    links::check(cx, &draft);
    gates::check(cx, &draft);
    collide::check(cx, &draft);
    sizes::check(cx, &draft);
    variables::check(cx, &draft);
    let order = graph::order(cx, &draft)?;
    let name: PipelineName = draft.name?;
    let mut stages: Vec<Option<Stage>> =
        draft.stages.into_iter().map(|draft| Some(graph::with_needs(draft))).collect();
    let stages = order.into_iter().filter_map(|index| stages[index].take()).collect();
    let params = draft.params.into_iter().map(|(name, (param, _))| (name, param)).collect();
    Some(Pipeline { version: 1, name, params, stages })
}
