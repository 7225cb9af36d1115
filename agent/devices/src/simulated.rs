//! Devices without hardware, for demonstrations and tests on machines that have none.
//!
//! A reading is a function of uuid, time and holder alone. An idle device is cool and empty; a held
//! one works: memory fills within seconds, the temperature follows with a lag, all with a ripple so
//! that graphs look alive.

use runyard_types::{ByteSize, Digest, TimestampMs};

use crate::devices::Holders;
use crate::{DeviceInfo, DeviceSample, Health};

const MODEL: &str = "simulated-gpu";
const IDLE_CELSIUS: f64 = 34.0;
const BUSY_CELSIUS: f64 = 67.0;
const IDLE_WATTS: f64 = 55.0;
const BUSY_WATTS: f64 = 310.0;
/// The chip is at 63 % of its way to the busy temperature after this time.
const WARM_UP_S: f64 = 20.0;
/// A worker has its memory after this time.
const FILL_S: f64 = 3.0;

#[derive(Debug)]
pub(crate) struct SimulatedDevices {
    devices: Vec<Simulated>,
    memory: ByteSize,
}

#[derive(Debug)]
struct Simulated {
    uuid: String,
    /// Where its ripple begins, in radians, so that devices don't swing together.
    phase: f64,
    /// The share of the memory that a worker takes.
    appetite: f64,
}

impl SimulatedDevices {
    pub(crate) fn new(node: &str, count: u32, memory: ByteSize) -> Self {
        let devices = (0..count)
            .map(|index| {
                let seed = Digest::of(format!("{node}/{index}").as_bytes());
                let unit = |byte: u8| f64::from(byte) / 256.0;
                let [first, second, ..] = *seed.as_bytes();
                Simulated {
                    uuid: format!("SIM-{}-{index}", seed.short()),
                    phase: unit(first) * std::f64::consts::TAU,
                    appetite: 0.5 + 0.3 * unit(second),
                }
            })
            .collect();
        Self { devices, memory }
    }

    pub(crate) fn inventory(&self) -> Vec<DeviceInfo> {
        (0..)
            .zip(&self.devices)
            .map(|(index, device)| DeviceInfo {
                index,
                uuid: device.uuid.clone(),
                model: MODEL.into(),
                memory: self.memory,
                simulated: true,
                driver: None,
                held_by: None,
                health: Health::Ok,
            })
            .collect()
    }

    pub(crate) fn sample(&self, at: TimestampMs, holders: &Holders) -> Vec<DeviceSample> {
        self.devices
            .iter()
            .map(|device| {
                let held_ms =
                    holders.get(&device.uuid).map(|h| at.get().saturating_sub(h.since.get()));
                device.sample(at, held_ms, self.memory)
            })
            .collect()
    }
}

impl Simulated {
    fn sample(&self, at: TimestampMs, held_ms: Option<u64>, memory: ByteSize) -> DeviceSample {
        let held_s = held_ms.map(|ms| ms as f64 / 1_000.0);
        let ripple = (at.get() as f64 / 1_000.0 * 0.7 + self.phase).sin();
        let utilization = held_s.map_or(0.0, |_| 0.94 + 0.05 * ripple);
        let filled = held_s.map_or(0.0, |s| (s / FILL_S).min(1.0) * self.appetite);
        let warmth = held_s.map_or(0.0, |s| 1.0 - (-s / WARM_UP_S).exp());
        let used = memory.get() as f64 * (0.01 + filled);
        DeviceSample {
            uuid: self.uuid.clone(),
            at,
            utilization_ratio: Some(utilization),
            memory_used: Some(ByteSize(used as u64)),
            temperature_celsius: Some(
                IDLE_CELSIUS + (BUSY_CELSIUS - IDLE_CELSIUS) * warmth + 0.5 * ripple,
            ),
            power_watts: Some(IDLE_WATTS + (BUSY_WATTS - IDLE_WATTS) * utilization + 2.0 * ripple),
            fault: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> SimulatedDevices {
        SimulatedDevices::new("a", 1, ByteSize(16 << 30))
    }

    fn reading(at: u64, held_ms: Option<u64>) -> DeviceSample {
        one().devices[0].sample(TimestampMs(at), held_ms, ByteSize(16 << 30))
    }

    #[test]
    fn a_reading_depends_on_time_and_holder_alone() {
        assert_eq!(reading(5_000, None), reading(5_000, None));
        assert_ne!(reading(5_000, None), reading(6_000, None));
        assert_eq!(one().sample(TimestampMs(5_000), &Holders::new()), [reading(5_000, None)]);
    }

    #[test]
    fn a_held_device_works_fills_and_warms_up() {
        for at in (0..600_000).step_by(777) {
            let idle = reading(at, None);
            let busy = reading(at, Some(120_000));
            assert_eq!(idle.utilization_ratio, Some(0.0));
            let ratio = busy.utilization_ratio.expect("given");
            assert!((0.85..=1.0).contains(&ratio), "{ratio}");
            let used = busy.memory_used.expect("given").get();
            assert!(used > 8 << 30 && used < 16 << 30, "{used}");
            assert!(idle.memory_used.expect("given").get() < 1 << 30);
            assert!(busy.temperature_celsius > idle.temperature_celsius);
            assert!(busy.power_watts > idle.power_watts);
        }
        let early = reading(9_000, Some(1_000));
        let late = reading(9_000, Some(60_000));
        assert!(early.temperature_celsius < late.temperature_celsius);
        assert!(early.memory_used < late.memory_used);
    }
}
