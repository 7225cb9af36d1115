//! A stage: its kind, and the keys that every kind may have.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use runyard_types::{DurationMs, Launch, Name, Resources, StageName};

use crate::codes::Code;
use crate::diagnostic::shown;
use crate::model::{Args, Priority, Python, Retry, RetryOn, Stage, StageKind};
use crate::read::cx::{Cx, Fields, Shape};
use crate::read::draft::{Link, LinkKind, Spot, StageDraft};
use crate::read::{data, deploy, gate, matrix, python, resources, results};
use crate::yaml::{Entry, Node, Value};

/// The most workers of a gang.
const NODES_MAX: u32 = 4_096;
/// The most retries of a task.
const RETRIES_MAX: u32 = 100;

const STAGE_UNBUILT: &[(&str, Code)] = &[
    ("checkpoint", Code::CheckpointNotBuilt),
    ("secrets", Code::SecretsNotBuilt),
    ("tune", Code::TuneNotBuilt),
    ("image", Code::ContainerNotBuilt),
    ("exclusive", Code::ExclusiveNotBuilt),
    ("lease", Code::ExclusiveNotBuilt),
];

pub(crate) const STAGE: Shape = Shape {
    what: "a stage",
    keys: &[
        "needs",
        "if",
        "run",
        "inputs",
        "evaluates",
        "outputs",
        "resources",
        "nodes",
        "launch",
        "network",
        "matrix",
        "retry",
        "timeout",
        "cache",
        "code",
        "python",
        "env",
        "args",
        "results",
        "gate",
        "deploy",
        "lost-after",
        "priority",
    ],
    unbuilt: STAGE_UNBUILT,
};

pub(crate) const DEFAULTS: Shape = Shape {
    what: "`defaults`",
    keys: &[
        "resources",
        "retry",
        "timeout",
        "cache",
        "code",
        "python",
        "env",
        "args",
        "lost-after",
        "priority",
    ],
    unbuilt: STAGE_UNBUILT,
};

pub(crate) const RETRY: Shape =
    Shape { what: "`retry`", keys: &["max", "on", "backoff"], unbuilt: &[] };

/// The keys that have a meaning in a gate.
const GATE_KEYS: &[&str] = &["needs", "if", "gate"];
/// The keys that have a meaning in a deployment.
const DEPLOY_KEYS: &[&str] =
    &["needs", "if", "deploy", "resources", "code", "python", "env", "priority"];
/// The blocks that a stage has at most one of.
const BLOCKS: &[&str] = &["gate", "deploy", "results", "evaluates"];

/// What stages take where they say nothing themselves. A value replaces, `env` is merged.
#[derive(Debug, Default)]
pub(crate) struct Defaults {
    common: Common,
    spans: BTreeMap<Spot, Range<usize>>,
}

#[derive(Debug, Default)]
struct Common {
    resources: Option<Resources>,
    retry: Option<Retry>,
    timeout: Option<DurationMs>,
    cache: Option<bool>,
    code: Option<Vec<String>>,
    python: Option<Python>,
    env: BTreeMap<String, String>,
    args: Option<Args>,
    lost_after: Option<DurationMs>,
    priority: Option<Priority>,
}

/// Reads `defaults:`.
pub(crate) fn defaults(cx: &mut Cx<'_>, node: &Node) -> Defaults {
    let Some(fields) = cx.fields(node, &DEFAULTS) else { return Defaults::default() };
    let mut spans = BTreeMap::new();
    Defaults { common: common(cx, fields, &mut spans), spans }
}

/// The keys that stand in `defaults` and in stages alike.
fn common(cx: &mut Cx<'_>, fields: Fields<'_>, spans: &mut BTreeMap<Spot, Range<usize>>) -> Common {
    let mut env = BTreeMap::new();
    if let Some(node) = fields.get("env") {
        env = data::env(cx, node, spans);
    }
    Common {
        resources: fields.get("resources").and_then(|node| resources::resources(cx, node)),
        retry: fields.get("retry").and_then(|node| retry(cx, node)),
        timeout: fields.get("timeout").and_then(|node| cx.duration(node, "`timeout`")),
        cache: fields.get("cache").and_then(|node| cx.boolean(node, "`cache`")),
        code: fields.get("code").map(|node| cx.globs(node, "`code`")),
        python: fields.get("python").and_then(|node| python::python(cx, node)),
        env,
        args: fields.get("args").and_then(|node| {
            cx.choice(node, "`args`", &[("flags", Args::Flags), ("hydra", Args::Hydra)])
        }),
        lost_after: fields.get("lost-after").and_then(|node| cx.duration(node, "`lost-after`")),
        priority: fields.get("priority").and_then(|node| {
            const CLASSES: &[(&str, Priority)] =
                &[("low", Priority::Low), ("normal", Priority::Normal), ("high", Priority::High)];
            cx.choice(node, "`priority`", CLASSES)
        }),
    }
}

