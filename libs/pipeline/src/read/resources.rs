//! `resources:` of a worker: whole devices, CPUs, memory.

use runyard_types::{ByteSize, CpuMilli, DeviceMemory, GpuMilli, GpuRequest, Resources};

use crate::codes::Code;
use crate::diagnostic::shown;
use crate::read::cx::{Cx, Shape};
use crate::yaml::{Node, Value};

/// The most devices of one worker.
const DEVICES_MAX: u32 = 1_024;

pub(crate) const RESOURCES: Shape =
    Shape { what: "`resources`", keys: &["gpu", "cpu", "memory"], unbuilt: &[] };

pub(crate) const GPU: Shape = Shape {
    what: "`gpu`",
    keys: &["any", "count", "memory"],
    unbuilt: &[("mig", Code::DeviceShareNotBuilt), ("nvlink", Code::DeviceShareNotBuilt)],
};

/// Reads `resources:`.
pub(crate) fn resources(cx: &mut Cx<'_>, node: &Node) -> Option<Resources> {
    let fields = cx.fields(node, &RESOURCES)?;
    let mut resources = Resources::default();
    if let Some(node) = fields.get("gpu") {
        resources.gpu = gpu(cx, node).unwrap_or_default();
    }
    if let Some(node) = fields.get("cpu")
        && let Some(cpu) = cx.quantity(node, "`cpu`", CpuMilli::parse)
        && let Some(milli) = cx.above_zero(node, "`cpu`", cpu.get())
    {
        resources.cpu = CpuMilli(milli);
    }
    if let Some(node) = fields.get("memory")
        && let Some(memory) = cx.size(node, "`memory`")
    {
        resources.memory = memory;
    }
    Some(resources)
}

/// `2` | `H100` | `H100:4` | `24GB:2` | `{ any, count, memory }`.
fn gpu(cx: &mut Cx<'_>, node: &Node) -> Option<GpuRequest> {
    match &node.value {
        Value::Map(_) => gpu_map(cx, node),
        Value::Number(text) => gpu_count(cx, node, text).map(plain),
        Value::Text(text) => {
            let text = text.trim();
            if text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
                && text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b))
            {
                return gpu_count(cx, node, text).map(plain);
            }
            let (kind, count) = text.split_once(':').unwrap_or((text, "1"));
            let count = gpu_count(cx, node, count)?;
            let request = GpuRequest { count, ..GpuRequest::default() };
            if kind.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
                return Some(GpuRequest { memory: memory(cx, node, kind)?, ..request });
            }
            Some(GpuRequest { models: vec![model(cx, node, kind)?], ..request })
        }
        Value::Null | Value::Bool(_) | Value::List(_) => {
            cx.wrong_type(node, "`gpu`", "a number, `H100:4`, `24GB:2` or a map");
            None
        }
    }
}

fn plain(count: u32) -> GpuRequest {
    GpuRequest { count, ..GpuRequest::default() }
}

/// A count of whole devices. A share is understood, and not built yet.
fn gpu_count(cx: &mut Cx<'_>, node: &Node, text: &str) -> Option<u32> {
    let milli = match GpuMilli::parse(text) {
        Ok(milli) => milli.get(),
        Err(error) => {
            cx.error(Code::BadQuantity, &node.span, format!("`gpu`: {error}"));
            return None;
        }
    };
    if milli == 0 {
        cx.error(Code::OutOfRange, &node.span, "`gpu` is zero");
        cx.help("leave the key out for no device");
        return None;
    }
    if !milli.is_multiple_of(1_000) {
        cx.not_built(
            Code::DeviceShareNotBuilt,
            &node.span,
            &format!("a share (`{}`)", shown(text)),
        );
        return None;
    }
    let count = u32::try_from(milli / 1_000).ok().filter(|count| *count <= DEVICES_MAX);
    if count.is_none() {
        let message =
            format!("`gpu` is at most {DEVICES_MAX} devices, but this is {}", milli / 1_000);
        cx.error(Code::OutOfRange, &node.span, message);
    }
    count
}

fn gpu_map(cx: &mut Cx<'_>, node: &Node) -> Option<GpuRequest> {
    let fields = cx.fields(node, &GPU)?;
    let mut request = plain(1);
    if let Some(node) = fields.get("any") {
        for item in cx.items(node, "`any`") {
            if let Some(text) = cx.filled(item, "`any`") {
                request.models.extend(model(cx, item, text));
            }
        }
    }
    if let Some(node) = fields.get("count")
        && let Some(text) = cx.text(node, "`count`")
    {
        request.count = gpu_count(cx, node, text)?;
    }
    if let Some(node) = fields.get("memory")
        && let Some(text) = cx.filled(node, "`memory`")
    {
        request.memory = memory(cx, node, text)?;
    }
    Some(request)
}

/// A part of a device's model name.
fn model(cx: &mut Cx<'_>, node: &Node, text: &str) -> Option<String> {
    let fits = (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_. ".contains(&b));
    if fits {
        return Some(text.to_owned());
    }
    let message = format!("`{}` is no device model", shown(text));
    cx.error(Code::BadQuantity, &node.span, message);
    cx.help("write `1`, `H100:4`, `24GB:2` or `{ any: [H100, A100], count: 4, memory: 80GB.. }`");
    None
}

/// `24GB` (at least) | `80GB..` | `40GB..80GB` | `..80GB`.
fn memory(cx: &mut Cx<'_>, node: &Node, text: &str) -> Option<DeviceMemory> {
    let (min, max) = text.split_once("..").unwrap_or((text, ""));
    let mut size = |text: &str| match text.trim() {
        "" => Some(None),
        text => match ByteSize::parse(text) {
            Ok(size) => Some(Some(size)),
            Err(error) => {
                cx.error(Code::BadQuantity, &node.span, format!("device memory: {error}"));
                None
            }
        },
    };
    let memory = DeviceMemory { min: size(min)?, max: size(max)? };
    if let (Some(min), Some(max)) = (memory.min, memory.max)
        && min > max
    {
        let message = format!("device memory from {min} to {max} is nothing");
        cx.error(Code::OutOfRange, &node.span, message);
        return None;
    }
    if memory.min.is_none() && memory.max.is_none() {
        cx.error(Code::BadQuantity, &node.span, "device memory has no bound");
        return None;
    }
    Some(memory)
}
