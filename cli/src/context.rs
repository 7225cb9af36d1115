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
use crate::errors::{Error, Kind, Result};
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
            format: if global.json { Some(Format::Json) } else { global.output.clone() },
            quiet: global.quiet,
            raw: global.raw,
            color,
            progress,
        });
        Ok(Self { printer, project, paths, global: global.clone(), config })
    }

    /// Asks before something that can't be undone; at a terminal only, for a script means what it says.
    pub(crate) fn confirm(&self, question: &str) -> Result<()> {
        use std::io::{IsTerminal as _, Write as _};
        let asks = std::io::stdin().is_terminal() && self.printer.stderr_tty;
        if self.global.yes || !asks {
            return Ok(());
        }
        self.may_ask(question)?;
        let mut terminal = std::io::stderr().lock();
        // A terminal that can't be written to is seen by the answer that does not come.
        let _ = write!(terminal, "{} [y/N] ", crate::output::plain(question));
        let _ = terminal.flush();
        drop(terminal);
        let mut answer = String::new();
        std::io::stdin()
            .read_line(&mut answer)
            .map_err(|error| Error::failed("cannot read the answer").because(error))?;
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(Error::new(Kind::Cancelled, "nothing was done").help("--yes does not ask")),
        }
    }

    /// With `--no-input`, what would be asked is an error.
    pub(crate) fn may_ask(&self, what: &str) -> Result<()> {
        match self.global.no_input {
            true => Err(Error::usage(format!("--no-input: cannot ask: {what}"))
                .help("give the answer by a flag, the environment or stdin; --yes says yes")),
            false => Ok(()),
        }
    }

    /// The flags that every verb takes, the settings of the files, and where each came from.
    pub(crate) fn settings(&self) -> (&Global, &Config) {
        (&self.global, &self.config)
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
