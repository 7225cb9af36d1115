//! `deploy:` - what serves a model, and how traffic moves to it.

use runyard_types::{DeploymentName, DurationMs};

use crate::codes::Code;
use crate::diagnostic::shown;
use crate::model::{Canary, Deploy, Protocol, Ready};
use crate::read::cx::{Cx, Shape};
use crate::read::data::model_ref;
use crate::read::draft::{Spot, StageDraft};
use crate::read::scalar::parse_float;
use crate::read::stage::shell;
use crate::yaml::{Node, Value};

/// The most replicas of a deployment.
const REPLICAS_MAX: u32 = 1_000;
const READY_WITHIN_DEFAULT: DurationMs = DurationMs(5 * 60_000);
const DRAIN_DEFAULT: DurationMs = DurationMs(5 * 60_000);
const KEEP_WARM_DEFAULT: DurationMs = DurationMs(10 * 60_000);
const HOLD_DEFAULT: DurationMs = DurationMs(10 * 60_000);

pub(crate) const DEPLOY: Shape = Shape {
    what: "`deploy`",
    keys: &[
        "name",
        "model",
        "run",
        "ready",
        "replicas",
        "rollout",
        "protocol",
        "drain",
        "keep-warm",
    ],
    unbuilt: &[("port", Code::ContainerNotBuilt), ("preset", Code::ServingNotBuilt)],
};

pub(crate) const READY: Shape = Shape {
    what: "`ready`",
    keys: &["path", "within", "warm-up"],
    unbuilt: &[
        ("file", Code::ServingNotBuilt),
        ("exec", Code::ServingNotBuilt),
        ("log", Code::ServingNotBuilt),
    ],
};

pub(crate) const ROLLOUT: Shape =
    Shape { what: "`rollout`", keys: &["strategy", "steps", "hold"], unbuilt: &[] };

/// Reads `deploy:`.
pub(crate) fn deploy(cx: &mut Cx<'_>, node: &Node, draft: &mut StageDraft) -> Option<Deploy> {
    let fields = cx.fields(node, &DEPLOY)?;
    let name =
        fields.require(cx, "name").and_then(|node| cx.name(node, "`name`", DeploymentName::new));
    let model = fields.require(cx, "model").and_then(|node| {
        let text = cx.filled(node, "`model`")?;
        model_ref(cx, node, text)
    });
    let run = fields.require(cx, "run").and_then(|node| {
        draft.spans.insert(Spot::Run, node.span.clone());
        shell(cx, node, "`run`")
    });
    let ready = match fields.get("ready") {
        Some(node) => ready(cx, node),
        None => Some(Ready { path: "/".into(), within: READY_WITHIN_DEFAULT, warm_up: None }),
    };
    let replicas = match fields.get("replicas") {
        Some(node) => cx.integer(node, "`replicas`", 1, REPLICAS_MAX),
        None => Some(1),
    };
    let canary = match fields.get("rollout") {
        Some(node) => rollout(cx, node),
        None => None,
    };
    if let Some(node) = fields.get("protocol") {
        protocol(cx, node);
    }
    let drain = fields
        .get("drain")
        .map_or(Some(DRAIN_DEFAULT), |node| cx.quantity(node, "`drain`", DurationMs::parse));
    let keep_warm = fields.get("keep-warm").map_or(Some(KEEP_WARM_DEFAULT), |node| {
        cx.quantity(node, "`keep-warm`", DurationMs::parse)
    });
    Some(Deploy {
        name: name?,
        model: model?,
        run: run?,
        ready: ready?,
        replicas: replicas?,
        canary,
        protocol: Protocol::Http,
        drain: drain?,
        keep_warm: keep_warm?,
    })
}

