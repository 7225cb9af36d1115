//! The codes of diagnostics, each with its page. A code is never given a second meaning.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! codes {
    ($($variant:ident = $code:literal, $title:literal, $page:literal;)*) => {
        /// What kind of finding a [`Diagnostic`](crate::Diagnostic) is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code { $(#[doc = $title] $variant,)* }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// `RY0101` and its like.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }
            /// The kind of finding in a few words.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }
            /// The page of the code, in Markdown.
            pub const fn page(self) -> &'static str {
                match self { $(Self::$variant => concat!("# ", $code, ": ", $title, "\n\n", $page, "\n"),)* }
            }
        }
    };
}

codes! {
    Syntax = "RY0101", "not YAML",
        "The file could not be read as one YAML 1.2 document. The place is where the reader gave up; the cause is often a line above: a tab, a missing space after `:`, an unclosed quote or bracket.";
    FileTooLarge = "RY0102", "file too large",
        "A pipeline file has at most 1 MiB and is not read beyond that. Move data into files of their own and name them as inputs (`from: file:PATH`).";
    FileTooComplex = "RY0103", "file too deep or too many values",
        "At most 64 levels of nesting and 20,000 values, counted after YAML aliases are expanded. A generated file may want a `matrix` in place of many stages.";
    DuplicateKey = "RY0104", "duplicate key",
        "A key stands twice in one map; only one of the two values could count. Remove or rename one.";
    UnknownKey = "RY0105", "unknown key",
        "The key has no meaning here, so it would be ignored, and a typing error would pass for a setting. Only keys that begin with `x-` are free, for YAML anchors and notes.";
    WrongType = "RY0106", "wrong type of value",
        "The value is a map, a list or a word where another kind is due. Where a number is due, `1e-5` is one whether quoted or not.";
    MissingKey = "RY0107", "missing key",
        "A key without which the part cannot be understood is absent.";
    UnsupportedVersion = "RY0108", "unsupported version",
        "`version` states the format of the file. This release reads `version: 1`.";
    BadName = "RY0109", "malformed name",
        "Names have 1 to 63 characters of `a-z 0-9 . _ -`, begin and end with a letter or digit, and hold no `..`. So no two names look alike. A stage's name has no `.` either, because `stage.output` is how outputs are referred to.";
    BadQuantity = "RY0110", "malformed quantity",
        "Sizes are written `32GB` (10^9) or `32GiB` (2^30), durations `1h30m`, `90s` or `250ms`, devices and CPUs as numbers (`8`, CPUs also `0.5`). Nothing finer than a thousandth, nothing below zero, nothing beyond 64 bits.";
    BadPath = "RY0111", "path outside the workspace",
        "`path`, `at` and files named in a pipeline are relative to the working directory, which is the code snapshot. No `..`, nothing absolute, no `~`.";
    KeyOutOfPlace = "RY0112", "key out of place",
        "The key has a meaning, but not in this kind of stage, or not beside another key that stands here. A stage's kind follows from its block: `gate:`, `deploy:`, `evaluates:` or `results:`, else a task.";
    OutOfRange = "RY0113", "value out of range",
        "The value is understood but not allowed here; the message names what is.";
    BadReference = "RY0114", "malformed reference",
        "References are `stage.output` (long: `stage.outputs.NAME`), `file:PATH`, `mount:/PATH`, `model://NAME@VERSION-or-ALIAS`; models and aliases elsewhere are `NAME@ALIAS`.";
    BadGlob = "RY0115", "malformed pattern",
        "`code` and `results` take file patterns such as `src/**/*.py`, relative to the working directory.";
    UnknownStage = "RY0201", "unknown stage",
        "A `needs` or a reference names a stage that the file does not have.";
    Cycle = "RY0202", "stages need each other",
        "The stages named in the message wait for one another in a circle, so none could ever start. Inputs, gates and conditions imply a need.";
    UnknownOutput = "RY0203", "unknown output",
        "A reference names an output that its stage does not declare under `outputs:`.";
    NamesCollide = "RY0204", "names collide",
        "Two names become the same environment variable (upper case, other characters `_`), so one would hide the other. Rename one.";
    PathsCollide = "RY0205", "one path twice",
        "Two outputs of a stage, or two of its inputs, lie at one path or within one another.";
    MatrixTooLarge = "RY0206", "matrix too large",
        "A stage's matrix has at most 4,096 tasks, counted as the product of its axes before `exclude`.";
    RunTooLarge = "RY0207", "run too large",
        "All stages together have at most 10,000 tasks, counted as the products of their matrices' axes before `exclude`.";
    WrongStage = "RY0208", "stage of the wrong kind",
        "A gate judges the results of an evaluation, and promotes a model that this evaluation judged. A comparison against another model needs an evaluation that names its model under `evaluates:`, so that the same test can be run on the other one.";
    NoStages = "RY0209", "no stages",
        "A pipeline has at least one stage under `stages:`, such as `stages: { train: { run: python train.py } }`.";
    ExpressionSyntax = "RY0301", "malformed expression",
        "Expressions are a small part of CEL: `params.lr < 0.1 && git.branch == \"main\"`, `train.metrics[\"val/acc\"] >= 0.9`, `size`, `startsWith`, `endsWith`, `contains`, `int`, `float`, `string`, `in`, `? :`, and `success()`, `failure()`, `always()`.";
    UnknownName = "RY0302", "unknown name in an expression",
        "Expressions know `params.NAME`, `git.branch`, `git.tag`, `git.commit`, `git.message`, `git.author`, `matrix.AXIS` (in `env`), `STAGE.metrics[\"NAME\"]` and `STAGE.values.KEY`. A stage with a `-` in its name is written `stages[\"NAME\"]`.";
    ExpressionType = "RY0303", "expression of the wrong type",
        "Values are bool, int, float, string or list and never turn into one another, except an int beside a float. `if:` needs a bool.";
    Interpolation = "RY0304", "`${{ }}` not allowed here",
        "`${{ … }}` is substituted in the values of `env:` only, and what was substituted is never read again. In `run:` it would let a value become shell code: use `$RUNYARD_PARAM_NAME`, `$RUNYARD_INPUT_NAME` or a variable under `env:`.";
    ExpressionLimit = "RY0305", "expression too large",
        "An expression has at most 4 KiB and 32 levels of nesting.";
    BadParameter = "RY0306", "parameter declared wrongly",
        "A parameter is `name: default` or `name: { type, default, min, max, choices, help }` with type `int`, `float`, `string` or `bool`; its default obeys its own limits.";
    UnusedParameter = "RY0501", "parameter never used",
        "No command, expression or `args:` of the file mentions the parameter. It still counts for the cache key of every stage that could read `$RUNYARD_PARAM_NAME`, so a change of it runs them again.";
    TorchrunInRun = "RY0502", "`run` begins with torchrun",
        "Runyard starts the processes of a gang itself: with `launch: per-gpu` each gets `RANK`, `WORLD_SIZE` and `LOCAL_RANK`. A `torchrun` in the command starts another set of processes inside each.";
    UnknownVariable = "RY0503", "variable that will not be set",
        "The command reads a `$RUNYARD_…` variable that this stage will not have. Declare the input or parameter, or correct the name.";
    NothingAbsolute = "RY0504", "first model passes unchecked",
        "With `if-none: absolute` the first model, which has no champion to be compared with, is held to the `min` and `max` of the checks; here no rejecting check has any.";
    TriggersNotBuilt = "RY0901", "`triggers` is not built yet",
        "The file is right, this release cannot do it: runs are started by `runyard run`. Remove the key until then; it is refused rather than ignored.";
    SecretsNotBuilt = "RY0902", "`secrets` is not built yet",
        "The file is right, this release cannot do it. Until then credentials must be in place on the host. The key is refused rather than ignored.";
    ConcurrencyNotBuilt = "RY0903", "`concurrency` is not built yet",
        "The file is right, this release cannot do it: runs of a pipeline may overlap. The key is refused rather than ignored.";
    TuneNotBuilt = "RY0904", "`tune` is not built yet",
        "The file is right, this release has no sweeps; a `matrix` runs a fixed grid. The key is refused rather than ignored.";
    ContainerNotBuilt = "RY0905", "containers are not built yet",
        "The file is right, this release starts processes only: no `image:` and no fixed `port:`. Use `python:` for the environment. The key is refused rather than ignored.";
    LaunchNotBuilt = "RY0906", "this `launch` is not built yet",
        "`launch: none` and `launch: per-gpu` work. `per-gpu` gives each process torch's variables, so `torch.distributed.init_process_group()` works without torchrun.";
    RemoteInputNotBuilt = "RY0907", "remote inputs are not built yet",
        "`s3://`, `gs://`, `az://`, `https://` and `hf://` cannot be fetched by this release. Use `file:PATH`, or `mount:/PATH` for what lies on the host.";
    DatasetNotBuilt = "RY0908", "datasets are not built yet",
        "`dataset://` has no registry in this release. Use `file:PATH` or `mount:/PATH`.";
    DeviceShareNotBuilt = "RY0909", "parts of devices are not built yet",
        "Shares (`0.5`) and MIG profiles cannot be placed by this release, nor can NVLink be demanded. Whole devices work: `1`, `H100:4`, `24GB:2`, `{ any: [H100, A100], count: 4, memory: 80GB.. }`.";
    CheckpointNotBuilt = "RY0910", "`checkpoint` is not built yet",
        "This release does not save and restore checkpoints. A stage may keep its own on a mounted file system. The key is refused rather than ignored.";
    AnchorNotBuilt = "RY0911", "`anchor` is not built yet",
        "This release compares with one model only. The key is refused rather than ignored.";
    ExclusiveNotBuilt = "RY0912", "`exclusive` is not built yet",
        "This release has no leases for exclusive stages. The key is refused rather than ignored.";
    RolloutNotBuilt = "RY0913", "this rollout is not built yet",
        "This release has one canary weight: `rollout: { strategy: canary, steps: [20%, 100%], hold: 10m }`. More steps and other strategies are refused rather than ignored.";
    CondaNotBuilt = "RY0914", "`conda` is not built yet",
        "This release builds environments with uv or venv and pip, and uses an existing `venv:`. The key is refused rather than ignored.";
    ServingNotBuilt = "RY0915", "this way of serving is not built yet",
        "Models are served over HTTP by a command of yours: no presets, no `protocol` other than `http`, readiness by a request to `path`. The key is refused rather than ignored.";
    SweepRefNotBuilt = "RY0916", "sweeps as references are not built yet",
        "`sweep.best` and `sweep.top(n)` need `tune`, which this release has not.";
}

