//! Names that become one variable, and paths that lie in each other.

use std::collections::BTreeMap;
use std::ops::Range;

use runyard_types::Name;

use crate::codes::Code;
use crate::env::variable_suffix;
use crate::read::{Cx, Draft, Spot, StageDraft};

pub(super) fn check(cx: &mut Cx<'_>, draft: &Draft) {
    let params = draft.param_names.iter().map(|(name, span)| (name, span.clone()));
    variables(cx, "parameters", "RUNYARD_PARAM_", params);
    for stage in &draft.stages {
        let spots = |pick: fn(&Spot) -> Option<&Name>| {
            stage.spans.iter().filter_map(move |(spot, span)| Some((pick(spot)?, span.clone())))
        };
        let inputs = spots(|spot| match spot {
            Spot::Input(name) => Some(name),
            _ => None,
        });
        variables(cx, "inputs", "RUNYARD_INPUT_", inputs);
        let axes = spots(|spot| match spot {
            Spot::Axis(name) => Some(name),
            _ => None,
        });
        variables(cx, "axes", "RUNYARD_MATRIX_", axes);
        paths(cx, stage);
    }
}

fn variables<'d>(
    cx: &mut Cx<'_>,
    what: &str,
    prefix: &str,
    names: impl Iterator<Item = (&'d Name, Range<usize>)>,
) {
    let mut seen: BTreeMap<String, (&Name, Range<usize>)> = BTreeMap::new();
    for (name, span) in names {
        let suffix = variable_suffix(name.as_str());
        if let Some((other, place)) = seen.get(&suffix) {
            let message = format!("the {what} `{other}` and `{name}` are both `${prefix}{suffix}`");
            // The later of the two in the file is the place.
            let (first, second) =
                if place.start < span.start { (place, &span) } else { (&span, place) };
            let (first, second) = (first.clone(), second.clone());
            cx.error(Code::NamesCollide, &second, message);
            cx.also(&first, "the other one");
            cx.help("rename one of them");
        } else {
            seen.insert(suffix, (name, span));
        }
    }
}

fn paths(cx: &mut Cx<'_>, stage: &StageDraft) {
    let outputs = stage.stage.outputs.iter().map(|(name, output)| {
        (output.path.as_str(), name, stage.spot(&Spot::Output(name.clone())))
    });
    overlaps(cx, "outputs", outputs.collect());
    let inputs = stage.stage.inputs.iter().filter_map(|(name, input)| {
        Some((input.at.as_deref()?, name, stage.spot(&Spot::Input(name.clone()))))
    });
    overlaps(cx, "inputs", inputs.collect());
}

/// Two equal paths, or one inside the other. Sorted by their parts, an outer path stands directly
/// before those inside it.
fn overlaps(cx: &mut Cx<'_>, what: &str, mut paths: Vec<(&str, &Name, Range<usize>)>) {
    paths.sort_by(|a, b| a.0.split('/').cmp(b.0.split('/')).then(a.2.start.cmp(&b.2.start)));
    let mut outer: Option<(&str, &Name, Range<usize>)> = None;
    for (path, name, span) in paths {
        if let Some((outer_path, outer_name, outer_span)) = &outer {
            let inside = path.strip_prefix(outer_path);
            if inside.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
                let message = if path == *outer_path {
                    format!("the {what} `{outer_name}` and `{name}` have one path, `{path}`")
                } else {
                    format!(
                        "the path `{path}` of `{name}` lies inside `{outer_path}` of `{outer_name}`"
                    )
                };
                cx.error(Code::PathsCollide, &span, message);
                cx.also(outer_span, "the other one");
                continue;
            }
        }
        outer = Some((path, name, span));
    }
}
