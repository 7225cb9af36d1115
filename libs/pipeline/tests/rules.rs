//! Each rule of the file, accepted and refused.

mod common;

use common::{accepted, clean, codes, only, refused, with_stages, with_task};
use runyard_pipeline::{
    Args, Collect, Missing, ModelAt, OnFail, ParamValue, Priority, PythonSource, RetryOn, Source,
    StageKind, expand_matrix,
};
use runyard_types::{ByteSize, CpuMilli, DurationMs, GpuRequest, Launch, Name};

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn task(lines: &str) -> runyard_pipeline::Stage {
    clean(&with_task(lines)).stages.remove(0)
}

#[test]
fn the_top_level_needs_version_name_and_stages() {
    assert_eq!(codes("{}"), ["RY0107", "RY0107", "RY0107"]);
    assert_eq!(codes(""), ["RY0106"]);
    assert_eq!(codes("[1]"), ["RY0106"]);
    assert_eq!(
        only("version: 2\nname: t\nstages: { a: { run: x } }\n"),
        "1:10 RY0108 `version: 2` is not known"
    );
    assert_eq!(only("version: 1\nname: t\nstages: {}\n"), "3:1 RY0209 the pipeline has no stages");
    assert_eq!(
        only("version: 1\nname: T\nstages: { a: { run: x } }\n").split(' ').next(),
        Some("2:7")
    );
    assert!(only("a: [1\nb: 2\n").contains("RY0101 this is not YAML"));
}

#[test]
fn unknown_keys_are_errors_with_a_suggestion_and_only_x_is_free() {
    let source = "version: 1\nname: t\nx-note: { a: [1] }\nstages:\n  a: { run: x, x-b: 1, ouputs: {} }\nstage: {}\n";
    let found = refused(source);
    let told: Vec<_> = found.iter().map(|d| (d.message.as_str(), d.help.as_deref())).collect();
    assert_eq!(
        told,
        [
            ("a stage has no key `ouputs`", Some("did you mean `outputs`?")),
            ("the file has no key `stage`", Some("did you mean `stages`?")),
        ]
    );
}

#[test]
fn everything_wrong_is_reported_at_once_in_the_order_of_the_file() {
    let source = "version: 1\nname: t\nparams: { p: { type: number } }\nstages:\n  a: { run: x, needs: b, timeout: 5 }\n  c: { run: x, if: 'params.q > 1', outputs: { o: ../o } }\n";
    assert_eq!(codes(source), ["RY0501", "RY0113", "RY0201", "RY0110", "RY0302", "RY0111"]);
}

#[test]
fn devices_are_whole_and_written_in_four_ways() {
    let gpu = |text: &str| task(&format!("resources: {{ gpu: {text} }}")).resources.gpu;
    assert_eq!(gpu("2"), GpuRequest { count: 2, ..GpuRequest::default() });
    assert_eq!(gpu("H100:4").models, ["H100"]);
    assert_eq!(gpu("H100:4").count, 4);
    assert_eq!(gpu("A100").count, 1);
    assert_eq!(gpu("24GB:2").memory.min, Some(ByteSize(24_000_000_000)));
    assert_eq!(gpu("24GB:2").count, 2);
    let map = gpu("{ any: [H100, A100], count: 4, memory: 80GB.. }");
    assert_eq!((map.models.len(), map.count), (2, 4));
    assert_eq!((map.memory.min, map.memory.max), (Some(ByteSize(80_000_000_000)), None));
    assert_eq!(gpu("{ memory: 24GB..48GiB }").memory.max, Some(ByteSize(48 << 30)));
    let rest = task("resources: { cpu: 0.5, memory: 1.5GiB }").resources;
    assert_eq!((rest.cpu, rest.memory), (CpuMilli(500), ByteSize(1_610_612_736)));
    for (text, code) in [
        ("0.5", "RY0909"),
        ("{ mig: 2g.20gb }", "RY0909"),
        ("{ any: [H100], nvlink: true }", "RY0909"),
        ("{ any: ['a/b'] }", "RY0110"),
        ("{ memory: 80GB..40GB }", "RY0113"),
        ("{ memory: '..' }", "RY0110"),
        ("'x:y'", "RY0110"),
        ("[1]", "RY0106"),
    ] {
        assert_eq!(codes(&with_task(&format!("resources: {{ gpu: {text} }}"))), [code], "{text}");
    }
}

