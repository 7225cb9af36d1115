//! The devices that an agent offers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use runyard_types::{ByteSize, TimestampMs, WorkerKey};

use crate::nvml::NvmlDevices;
use crate::simulated::SimulatedDevices;
use crate::{DeviceInfo, DeviceProcess, DeviceSample};

/// Names the driver's library where it is not the system's, e.g. on NixOS or in tests.
pub const NVML_LIB_VARIABLE: &str = "RUNYARD_NVML_LIB";

/// Simulated devices of one host at most.
const SIMULATED_MAX: u32 = 64;

/// Why the devices could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DevicesError {
    /// Too many simulated devices.
    #[error("{0} simulated devices were asked for; at most {SIMULATED_MAX} can be had")]
    TooMany(u32),
    /// A library was named and is of no use; that it is absent by default is no error.
    #[error(
        "`{NVML_LIB_VARIABLE}` names `{}`, which cannot be used as the NVIDIA driver's library; unset it or name another",
        path.display()
    )]
    Library {
        path: PathBuf,
        #[source]
        source: nvml_wrapper::error::NvmlError,
    },
}

/// Which devices to offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// This many simulated devices instead of the host's own.
    pub simulated: Option<u32>,
    /// The memory of each simulated device.
    pub simulated_memory: ByteSize,
    /// The node's name, which makes the uuids of simulated devices differ between nodes.
    pub node: String,
    /// The driver's library, if not the system's.
    pub nvml_library: Option<PathBuf>,
}

impl Config {
    /// The host's own devices, with the library that the environment names.
    pub fn from_environment(node: &str) -> Self {
        let library = std::env::var_os(NVML_LIB_VARIABLE).filter(|path| !path.is_empty());
        Self {
            simulated: None,
            simulated_memory: ByteSize(16 << 30),
            node: node.into(),
            nvml_library: library.map(PathBuf::from),
        }
    }
}

/// A worker on a device, since when.
#[derive(Debug, Clone)]
pub(crate) struct Holder {
    pub(crate) worker: WorkerKey,
    pub(crate) since: TimestampMs,
}

/// Who holds which device, by uuid.
pub(crate) type Holders = BTreeMap<String, Holder>;

/// The devices of this host.
#[derive(Debug)]
pub struct Devices {
    source: Source,
    holders: Mutex<Holders>,
}

#[derive(Debug)]
enum Source {
    /// No driver, no devices.
    None,
    /// Boxed: the table of the driver's functions has 12 kB.
    Nvml(Box<NvmlDevices>),
    Simulated(SimulatedDevices),
}

impl Devices {
    /// Opens the devices of `config`. A host without a driver has none, which is no error. The
    /// driver may take seconds to answer: call it on a thread that may block.
    pub fn open(config: &Config) -> Result<Self, DevicesError> {
        let source = match config.simulated {
            Some(count) if count > SIMULATED_MAX => return Err(DevicesError::TooMany(count)),
            Some(count) => Source::Simulated(SimulatedDevices::new(
                &config.node,
                count,
                config.simulated_memory,
            )),
            None => Self::open_nvml(config)?,
        };
        Ok(Self { source, holders: Mutex::default() })
    }

    fn open_nvml(config: &Config) -> Result<Source, DevicesError> {
        match (NvmlDevices::open(config.nvml_library.as_deref()), &config.nvml_library) {
            (Ok(devices), _) => Ok(Source::Nvml(Box::new(devices))),
            (Err(source), Some(path)) => Err(DevicesError::Library { path: path.clone(), source }),
            (Err(error), None) => {
                tracing::debug!(%error, "no NVIDIA driver; this node offers no devices");
                Ok(Source::None)
            }
        }
    }

    /// All devices, in the driver's order.
    pub fn inventory(&self) -> Vec<DeviceInfo> {
        let mut devices = match &self.source {
            Source::None => Vec::new(),
            Source::Nvml(devices) => devices.inventory(),
            Source::Simulated(devices) => devices.inventory(),
        };
        let holders = self.holders();
        for device in &mut devices {
            device.held_by = holders.get(&device.uuid).map(|holder| holder.worker.clone());
        }
        devices
    }

    /// A reading of each device, now.
    pub fn sample(&self) -> Vec<DeviceSample> {
        let at = now();
        match &self.source {
            Source::None => Vec::new(),
            Source::Nvml(devices) => devices.sample(at),
            Source::Simulated(devices) => devices.sample(at, &self.holders()),
        }
    }

    /// The processes that compute on the device, ours and others'. Empty for a uuid that is not
    /// here, and for simulated devices. `None` where the driver cannot tell.
    pub fn processes(&self, uuid: &str) -> Option<Vec<DeviceProcess>> {
        match &self.source {
            Source::None | Source::Simulated(_) => Some(Vec::new()),
            Source::Nvml(devices) => devices.processes(uuid),
        }
    }

