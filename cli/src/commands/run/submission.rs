//! From a pipeline file to the message that submits it: parameters, code, inputs, git.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::prost::Message as _;
use runyard_pipeline::{ParamError, Pipeline, Selection};
use runyard_proto::{MESSAGE_BYTES_MAX, v1};

use super::{Source, git, inputs};
use crate::client::{Client, new_key};
use crate::commands::pipeline_file::PipelineFile;
use crate::context::Env;
use crate::errors::{Error, Result};
use crate::output::{Progress, bytes};

/// Uploads what the run needs and makes the message.
pub(crate) async fn submission(
    client: &Client,
    env: &Env,
    progress: &Progress,
    file: &PipelineFile,
    source: &Source,
) -> Result<v1::SubmitRequest> {
    let (mut request, wanted) = without_bytes(client, file, source).await?;
    let folder = file.folder();
    let snapshot = client.send_code(&folder, &env.paths, progress).await?;
    let mut sent = snapshot.sent_bytes;
    for path in wanted {
        let input = client.send_input(&folder, &path, &env.paths, progress).await?;
        sent += input.sent_bytes;
        request.files.insert(path, input.root);
    }
    progress.line(&format!(
        "● {} files of code ({}), {} sent",
        snapshot.files,
        bytes(snapshot.bytes),
        bytes(sent)
    ));
    request.code_root = snapshot.root;
    Ok(request)
}

/// What would be sent with a submission.
#[derive(Debug, Default)]
pub(crate) struct Freight {
    /// Of the code and of each `file:` input: path, bytes, bytes that the store lacks.
    pub(crate) parts: Vec<(String, u64, u64)>,
}

/// Makes the message that asks for a plan: everything is hashed here, nothing is sent.
pub(crate) async fn planned(
    client: &Client,
    env: &Env,
    progress: &Progress,
    file: &PipelineFile,
    source: &Source,
) -> Result<(v1::SubmitRequest, Freight)> {
    let (mut request, wanted) = without_bytes(client, file, source).await?;
    let folder = file.folder();
    let code = client.measure_code(&folder, &env.paths, progress).await?;
    let mut freight = Freight::default();
    freight.parts.push(("the code".into(), code.bytes, code.missing_bytes));
    for path in wanted {
        let input = client.measure_input(&folder, &path, &env.paths, progress).await?;
        freight.parts.push((format!("file:{path}"), input.bytes, input.missing_bytes));
        request.files.insert(path, input.root.to_string());
    }
    request.code_root = code.root.to_string();
    request.code_files = code
        .files
        .iter()
        .map(|file| v1::CodeFile {
            path: file.path.to_string(),
            executable: file.executable,
            chunks: file.chunks.iter().map(ToString::to_string).collect(),
        })
        .collect();
    if request.encoded_len() > MESSAGE_BYTES_MAX {
        // The pipeline itself is far smaller: the list of files is what does not fit.
        request.code_files.clear();
        let files = code.files.len();
        env.printer.warn(&format!(
            "warning: the code has {files} files, too many to tell the coordinator: what the cache would \
             restore cannot be foreseen (.runyardignore leaves files out)"
        ));
    }
    Ok((request, freight))
}

/// The message as far as it is known without a look at any file, and the `file:` inputs that it needs.
async fn without_bytes(
    client: &Client,
    file: &PipelineFile,
    source: &Source,
) -> Result<(v1::SubmitRequest, BTreeSet<String>)> {
    let params = params(&file.pipeline, &source.params)?;
    let only_stages = select(&file.pipeline, source)?;
    let folder = file.folder();
    let wanted = inputs::files(&file.pipeline, &only_stages, &folder)?;
    let request = v1::SubmitRequest {
        project: client.project.clone(),
        idempotency_key: new_key(),
        pipeline: file.text.clone(),
        file_name: file.name(),
        params,
        git: Some(git::state(&folder).await),
        no_cache: source.no_cache,
        strict: source.strict,
        only_stages,
        priority: source.priority,
        ..Default::default()
    };
    Ok((request, wanted))
}

/// `-p k=v`, checked against the file's declarations.
fn params(pipeline: &Pipeline, given: &[String]) -> Result<BTreeMap<String, String>> {
    let mut pairs = Vec::new();
    for text in given {
        let pair = text.split_once('=').ok_or_else(|| {
            Error::usage(format!("-p {text} has no value")).help("write -p NAME=VALUE")
        })?;
        pairs.push(pair);
    }
    pipeline.resolve_params(pairs.iter().copied()).map_err(|errors| {
        let sentences: Vec<String> = errors.iter().map(ParamError::to_string).collect();
        let declared: Vec<&str> = pipeline.params.keys().map(|name| name.as_str()).collect();
        let help = match declared.is_empty() {
            true => "the file declares no parameters".to_owned(),
            false => format!("the file declares {}", declared.join(", ")),
        };
        Error::usage(sentences.join("; ")).help(help)
    })?;
    Ok(pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// The stages of `--stage`, `--from`, `--only`; empty for all.
fn select(pipeline: &Pipeline, source: &Source) -> Result<Vec<String>> {
    let selection = Selection {
        stages: source.stage.clone(),
        from: source.from.clone(),
        only: source.only.clone(),
    };
    if selection == Selection::default() {
        return Ok(Vec::new());
    }
    let stages = pipeline.select(&selection).map_err(|error| {
        let names: Vec<&str> = pipeline.stages.iter().map(|stage| stage.name.as_str()).collect();
        Error::usage(error.to_string()).help(format!("its stages are {}", names.join(", ")))
    })?;
    Ok(stages.iter().map(ToString::to_string).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipeline() -> Pipeline {
        let text = "version: 1\nname: d\nparams:\n  lr: { type: float, default: 0.1, min: 0 }\nstages:\n  \
                    a: { run: \"echo $RUNYARD_PARAM_LR\" }\n  b: { run: \"true\", needs: a }\n";
        runyard_pipeline::parse("runyard.yaml", text).expect("parses").pipeline
    }

    #[test]
    fn parameters_are_checked_before_anything_is_sent() {
        let given = |text: &str| params(&pipeline(), &[text.to_owned()]);
        assert_eq!(given("lr=1e-3").expect("is right")["lr"], "1e-3");
        for wrong in ["lr", "lr=fast", "lr=-1", "rate=1"] {
            let error = given(wrong).expect_err(wrong);
            assert_eq!(error.kind, crate::errors::Kind::Usage);
            assert!(error.render().contains("lr"), "{}", error.render());
        }
    }
}