#[test]
fn sources_of_inputs() {
    let stage = |from: &str| task(&format!("inputs: {{ i: {from} }}")).inputs[&name("i")].clone();
    assert_eq!(stage("'file:./data/x.csv'").source, Source::File("data/x.csv".into()));
    let mount = stage("{ from: 'mount:/mnt/nas/', at: d/, digest: true }");
    assert_eq!(mount.source, Source::Mount { path: "/mnt/nas".into(), digest: true });
    assert_eq!(mount.at.as_deref(), Some("d"));
    let model = |text: &str| match stage(text).source {
        Source::Model(model) => model.at,
        other => panic!("{other:?}"),
    };
    assert_eq!(model("'model://churn@12'"), ModelAt::Version(12));
    assert!(matches!(model("'model://churn@champion'"), ModelAt::Alias(_)));
    for (from, code) in [
        ("s3://b/k", "RY0907"),
        ("gs://b/k", "RY0907"),
        ("az://b/k", "RY0907"),
        ("https://h/x", "RY0907"),
        ("hf://org/name@rev", "RY0907"),
        ("dataset://d@1", "RY0908"),
        ("sweep.best.model", "RY0916"),
        ("file:/etc/passwd", "RY0111"),
        ("file:../x", "RY0111"),
        ("mount:data", "RY0111"),
        ("mount:/a/../b", "RY0111"),
        ("model://churn", "RY0114"),
        ("model://churn@0", "RY0114"),
        ("model://Churn@1", "RY0109"),
        ("data.csv", "RY0201"),
        ("data", "RY0114"),
    ] {
        let found = refused(&with_task(&format!("inputs: {{ i: {{ from: {from} }} }}")));
        assert_eq!(found[0].code.as_str(), code, "{from}: {found:?}");
    }
    assert_eq!(codes(&with_task("inputs: { i: { from: 'file:x', digest: true } }")), ["RY0112"]);
    assert_eq!(codes(&with_task("inputs: { i: { from: 'file:x', at: /x } }")), ["RY0111"]);
}

#[test]
fn both_forms_of_a_reference_name_an_output() {
    let pipeline = clean(&with_stages(
        "  b: { run: x, inputs: { i: a.o, j: a.outputs.p.q } }\n  a: { run: x, outputs: { o: o, p.q: { path: p/, type: model, from: all } } }\n",
    ));
    assert_eq!(pipeline.stages[0].name.as_str(), "a", "needs stand first");
    assert_eq!(pipeline.stages[0].outputs[&name("p.q")].from, Collect::All);
    assert_eq!(pipeline.stages[1].needs.len(), 1);
    let unknown = with_stages(
        "  a: { run: x, outputs: { model: o } }\n  b: { run: x, inputs: { i: a.modle } }\n",
    );
    assert_eq!(codes(&unknown), ["RY0203"]);
    assert_eq!(refused(&unknown)[0].help.as_deref(), Some("did you mean `model`?"));
}

#[test]
fn names_that_become_one_variable_and_paths_within_paths_are_refused() {
    assert_eq!(codes(&with_task("inputs: { a-b: 'file:x', a.b: 'file:y' }")), ["RY0204"]);
    assert_eq!(codes(&with_task("matrix: { axes: { a-b: [1], a_b: [1] } }")), ["RY0204"]);
    let params = "version: 1\nname: t\nparams: { a-b: 1, a_b: 2 }\nstages: { a: { run: 'x $RUNYARD_PARAM_A_B' } }\n";
    assert_eq!(codes(params), ["RY0204"]);
    assert_eq!(codes(&with_task("outputs: { a: out, b: ./out/ }")), ["RY0205"]);
    assert_eq!(codes(&with_task("outputs: { a: out, b: out/x, c: out-x }")), ["RY0205"]);
    assert_eq!(
        codes(&with_task(
            "inputs: { a: { from: 'file:x', at: d }, b: { from: 'file:y', at: d/e } }"
        )),
        ["RY0205"]
    );
    for path in ["/abs", "../up", "a/../b", ".", "''", "~/x"] {
        assert_eq!(codes(&with_task(&format!("outputs: {{ a: {path} }}"))), ["RY0111"], "{path}");
    }
}

