//! A parsed pipeline.

use std::collections::BTreeMap;

use runyard_types::{Name, PipelineName};
use serde::{Deserialize, Serialize};

use crate::model::{Param, Stage};

/// A pipeline whose references, names and graph were checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pipeline {
    /// The format of the file; 1.
    pub version: u32,
    pub name: PipelineName,
    #[serde(default)]
    pub params: BTreeMap<Name, Param>,
    /// In topological order: a stage stands behind all that it needs, else in the file's order.
    pub stages: Vec<Stage>,
}

impl Pipeline {
    /// The stage of that name.
    pub fn stage(&self, name: &str) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.name.as_str() == name)
    }

    /// The pipeline as JSON with sorted keys and no spaces: equal pipelines give equal bytes.
    pub fn to_canonical_json(&self) -> String {
        let value = serde_json::to_value(self).expect("all keys are strings and all floats finite");
        let mut out = String::new();
        write_canonical(&value, &mut out);
        out
    }
}

/// Writes `value` with the keys of its objects sorted, whatever order the JSON library keeps them in.
fn write_canonical(value: &serde_json::Value, out: &mut String) {
    use serde_json::Value;
    match value {
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            let sorted: BTreeMap<_, _> = fields.iter().collect();
            out.push('{');
            for (index, (key, item)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write_canonical(item, out);
            }
            out.push('}');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            out.push_str(&value.to_string());
        }
    }
}
