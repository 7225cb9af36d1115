//! Accepting a submission: parse again, resolve, check that the bytes are there, propose.

use std::collections::BTreeMap;

use runyard_pipeline::{Diagnostic, Parsed, Pipeline, Selection, Source, parse};
use runyard_proto::v1::{SubmitRequest, SubmitResponse};
use runyard_scheduler::ever_fits;
use runyard_state::entity::GitInfo;
use runyard_state::{Command, IdempotencyKey, Reply, SubmitRun};
use runyard_types::{Digest, ProjectName, Uid, encode};
use tonic::Status;

use super::names;
use crate::access::Principal;
use crate::core::Core;
use crate::errors::status;
use crate::reconcile::cluster;

/// What a submission's priority may be, either way.
const PRIORITY_MAX: u32 = 1_000;
/// What a stage, and what the parameters, may take: workers are told both.
const SPEC_BYTES_MAX: usize = 256 << 10;
/// What a pipeline with its parameters may take, with room in the entry for files and the commit.
const RUN_BYTES_MAX: usize = 768 << 10;

/// A submission that was understood.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    pub(super) project: ProjectName,
    pub(super) pipeline: Pipeline,
    pub(super) params: BTreeMap<String, String>,
    pub(super) code_root: Option<Digest>,
    pub(super) files: BTreeMap<String, Digest>,
    pub(super) warnings: Vec<String>,
}

pub(super) async fn submit(
    core: &Core,
    principal: Principal,
    request: SubmitRequest,
) -> Result<SubmitResponse, Status> {
    let key = Uid::parse(&request.idempotency_key).ok_or_else(|| {
        Status::invalid_argument("idempotency_key is not a ULID; give each submission a fresh one")
    })?;
    let digest = Digest::of(&prost::Message::encode_to_vec(&request));
    let (git, no_cache, priority) =
        (request.git.clone().unwrap_or_default(), request.no_cache, request.priority);
    let worker = core.clone();
    // Parsing a hostile file takes bounded time, but time.
    let checked = tokio::task::spawn_blocking(move || check(&worker, &request, Bytes::Stored))
        .await
        .map_err(|_| Status::internal("checking the pipeline was cut off"))??;
    let warnings = checked.warnings.clone();
    let idempotency = IdempotencyKey { principal: principal.name, key, request: digest };
    let command = checked.into_command(idempotency, git, no_cache, priority);
    match core.truth.propose(Command::SubmitRun(Box::new(command))).await.map_err(status)? {
        Reply::Run { name, uid, existed } => Ok(SubmitResponse {
            run: name.to_string(),
            uid: uid.to_string(),
            warnings,
            index: core.truth.view().index,
            existed,
        }),
        _ => Err(Status::internal("the submission was answered oddly")),
    }
}

/// Whether what a submission names must be in the store already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bytes {
    Stored,
    /// For a plan: they would be sent.
    Known,
}

impl Checked {
    /// The command that makes a run of it.
    pub(super) fn into_command(
        self,
        idempotency: IdempotencyKey,
        git: runyard_proto::v1::Git,
        no_cache: bool,
        priority: i32,
    ) -> SubmitRun {
        SubmitRun {
            project: self.project,
            idempotency,
            pipeline: self.pipeline,
            params: self.params,
            code_root: self.code_root,
            files: self.files,
            git: GitInfo {
                commit: git.commit,
                branch: git.branch,
                author: git.author,
                subject: git.subject,
                dirty: git.dirty,
                remote: git.remote,
                tag: git.tag,
            },
            no_cache,
            priority,
        }
    }
}

/// Everything that can be refused before anything changes.
pub(super) fn check(core: &Core, request: &SubmitRequest, bytes: Bytes) -> Result<Checked, Status> {
    let project = names::project(&request.project)?;
    let file = if request.file_name.is_empty() { "runyard.yaml" } else { &request.file_name };
    let Parsed { pipeline, warnings } = parse(file, &request.pipeline)
        .map_err(|found| Status::invalid_argument(render(&found, &request.pipeline)))?;
    let mut warnings: Vec<String> =
        warnings.iter().map(|warning| warning.message.clone()).collect();
    let given = request.params.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let params = pipeline
        .resolve_params(given)
        .map_err(|errors| {
            let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Status::invalid_argument(texts.join("\n"))
        })?
        .into_iter()
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect();
    let pipeline = if request.only_stages.is_empty() {
        pipeline
    } else {
        only(pipeline, &request.only_stages)?
    };
    check_priority(request.priority)?;
    check_size(&pipeline, &params)?;
    let code_root = match request.code_root.as_str() {
        "" => None,
        text => Some(root(core, &project, "the code snapshot", text, bytes)?),
    };
    let mut files = BTreeMap::new();
    for (path, text) in &request.files {
        files.insert(path.clone(), root(core, &project, &format!("file:{path}"), text, bytes)?);
    }
    for stage in &pipeline.stages {
        for (name, input) in &stage.inputs {
            if let Source::File(path) = &input.source
                && !files.contains_key(path.as_str())
            {
                return Err(Status::invalid_argument(format!(
                    "stage {}: input {name}: file:{path} was not uploaded; submit with `runyard run`, which does",
                    stage.name
                )));
            }
        }
    }
    let view = core.truth.view();
    let cluster = cluster(&view.state);
    for stage in &pipeline.stages {
        if crate::stagespec::is_leaders(stage) && stage.command().is_none() {
            continue;
        }
        if let Err(never) = ever_fits(&cluster, &stage.resources, stage.nodes) {
            let text = format!("stage {}: {never}", stage.name);
            if request.strict {
                return Err(Status::failed_precondition(text));
            }
            warnings.push(text);
        }
    }
    Ok(Checked { project, pipeline, params, code_root, files, warnings })
}