    /// Tells who has a device. Simulated devices look busy while held; a uuid that is not here is
    /// remembered and shown nowhere.
    pub fn set_holder(&self, uuid: &str, worker: Option<WorkerKey>) {
        self.set_holder_at(uuid, worker, now());
    }

    fn set_holder_at(&self, uuid: &str, worker: Option<WorkerKey>, since: TimestampMs) {
        let mut holders = self.holders();
        match worker {
            None => drop(holders.remove(uuid)),
            // Said again, it holds since it was first said.
            Some(worker) if holders.get(uuid).is_some_and(|holder| holder.worker == worker) => {}
            Some(worker) => drop(holders.insert(uuid.into(), Holder { worker, since })),
        }
    }

    fn holders(&self) -> MutexGuard<'_, Holders> {
        // Each section is one map operation, so a panic elsewhere leaves the map whole.
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> TimestampMs {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampMs(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use runyard_types::ProjectName;

    use super::*;
    use crate::Health;

    fn simulated(count: u32) -> Config {
        Config { simulated: Some(count), nvml_library: None, ..Config::from_environment("a") }
    }

    fn worker() -> WorkerKey {
        WorkerKey::parse(&ProjectName::default_project(), "digits-1/train.1:0").expect("a key")
    }

    #[test]
    fn simulated_devices_say_what_they_are() {
        let devices = Devices::open(&simulated(2)).expect("opened");
        let inventory = devices.inventory();
        assert_eq!(inventory.len(), 2);
        for (index, device) in inventory.iter().enumerate() {
            assert_eq!(device.index as usize, index);
            assert!(device.simulated && device.driver.is_none());
            assert_eq!(device.model, "simulated-gpu");
            assert!(device.uuid.starts_with("SIM-"), "{}", device.uuid);
            assert_eq!((device.memory, &device.health), (ByteSize(16 << 30), &Health::Ok));
        }
        assert!(matches!(Devices::open(&simulated(65)), Err(DevicesError::TooMany(65))));
        assert!(Devices::open(&simulated(0)).expect("opened").inventory().is_empty());
    }

    #[test]
    fn uuids_differ_between_nodes_and_not_between_starts() {
        let uuids = |node: &str| -> Vec<String> {
            let config = Config { node: node.into(), ..simulated(2) };
            let inventory = Devices::open(&config).expect("opened").inventory();
            inventory.into_iter().map(|device| device.uuid).collect()
        };
        assert_eq!(uuids("a"), uuids("a"));
        let all: std::collections::BTreeSet<String> =
            [uuids("a"), uuids("b")].into_iter().flatten().collect();
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn a_holder_is_shown_and_taken_away() {
        let devices = Devices::open(&simulated(2)).expect("opened");
        let uuid = devices.inventory()[1].uuid.clone();
        devices.set_holder(&uuid, Some(worker()));
        let held: Vec<_> = devices.inventory().into_iter().map(|device| device.held_by).collect();
        assert_eq!(held, [None, Some(worker())]);
        devices.set_holder(&uuid, None);
        assert!(devices.inventory().iter().all(|device| device.held_by.is_none()));
    }

    #[test]
    fn a_holder_named_again_keeps_its_beginning() {
        let devices = Devices::open(&simulated(1)).expect("opened");
        let uuid = devices.inventory()[0].uuid.clone();
        devices.set_holder_at(&uuid, Some(worker()), TimestampMs(1_000));
        devices.set_holder_at(&uuid, Some(worker()), TimestampMs(9_000));
        assert_eq!(devices.holders()[&uuid].since, TimestampMs(1_000));
    }

    #[test]
    fn a_library_that_was_named_must_be_one() {
        let config = Config {
            simulated: None,
            nvml_library: Some("/nonexistent/libnvidia-ml.so".into()),
            ..simulated(0)
        };
        let error = Devices::open(&config).expect_err("refused").to_string();
        assert!(error.contains("/nonexistent/libnvidia-ml.so"), "{error}");
        assert!(error.contains(NVML_LIB_VARIABLE), "{error}");
    }

    #[test]
    fn the_hosts_own_devices_are_read_or_there_are_none() {
        let config = Config { nvml_library: None, ..Config::from_environment("a") };
        let devices = Devices::open(&config).expect("a host without a driver is fine");
        let inventory = devices.inventory();
        assert!(inventory.iter().all(|device| !device.simulated && device.memory.get() > 0));
        assert_eq!(devices.sample().len(), inventory.len());
        assert_eq!(devices.processes("GPU-none"), Some(Vec::new()));
    }
}
