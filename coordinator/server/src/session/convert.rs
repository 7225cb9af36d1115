//! Between the wire's messages and the state's types.

use runyard_proto::agent as wire;
use runyard_proto::v1;
use runyard_state::NodeHello;
use runyard_state::entity::{NodeDevice, OutputRoot, TaskResult};
use runyard_types::{
    ByteSize, Cause, CpuMilli, Digest, DurationMs, ExitReport, NodeName, Outcome, ProjectName,
    Resources, TimestampMs, WorkerKey,
};
use tonic::Status;

pub(crate) fn worker_key(project: &str, key: &str) -> Result<WorkerKey, Status> {
    let project = ProjectName::new(project).map_err(|e| Status::invalid_argument(e.to_string()))?;
    WorkerKey::parse(&project, key).map_err(|e| Status::invalid_argument(e.to_string()))
}

pub(crate) fn resources(resources: &Resources) -> v1::Resources {
    v1::Resources {
        gpu_count: resources.gpu.count,
        gpu_models: resources.gpu.models.clone(),
        gpu_memory_bytes_min: resources.gpu.memory.min.map_or(0, ByteSize::get),
        gpu_memory_bytes_max: resources.gpu.memory.max.map_or(0, ByteSize::get),
        cpu_milli: resources.cpu.get(),
        memory_bytes: resources.memory.get(),
    }
}

/// The hello's inventory as a command.
pub(crate) fn hello(node: NodeName, hello: &wire::Hello) -> Result<NodeHello, Status> {
    let inventory = hello.inventory.clone().unwrap_or_default();
    let workers = hello
        .workers
        .iter()
        .filter_map(|report| worker_key(&report.project, &report.key).ok())
        .collect();
    Ok(NodeHello {
        name: node,
        boot_id: hello.boot_id.clone(),
        session_counter: hello.session_counter,
        version: hello.version.clone(),
        cpu: CpuMilli(inventory.cpu_milli),
        memory: ByteSize(inventory.memory_bytes),
        devices: inventory.devices.iter().map(device).collect(),
        labels: inventory.labels,
        networks: inventory.networks,
        isolation: inventory.isolation,
        address: inventory.address,
        gateway: inventory.gateway,
        platform: inventory.platform,
        mounts: inventory.mounts,
        chains: hello.chains,
        workers,
    })
}

fn device(device: &v1::Device) -> NodeDevice {
    let healthy = device.health.is_empty() || device.health == "ok";
    NodeDevice {
        index: device.index,
        uuid: device.uuid.clone(),
        model: device.model.clone(),
        memory: ByteSize(device.memory_bytes),
        simulated: device.simulated,
        unhealthy: (!healthy).then(|| device.health.clone()),
    }
}

pub(crate) fn exit(exit: &wire::Exit, log_end: u64) -> ExitReport {
    ExitReport {
        code: exit.code,
        signal: exit.signal,
        oom: exit.oom,
        memory_peak: ByteSize(exit.memory_peak_bytes),
        cpu: DurationMs(exit.cpu_ms),
        started_at: TimestampMs(exit.started_ms),
        ended_at: TimestampMs(exit.ended_ms),
        log_end,
    }
}

pub(crate) fn outcome(result: &wire::Result) -> Outcome {
    if result.succeeded {
        return Outcome::Succeeded;
    }
    let cause = match result.cause.as_str() {
        "failure" => Cause::Failure,
        "cancelled" => Cause::Cancelled,
        _ => Cause::Error,
    };
    Outcome::Ended { cause, reason: result.reason.clone() }
}

pub(crate) fn task_result(report: &wire::WorkerReport) -> Result<TaskResult, Status> {
    let outputs = report
        .outputs
        .iter()
        .map(|output| {
            let root =
                Digest::parse(&output.root).map_err(|e| Status::invalid_argument(e.to_string()))?;
            let root = OutputRoot {
                root,
                kind: output.kind.clone(),
                bytes: output.bytes,
                files: output.files,
            };
            Ok((output.name.clone(), root))
        })
        .collect::<Result<_, Status>>()?;
    Ok(TaskResult {
        outputs,
        metrics: report.metrics.clone(),
        values: report.values.clone(),
        summary: report.summary.clone(),
    })
}