#[test]
fn python_environments() {
    let python = |text: &str| task(&format!("python: {text}")).python.expect("an environment");
    assert_eq!(python("env/req.txt").source, PythonSource::Requirements("env/req.txt".into()));
    assert_eq!(python("pyproject.toml").source, PythonSource::Project("pyproject.toml".into()));
    assert_eq!(python("{ project: . }").source, PythonSource::Project("pyproject.toml".into()));
    assert_eq!(python("uv.lock").source, PythonSource::Lock("uv.lock".into()));
    assert_eq!(python("{ venv: /opt/venv }").source, PythonSource::Venv("/opt/venv".into()));
    let full = python("{ requirements: r.txt, version: 3.10, index: https://host/simple }");
    assert_eq!(full.version.as_deref(), Some("3.10"), "not 3.1");
    for (text, code) in [
        ("{ conda: env.yml }", "RY0914"),
        ("{ version: 3.11 }", "RY0107"),
        ("{ requirements: a, lock: b }", "RY0112"),
        ("{ requirements: a, version: new }", "RY0110"),
        ("{ requirements: a, index: 'https://u:p@host/x' }", "RY0113"),
        ("{ requirements: a, index: host }", "RY0113"),
        ("../r.txt", "RY0111"),
        ("{ venv: ../v }", "RY0111"),
    ] {
        assert_eq!(codes(&with_task(&format!("python: {text}"))), [code], "{text}");
    }
    let secret =
        refused(&with_task("python: { requirements: a, index: 'https://u:hunter2@host/x' }"));
    assert!(!secret[0].message.contains("hunter2"));
}

#[test]
fn retries_time_limits_and_the_rest_of_a_task() {
    let both = [RetryOn::Error, RetryOn::Failure];
    let short = task("retry: 2").retry;
    assert_eq!((short.max, short.on.into_iter().collect::<Vec<_>>()), (2, both.to_vec()));
    let long = task("retry: { max: 5, on: error, backoff: 30s }").retry;
    assert_eq!((long.max, long.on.len(), long.backoff), (5, 1, DurationMs(30_000)));
    let default = task("").retry;
    assert!(!default.on.contains(&RetryOn::Failure), "failures are not retried unasked");
    let stage = task(
        "timeout: 1h30m\ncache: false\ncode: [a.py, 'src/**']\nargs: hydra\nlost-after: 5m\npriority: high\nnodes: 2\nnetwork: ib0\nresources: { gpu: 2 }\nlaunch: per-gpu\nenv: { A: 1, DEBUG: true, _x: 'a b' }",
    );
    assert_eq!(stage.timeout, Some(DurationMs(5_400_000)));
    assert!(!stage.cache);
    assert_eq!((stage.args, stage.priority, stage.nodes), (Some(Args::Hydra), Priority::High, 2));
    assert_eq!((stage.launch, stage.network.as_deref()), (Launch::PerGpu, Some("ib0")));
    assert_eq!(stage.env["DEBUG"], "true");
    for (lines, code) in [
        ("retry: { on: never }", "RY0113"),
        ("launch: torchrun", "RY0906"),
        ("launch: mpi", "RY0906"),
        ("launch: per-gpu", "RY0113"),
        ("launch: per_gpu", "RY0113"),
        ("checkpoint: { path: c }", "RY0910"),
        ("image: x@sha256:1", "RY0905"),
        ("secrets: [A]", "RY0902"),
        ("tune: {}", "RY0904"),
        ("exclusive: true", "RY0912"),
        ("cache: yes", "RY0106"),
        ("code: ['a[']", "RY0115"),
        ("code: ['../x']", "RY0111"),
        ("env: { RUNYARD_RUN: x }", "RY0113"),
        ("env: { a-b: x }", "RY0109"),
        ("env: { A: [1] }", "RY0106"),
        ("priority: urgent", "RY0113"),
        ("args: { a: 1 }", "RY0106"),
    ] {
        assert_eq!(codes(&with_task(lines)), [code], "{lines}");
    }
    assert_eq!(codes(&with_stages("  a: { needs: [] }\n")), ["RY0107"]);
    assert_eq!(codes(&with_stages("  a: { run: [x, y] }\n")), ["RY0106"]);
}

