//! What the daemon tells the gateway, and what the gateway tells the daemon.

use runyard_types::{DeploymentName, ProjectName, TaskKey};

/// One deployment: all its revisions that have or may get traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub project: ProjectName,
    pub deployment: DeploymentName,
    pub revisions: Vec<RouteRevision>,
    /// Revisions up to this one were rolled back and get nothing, `serving` apart.
    pub latch: u32,
    /// The revision that gets what no other does, and to which a rollback goes: beside a canary the one
    /// that serves, else the one before that, for as long as its replicas are kept warm.
    pub serving: u32,
    /// How long requests of a revision that lost its traffic may still take.
    pub drain_ms: u64,
}

/// A revision of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteRevision {
    pub number: u32,
    /// Its share of the requests in thousandths, once it is ready.
    pub weight_permille: u32,
    pub replicas: Vec<Replica>,
    pub ready: Ready,
    /// Requests and errors of the revision before it: what it is held to when it serves alone.
    pub baseline_requests: u64,
    pub baseline_errors: u64,
}

/// A process that serves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Replica {
    pub task: TaskKey,
    /// `host:port`.
    pub address: String,
}

/// When a revision may have traffic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ready {
    /// Asked with GET until it answers 2xx. Empty: `/`, and any answer below 500 will do.
    pub path: String,
    /// Time for all replicas to become ready, from when the first is placed; 0: no limit.
    pub within_ms: u64,
    /// Requests sent to each replica before the first user's: a JSON object a line, with `path`, and
    /// optionally `method` (POST with a body, else GET), `headers`, `body` (text as it is, anything
    /// else as JSON) and `expect_status` (any 2xx).
    pub warm_up: Vec<u8>,
}

/// What a gateway knows of one revision. Whole, not a difference; counted since the gateway started.
#[derive(Debug, Clone, PartialEq)]
pub struct RevisionReport {
    pub project: ProjectName,
    pub deployment: DeploymentName,
    pub revision: u32,
    /// All its replicas were ready together, and at least one is now.
    pub ready: bool,
    /// What is missing for readiness, or what the last failed attempt met; empty if nothing.
    pub detail: String,
    /// It did not become ready in time, or was ready and then unreachable for as long.
    pub failed: bool,
    pub requests: u64,
    /// 5xx, resets, timeouts, answers with `x-runyard-error: 1`, and bad feedback; not 429.
    pub errors: u64,
    /// Of the errors, those that no user saw because another replica answered.
    pub rescued: u64,
    /// Requests not yet answered to their end.
    pub in_flight: u64,
    /// It gets no traffic and has nothing in flight, or its drain time is over: it may be stopped. A
    /// revision in no report has nothing in flight either.
    pub drained: bool,
    /// Counts per bucket of [`crate::LATENCY_BUCKETS_MS`], the last above all: until the first byte.
    pub latency: Vec<u64>,
    /// The evidence of the error watch against it; 1 is none.
    pub e_value: f64,
    /// This gateway, or one before it on this host, took its traffic away; set once that is on disk.
    pub rolled_back: bool,
    pub reason: String,
    /// Requests whose user met an error before the rollback.
    pub affected: u64,
}
