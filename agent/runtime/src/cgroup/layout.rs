//! Which cgroup controllers this host offers to us, and where.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::spec::Limits;

/// Which kind of hierarchy the host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// None is mounted.
    #[default]
    None,
    /// Only v1.
    V1,
    /// v1 controllers beside a v2 tree without them.
    Hybrid,
    /// Only v2.
    V2,
}

/// The controllers below which we can make directories.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    /// The kind of hierarchy.
    pub version: Version,
    /// Controller → our own directory in it. `v2` stands for the unified tree.
    pub writable: BTreeMap<String, PathBuf>,
    /// Controllers that are there but not ours to use, with the reason.
    pub refused: BTreeMap<String, String>,
}

const WANTED: [&str; 4] = ["memory", "pids", "cpu", "freezer"];

impl Layout {
    /// Looks at this process's cgroups. On v2 it moves this process into a leaf of its own and
    /// hands the controllers to its siblings, as v2 demands.
    pub fn detect() -> Self {
        let read = |p: &str| std::fs::read_to_string(p).unwrap_or_default();
        let mut layout = Self::parse(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"));
        layout.try_writing();
        if layout.version == Version::V2
            && let Some(dir) = layout.writable.get("v2").cloned()
        {
            let handed = hand_down(&dir);
            for c in ["memory", "pids", "cpu"] {
                let path = dir.join("cgroup.subtree_control");
                let given = std::fs::read_to_string(path).unwrap_or_default();
                if !given.split_whitespace().any(|g| g == c) {
                    let why = handed.as_ref().err().map_or("not delegated to us", |e| e.as_str());
                    layout.refused.insert(c.into(), why.into());
                }
            }
        }
        layout
    }

    /// Reads `/proc/self/cgroup` and `/proc/self/mountinfo`; makes nothing.
    pub fn parse(own: &str, mountinfo: &str) -> Self {
        let mounts: Vec<Mount> = mountinfo.lines().filter_map(Mount::parse).collect();
        let mut layout = Self::default();
        let mut v2 = None;
        for line in own.lines() {
            let mut parts = line.splitn(3, ':');
            let (Some(_), Some(names), Some(path)) = (parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            if names.is_empty() {
                v2 = mounts.iter().find(|m| m.v2).map(|m| m.below(path));
                continue;
            }
            for name in names.split(',').filter(|n| WANTED.contains(n)) {
                let mount = mounts.iter().find(|m| !m.v2 && m.has(name));
                if let Some(m) = mount {
                    layout.writable.insert(name.into(), m.below(path));
                }
            }
        }
        layout.version = match (layout.writable.is_empty(), v2.is_some()) {
            (true, true) => Version::V2,
            (true, false) => Version::None,
            (false, true) => Version::Hybrid,
            (false, false) => Version::V1,
        };
        layout.writable.extend(v2.map(|path| ("v2".to_string(), path)));
        layout
    }

    /// Keeps only what a directory can be made in.
    fn try_writing(&mut self) {
        let name = format!("runyard-probe-{}", std::process::id());
        let refused = &mut self.refused;
        self.writable.retain(|controller, path| {
            let probe = path.join(&name);
            let made = std::fs::create_dir(&probe);
            if let Err(e) = &made {
                refused.insert(controller.clone(), format!("cannot make {}: {e}", probe.display()));
            }
            let _ = std::fs::remove_dir(&probe);
            made.is_ok()
        });
    }

    /// True when this controller's limits can be set.
    pub fn limits(&self, controller: &str) -> bool {
        match self.version {
            Version::V2 => {
                self.writable.contains_key("v2") && !self.refused.contains_key(controller)
            }
            _ => self.writable.contains_key(controller),
        }
    }

    /// True when a whole cgroup can be killed at once.
    pub fn can_kill(&self) -> bool {
        self.writable.contains_key("v2") || self.writable.contains_key("freezer")
    }

    /// The directories a worker needs for these limits, for [`crate::WorkerSpec::cgroups`]. Only
    /// those: making and removing them is the dearest part of a start. `to_kill` asks for one by
    /// which stray processes can be found and killed (where there is no PID namespace).
    pub fn plan(&self, uid: &str, limits: &Limits, to_kill: bool) -> Vec<(String, PathBuf)> {
        let leaf = super::directory_name(uid);
        let dir = |c: &str| self.writable.get(c).map(|p| (c.to_string(), p.join(&leaf)));
        let asked = [
            ("memory", limits.memory_bytes.is_some()),
            ("pids", limits.pids.is_some()),
            ("cpu", limits.cpu_milli.is_some()),
        ];
        let any = asked.iter().any(|(_, wanted)| *wanted);
        let mut plan = Vec::new();
        if self.version == Version::V2 {
            plan.extend((any || to_kill).then(|| dir("v2")).flatten());
            return plan;
        }
        for (controller, _) in asked.iter().filter(|(_, wanted)| *wanted) {
            plan.extend(dir(controller));
        }
        if to_kill {
            plan.extend(dir("v2").or_else(|| dir("freezer")));
        }
        plan
    }
}

/// v2 forbids processes in a cgroup that hands controllers to children: ours go into a leaf.
fn hand_down(dir: &Path) -> Result<(), String> {
    let leaf = dir.join("runyard-agent");
    let said = |what: &Path, e: std::io::Error| format!("{}: {e}", what.display());
    match std::fs::create_dir(&leaf) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(said(&leaf, e)),
        _ => {}
    }
    let procs = leaf.join("cgroup.procs");
    std::fs::write(&procs, std::process::id().to_string()).map_err(|e| said(&procs, e))?;
    let control = dir.join("cgroup.subtree_control");
    let mut worst = Ok(());
    for c in ["+memory", "+pids", "+cpu"] {
        if let Err(e) = std::fs::write(&control, c) {
            worst = Err(said(&control, e));
        }
    }
    worst
}

#[derive(Debug)]
struct Mount {
    root: String,
    point: PathBuf,
    v2: bool,
    options: String,
}

impl Mount {
    /// `36 35 98:0 /root /point opts shared:1 - type source superoptions`
    fn parse(line: &str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (root, point) = (left.next()?, left.next()?);
        let mut right = right.split(' ');
        let kind = right.next()?;
        let options = right.nth(1).unwrap_or_default().to_string();
        let v2 = kind == "cgroup2";
        (v2 || kind == "cgroup").then(|| Self {
            root: root.into(),
            point: point.into(),
            v2,
            options,
        })
    }