/// Reads one stage. What could not be read keeps its default, and the finding refuses the file.
pub(crate) fn stage(
    cx: &mut Cx<'_>,
    name: StageName,
    entry: &Entry,
    defaults: &Defaults,
) -> StageDraft {
    let mut draft = StageDraft {
        stage: empty(name),
        span: entry.key_span.clone(),
        links: Vec::new(),
        spans: defaults.spans.clone(),
    };
    let Some(fields) = cx.fields(&entry.node, &STAGE) else { return draft };
    let own = common(cx, fields, &mut draft.spans);
    let default = &defaults.common;
    let stage = &mut draft.stage;
    stage.resources = own.resources.or_else(|| default.resources.clone()).unwrap_or_default();
    stage.code = own.code.or_else(|| default.code.clone()).unwrap_or_default();
    stage.python = own.python.or_else(|| default.python.clone());
    stage.priority = own.priority.or(default.priority).unwrap_or_default();
    stage.env = default.env.clone();
    stage.env.extend(own.env);
    needs(cx, fields, &mut draft);
    if let Some(node) = fields.get("if") {
        draft.stage.condition = cx.filled(node, "`if`").map(str::to_owned);
        draft.spans.insert(Spot::Condition, node.span.clone());
    }
    block_of(cx, fields);
    if let Some(node) = fields.get("gate") {
        refuse_others(cx, fields, "gate", GATE_KEYS);
        if let Some(gate) = gate::gate(cx, node, &mut draft) {
            draft.stage.kind = StageKind::Gate(gate);
        }
        draft.stage.env.clear();
        draft.stage.python = None;
    } else if let Some(node) = fields.get("deploy") {
        refuse_others(cx, fields, "deploy", DEPLOY_KEYS);
        if let Some(deploy) = deploy::deploy(cx, node, &mut draft) {
            draft.stage.kind = StageKind::Deploy(deploy);
        }
    } else {
        let stage = &mut draft.stage;
        stage.retry = own.retry.or_else(|| default.retry.clone()).unwrap_or_default();
        stage.timeout = own.timeout.or(default.timeout);
        stage.cache = own.cache.or(default.cache).unwrap_or(true);
        stage.args = own.args.or(default.args);
        stage.lost_after = own.lost_after.or(default.lost_after);
        command(cx, fields, &mut draft);
    }
    draft
}

fn empty(name: StageName) -> Stage {
    Stage {
        name,
        kind: StageKind::Task,
        needs: Vec::new(),
        condition: None,
        run: None,
        inputs: BTreeMap::new(),
        evaluates: BTreeSet::new(),
        outputs: BTreeMap::new(),
        resources: Resources::default(),
        nodes: 1,
        launch: Launch::None,
        network: None,
        matrix: None,
        retry: Retry::default(),
        timeout: None,
        cache: false,
        code: Vec::new(),
        python: None,
        env: BTreeMap::new(),
        args: None,
        results: None,
        lost_after: None,
        priority: Priority::default(),
    }
}

fn needs(cx: &mut Cx<'_>, fields: Fields<'_>, draft: &mut StageDraft) {
    let Some(node) = fields.get("needs") else { return };
    for item in cx.items(node, "`needs`") {
        if let Some(to) = cx.name(item, "`needs`", StageName::new) {
            let span = item.span.clone();
            draft.links.push(Link { to, output: None, span, kind: LinkKind::Needs });
        }
    }
}

/// Refuses a stage with the blocks of two kinds.
fn block_of(cx: &mut Cx<'_>, fields: Fields<'_>) {
    let mut blocks = BLOCKS.iter().filter_map(|key| fields.entry(key));
    let Some(first) = blocks.next() else { return };
    for other in blocks {
        // An evaluation may have both of its blocks.
        if first.key == "results" && other.key == "evaluates" {
            continue;
        }
        let message = format!("a stage has `{}` or `{}`, not both", first.key, other.key);
        cx.error(Code::KeyOutOfPlace, &other.key_span, message);
        cx.also(&first.key_span, "the stage's kind follows from this");
        cx.help("make two stages of it");
    }
}

/// Refuses keys that have no meaning in a stage of this kind.
fn refuse_others(cx: &mut Cx<'_>, fields: Fields<'_>, kind: &str, allowed: &[&str]) {
    for key in STAGE.keys.iter().filter(|key| !allowed.contains(key) && !BLOCKS.contains(key)) {
        if let Some(entry) = fields.entry(key) {
            let message = format!("`{key}` has no meaning in a {kind} stage");
            cx.error(Code::KeyOutOfPlace, &entry.key_span, message);
            if kind == "deploy" && *key == "run" {
                cx.help("the server's command is `run` inside `deploy:`");
            }
        }
    }
}

