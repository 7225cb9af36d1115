//! What commands read: parameters that nobody does, and variables that nobody sets. Warnings only,
//! because a program may read its environment unseen.

use std::collections::BTreeSet;

use runyard_types::Launch;

use crate::codes::Code;
use crate::env::{input_variable, matrix_variable, param_variable};
use crate::expr::{Expr, Reference, Template};
use crate::model::{Stage, StageKind};
use crate::read::{Cx, Draft, Spot, StageDraft};

pub(super) fn check(cx: &mut Cx<'_>, draft: &Draft) {
    let params: Vec<_> = draft.param_names.iter().map(|(name, _)| param_variable(name)).collect();
    for stage in &draft.stages {
        unknown(cx, stage, &params);
        torchrun(cx, stage);
    }
    unused(cx, draft);
}

fn unused(cx: &mut Cx<'_>, draft: &Draft) {
    let stages = || draft.stages.iter().map(|stage| &stage.stage);
    if stages().any(|stage| stage.args.is_some()) {
        return;
    }
    let mut used = BTreeSet::new();
    for stage in stages() {
        if let Some(expr) = stage.condition.as_deref().and_then(|text| Expr::parse(text).ok()) {
            used.extend(expr.references().filter_map(|(reference, _)| parameter(reference)));
        }
        for template in stage.env.values().filter_map(|text| Template::parse(text).ok()) {
            used.extend(template.references().filter_map(|(reference, _)| parameter(reference)));
        }
    }
    // An escape such as `os.environ["RUNYARD_PARAM_LR"]` in a command counts as well.
    let read: BTreeSet<_> =
        stages().filter_map(Stage::command).flat_map(|run| mentions(run, false)).collect();
    for (name, span) in &draft.param_names {
        let variable = param_variable(name);
        if !used.contains(name.as_str()) && !read.contains(variable.as_str()) {
            cx.warn(Code::UnusedParameter, span, format!("the parameter `{name}` is never used"));
            cx.help(format!("a command reads it as `${variable}`"));
        }
    }
}

fn parameter(reference: &Reference) -> Option<String> {
    match reference {
        Reference::Param(name) => Some(name.clone()),
        _ => None,
    }
}

/// The `RUNYARD_…` words of a command; only those behind a `$` where `expanded` is set.
fn mentions(run: &str, expanded: bool) -> impl Iterator<Item = &str> {
    run.match_indices("RUNYARD_").filter_map(move |(at, _)| {
        let before = &run[..at];
        if expanded && !before.ends_with('$') && !before.ends_with("${") {
            return None;
        }
        let word = &run[at..];
        let end = word.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        Some(&word[..end.unwrap_or(word.len())])
    })
}

fn unknown(cx: &mut Cx<'_>, stage: &StageDraft, params: &[String]) {
    let Some(run) = stage.stage.command() else { return };
    let inputs = stage.spans.keys().filter_map(|spot| match spot {
        Spot::Input(name) => Some(input_variable(name)),
        Spot::Axis(name) => Some(matrix_variable(name)),
        _ => None,
    });
    let known: BTreeSet<_> = inputs.chain(params.iter().cloned()).collect();
    let mut said = BTreeSet::new();
    for word in mentions(run, true) {
        let is_ours = ["RUNYARD_INPUT_", "RUNYARD_PARAM_", "RUNYARD_MATRIX_"]
            .iter()
            .any(|prefix| word.starts_with(prefix));
        if !is_ours || known.contains(word) || !said.insert(word) {
            continue;
        }
        let message = format!("`${word}` will not be set in `{}`", stage.stage.name);
        let at = run.find(word).unwrap_or(0);
        let place = cx.inner(&stage.spot(&Spot::Run), run, &(at..at + word.len()));
        cx.warn(Code::UnknownVariable, &place, message);
        let near = crate::diagnostic::nearest(word, known.iter().map(String::as_str));
        // All of them begin alike, so nearness needs the end to be near too.
        match near.filter(|near| strsim::levenshtein(near, word) <= 3) {
            Some(near) => cx.help(format!("did you mean `${near}`?")),
            None => cx.help("declare the input, parameter or axis that it stands for"),
        }
    }
}

fn torchrun(cx: &mut Cx<'_>, stage: &StageDraft) {
    if matches!(stage.stage.kind, StageKind::Gate(_) | StageKind::Deploy(_)) {
        return;
    }
    let Some(run) = stage.stage.run.as_deref() else { return };
    if run.split_whitespace().next() != Some("torchrun") {
        return;
    }
    let message = match stage.stage.launch {
        Launch::PerGpu => {
            "`launch: per-gpu` starts a process for each device, and `torchrun` more in each"
        }
        Launch::None => {
            "`run` begins with `torchrun`, which starts processes that Runyard could start itself"
        }
    };
    cx.warn(Code::TorchrunInRun, &stage.spot(&Spot::Run), message);
    cx.help("write the command without it, and `launch: per-gpu`");
}
