//! What the tests start: an agent as a process of its own, its zygote and its shims.
//!
//! `runyard-agent-test STATE_DIR ADDRESS NODE DEVICES TOKEN|- [MOUNTS…]`

use runyard_daemon::Config;
use tokio_util::sync::CancellationToken;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Shows errors on stderr, where tests look for them.
struct Errors;

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!(" {field}={value:?}"));
    }
}

impl Subscriber for Errors {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = Line("error:".into());
        event.record(&mut line);
        eprintln!("{}", line.0);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn main() {
    runyard_daemon::dispatch();
    tracing::subscriber::set_global_default(Errors).expect("the first");
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dir, address, node, devices, token, mounts @ ..] = args.as_slice() else {
        eprintln!("usage: runyard-agent-test STATE_DIR ADDRESS NODE DEVICES TOKEN|- [MOUNTS…]");
        std::process::exit(2);
    };
    let node = node.parse().expect("a node's name");
    let mut config = Config::new(dir.into(), vec![address.clone()], node);
    config.simulated_devices = devices.parse().ok();
    config.join = token.parse().ok();
    config.mounts = mounts.iter().map(Into::into).collect();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    if let Err(error) = runtime.block_on(runyard_daemon::run(config, CancellationToken::new())) {
        eprintln!("{error}");
        std::process::exit(1);
    }
}
