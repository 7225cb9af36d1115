//! A gate judges an evaluation, and promotes what this evaluation judged.

use crate::codes::Code;
use crate::model::{Against, Check, Gate, IfNone, OnFail, Source, StageKind};
use crate::read::{Cx, Draft, Spot, StageDraft};

pub(super) fn check(cx: &mut Cx<'_>, draft: &Draft) {
    for stage in &draft.stages {
        let StageKind::Gate(gate) = &stage.stage.kind else { continue };
        let Some(judged) = draft.stages.iter().find(|s| s.stage.name == gate.results) else {
            continue;
        };
        if judged.stage.kind != StageKind::Evaluation {
            let message = format!(
                "`{}` is a {} stage, which has no results",
                gate.results,
                judged.stage.kind.noun()
            );
            cx.error(Code::WrongStage, &stage.spot(&Spot::GateResults), message);
            cx.also(&judged.span, "the stage");
            cx.help("say what it hands over: `results: rows.csv`");
            continue;
        }
        if let Some(against) = &gate.against {
            comparable(cx, stage, judged, against);
            absolute(cx, stage, gate, against);
        }
        promoted(cx, stage, judged, gate);
    }
}

/// A comparison runs the same evaluation on the other model, in place of the one it names.
fn comparable(cx: &mut Cx<'_>, stage: &StageDraft, judged: &StageDraft, against: &Against) {
    if against.stored_allow || judged.stage.evaluates.len() == 1 {
        return;
    }
    // `evaluates` that could not be read has its own finding.
    if judged.stage.evaluates.is_empty() && judged.stage.inputs.len() < input_spots(judged) {
        return;
    }
    let message = match judged.stage.evaluates.len() {
        0 => format!(
            "`{}` cannot be run on `{}`: it says not what it evaluates",
            judged.stage.name, against.model
        ),
        n => format!(
            "`{}` evaluates {n} models; which one `{}` takes the place of is not said",
            judged.stage.name, against.model
        ),
    };
    cx.error(Code::WrongStage, &stage.spot(&Spot::Against), message);
    cx.also(&judged.span, "the evaluation");
    cx.help("name the one model there: `evaluates: { model: train.model }`");
}

fn input_spots(stage: &StageDraft) -> usize {
    stage.spans.keys().filter(|spot| matches!(spot, Spot::Input(_))).count()
}

fn absolute(cx: &mut Cx<'_>, stage: &StageDraft, gate: &Gate, against: &Against) {
    let holds = |check: &Check| {
        check.on_fail == OnFail::Reject && (check.min.is_some() || check.max.is_some())
    };
    if against.if_none == IfNone::Absolute && !gate.checks.values().any(holds) {
        let message = format!(
            "without `{}` no check has a `min` or `max` to hold the first model to",
            against.model
        );
        cx.warn(Code::NothingAbsolute, &stage.spot(&Spot::Checks), message);
        cx.help("give a check a `min` or `max`, or write `if-none: block`");
    }
}

fn promoted(cx: &mut Cx<'_>, stage: &StageDraft, judged: &StageDraft, gate: &Gate) {
    let Some(promote) = &gate.promote else { return };
    let is_it = |source: &Source| {
        matches!(source, Source::Output { stage, output }
            if *stage == promote.stage && *output == promote.output)
    };
    let judged_it = judged.stage.inputs.values().any(|input| is_it(&input.source));
    // Inputs that could not be read have their own findings.
    if judged_it || judged.stage.inputs.len() < input_spots(judged) {
        return;
    }
    let message = format!(
        "the gate promotes `{}.{}`, but `{}` does not judge it",
        promote.stage, promote.output, judged.stage.name
    );
    cx.error(Code::WrongStage, &stage.spot(&Spot::Promote), message);
    cx.also(&judged.span, "the evaluation");
    cx.help("only what was tested may pass: promote an input of the evaluation");
}
