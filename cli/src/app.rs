//! The tree of commands.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand};

use crate::commands::*;
use crate::context::Env;
use crate::errors::{Error, Exit, Kind};
use crate::output::{self, ColorChoice, Format, FormatParser, ProgressChoice};

/// CI/CD for machine learning on your own GPU machines.
#[derive(Debug, Parser)]
#[command(
    name = "runyard",
    version,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "Names: digits-42 (run), digits-42/train (stage), digits-42/train[3] (task), \
                  digits-42/train[3].2 (attempt), a unique prefix of a uid, or @last.\n\
                  First steps: `runyard demo`, then `runyard init` in a repository of your own."
)]
pub(crate) struct App {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every verb takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Coordinator to talk to, HOST:PORT [env: RUNYARD_ADDRESS]
    #[arg(long, global = true, value_name = "HOST:PORT")]
    pub(crate) address: Option<String>,
    /// Context to use [env: RUNYARD_CONTEXT]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Project [env: RUNYARD_PROJECT] [default: default]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) project: Option<String>,
    /// The group's CA certificate, PEM [env: RUNYARD_CA]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// File that holds the token, mode 0600 (or set RUNYARD_TOKEN)
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// How to print
    #[arg(short, long, global = true, value_name = "FORMAT", value_parser = FormatParser)]
    pub(crate) output: Option<Format>,
    /// Short for -o json
    #[arg(long, global = true, conflicts_with = "output")]
    pub(crate) json: bool,
    /// Print names only
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// When to use colour [env: RUNYARD_COLOR, NO_COLOR, CLICOLOR_FORCE]
    #[arg(long, global = true, value_name = "WHEN", value_enum)]
    pub(crate) color: Option<ColorChoice>,
    /// How to show progress [env: RUNYARD_PROGRESS]
    #[arg(long, global = true, value_name = "HOW", value_enum)]
    pub(crate) progress: Option<ProgressChoice>,
    /// Do what is irrevocable without asking
    #[arg(short, long, global = true)]
    pub(crate) yes: bool,
    /// Never ask: what would need an answer is an error
    #[arg(long, global = true)]
    pub(crate) no_input: bool,
    /// Leave escape sequences in what others wrote
    #[arg(long, global = true)]
    pub(crate) raw: bool,
    /// Log what this program does to stderr (-vv: more)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

macro_rules! verbs {
    ($($(#[$meta:meta])* $variant:ident => $module:ident),* $(,)?) => {
        /// The verbs.
        #[derive(Debug, Subcommand)]
        pub(crate) enum Command {
            $($(#[$meta])* $variant($module::Args),)*
        }

        impl Command {
            /// Does what the verb says.
            async fn run(self, env: &Env) -> Result<Exit, Error> {
                match self {
                    // Boxed, because some verbs keep large messages across their waits.
                    $(Self::$variant(args) => Box::pin($module::run(args, env)).await,)*
                }
            }
        }
    };
}

verbs! {
    /// Show the main job end to end on a cluster of its own
    Demo => demo,
    /// Keep a small cluster of several processes on this host
    Dev => dev,
    /// Read this repository and write a runyard.yaml that runs
    Init => init,
    /// Check a pipeline file without a cluster
    #[command(visible_alias = "lint")]
    Validate => validate,
    /// What a run would do: graph, cache hits, nodes
    Plan => plan,
    /// Run a pipeline, or one command (`run -- CMD`)
    #[command(visible_aliases = ["up", "submit"])]
    Run => run,
    /// List runs
    #[command(visible_alias = "ls")]
    Ps => ps,
    /// Print the log of a run, stage, task or attempt
    Logs => logs,
    /// All of a run, stage, task, node, model or deployment
    #[command(visible_alias = "show")]
    Describe => describe,
    /// Why a task is not running, or how NAME@ALIAS came to be
    Why => why,
    /// Watch a run until it is done
    Watch => watch,
    /// Stop runs
    #[command(visible_alias = "stop")]
    Cancel => cancel,
    /// Run again what did not succeed
    #[command(visible_alias = "rerun")]
    Retry => retry,
    /// What stages wrote
    Artifacts => artifacts,
    /// Metrics of a run
    Metrics => metrics,
    /// Check results files of an evaluation
    Results => results,
    /// Registered models
    Models => models,
    /// Gates: show, approve, reject
    Gate => gate,
    /// Deployments
    Deploy => deploy,
    /// Put the previous (or a given) revision of a deployment back
    Rollback => rollback,
    /// Nodes of the cluster
    Nodes => nodes,
    /// What happened
    Events => events,
    /// Check this installation and its way to the cluster
    Doctor => doctor,
    /// The page of a diagnostic, e.g. RY0101
    Explain => explain,
    /// The JSON Schema of runyard.yaml
    Schema => schema,
    /// Completions for a shell
    Completions => completions,
    /// Versions of this program and of the coordinator
    Version => version,
    /// Log in to a cluster
    Login => login,
    /// Forget a context and its token
    Logout => logout,
    /// Who the cluster takes you for
    Whoami => whoami,
    /// Contexts: clusters that you use
    Context => context,
    /// What this program works with, and where it comes from
    Config => config,
    /// Tokens of users and agents
    Token => token,
    /// Run a coordinator
    Server => server,
    /// Run an agent on this host
    Agent => agent,
}

/// Parses the arguments; on help or an error the text is printed and the exit code returned.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<App, Exit> {
    App::try_parse_from(args).map_err(|error| {
        use clap::error::ErrorKind;
        let _ = error.print();
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::OK,
            _ => Exit::of(Kind::Usage),
        }
    })
}

/// Runs the verb and reports what went wrong.
pub(crate) async fn run(app: App) -> Exit {
    let global = app.global.clone();
    output::start_logging(global.verbose, global.color);
    let outcome = match Env::new(&global) {
        Ok(env) => app.command.run(&env).await,
        Err(error) => Err(error),
    };
    outcome.unwrap_or_else(|error| output::report(&error, &global))
}

/// The tree itself, for completions.
pub(crate) fn command() -> clap::Command {
    App::command()
}

#[cfg(test)]
#[path = "app_tests.rs"]
mod tests;
