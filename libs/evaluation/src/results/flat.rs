//! A flat metrics.json: numbers without their examples.

use std::collections::BTreeMap;

use runyard_types::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::json::cell;

/// Metrics that were computed elsewhere. They serve absolute checks only, and no interval can be
/// given for them. What is not finite is kept out of the map and named.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FlatMetrics {
    /// The finite values by name.
    pub values: BTreeMap<String, f64>,
    /// Names whose value is NaN or infinite.
    pub not_finite: Vec<String>,
}

impl FlatMetrics {
    /// The digest of names and values.
    pub fn digest(&self) -> Digest {
        let mut text = String::from("runyard flat metrics 1\n");
        for (name, value) in &self.values {
            text.push_str(&format!("{}:{name}={:016x}\n", name.len(), value.to_bits()));
        }
        for name in &self.not_finite {
            text.push_str(&format!("{}:{name}\n", name.len()));
        }
        Digest::of(text.as_bytes())
    }

    /// Takes the numbers of an object; other entries are left out. None when it holds none.
    pub(crate) fn of(object: &Map<String, Value>) -> Option<Self> {
        let mut flat = Self::default();
        for (name, value) in object {
            match cell(value).number() {
                Some(number) if number.is_finite() => {
                    flat.values.insert(name.clone(), number);
                }
                Some(_) if !value.is_null() => flat.not_finite.push(name.clone()),
                _ => {}
            }
        }
        (!flat.values.is_empty() || !flat.not_finite.is_empty()).then_some(flat)
    }
}
