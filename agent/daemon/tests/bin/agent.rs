//! What the tests start: an agent as a process of its own, its zygote and its shims.
//!
//! `runyard-agent-test STATE_DIR ADDRESS NODE DEVICES TOKEN|-`

use runyard_daemon::Config;
use tokio_util::sync::CancellationToken;

fn main() {
    runyard_daemon::dispatch();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dir, address, node, devices, token] = args.as_slice() else {
        eprintln!("usage: runyard-agent-test STATE_DIR ADDRESS NODE DEVICES TOKEN|-");
        std::process::exit(2);
    };
    let node = node.parse().expect("a node's name");
    let mut config = Config::new(dir.into(), vec![address.clone()], node);
    config.simulated_devices = devices.parse().ok();
    config.join = token.parse().ok();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    if let Err(error) = runtime.block_on(runyard_daemon::run(config, CancellationToken::new())) {
        eprintln!("{error}");
        std::process::exit(1);
    }
}
