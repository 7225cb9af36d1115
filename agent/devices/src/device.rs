//! What is known of a device.

use runyard_types::{ByteSize, TimestampMs, WorkerKey};

/// A device of this host.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceInfo {
    /// The position in the driver's order; it may change at a reboot, the uuid does not.
    pub index: u32,
    /// `GPU-…` as the driver gives it, `SIM-…` for a simulated one.
    pub uuid: String,
    /// The driver's name of the model, or `simulated-gpu`.
    pub model: String,
    /// All memory of the device.
    pub memory: ByteSize,
    /// No hardware is behind it.
    pub simulated: bool,
    /// The driver's version; absent for simulated devices.
    pub driver: Option<String>,
    /// The worker that has it, as the daemon said by `set_holder`.
    pub held_by: Option<WorkerKey>,
    /// What the driver said when the device was last asked for.
    pub health: Health,
}

/// Whether a device can be offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It answers.
    Ok,
    /// It does not, in the driver's words.
    Faulty(String),
}

/// One reading of a device. A value that the driver does not support is absent.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceSample {
    pub uuid: String,
    pub at: TimestampMs,
    /// The share of the last sampling period in which a kernel ran, from 0 to 1.
    pub utilization_ratio: Option<f64>,
    pub memory_used: Option<ByteSize>,
    /// Of the chip, in degrees Celsius.
    pub temperature_celsius: Option<f64>,
    /// Of the board, in watts.
    pub power_watts: Option<f64>,
    /// Set when the device did not answer as a working one does; the values are then absent.
    pub fault: Option<String>,
}

/// A process that uses a device, be it ours or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceProcess {
    pub pid: u32,
    /// Absent where the driver does not tell, as inside containers.
    pub memory_used: Option<ByteSize>,
}
