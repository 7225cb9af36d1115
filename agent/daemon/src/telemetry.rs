//! Devices as they are reported: inventory, holders, samples.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use runyard_devices::{DeviceInfo, DeviceSample, Devices, Health};
use runyard_proto::v1;
use tokio::sync::watch;

use crate::shared::Shared;

/// Between two readings.
const EVERY: Duration = Duration::from_secs(1);

/// The devices without a reading, for a hello.
pub(crate) fn inventory(devices: &Devices) -> Vec<v1::Device> {
    devices.inventory().iter().map(|info| device(info, None)).collect()
}

/// Reads the devices every second into `latest`, on a thread that may block: a driver that hangs
/// delays nothing but its own readings.
pub(crate) async fn sample(shared: Arc<Shared>, latest: watch::Sender<Vec<v1::Device>>) {
    if shared.devices.inventory().is_empty() {
        return;
    }
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let one = shared.clone();
        let read = tokio::task::spawn_blocking(move || {
            let samples = one.devices.sample();
            let samples: BTreeMap<String, DeviceSample> =
                samples.into_iter().map(|sample| (sample.uuid.clone(), sample)).collect();
            let all = one.devices.inventory();
            all.iter().map(|info| device(info, samples.get(&info.uuid))).collect()
        });
        if let Ok(devices) = read.await {
            latest.send_replace(devices);
        }
    }
}

fn device(info: &DeviceInfo, sample: Option<&DeviceSample>) -> v1::Device {
    let fault = sample.and_then(|sample| sample.fault.clone());
    let health = match (&info.health, fault) {
        (Health::Faulty(why), _) => why.clone(),
        (Health::Ok, Some(fault)) => fault,
        (Health::Ok, None) => "ok".into(),
    };
    v1::Device {
        index: info.index,
        uuid: info.uuid.clone(),
        model: info.model.clone(),
        memory_bytes: info.memory.get(),
        simulated: info.simulated,
        health,
        held_by: info.held_by.as_ref().map(ToString::to_string).unwrap_or_default(),
        last: sample.map(|sample| v1::DeviceSample {
            at_ms: sample.at.get(),
            utilization_ratio: sample.utilization_ratio,
            memory_used_bytes: sample.memory_used.map(runyard_types::ByteSize::get),
            temperature_celsius: sample.temperature_celsius,
            power_watts: sample.power_watts,
        }),
    }
}
