//! What isolation this host gives, found out by running a worker.

use std::path::Path;
use std::time::Duration;

use crate::cgroup::Layout;
use crate::launcher::{LaunchError, Launcher};
use crate::spec::{Limits, WorkerSpec};
use crate::worker::{WorkerDir, WorkerError};

/// The kernel refuses a PID namespace fewer numbers than 301, the init's among them.
pub const PIDS_BY_NAMESPACE_MIN: u64 = 300;

/// What a shim says, with a reason, where what is to be read only can be written to.
const WRITABLE: &str = "no-read-only-mounts:";

/// What a stage gets here, for `nodes get` and `doctor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Isolation {
    /// The agent runs as root, so stages can have users of their own.
    pub root: bool,
    /// A PID namespace: what a stage leaves dies with its shim, by the kernel.
    pub pid_namespace: bool,
    /// It is had through a user namespace.
    pub user_namespace: bool,
    /// `/tmp` and `/dev/shm` of the stage's own.
    pub private_tmp: bool,
    /// What a stage is only to read ([`WorkerSpec::read_only`]) it can't write to.
    pub read_only_mounts: bool,
    /// A limit of processes, from [`PIDS_BY_NAMESPACE_MIN`] on, is held by the stage's PID namespace
    /// (since Linux 6.14); no cgroup is needed for it.
    pub pids_by_namespace: bool,
    /// cgroups and what can be limited by them.
    pub cgroups: Layout,
    /// What could not be had, each with its reason.
    pub missing: Vec<String>,
}

/// Why the host could not be probed.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The worker's folder.
    #[error("cannot probe this host's isolation")]
    Worker(#[from] WorkerError),
    /// Its start.
    #[error("cannot probe this host's isolation")]
    Launch(#[from] LaunchError),
    /// It did not end.
    #[error("cannot probe this host's isolation: the test process did not end within 10 s")]
    Stuck,
}

impl Isolation {
    /// Runs a worker that does nothing below `scratch`, an existing folder, and reads off what it
    /// got. Takes a few milliseconds.
    pub fn probe(launcher: &Launcher, scratch: &Path) -> Result<Self, ProbeError> {
        let uid = format!("probe-{}-{}", std::process::id(), crate::clock::boottime_ms());
        let tmp = scratch.join(format!("{uid}.tmp"));
        let fixed = scratch.join(format!("{uid}.ro"));
        fs_err::create_dir(&tmp).map_err(WorkerError::from)?;
        fs_err::create_dir(&fixed).map_err(WorkerError::from)?;
        let spec = WorkerSpec {
            uid,
            argv: vec!["true".into()],
            cwd: "/".into(),
            tmp: Some(tmp.clone()),
            private_shm: true,
            // It may lie below the `/tmp` that the worker does not see.
            keep: vec![fixed.clone()],
            read_only: vec![(fixed.clone(), fixed.clone())],
            limits: Limits { pids: Some(PIDS_BY_NAMESPACE_MIN), ..Limits::default() },
            ..WorkerSpec::default()
        };
        let worker = WorkerDir::create(scratch, &spec)?;
        launcher.launch(worker.path(), &[])?;
        worker.wait(Duration::from_secs(10))?;
        let status = worker.status()?.ok_or(ProbeError::Stuck)?;
        worker.remove()?;
        let _ = fs_err::remove_dir_all(&tmp);
        let _ = fs_err::remove_dir(&fixed);
        Ok(Self::read(&status.isolation, Layout::detect()))
    }

    fn read(words: &str, cgroups: Layout) -> Self {
        let has = |w: &str| words.split(' ').any(|x| x == w);
        // That a namespace can't hold it matters only where no cgroup can; that is said below.
        let own_words = ["no-pids:", WRITABLE];
        let failed = words.split(' ').filter(|w| !own_words.iter().any(|own| w.starts_with(own)));
        let failed = failed.filter_map(|w| w.strip_prefix("no-"));
        let mut missing: Vec<String> =
            failed.map(|w| w.replacen(':', ": ", 1).replace('-', " ")).collect();
        if !has("read-only-mounts") {
            let why = words.split(' ').find_map(|w| w.strip_prefix(WRITABLE));
            let why = why.unwrap_or("no mount namespace here");
            missing.push(format!(
                "read-only mounts: {why}; a stage could write into its `mount:` inputs"
            ));
        }
        for (controller, why) in
            cgroups.refused.iter().filter(|(c, _)| *c != "pids" || !has("pids"))
        {
            missing.push(format!("cgroup {controller}: {why}"));
        }
        let by_namespace = |controller| controller == "pids" && has("pids");
        for controller in ["memory", "pids", "cpu"] {
            if by_namespace(controller) {
                continue;
            }
            if !cgroups.limits(controller) && !cgroups.refused.contains_key(controller) {
                missing.push(format!("cgroup {controller}: no such controller here"));
            }
        }
        Self {
            root: nix::unistd::Uid::effective().is_root(),
            pid_namespace: has("pid-namespace"),
            user_namespace: has("user-namespace"),
            private_tmp: has("private-tmp") && has("private-shm"),
            read_only_mounts: has("read-only-mounts"),
            pids_by_namespace: has("pids"),
            cgroups,
            missing,
        }
    }

    /// How surely everything of a stage is gone at its end, in a sentence.
    pub fn promise(&self) -> &'static str {
        match (self.pid_namespace, self.cgroups.can_kill()) {
            (true, _) => "the kernel kills whatever a stage leaves (PID namespace)",
            (false, true) => "whatever a stage leaves is found by its cgroup and killed",
            (false, false) => {
                "WEAKER: no PID namespace and no cgroup here; what a stage leaves is found by a walk \
                 through /proc, which a process that hides its environment escapes if the shim is \
                 killed as well"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_what_is_missing_is_said() {
        let words = "no-root-namespaces:EPERM pid-namespace mount-namespace user-namespace no-private-tmp:EACCES";
        let got = Isolation::read(words, Layout::default());
        assert!(got.pid_namespace && got.user_namespace && !got.private_tmp);
        assert!(got.missing.contains(&"root namespaces: EPERM".to_string()), "{:?}", got.missing);
        assert!(got.missing.iter().any(|m| m.starts_with("cgroup memory")), "{:?}", got.missing);
        assert!(Isolation::read("", Layout::default()).promise().starts_with("WEAKER"));
    }

    #[test]
    fn that_mounts_could_be_written_to_is_said_with_the_reason() {
        let said = |words: &str| {
            let got = Isolation::read(words, Layout::default());
            let of_mounts = got.missing.iter().filter(|m| m.contains("mounts"));
            (got.read_only_mounts, of_mounts.cloned().collect::<Vec<_>>().join("|"))
        };
        let (no, why) = said("pid-namespace no-read-only-mounts:EPERM");
        assert!(!no && why.starts_with("read-only mounts: EPERM; a stage could write"), "{why}");
        let (no, why) = said("no-root-namespaces:EPERM");
        assert!(!no && why.starts_with("read-only mounts: no mount namespace"), "{why}");
        assert_eq!(said("pid-namespace read-only-mounts"), (true, String::new()));
    }
}