/// The keys of a task or an evaluation.
fn command(cx: &mut Cx<'_>, fields: Fields<'_>, draft: &mut StageDraft) {
    if fields.get("evaluates").is_some() || fields.get("results").is_some() {
        draft.stage.kind = StageKind::Evaluation;
        draft.stage.results = Some(match fields.get("results") {
            Some(node) => results::results(cx, node),
            None => Default::default(),
        });
    }
    match fields.get("run") {
        Some(node) => run(cx, node, draft),
        None => {
            let message = format!("the stage `{}` has no `run`", draft.stage.name);
            cx.error(Code::MissingKey, &draft.span, message);
            cx.help("give it a command, or a `gate:` or `deploy:` block");
        }
    }
    data::inputs(cx, fields, draft);
    if let Some(node) = fields.get("outputs") {
        data::outputs(cx, node, draft);
    }
    let stage = &mut draft.stage;
    if let Some(node) = fields.get("nodes") {
        stage.nodes = cx.integer(node, "`nodes`", 1, NODES_MAX).unwrap_or(1);
    }
    if let Some(node) = fields.get("launch") {
        draft.spans.insert(Spot::Launch, node.span.clone());
        stage.launch = launch(cx, node);
        if stage.launch == Launch::PerGpu && stage.resources.gpu.count == 0 {
            cx.error(
                Code::OutOfRange,
                &node.span,
                "`launch: per-gpu` without devices starts nothing",
            );
            cx.help("ask for devices, such as `resources: { gpu: 2 }`");
        }
    }
    if let Some(node) = fields.get("network") {
        stage.network = cx.name(node, "`network`", Name::new).map(|name| name.as_str().to_owned());
    }
    if let Some(node) = fields.get("matrix") {
        draft.spans.insert(Spot::Matrix, node.span.clone());
        stage.matrix = matrix::matrix(cx, node, &mut draft.spans);
    }
}

fn run(cx: &mut Cx<'_>, node: &Node, draft: &mut StageDraft) {
    draft.spans.insert(Spot::Run, node.span.clone());
    if let Value::List(_) = node.value {
        cx.wrong_type(node, "`run`", "one shell command");
        cx.help("write several commands as lines of a `run: |` block");
        return;
    }
    draft.stage.run = shell(cx, node, "`run`");
}

/// A shell command, into which nothing is ever substituted (RELIABILITY A4).
pub(crate) fn shell(cx: &mut Cx<'_>, node: &Node, what: &str) -> Option<String> {
    let text = cx.filled(node, what)?;
    if let Some(at) = text.find("${{") {
        let end = text[at..].find("}}").map_or(text.len(), |end| at + end + 2);
        let span = cx.inner(&node.span, text, &(at..end));
        let message = format!("`{}` in a command would become shell code", shown(&text[at..end]));
        cx.error(Code::Interpolation, &span, message);
        cx.help(shell_help(&text[at..end]));
    }
    Some(text.to_owned())
}

fn shell_help(expression: &str) -> String {
    let inner = expression.trim_start_matches("${{").trim_end_matches("}}").trim();
    let variable = inner
        .strip_prefix("params.")
        .map(|name| ("RUNYARD_PARAM_", name))
        .or_else(|| inner.strip_prefix("matrix.").map(|name| ("RUNYARD_MATRIX_", name)));
    match variable {
        Some((prefix, name)) if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') => {
            format!("write `\"${prefix}{}\"`", crate::env::variable_suffix(name))
        }
        _ => "set it under `env:` and use the variable".into(),
    }
}

fn launch(cx: &mut Cx<'_>, node: &Node) -> Launch {
    if let Value::Text(text) = &node.value
        && ["torchrun", "mpi"].contains(&text.as_str())
    {
        cx.not_built(Code::LaunchNotBuilt, &node.span, &format!("`launch: {text}`"));
        return Launch::None;
    }
    cx.choice(node, "`launch`", &[("none", Launch::None), ("per-gpu", Launch::PerGpu)])
        .unwrap_or_default()
}

/// `retry: 2` tries errors and failures again; absent, only errors are.
fn retry(cx: &mut Cx<'_>, node: &Node) -> Option<Retry> {
    const KINDS: &[(&str, RetryOn)] = &[("error", RetryOn::Error), ("failure", RetryOn::Failure)];
    let both = BTreeSet::from([RetryOn::Error, RetryOn::Failure]);
    let backoff = Retry::default().backoff;
    if !matches!(node.value, Value::Map(_)) {
        let max = cx.integer(node, "`retry`", 0, RETRIES_MAX)?;
        return Some(Retry { max, on: both, backoff });
    }
    let fields = cx.fields(node, &RETRY)?;
    let max = match fields.get("max") {
        Some(node) => cx.integer(node, "`max`", 0, RETRIES_MAX)?,
        None => Retry::default().max,
    };
    let mut on = both;
    if let Some(node) = fields.get("on") {
        let items = cx.items(node, "`on`");
        on = items.into_iter().filter_map(|item| cx.choice(item, "`on`", KINDS)).collect();
    }
    let backoff = match fields.get("backoff") {
        Some(node) => cx.quantity(node, "`backoff`", DurationMs::parse)?,
        None => backoff,
    };
    Some(Retry { max, on, backoff })
}