#[test]
fn not_built_keys_of_the_top_level() {
    for (key, code) in [("triggers", "RY0901"), ("secrets", "RY0902"), ("concurrency", "RY0903")] {
        let source = format!("{}{key}: {{}}\n", with_task(""));
        assert_eq!(codes(&source), [code], "{key}");
        let found = refused(&source);
        assert_eq!(found[0].message, format!("`{key}` is not built yet"));
    }
}

#[test]
fn matrices_expand_by_sorted_axes() {
    let stage = task(
        "matrix: { axes: { suite: [clean, ood], seed: [0, 1] }, exclude: [{ suite: ood, seed: 0 }], fail-fast: true, max-parallel: 4 }",
    );
    let labels: Vec<_> =
        expand_matrix(&stage).expect("points").into_iter().map(|p| p.label).collect();
    assert_eq!(labels, ["seed=0,suite=clean", "seed=1,suite=clean", "seed=1,suite=ood"]);
    let matrix = stage.matrix.expect("a matrix");
    assert_eq!((matrix.fail_fast, matrix.max_parallel), (true, Some(4)));
    for (text, code) in [
        ("{ seed: [0, 1] }", "RY0107"),
        ("{ axes: {} }", "RY0113"),
        ("{ axes: { a: [] } }", "RY0113"),
        ("{ axes: { a: 1 } }", "RY0106"),
        ("{ axes: { a: [1, '1'] } }", "RY0113"),
        ("{ axes: { a: [1] }, exclude: [{ b: 1 }] }", "RY0113"),
        ("{ axes: { a: [1] }, exclude: [{ a: 2 }] }", "RY0113"),
        ("{ axes: { a: [1] }, exclude: [{ a: 1 }] }", "RY0113"),
        ("{ axes: { a: [1] }, exclude: [{}] }", "RY0113"),
        ("{ axes: { a: [1] }, max-parallel: 0 }", "RY0113"),
    ] {
        let found = codes(&with_task(&format!("matrix: {text}")));
        assert_eq!(found[0], code, "{text}");
    }
}

const EVALUATED: &str = "  train: { run: x, outputs: { model: out, other: o2 } }\n  eval: { run: x, evaluates: { model: train.model }, results: r.csv }\n";

fn gate(block: &str) -> String {
    with_stages(&format!("{EVALUATED}  gate: {{ gate: {{ {block} }} }}\n"))
}

