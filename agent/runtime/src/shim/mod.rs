//! The shim: the small parent of one worker.
//!
//! It owns the stage's processes, its output and its exit status, so that an agent can crash,
//! restart or be upgraded meanwhile. std and nix only, one thread. Its protocol v1 is frozen,
//! because a shim may be weeks older than the agent that adopts it:
//!
//! * a folder with `spec` ([`crate::WorkerSpec`]), `lock` (the shim holds an flock on it as long as
//!   it or a process of the stage lives; its text is `pid boot-id started-ms`), `spool/`
//!   ([`crate::spool`]), and, at the end, `status` ([`crate::ExitStatus`]);
//! * a unix socket `sock` in it, bound within the worker's first 50 ms, which takes lines: `ping` →
//!   `ok PID LOG_OFFSET running|ended`; `stop GRACE_MS` → `ok`: TERM to all, KILL after the grace;
//!   `deadline BOOTTIME_MS` → `ok`: stop by itself at that time, replacing an earlier deadline;
//!   `signal N` → `ok`: to the stage's process group. Anything else → `error WHY`.
//!
//! `status` there: the worker has *finished*. `lock` free as well: it is *released*, no process of
//! it is left.

mod control;
mod init;
mod mounts;
mod pump;
mod read_only;
mod start;

pub(crate) use start::{STATUS_RESERVE, run};
