//! `runyard init`: reads a repository and writes a pipeline file that runs.

mod argv;
mod compose;
mod ignore;
mod options;
mod python;
mod repository;

use std::path::{Path, PathBuf};

use super::pipeline_file::DEFAULT_NAME;
use super::run::folder_name;
use crate::context::Env;
use crate::errors::{Context as _, Error, Exit, Kind, Result};
use crate::files;

/// Flags of `init`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The repository
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Name of the pipeline [default: the folder's]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Replace a runyard.yaml that is there
    #[arg(long)]
    force: bool,
    /// Print the file in place of writing it
    #[arg(long)]
    dry_run: bool,
}

/// Does what the verb says.
pub(crate) async fn run(args: Args, env: &Env) -> Result<Exit> {
    let root = fs_err::canonicalize(&args.dir)
        .context(Kind::NotFound, || format!("there is no folder `{}`", args.dir.display()))?;
    let name = args.name.clone().unwrap_or_else(|| folder_name(&root));
    runyard_types::PipelineName::new(&name)
        .map_err(|error| Error::usage(error.to_string()).help("give another with --name"))?;
    let file = root.join(DEFAULT_NAME);
    let there = file.symlink_metadata().is_ok();
    if there && !args.force && !args.dry_run {
        return Err(Error::new(Kind::Conflict, format!("`{}` is there already", file.display()))
            .help("--force replaces it, --dry-run prints what would be written"));
    }
    let repository = repository::read(&root);
    let composed = compose::compose(&repository, &name, &root);
    check(&composed.text)?;
    if args.dry_run && !env.printer.structured() {
        env.printer.data(composed.text.as_bytes())?;
    }
    if !args.dry_run {
        files::write_whole(&file, &composed.text, 0o644)?;
        env.printer.note(&format!("✓ wrote {}", shown(&file)));
        if let Some(ignore) = ignore::text(&root, &repository) {
            let path = root.join(ignore::NAME);
            files::write_whole(&path, &ignore, 0o644)?;
            env.printer.note(&format!("✓ wrote {}", shown(&path)));
        }
    }
    env.printer.answer(&serde_json::json!({
        "file": file.display().to_string(),
        "text": composed.text,
        "notes": composed.notes,
        "written": !args.dry_run,
    }))?;
    for script in repository.scripts() {
        env.printer.note(&format!("  found {} ({} options)", script.path, script.options.len()));
    }
    for data in &repository.data {
        env.printer.note(&format!(
            "  found data {} ({})",
            data.path,
            crate::output::bytes(data.bytes)
        ));
    }
    for note in &composed.notes {
        env.printer.note(&format!("  note: {note}"));
    }
    env.printer.next("runyard validate && runyard run");
    Ok(Exit::OK)
}

/// What is written must be right: anything else is a bug of ours.
fn check(text: &str) -> Result<()> {
    runyard_pipeline::parse(DEFAULT_NAME, text).map(|_| ()).map_err(|found| {
        let shown: Vec<String> = found.iter().map(|diagnostic| diagnostic.render(text)).collect();
        Error::new(Kind::Internal, "the file that `init` made is not right; nothing was written")
            .because(shown.join("\n"))
            .help("please report it with the scripts' options; `runyard schema` helps to write one by hand")
    })
}

fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

#[cfg(test)]
#[path = "init_tests.rs"]
mod tests;