#[test]
fn gates_judge_an_evaluation_and_promote_what_it_judged() {
    let pipeline = clean(&gate(
        "results: eval, against: churn@7, checks: { a: { metric: m, stat: p95, goal: min, max: 30, margin: 0, alpha: 1%, by: country, method: wilson, on-fail: warn } }, correct: bh, inconclusive: ask, promote: { model: train.model, to: churn@champion }",
    ));
    let StageKind::Gate(gate_) = &pipeline.stages[2].kind else { panic!("a gate") };
    let check = &gate_.checks[&name("a")];
    assert_eq!((check.max, check.margin, check.alpha), (Some(30.0), Some(0.0), 0.01));
    assert_eq!((check.on_fail, check.by.as_deref()), (OnFail::Warn, Some("country")));
    let ok = "checks: { a: { metric: m, min: 90% } }";
    for (block, code) in [
        (format!("results: train, {ok}"), "RY0208"),
        (format!("results: nobody, {ok}"), "RY0201"),
        (ok.to_owned(), "RY0107"),
        ("results: eval".to_owned(), "RY0107"),
        ("results: eval, checks: {}".to_owned(), "RY0113"),
        ("results: eval, checks: { a: { metric: m } }".to_owned(), "RY0107"),
        ("results: eval, checks: { a: { min: 1 } }".to_owned(), "RY0107"),
        ("results: eval, checks: { a: { metric: m, margin: 1pt } }".to_owned(), "RY0112"),
        ("results: eval, checks: { a: { metric: m, min: 2, max: 1 } }".to_owned(), "RY0113"),
        ("results: eval, checks: { a: { metric: m, min: x } }".to_owned(), "RY0106"),
        ("results: eval, checks: { a: { metric: m, min: .nan } }".to_owned(), "RY0106"),
        ("results: eval, checks: { a: { metric: m, min: 1, alpha: 0.5 } }".to_owned(), "RY0113"),
        ("results: eval, checks: { a: { metric: m, min: 1, stat: p100 } }".to_owned(), "RY0113"),
        (
            "results: eval, against: m@c, checks: { a: { metric: m, margin: -1 } }".to_owned(),
            "RY0113",
        ),
        (
            "results: eval, against: m@c, checks: { a: { metric: m, margin: 2% } }".to_owned(),
            "RY0113",
        ),
        (format!("results: eval, against: m, {ok}"), "RY0114"),
        (format!("results: eval, against: {{ model: m@c, anchor: {{}} }}, {ok}"), "RY0911"),
        (format!("results: eval, {ok}, promote: {{ model: train.other, to: m@c }}"), "RY0208"),
        (format!("results: eval, {ok}, promote: {{ model: train.model, to: m@3 }}"), "RY0114"),
        (format!("results: eval, {ok}, correct: bonferroni"), "RY0113"),
    ] {
        let found = codes(&gate(&block));
        assert_eq!(found, [code], "{block}");
    }
    let bare = with_stages(
        "  eval: { run: x, results: r.csv }\n  gate: { gate: { results: eval, against: m@c, checks: { a: { metric: m, margin: 1pt } } } }\n",
    );
    assert_eq!(codes(&bare), ["RY0208"]);
    accepted(&bare.replace("against: m@c", "against: { model: m@c, stored: allow }"));
    let warned = accepted(&gate(
        "results: eval, against: { model: m@c, if-none: absolute }, checks: { a: { metric: m, margin: 1pt } }",
    ));
    assert_eq!(warned.warnings[0].code.as_str(), "RY0504");
}

#[test]
fn results_say_where_the_examples_are() {
    let results = |text: &str| task(&format!("results: {text}")).results.expect("results");
    assert_eq!(results("[a.csv, 'b/*.jsonl']").files, ["a.csv", "b/*.jsonl"]);
    let full = results("{ files: a.csv, id: key, error-rows: drop, missing: drop <= 1% }");
    assert_eq!(full.missing, Missing::Drop { at_most: 0.01 });
    assert_eq!(codes(&with_task("results: { missing: some }")), ["RY0113"]);
    assert_eq!(codes(&with_task("results: ../r.csv")), ["RY0111"]);
    let own = clean(&with_stages("  a: { run: x, evaluates: { m: 'model://m@c' } }\n"));
    assert_eq!(own.stages[0].kind, StageKind::Evaluation);
}

fn deploy(lines: &str) -> String {
    with_stages(&format!(
        "  s: {{ deploy: {{ name: d, model: m@champion, run: serve, {lines} }} }}\n"
    ))
}

