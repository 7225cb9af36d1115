//! Figures of a real cluster beside those of peers and limits, taken in one run:
//! `cargo run --release -p runyard-bench -- [ROW]…`.
//!
//! Invariant: a figure is only ever compared with one that was taken in the same run, in turns with
//! it, on the same machine; what could not be taken is said loudly and never assumed.
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

mod args;
mod client;
mod cluster;
mod figures;
mod payload;
mod peers;
mod processes;
mod rows;

use std::process::ExitCode;

/// Whatever went wrong, in words: nothing here can be mended by the program.
type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    // Stages and peers run this very program as their payload.
    if let Some(name) = args.next().filter(|name| name.starts_with("__")) {
        return payload::main(&name, &args.collect::<Vec<_>>());
    }
    runyard_transport::install_crypto();
    let args = <args::Args as clap::Parser>::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(rows::run(&args))
}
