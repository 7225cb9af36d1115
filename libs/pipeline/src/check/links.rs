//! Every stage and output that is mentioned must exist.

use std::collections::BTreeMap;

use runyard_types::Name;

use crate::codes::Code;
use crate::read::{Cx, Draft, LinkKind, StageDraft};

pub(super) fn check(cx: &mut Cx<'_>, draft: &Draft) {
    let stages: BTreeMap<&str, &StageDraft> =
        draft.stages.iter().map(|stage| (stage.stage.name.as_str(), stage)).collect();
    for stage in &draft.stages {
        for link in &stage.links {
            let Some(target) = stages.get(link.to.as_str()) else {
                let message = format!("there is no stage `{}`", link.to);
                cx.error(Code::UnknownStage, &link.span, message);
                cx.note(format!("`{}` {} it", stage.stage.name, link.kind.verb()));
                if !cx.suggest(link.to.as_str(), stages.keys().copied())
                    && link.kind == LinkKind::Input
                {
                    cx.help("a file is written `file:PATH`");
                }
                continue;
            };
            if let Some(output) = &link.output {
                known_output(cx, target, output, &link.span);
            }
        }
    }
}

fn known_output(
    cx: &mut Cx<'_>,
    target: &StageDraft,
    output: &Name,
    span: &std::ops::Range<usize>,
) {
    // Outputs that were refused are declared all the same.
    let spot = crate::read::Spot::Output(output.clone());
    if target.stage.outputs.contains_key(output) || target.spans.contains_key(&spot) {
        return;
    }
    let message = format!("the stage `{}` has no output `{output}`", target.stage.name);
    cx.error(Code::UnknownOutput, span, message);
    cx.also(&target.span, "the stage");
    let outputs: Vec<_> = target.stage.outputs.keys().map(Name::as_str).collect();
    if !cx.suggest(output.as_str(), outputs.iter().copied()) {
        cx.help(match outputs.as_slice() {
            [] => format!("declare it: `outputs: {{ {output}: PATH }}`"),
            some => format!("it has {}", some.join(", ")),
        });
    }
}
