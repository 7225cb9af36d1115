//! The binary `runyard`: command line, agent and coordinator in one.

mod app;
mod client;
mod commands;
mod context;
mod errors;
mod files;
mod output;

use std::ffi::OsStr;
use std::process::ExitCode;

fn main() -> ExitCode {
    // A shim and the zygote that forks it are this same binary: they must branch off before a thread
    // is started or an allocation made that they would carry along.
    runyard_daemon::dispatch();
    if std::env::args_os().nth(1).as_deref() == Some(OsStr::new("__gate")) {
        // A gate's statistics: one job on stdin, one answer on stdout, limits on itself.
        let code = runyard_server::gate_child_main();
        return ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    // Every TLS connection of this process uses ring.
    runyard_transport::install_crypto();
    let app = match app::parse(std::env::args_os()) {
        Ok(app) => app,
        Err(exit) => return ExitCode::from(exit.0),
    };
    if matches!(app.command, app::Command::Server(_) | app::Command::Agent(_)) {
        // A daemon tells what it does; the verbs are quiet unless asked.
        output::start_logging(app.global.verbose.max(1), app.global.color);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let error = errors::Error::failed("cannot start the runtime").because(error);
            return ExitCode::from(output::report(&error, &app.global).0);
        }
    };
    let exit = runtime.block_on(app::run(app));
    // A detached task (a stream being read) must not hold the process back.
    runtime.shutdown_background();
    ExitCode::from(exit.0)
}