fn ready(cx: &mut Cx<'_>, node: &Node) -> Option<Ready> {
    if !matches!(node.value, Value::Map(_)) {
        let path = url_path(cx, node)?;
        return Some(Ready { path, within: READY_WITHIN_DEFAULT, warm_up: None });
    }
    let fields = cx.fields(node, &READY)?;
    let path = match fields.get("path") {
        Some(node) => url_path(cx, node),
        None => Some("/".into()),
    };
    let within = match fields.get("within") {
        Some(node) => cx.duration(node, "`within`"),
        None => Some(READY_WITHIN_DEFAULT),
    };
    let warm_up = fields.get("warm-up").and_then(|node| cx.path(node, "`warm-up`"));
    Some(Ready { path: path?, within: within?, warm_up })
}

/// A path of a request, with its query.
fn url_path(cx: &mut Cx<'_>, node: &Node) -> Option<String> {
    let text = cx.text(node, "`path`")?;
    let plain = text.starts_with('/')
        && text.len() <= 1_024
        && text.bytes().all(|b| b.is_ascii_graphic() && !b"#\"<>\\^`{|}".contains(&b));
    if plain {
        return Some(text.to_owned());
    }
    let message = format!("`{}` is no path of a request", shown(text));
    cx.error(Code::OutOfRange, &node.span, message);
    cx.help("it begins with `/`, as in `/ready`");
    None
}

fn protocol(cx: &mut Cx<'_>, node: &Node) {
    if let Value::Text(text) = &node.value
        && ["grpc", "tcp", "none", "http2"].contains(&text.as_str())
    {
        cx.not_built(Code::ServingNotBuilt, &node.span, &format!("`protocol: {text}`"));
        return;
    }
    cx.choice(node, "`protocol`", &[("http", ())]);
}

/// One canary weight: `steps: [20%, 100%]` or `steps: [20%]`; `[100%]` moves all at once.
fn rollout(cx: &mut Cx<'_>, node: &Node) -> Option<Canary> {
    let fields = cx.fields(node, &ROLLOUT)?;
    if let Some(node) = fields.get("strategy") {
        if let Value::Text(text) = &node.value
            && ["recreate", "blue-green", "rolling"].contains(&text.as_str())
        {
            cx.not_built(Code::RolloutNotBuilt, &node.span, &format!("`strategy: {text}`"));
            return None;
        }
        cx.choice(node, "`strategy`", &[("canary", ())])?;
    }
    let hold = match fields.get("hold") {
        Some(node) => cx.duration(node, "`hold`"),
        None => Some(HOLD_DEFAULT),
    };
    let node = fields.require(cx, "steps")?;
    let items = cx.items(node, "`steps`");
    let mut weights = Vec::new();
    for item in &items {
        weights.push(weight(cx, item)?);
    }
    if weights.windows(2).any(|pair| pair[0] >= pair[1]) {
        cx.error(Code::OutOfRange, &node.span, "the weights of `steps` do not rise");
        return None;
    }
    if weights.last() == Some(&1_000) {
        weights.pop();
    }
    match weights.as_slice() {
        [] => None,
        [weight_permille] => Some(Canary { weight_permille: *weight_permille, hold: hold? }),
        more => {
            let thing = format!("a rollout of {} canary weights", more.len());
            cx.not_built(Code::RolloutNotBuilt, &node.span, &thing);
            cx.help("one weight works: `steps: [20%, 100%]`");
            None
        }
    }
}

/// A part of the traffic in thousandths, written in percent.
fn weight(cx: &mut Cx<'_>, node: &Node) -> Option<u16> {
    let text = cx.text(node, "a weight of `steps`")?;
    let permille = text
        .strip_suffix('%')
        .and_then(|percent| parse_float(&format!("{}e1", percent.trim_end())))
        .filter(|permille| (1.0..=1_000.0).contains(permille) && permille.fract() == 0.0);
    match permille {
        // Checked above: whole and at most 1,000.
        Some(permille) => Some(permille as u16),
        None => {
            let message = format!("`{}` is no weight", shown(text));
            cx.error(Code::OutOfRange, &node.span, message);
            cx.help("write a percentage from `0.1%` to `100%`, no finer than a tenth");
            None
        }
    }
}
