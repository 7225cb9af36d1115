//! NVIDIA devices, by the driver's own library, opened at run time.

use std::path::Path;

use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use runyard_types::{ByteSize, TimestampMs};

use crate::{DeviceInfo, DeviceProcess, DeviceSample, Health};

#[derive(Debug)]
pub(crate) struct NvmlDevices {
    nvml: Nvml,
    driver: Option<String>,
}

impl NvmlDevices {
    /// Fails where there is no driver.
    pub(crate) fn open(library: Option<&Path>) -> Result<Self, NvmlError> {
        let nvml = match library {
            Some(path) => Nvml::builder().lib_path(path.as_os_str()).init()?,
            None => Nvml::init()?,
        };
        let driver = nvml.sys_driver_version().ok();
        Ok(Self { nvml, driver })
    }

    pub(crate) fn inventory(&self) -> Vec<DeviceInfo> {
        self.each(|index, device| {
            // Without a uuid it can neither be offered nor named.
            let device = match device {
                Ok(device) => device,
                Err(error) => {
                    tracing::warn!(index, %error, "the driver does not open a device; not offered");
                    return None;
                }
            };
            let (uuid, memory) = match (device.uuid(), device.memory_info()) {
                (Ok(uuid), memory) => (uuid, memory),
                (Err(error), _) => {
                    tracing::warn!(index, %error, "a device has no uuid; not offered");
                    return None;
                }
            };
            let health = match &memory {
                Ok(_) => Health::Ok,
                Err(error) => Health::Faulty(error.to_string()),
            };
            Some(DeviceInfo {
                index,
                uuid,
                model: device.name().unwrap_or_else(|_| "unknown NVIDIA device".into()),
                memory: ByteSize(memory.map_or(0, |memory| memory.total)),
                simulated: false,
                driver: self.driver.clone(),
                held_by: None,
                health,
            })
        })
    }

    pub(crate) fn sample(&self, at: TimestampMs) -> Vec<DeviceSample> {
        self.each(|_, device| {
            let device = device.ok()?;
            Some(read(&device, device.uuid().ok()?, at))
        })
    }

    pub(crate) fn processes(&self, uuid: &str) -> Option<Vec<DeviceProcess>> {
        let found = self.each(|_, device| {
            let device = device.ok()?;
            (device.uuid().ok()? == uuid).then(|| device.running_compute_processes())
        });
        match found.into_iter().next() {
            None => Some(Vec::new()),
            Some(Ok(processes)) => Some(processes.iter().map(process).collect()),
            Some(Err(error)) => {
                tracing::debug!(uuid, %error, "the driver does not list processes");
                None
            }
        }
    }

    /// Devices are looked up anew each time: a handle does not outlive a reset of its device.
    fn each<'a, T>(
        &'a self,
        mut visit: impl FnMut(u32, Result<Device<'a>, NvmlError>) -> Option<T>,
    ) -> Vec<T> {
        let count = self.nvml.device_count().unwrap_or_else(|error| {
            tracing::warn!(%error, "the driver does not count its devices");
            0
        });
        (0..count).filter_map(|index| visit(index, self.nvml.device_by_index(index))).collect()
    }
}

fn process(info: &nvml_wrapper::struct_wrappers::device::ProcessInfo) -> DeviceProcess {
    let memory_used = match info.used_gpu_memory {
        UsedGpuMemory::Used(bytes) => Some(ByteSize(bytes)),
        UsedGpuMemory::Unavailable => None,
    };
    DeviceProcess { pid: info.pid, memory_used }
}

fn read(device: &Device<'_>, uuid: String, at: TimestampMs) -> DeviceSample {
    let mut fault = None;
    let utilization = given(device.utilization_rates(), &mut fault);
    let memory = given(device.memory_info(), &mut fault);
    let celsius = given(device.temperature(TemperatureSensor::Gpu), &mut fault);
    let milliwatts = given(device.power_usage(), &mut fault);
    DeviceSample {
        uuid,
        at,
        utilization_ratio: utilization.map(|rates| f64::from(rates.gpu) / 100.0),
        memory_used: memory.map(|memory| ByteSize(memory.used)),
        temperature_celsius: celsius.map(f64::from),
        power_watts: milliwatts.map(|mw| f64::from(mw) / 1_000.0),
        fault,
    }
}

/// The value, or nothing where this device or driver has none; any other error is a fault of the
/// device, of which the first is kept.
fn given<T>(result: Result<T, NvmlError>, fault: &mut Option<String>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            if !is_unsupported(&error) {
                fault.get_or_insert_with(|| error.to_string());
            }
            None
        }
    }
}

fn is_unsupported(error: &NvmlError) -> bool {
    matches!(
        error,
        NvmlError::NotSupported
            | NvmlError::NoPermission
            | NvmlError::NoData
            | NvmlError::FunctionNotFound
            | NvmlError::FailedToLoadSymbol(_)
            | NvmlError::UnexpectedVariant(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_supported_is_absent_and_no_fault() {
        let mut fault = None;
        assert_eq!(given(Ok(7), &mut fault), Some(7));
        for quiet in [
            NvmlError::NotSupported,
            NvmlError::NoPermission,
            NvmlError::FailedToLoadSymbol("nvmlDeviceGetMemoryInfo_v2".into()),
        ] {
            assert_eq!(given::<u32>(Err(quiet), &mut fault), None);
        }
        assert_eq!(fault, None);
        assert_eq!(given::<u32>(Err(NvmlError::GpuLost), &mut fault), None);
        assert_eq!(given::<u32>(Err(NvmlError::ResetRequired), &mut fault), None);
        assert_eq!(fault, Some(NvmlError::GpuLost.to_string()), "the first is kept");
    }
}
