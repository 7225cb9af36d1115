//! The JSON schema of the file, for editors.
//!
//! These types only describe: reading is done by `read`, whose maps a test holds against them, so that
//! neither can learn a key without the other. Keys that are refused as not built yet are left out.

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, transform};
use serde_json::Value;

/// The schema in draft 7, as `runyard schema` prints it.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft07();
    let schema = settings
        .with_transform(transform::RecursiveTransform(free_keys))
        .into_generator()
        .into_root_schema_for::<File>();
    let mut value = schema.to_value();
    if let Some(root) = value.as_object_mut() {
        root.insert("title".into(), "runyard.yaml".into());
    }
    value
}

/// `x-*` is free wherever keys are known.
fn free_keys(schema: &mut Schema) {
    if schema.get("additionalProperties") == Some(&Value::Bool(false)) {
        schema.insert("patternProperties".into(), serde_json::json!({ "^x-": true }));
    }
}

macro_rules! describe {
    ($($(#[$doc:meta])* struct $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(JsonSchema)]
            #[schemars(rename_all = "kebab-case", deny_unknown_fields)]
            #[expect(dead_code, reason = "the type is only described, never filled")]
            struct $name { $($(#[$field_doc])* $field: $type,)* }
        )*
    };
}

/// One of several ways to write a value.
macro_rules! either {
    ($($(#[$doc:meta])* enum $name:ident { $($variant:ident($type:ty),)* })*) => {
        $(
            $(#[$doc])*
            #[derive(JsonSchema)]
            #[schemars(untagged)]
            #[expect(dead_code, reason = "the type is only described, never filled")]
            enum $name { $($variant($type),)* }
        )*
    };
}

macro_rules! words {
    ($($(#[$doc:meta])* enum $name:ident { $($variant:ident,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(JsonSchema)]
            #[schemars(rename_all = "kebab-case")]
            #[expect(dead_code, reason = "the type is only described, never filled")]
            enum $name { $($variant,)* }
        )*
    };
}

/// A name: 1 to 63 of a-z, 0-9, '.', '_', '-'.
#[derive(JsonSchema)]
#[schemars(transparent)]
#[expect(dead_code, reason = "the type is only described, never filled")]
struct NameText(#[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$"))] String);

/// A duration such as `1h30m`, `90s` or `250ms`.
#[derive(JsonSchema)]
#[schemars(transparent)]
#[expect(dead_code, reason = "the type is only described, never filled")]
struct Duration(#[schemars(regex(pattern = r"^([0-9]+(\.[0-9]+)? *(ms|s|m|h|d) *)+$"))] String);

/// The format of this file.
#[derive(JsonSchema)]
#[schemars(transparent)]
#[expect(dead_code, reason = "the type is only described, never filled")]
struct Version(#[schemars(range(min = 1, max = 1))] u32);

either! {
    /// One or several.
    enum OneOrMany { One(String), Many(Vec<String>), }
    /// A scalar of any kind.
    enum Scalar { Bool(bool), Int(i64), Float(f64), Text(String), }
    /// A number, possibly with a unit.
    enum Amount { Number(f64), Text(String), }
    /// A default value, or a declaration.
    enum ParamOr { Value(Scalar), Declared(Param), }
    /// `stage.output`, `file:PATH`, `mount:/PATH`, `model://NAME@ALIAS`, or a map.
    enum InputOr { Source(String), Input(Input), }
    /// A path relative to the working directory, or a map.
    enum OutputOr { Path(String), Output(Output), }
    /// `1`, `H100:4`, `24GB:2`, or a map.
    enum GpuOr { Count(u32), Text(String), Gpu(Gpu), }
    /// Retries of errors and failures, or a map.
    enum RetryOr { Max(u32), Retry(Retry), }
    /// A requirements file, lock file or pyproject.toml, or a map.
    enum PythonOr { File(String), Python(Python), }
    /// Files of results, or a map.
    enum ResultsOr { Files(OneOrMany), Results(Results), }
    /// A model such as `digits@champion`, or a map.
    enum AgainstOr { Model(String), Against(Against), }
    /// A path, or a map.
    enum ReadyOr { Path(String), Ready(Ready), }
    /// One or several kinds.
    enum RetryOnOr { One(RetryOn), Many(Vec<RetryOn>), }
    /// One entry or several.
    enum ExcludeOr { One(BTreeMap<String, Scalar>), Many(Vec<BTreeMap<String, Scalar>>), }
}

words! {
    enum ParamType { Int, Float, String, Bool, }
    enum From { First, All, }
    enum Launch { None, PerGpu, }
    enum RetryOn { Error, Failure, }
    enum Args { Flags, Hydra, }
    enum ErrorRows { Zero, Drop, Fail, }
    enum Priority { Low, Normal, High, }
    enum IfNone { Absolute, Block, }
    enum Stored { Allow, }
    enum Goal { Max, Min, }
    enum OnFail { Reject, Warn, }
    enum Correct { Holm, Bh, None, }
    enum Inconclusive { Block, Ask, Allow, }
    enum Strategy { Canary, }
    enum Protocol { Http, }
}

describe! {
    /// A pipeline of Runyard.
    struct File {
        version: Version,
        /// The pipeline's name; runs are called NAME-1, NAME-2 and so on.
        name: NameText,
        /// Parameters; commands read them as $RUNYARD_PARAM_NAME.
        params: Option<BTreeMap<String, ParamOr>>,
        /// What stages take where they say nothing themselves.
        defaults: Option<Defaults>,
        /// By name, in any order: the graph follows from what they need.
        stages: BTreeMap<String, Stage>,
    }
    struct Defaults {
        resources: Option<Resources>,
        retry: Option<RetryOr>,
        timeout: Option<Duration>,
        cache: Option<bool>,
        code: Option<OneOrMany>,
        python: Option<PythonOr>,
        env: Option<BTreeMap<String, Scalar>>,
        args: Option<Args>,
        lost_after: Option<Duration>,
        priority: Option<Priority>,
    }
    struct Param {
        r#type: Option<ParamType>,
        /// Without one, a value must be given.
        default: Option<Scalar>,
        min: Option<f64>,
        max: Option<f64>,
        choices: Option<Vec<Scalar>>,
        help: Option<String>,
    }
    /// A task, an evaluation (`results`, `evaluates`), a gate (`gate`) or a deployment (`deploy`).
    struct Stage {
        /// Stages that must have ended; inputs imply theirs.
        needs: Option<OneOrMany>,
        /// A condition, such as git.branch == "main".
        r#if: Option<String>,
        /// A shell command.
        run: Option<String>,
        /// Each one's path is in $RUNYARD_INPUT_NAME.
        inputs: Option<BTreeMap<String, InputOr>>,
        /// Inputs that another model may take the place of.
        evaluates: Option<BTreeMap<String, InputOr>>,
        outputs: Option<BTreeMap<String, OutputOr>>,
        resources: Option<Resources>,
        /// Workers of the gang.
        nodes: Option<u32>,
        launch: Option<Launch>,
        /// The network label that all nodes of the gang share.
        network: Option<String>,
        matrix: Option<Matrix>,
        retry: Option<RetryOr>,
        /// The time limit of an attempt.
        timeout: Option<Duration>,
        /// Whether an equal stage takes the earlier result; true unless written.
        cache: Option<bool>,
        /// Patterns of the files that count for the content key; all if absent.
        code: Option<OneOrMany>,
        python: Option<PythonOr>,
        /// Variables; values may hold ${{ expressions }}.
        env: Option<BTreeMap<String, Scalar>>,
        /// Appends the parameters to the command.
        args: Option<Args>,
        results: Option<ResultsOr>,
        gate: Option<Gate>,
        deploy: Option<Deploy>,
        /// How long an unreachable node keeps the attempt.
        lost_after: Option<Duration>,
        priority: Option<Priority>,
    }
    struct Input {
        from: String,
        /// Where it is placed, relative to the working directory.
        at: Option<String>,
        /// A mount counts by its content.
        digest: Option<bool>,
    }
    struct Output {
        /// Relative to the working directory.
        path: String,
        /// Such as model or dataset.
        r#type: Option<String>,
        from: Option<From>,
    }
    struct Resources {
        gpu: Option<GpuOr>,
        cpu: Option<Amount>,
        memory: Option<Amount>,
    }
    struct Gpu {
        /// Models that will do.
        any: Option<OneOrMany>,
        count: Option<u32>,
        /// Such as 80GB.. or 24GB..48GB.
        memory: Option<String>,
    }
    struct Matrix {
        axes: BTreeMap<String, Vec<Scalar>>,
        exclude: Option<ExcludeOr>,
        fail_fast: Option<bool>,
        max_parallel: Option<u32>,
    }
    struct Retry {
        max: Option<u32>,
        on: Option<RetryOnOr>,
        backoff: Option<Duration>,
    }
    struct Python {
        requirements: Option<String>,
        project: Option<String>,
        lock: Option<String>,
        /// An existing environment.
        venv: Option<String>,
        version: Option<Amount>,
        index: Option<String>,
    }
    struct Results {
        files: Option<OneOrMany>,
        /// The column of the example's id.
        id: Option<String>,
        error_rows: Option<ErrorRows>,
        /// Such as drop <= 1%.
        missing: Option<String>,
    }
    struct Gate {
        /// The evaluation that is judged.
        results: String,
        against: Option<AgainstOr>,
        checks: BTreeMap<String, Check>,
        correct: Option<Correct>,
        inconclusive: Option<Inconclusive>,
        promote: Option<Promote>,
    }
    struct Against {
        model: String,
        if_none: Option<IfNone>,
        stored: Option<Stored>,
    }
    struct Check {
        metric: String,
        /// mean, or p1 to p99.
        stat: Option<String>,
        goal: Option<Goal>,
        min: Option<Amount>,
        max: Option<Amount>,
        /// In the metric's unit, or points such as 2pt; 0 asks for better.
        margin: Option<Amount>,
        /// A text column whose slices are checked one by one.
        by: Option<String>,
        alpha: Option<Amount>,
        method: Option<String>,
        on_fail: Option<OnFail>,
    }
    struct Promote {
        /// An output, such as train.model.
        model: String,
        /// An alias, such as digits@champion.
        to: String,
    }
    struct Deploy {
        name: NameText,
        /// Such as digits@champion.
        model: String,
        /// The server's command; it listens on $HOST:$PORT.
        run: String,
        ready: Option<ReadyOr>,
        replicas: Option<u32>,
        rollout: Option<Rollout>,
        protocol: Option<Protocol>,
        drain: Option<Duration>,
        keep_warm: Option<Duration>,
    }
    struct Ready {
        path: Option<String>,
        within: Option<Duration>,
        /// A file of requests that must be answered before any traffic.
        warm_up: Option<String>,
    }
    struct Rollout {
        strategy: Option<Strategy>,
        /// One weight, such as [20%, 100%].
        steps: OneOrMany,
        hold: Option<Duration>,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::read::SHAPES;

    fn properties<'s>(schema: &'s Value, name: &str) -> BTreeSet<&'s str> {
        let object = if name == "File" { schema } else { &schema["definitions"][name] };
        let properties = object["properties"].as_object();
        let properties = properties.unwrap_or_else(|| panic!("{name} is not in the schema"));
        properties.keys().map(String::as_str).collect()
    }

    #[test]
    fn the_schema_and_the_reader_know_the_same_keys() {
        let schema = schema();
        for (name, shape) in SHAPES {
            let keys: BTreeSet<_> = shape.keys.iter().copied().collect();
            assert_eq!(properties(&schema, name), keys, "{name}");
        }
    }

    #[test]
    fn every_map_with_known_keys_leaves_x_keys_free() {
        fn walk(value: &Value) {
            if value["additionalProperties"] == Value::Bool(false) {
                assert_eq!(value["patternProperties"]["^x-"], Value::Bool(true), "{value}");
            }
            match value {
                Value::Object(fields) => fields.values().for_each(walk),
                Value::Array(items) => items.iter().for_each(walk),
                _ => {}
            }
        }
        walk(&schema());
    }

    /// `RUNYARD_UPDATE_SCHEMA=1 cargo test -p runyard-pipeline` writes the file anew.
    #[test]
    fn the_committed_schema_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/runyard.schema.json");
        let current = format!("{:#}\n", schema());
        if std::env::var_os("RUNYARD_UPDATE_SCHEMA").is_some() {
            std::fs::write(path, &current).expect("the schema is writable");
        }
        let committed = std::fs::read_to_string(path).expect("the schema is committed");
        assert!(committed == current, "run the test with RUNYARD_UPDATE_SCHEMA=1 and commit");
    }
}
