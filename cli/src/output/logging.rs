//! This program's own log, on stderr, with `-v` or RUNYARD_LOG.

use tracing_subscriber::EnvFilter;

/// Starts it; quiet unless asked.
pub(crate) fn start_logging(verbose: u8) {
    let default = match verbose {
        0 => "error",
        1 => "info,h2=warn,hyper=warn,rustls=warn",
        _ => "debug,h2=info,hyper=info,rustls=info",
    };
    let filter = EnvFilter::try_from_env("RUNYARD_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    // A second start (in tests) finds the first one's subscriber in place.
    let _ =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}
