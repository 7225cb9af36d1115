//! Devices of a host: NVML, simulated devices, telemetry.
//!
//! Invariant: a value that the driver does not give is absent, never a number that stands for
//! "unknown"; a simulated device says so in its model, its uuid and a flag.

mod device;
mod devices;
mod nvml;
mod simulated;

pub use device::{DeviceInfo, DeviceProcess, DeviceSample, Health};
pub use devices::{Config, Devices, DevicesError, NVML_LIB_VARIABLE};
