//! This program's own log, on stderr, with `-v` or RUNYARD_LOG.

use std::io::IsTerminal as _;

use clap::ValueEnum as _;
use tracing_subscriber::EnvFilter;

use super::color::{self, ColorChoice};

/// Starts it; quiet unless asked. Where stderr is a file, as a daemon's is, it gets no colours.
pub(crate) fn start_logging(verbose: u8, color: Option<ColorChoice>) {
    let default = match verbose {
        0 => "error",
        1 => "info,h2=warn,hyper=warn,rustls=warn",
        _ => "debug,h2=info,hyper=info,rustls=info",
    };
    let filter = EnvFilter::try_from_env("RUNYARD_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let var = |name: &str| std::env::var(name).ok();
    let from_environment = || ColorChoice::from_str(&var("RUNYARD_COLOR")?, true).ok();
    let choice = color.or_else(from_environment).unwrap_or_default();
    let ansi = color::enabled(choice, std::io::stderr().is_terminal(), var);
    // A second start (in tests) finds the first one's subscriber in place.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(ansi)
        .with_writer(std::io::stderr)
        .try_init();
}