#[test]
fn deployments_have_one_canary_weight() {
    let parsed = |lines: &str| match clean(&deploy(lines)).stages.remove(0).kind {
        StageKind::Deploy(deploy) => deploy,
        other => panic!("{other:?}"),
    };
    assert_eq!(parsed("").canary, None);
    assert_eq!(parsed("rollout: { steps: [100%] }").canary, None);
    let canary =
        parsed("rollout: { strategy: canary, steps: [0.5%], hold: 5s }").canary.expect("one");
    assert_eq!((canary.weight_permille, canary.hold), (5, DurationMs(5_000)));
    let full = parsed(
        "ready: { path: '/health?x=1', within: 5m, warm-up: w.jsonl }, replicas: 2, protocol: http, drain: 1m, keep-warm: 0s",
    );
    assert_eq!((full.replicas, full.keep_warm), (2, DurationMs(0)));
    assert_eq!(full.ready.warm_up.as_deref(), Some("w.jsonl"));
    for (lines, code) in [
        ("rollout: { steps: [5%, 25%, 100%] }", "RY0913"),
        ("rollout: { strategy: recreate, steps: [100%] }", "RY0913"),
        ("rollout: { steps: [50%, 20%] }", "RY0113"),
        ("rollout: { steps: [0%] }", "RY0113"),
        ("rollout: { steps: [120%] }", "RY0113"),
        ("rollout: { steps: [0.05%] }", "RY0113"),
        ("rollout: { steps: [20] }", "RY0113"),
        ("ready: { exec: x }", "RY0915"),
        ("ready: ready", "RY0113"),
        ("protocol: grpc", "RY0915"),
        ("port: 80", "RY0905"),
        ("preset: vllm", "RY0915"),
        ("replicas: 0", "RY0113"),
    ] {
        assert_eq!(codes(&deploy(lines)), [code], "{lines}");
    }
}

#[test]
fn a_key_in_a_stage_of_another_kind_is_refused() {
    let gate = "gate: { results: e, checks: { a: { metric: m, min: 1 } } }";
    let with = |more: &str| {
        with_stages(&format!("  e: {{ run: x, results: r }}\n  g: {{ {gate}, {more} }}\n"))
    };
    assert_eq!(codes(&with("run: x")), ["RY0112"]);
    assert_eq!(codes(&with("timeout: 1m")), ["RY0112"]);
    assert_eq!(codes(&with("results: x")), ["RY0112"]);
    assert_eq!(codes(&deploy("").replace("s: {", "s: { run: x,")), ["RY0112"]);
}

#[test]
fn defaults_fill_what_a_stage_leaves_out() {
    let source = "version: 1\nname: t\ndefaults: { timeout: 1h, env: { A: '1', B: '1' }, resources: { gpu: 1 }, retry: 0, python: r.txt }\nstages:\n  a: { run: x, env: { B: '2' }, timeout: 2h }\n  b: { run: x, resources: { cpu: 2 } }\n  s: { deploy: { name: d, model: m@c, run: y } }\n  e: { run: x, results: r }\n  g: { gate: { results: e, checks: { a: { metric: m, min: 1 } } } }\n";
    let pipeline = clean(source);
    let stage = |name: &str| pipeline.stage(name).expect("a stage");
    assert_eq!((stage("a").env["A"].as_str(), stage("a").env["B"].as_str()), ("1", "2"));
    assert_eq!(stage("a").timeout, Some(DurationMs(7_200_000)));
    assert_eq!(stage("b").timeout, Some(DurationMs(3_600_000)));
    assert_eq!(stage("b").resources.gpu.count, 0, "resources replace, they are not merged");
    assert_eq!(stage("b").retry.max, 0);
    assert_eq!(stage("s").timeout, None, "a server has no end");
    assert!(stage("s").python.is_some() && stage("g").python.is_none());
    let refused = source.replace("retry: 0", "run: x");
    assert_eq!(codes(&refused), ["RY0105"]);
}