/// Beyond it a submission would outweigh the classes of the pipeline file.
fn check_priority(priority: i32) -> Result<(), Status> {
    if priority.unsigned_abs() <= PRIORITY_MAX {
        return Ok(());
    }
    Err(Status::invalid_argument(format!(
        "priority {priority} is out of bounds: `--priority` takes -{PRIORITY_MAX} to {PRIORITY_MAX}; a stage that must go before all others says `priority: high` in the pipeline file"
    )))
}

/// What a worker is told, and what a run is in the log, has to fit: said here, with the place.
fn check_size(pipeline: &Pipeline, params: &BTreeMap<String, String>) -> Result<(), Status> {
    let params_bytes = encode(params).len();
    let sizes = pipeline.stages.iter().map(|stage| (stage, encode(stage).len()));
    let Some((largest, bytes)) = sizes.max_by_key(|(_, bytes)| *bytes) else { return Ok(()) };
    let remedy = "put what is large into a file beside the code, and read it from there";
    if params_bytes > SPEC_BYTES_MAX {
        return Err(Status::invalid_argument(format!(
            "the parameters take {params_bytes} bytes, over the limit of {SPEC_BYTES_MAX}; {remedy}"
        )));
    }
    if bytes > SPEC_BYTES_MAX {
        let what = [
            ("command", largest.command().map_or(0, str::len)),
            ("env", encode(&largest.env).len()),
            ("inputs", encode(&largest.inputs).len()),
            ("outputs", encode(&largest.outputs).len()),
            ("matrix", encode(&largest.matrix).len()),
        ];
        let what = what.into_iter().max_by_key(|(_, bytes)| *bytes).map_or("", |(what, _)| what);
        return Err(Status::invalid_argument(format!(
            "stage {}: it takes {bytes} bytes, most of them its {what}, over the limit of {SPEC_BYTES_MAX} that a worker can be told; {remedy}",
            largest.name
        )));
    }
    let all = encode(pipeline).len() + params_bytes;
    if all > RUN_BYTES_MAX {
        return Err(Status::invalid_argument(format!(
            "the pipeline takes {all} bytes, over the limit of {RUN_BYTES_MAX}; its largest stage is {} ({bytes}); {remedy}",
            largest.name
        )));
    }
    Ok(())
}

/// The pipeline with some of its stages; what they need of the others is taken to be there.
fn only(mut pipeline: Pipeline, stages: &[String]) -> Result<Pipeline, Status> {
    let selection = Selection { only: stages.to_vec(), ..Selection::default() };
    let kept =
        pipeline.select(&selection).map_err(|error| Status::invalid_argument(error.to_string()))?;
    pipeline.stages.retain(|stage| kept.contains(&stage.name));
    for stage in &mut pipeline.stages {
        if let Some((name, Source::Output { stage: from, .. })) = stage
            .inputs
            .iter()
            .map(|(name, input)| (name, &input.source))
            .find(|(_, source)| matches!(source, Source::Output { stage, .. } if !kept.contains(stage)))
        {
            return Err(Status::invalid_argument(format!(
                "stage {}: input {name} comes from {from}, which is not among the stages of this run; add it, or leave `--only` out",
                stage.name
            )));
        }
        stage.needs.retain(|need| kept.contains(need));
    }
    Ok(pipeline)
}

fn root(
    core: &Core,
    project: &ProjectName,
    what: &str,
    text: &str,
    bytes: Bytes,
) -> Result<Digest, Status> {
    let root = Digest::parse(text)
        .map_err(|error| Status::invalid_argument(format!("{what}: {error}")))?;
    if bytes == Bytes::Known {
        return Ok(root);
    }
    match core.store.has_tree(project, root) {
        Ok(true) => Ok(root),
        Ok(false) => Err(Status::failed_precondition(format!(
            "{what} ({}) is not whole in the store; upload it again",
            root.short()
        ))),
        Err(error) => Err(Status::invalid_argument(format!("{what}: {error}"))),
    }
}

fn render(found: &[Diagnostic], source: &str) -> String {
    found.iter().map(|diagnostic| diagnostic.render(source)).collect::<Vec<_>>().join("\n")
}