impl Code {
    /// Whether the code says that a right key or value has not been built yet.
    pub fn is_not_built(self) -> bool {
        self.as_str().starts_with("RY09")
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Code::ALL
            .iter()
            .copied()
            .find(|code| code.as_str() == text)
            .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not a known code")))
    }
}

/// The page of a code such as `RY0105` (in any case), in Markdown; `None` for an unknown code.
pub fn explain(code: &str) -> Option<&'static str> {
    Code::ALL.iter().find(|known| known.as_str().eq_ignore_ascii_case(code)).map(|c| c.page())
}

/// Every code that this crate can give, in order.
pub fn codes() -> &'static [Code] {
    Code::ALL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_ordered_and_have_pages() {
        for pair in Code::ALL.windows(2) {
            assert!(pair[0].as_str() < pair[1].as_str(), "{} and {}", pair[0], pair[1]);
        }
        for code in codes() {
            let page = explain(&code.as_str().to_lowercase()).expect("every code has a page");
            assert!(page.starts_with(&format!("# {code}: ")) && page.len() > 80, "{page}");
        }
        assert_eq!(explain("RY9999"), None);
    }

    #[test]
    fn codes_survive_json() {
        for code in codes() {
            let text = serde_json::to_string(code).unwrap();
            assert_eq!(serde_json::from_str::<Code>(&text).unwrap(), *code);
        }
        assert!(serde_json::from_str::<Code>("\"RY0000\"").is_err());
    }
}