    fn has(&self, controller: &str) -> bool {
        self.options.split(',').any(|o| o == controller)
    }

    /// Our directory: the path in `/proc/self/cgroup` is seen from the hierarchy's root, of which
    /// a container shows only the part below `root`.
    fn below(&self, path: &str) -> PathBuf {
        let inside = match self.root.as_str() {
            "/" => path,
            root => path.strip_prefix(root).unwrap_or("/"),
        };
        self.point.join(inside.trim_start_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str =
        "8:pids:/\n6:freezer:/\n4:memory:/a/b\n1:cpu,cpuacct:/\n9:name=systemd:/\n0::/x\n";
    const MOUNTS: &str = "\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
36 31 0:33 / /sys/fs/cgroup/memory rw,relatime shared:4 - cgroup cgroup rw,memory
37 31 0:34 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";

    fn limits() -> Limits {
        Limits { memory_bytes: Some(1), pids: None, cpu_milli: Some(1) }
    }

    #[test]
    fn a_hybrid_host_is_read_and_planned() {
        let layout = Layout::parse(HYBRID, MOUNTS);
        assert_eq!(layout.version, Version::Hybrid);
        let memory = PathBuf::from("/sys/fs/cgroup/memory/a/b");
        assert_eq!(layout.writable["memory"], memory);
        let plan = layout.plan("u", &limits(), true);
        let names: Vec<&str> = plan.iter().map(|(c, _)| c.as_str()).collect();
        assert_eq!(names, ["memory", "cpu", "v2"]);
        assert_eq!(plan[0].1, memory.join("runyard-u"));
        assert!(layout.plan("u", &Limits::default(), false).is_empty());
    }

    #[test]
    fn a_v2_host_needs_one_directory_for_all() {
        let mounts = "25 23 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let layout = Layout::parse("0::/user.slice/a.service\n", mounts);
        assert_eq!(layout.version, Version::V2);
        let plan = layout.plan("u", &limits(), true);
        let dir = PathBuf::from("/sys/fs/cgroup/user.slice/a.service/runyard-u");
        assert_eq!(plan, [("v2".to_string(), dir)]);
    }

    #[test]
    fn a_container_sees_its_part_of_the_tree() {
        let mounts = "25 23 0:22 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";
        let layout = Layout::parse("0::/docker/abc/x\n", mounts);
        assert_eq!(layout.writable["v2"], PathBuf::from("/sys/fs/cgroup/x"));
        assert_eq!(Layout::parse("", "").version, Version::None);
    }
}
