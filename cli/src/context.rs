//! Which cluster, project and look: flag > environment > ./.runyard/config.toml > the user's
//! config.toml > default.

mod config;
mod connection;
mod paths;

pub(crate) use config::Config;
pub(crate) use connection::{Connection, read_ca, read_token, split_addresses};
pub(crate) use paths::Paths;

use crate::app::Global;
use crate::client::Client;
use crate::errors::{Error, Result};
use crate::output::{Format, Printer};

/// What a verb works with.
#[derive(Debug)]
pub(crate) struct Env {
    pub(crate) printer: Printer,
    pub(crate) project: String,
    pub(crate) paths: Paths,
    global: Global,
    config: Config,
}

impl Env {
    /// Reads the environment and the files. Nothing is connected yet.
    pub(crate) fn new(global: &Global) -> Result<Self> {
        let paths = Paths::from_environment();
        let config = Config::load(&paths)?;
        let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let color = match global.color {
            Some(color) => color,
            None => choice("RUNYARD_COLOR", var("RUNYARD_COLOR"), "color", config.color.clone())?,
        };
        let progress = match global.progress {
            Some(progress) => progress,
            None => choice(
                "RUNYARD_PROGRESS",
                var("RUNYARD_PROGRESS"),
                "progress",
                config.progress.clone(),
            )?,
        };
        let project = global
            .project
            .clone()
            .or_else(|| var("RUNYARD_PROJECT"))
            .or_else(|| config.project.clone())
            .unwrap_or_else(|| "default".into());
        runyard_types::ProjectName::new(&project)
            .map_err(|error| Error::usage(error.to_string()))?;
        let printer = Printer::new(crate::output::Choices {
            format: if global.json { Some(Format::Json) } else { global.output },
            quiet: global.quiet,
            raw: global.raw,
            color,
            progress,
        });
        Ok(Self { printer, project, paths, global: global.clone(), config })
    }

    /// The cluster that this call is about.
    pub(crate) fn connection(&self) -> Result<Connection> {
        Connection::resolve(&self.global, &self.config, &self.paths, |name| {
            std::env::var(name).ok().filter(|value| !value.is_empty())
        })
    }

    /// A client of that cluster.
    pub(crate) async fn client(&self) -> Result<Client> {
        Client::connect(&self.connection()?, &self.project).await
    }
}

/// A choice from the environment, else from a file, else the default.
fn choice<T: clap::ValueEnum + Default>(
    variable: &str,
    from_environment: Option<String>,
    key: &str,
    from_file: Option<String>,
) -> Result<T> {
    let (place, text) = match (from_environment, from_file) {
        (Some(text), _) => (variable, text),
        (None, Some(text)) => (key, text),
        (None, None) => return Ok(T::default()),
    };
    T::from_str(&text, true).map_err(|_| {
        let values: Vec<String> = T::value_variants()
            .iter()
            .filter_map(|value| Some(value.to_possible_value()?.get_name().to_owned()))
            .collect();
        Error::usage(format!("`{text}` is no value of {place}"))
            .help(format!("one of {}", values.join(", ")))
    })
}
