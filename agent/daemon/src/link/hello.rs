//! What this host offers.

use std::net::{ToSocketAddrs, UdpSocket};

use runyard_proto::agent as wire;
use runyard_runtime::environment::find_python;

use crate::shared::Shared;
use crate::telemetry;

/// What of the inventory never changes while the agent runs.
#[derive(Debug, Clone)]
pub(crate) struct Inventory {
    cpu_milli: u64,
    memory_bytes: u64,
    platform: String,
}

impl Inventory {
    /// Looks at the host; starts an interpreter to ask for its version, so it blocks for a while.
    pub(crate) fn look(config: &crate::Config) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        let system = format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH);
        let platform = match find_python(None) {
            Ok(python) => {
                let minor: Vec<&str> = python.version.split('.').take(2).collect();
                format!("{system}-cpython-{}", minor.join("."))
            }
            Err(_) => system,
        };
        Self {
            cpu_milli: config.cpu.map_or(cores * 1_000, |cpu| cpu.0),
            memory_bytes: config.memory.map_or_else(host_memory, |memory| memory.0),
            platform,
        }
    }

    /// As it is told to the group.
    pub(crate) fn wire(&self, shared: &Shared) -> wire::Inventory {
        let config = &shared.config;
        let address = config.address.clone().unwrap_or_else(|| "127.0.0.1".into());
        let gateway = shared.gateway.as_ref().map(|gateway| {
            let at = gateway.address();
            match at.ip().is_unspecified() {
                true => format!("{address}:{}", at.port()),
                false => at.to_string(),
            }
        });
        wire::Inventory {
            cpu_milli: self.cpu_milli,
            memory_bytes: self.memory_bytes,
            devices: telemetry::inventory(&shared.devices),
            labels: config.labels.clone(),
            networks: config.networks.clone(),
            isolation: isolation(shared),
            address,
            gateway: gateway.unwrap_or_default(),
            platform: self.platform.clone(),
            mounts: config.mounts.iter().map(|path| path.display().to_string()).collect(),
        }
    }
}

fn isolation(shared: &Shared) -> String {
    let isolation = &shared.isolation;
    let mut text = format!("process: {}", isolation.promise());
    if !isolation.missing.is_empty() {
        text = format!("{text} (without: {})", isolation.missing.join("; "));
    }
    text
}

/// The local address of the way to the coordinators. Nothing is sent to find it out.
pub(crate) fn own_address(addresses: &[String]) -> String {
    let found = addresses.iter().find_map(|text| {
        let text = text.trim().trim_start_matches("https://").trim_end_matches('/');
        let with_port = format!("{text}:7443");
        let to = text.to_socket_addrs().or_else(|_| with_port.to_socket_addrs()).ok()?.next()?;
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect(to).ok()?;
        socket.local_addr().ok()
    });
    found.map_or_else(|| "127.0.0.1".into(), |address| address.ip().to_string())
}

/// All memory of the host, in bytes; 0 if it can't be told.
fn host_memory() -> u64 {
    let text = fs_err::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_seen_as_it_is() {
        assert!(host_memory() > 64 << 20);
        assert_eq!(own_address(&["127.0.0.1:7443".into()]), "127.0.0.1");
        assert!(!own_address(&["https://localhost:1/".into()]).is_empty());
        assert_eq!(own_address(&[]), "127.0.0.1");
    }
}