#[test]
fn parameters_are_declared_short_or_long() {
    let file = |params: &str| {
        format!(
            "version: 1\nname: t\nparams: {{ p: {params} }}\nstages: {{ a: {{ run: x, args: flags }} }}\n"
        )
    };
    let default = |params: &str| clean(&file(params)).params[&name("p")].default.clone();
    assert_eq!(default("10"), Some(ParamValue::Int(10)));
    assert_eq!(default("1e-5"), Some(ParamValue::Float(1e-5)));
    assert_eq!(default("true"), Some(ParamValue::Bool(true)));
    assert_eq!(default("yes"), Some(ParamValue::String("yes".into())));
    assert_eq!(default("{ type: float, default: '1e-5' }"), Some(ParamValue::Float(1e-5)));
    assert_eq!(default("{ type: float, default: 1 }"), Some(ParamValue::Float(1.0)));
    assert_eq!(default("{ type: string, default: 010 }"), Some(ParamValue::String("010".into())));
    assert_eq!(default("{ type: int }"), None);
    for (params, code) in [
        ("{ type: int, default: 1.5 }", "RY0306"),
        ("{ type: float, default: .inf }", "RY0306"),
        ("{ type: int, default: 5, max: 4 }", "RY0306"),
        ("{ type: int, min: 5, max: 4 }", "RY0306"),
        ("{ type: string, min: 5 }", "RY0306"),
        ("{ type: string, default: a, choices: [b, c] }", "RY0306"),
        ("{ type: string, choices: [] }", "RY0306"),
        ("{ help: x }", "RY0107"),
        ("{ type: double }", "RY0113"),
        ("[1]", "RY0106"),
    ] {
        assert_eq!(codes(&file(params)), [code], "{params}");
    }
}

#[test]
fn expressions_in_the_file_are_checked_for_names_types_and_needs() {
    let pipeline = clean(&with_stages(
        "  b: { run: x, if: 'a.metrics[\"acc\"] > 0.5 && git.branch == \"main\"' }\n  a: { run: x }\n",
    ));
    assert_eq!(pipeline.stages[1].needs[0].as_str(), "a", "a condition implies a need");
    for (lines, code) in [
        ("if: git.brunch == 'x'", "RY0302"),
        ("if: params.lr > 1", "RY0302"),
        ("if: matrix.seed == '1'", "RY0302"),
        ("if: b.metrics.x > 1", "RY0201"),
        ("if: 1 + 1", "RY0303"),
        ("if: git.branch > 1", "RY0303"),
        ("if: git.branch = 1", "RY0301"),
        ("if: ${{ success() }}", "RY0304"),
        ("env: { A: '${{ matrix.seed }}' }", "RY0302"),
        ("env: { A: '${{ [1] }}' }", "RY0303"),
        ("env: { A: '${{ 1' }", "RY0301"),
    ] {
        assert_eq!(codes(&with_task(lines)), [code], "{lines}");
    }
    for (lines, help) in
        [("if: 1 + 1", "… > 0"), ("if: git.branch", "!= \"\""), ("if: git.branch > 1", "string(…)")]
    {
        let found = refused(&with_task(lines));
        let told = found[0].help.clone().unwrap_or_default();
        assert!(told.contains(help), "{lines}: {told}");
    }
    clean(&with_task("matrix: { axes: { seed: [1] } }\nenv: { A: 's${{ matrix.seed }}' }"));
    let place = only(&with_task("if: 1 > 0 && git.brunch == 'x'"));
    assert!(place.starts_with("6:18 "), "the place is inside the expression: {place}");
}

#[test]
fn warnings_do_not_refuse() {
    let warned = |source: &str| {
        let found = accepted(source).warnings;
        found.iter().map(|d| d.code.to_string()).collect::<Vec<_>>()
    };
    let file = |run: &str| {
        format!("version: 1\nname: t\nparams: {{ lr: 1 }}\nstages: {{ a: {{ run: '{run}' }} }}\n")
    };
    assert_eq!(warned(&file("x")), ["RY0501"]);
    assert_eq!(warned(&file("x --lr ${RUNYARD_PARAM_LR}")), [""; 0]);
    assert_eq!(warned(&file("x $RUNYARD_PARAM_LR $RUNYARD_PARAM_L")), ["RY0503"]);
    assert_eq!(warned(&with_task("").replace("run: x", "run: torchrun t.py")), ["RY0502"]);
    assert_eq!(
        warned(
            &with_task("inputs: { data: 'file:d' }")
                .replace("run: x", "run: x $RUNYARD_INPUT_DATE")
        ),
        ["RY0503"]
    );
}
