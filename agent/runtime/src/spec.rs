//! `spec`: what a shim is told to run. Part of the frozen protocol v1.
//!
//! The first line is `runyard-shim 1`. Then fields: `name length\n`, that many bytes, `\n`; so any
//! byte may stand in a value. A list is a repeated field. A reader skips fields it does not know,
//! unless the name begins with `!`: those must be understood. The last field is `end 0`.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

const HEADER: &[u8] = b"runyard-shim 1\n";

/// Everything a shim needs to run one worker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkerSpec {
    /// Names the worker; its processes carry it as `RUNYARD_WORKER`. At most 128 bytes of
    /// `[A-Za-z0-9._-]`.
    pub uid: String,
    /// The command and its arguments. Without a `/` the command is looked up in the `PATH` of `env`.
    pub argv: Vec<OsString>,
    /// The same command without the shell that `argv` begins with, if there is one it can do
    /// without; tried first. Empty: none.
    pub direct: Vec<OsString>,
    /// The whole environment of the stage. The shim adds only `RUNYARD_WORKER`.
    pub env: Vec<(OsString, OsString)>,
    /// Working directory of the stage.
    pub cwd: PathBuf,
    /// How much isolation to try.
    pub isolation: Isolate,
    /// A folder to show as `/tmp` and `/var/tmp`, where a mount namespace can be had.
    pub tmp: Option<PathBuf>,
    /// Give the stage a `/dev/shm` of its own, where a mount namespace can be had.
    pub private_shm: bool,
    /// Paths that stay visible although they lie below `/tmp`. `cwd` always does.
    pub keep: Vec<PathBuf>,
    /// Folders and files of the host, and the places where the stage finds them without being able
    /// to write to them, where a mount namespace can be had. A place may be the host's own path. Else
    /// it is made; a link that stands there gives way for the mount, and stays where none can be had
    /// (and with a shim that does not know this field).
    pub read_only: Vec<(PathBuf, PathBuf)>,
    /// User and groups of the stage; needs root. `None`: those of the agent.
    pub user: Option<User>,
    /// Resource limits by kernel number: (resource, soft, hard).
    pub rlimits: Vec<(i32, u64, u64)>,
    /// Bounds of the spool.
    pub spool: SpoolLimits,
    /// cgroup directories to make for the worker: (controller, path); see [`crate::cgroup`].
    pub cgroups: Vec<(String, PathBuf)>,
    /// Limits to set in them.
    pub limits: Limits,
    /// Between TERM and KILL when the shim stops by itself, in ms.
    pub grace_ms: u64,
    /// The stage's time limit in ms of boot time, counted from its start.
    pub timeout_ms: Option<u64>,
}

/// How much isolation a shim tries; it degrades by itself and says what it got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolate {
    /// The best that works here: namespaces as root, else through a user namespace, else none.
    #[default]
    Auto,
    /// Namespaces through a user namespace, also as root.
    User,
    /// No namespaces: a subreaper, process groups and a walk through `/proc`.
    None,
}

/// A unix user for the stage.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// Bounds of a worker's spool, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolLimits {
    /// A segment is closed when it has grown to this.
    pub segment_bytes: u64,
    /// Output up to this offset is never dropped by the shim.
    pub head_bytes: u64,
    /// Of what comes after, the newest this many bytes are kept (rounded up to segments).
    pub tail_bytes: u64,
}

impl Default for SpoolLimits {
    fn default() -> Self {
        Self { segment_bytes: 8 << 20, head_bytes: 512 << 20, tail_bytes: 512 << 20 }
    }
}

/// Limits that a cgroup holds. `None`: no limit asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Resident memory and page cache, in bytes.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Thousandths of a core.
    pub cpu_milli: Option<u64>,
}

/// Why a spec was refused.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// Not a spec, or of a version this shim does not know.
    #[error(
        "spec does not begin with `runyard-shim 1`: it was written by another program or version"
    )]
    Header,
    /// The text ends inside a field, or a field's length is no number.
    #[error("spec is cut or damaged at byte {at}")]
    Damaged {
        /// Where.
        at: usize,
    },
    /// A field this version can't do without understanding.
    #[error(
        "spec needs `{name}`, which this version of the shim does not know; drain the node and upgrade"
    )]
    Unknown {
        /// The field.
        name: String,
    },
    /// A value out of its range.
    #[error("spec field `{name}`: {why}")]
    Value {
        /// The field.
        name: String,
        /// What is wrong with it.
        why: String,
    },
}

impl WorkerSpec {
    /// Checks what the file format or the kernel could not carry: NUL bytes, `=` in names, an empty
    /// command, a uid that is no file name.
    pub fn check(&self) -> Result<(), SpecError> {
        let bad = |name: &str, why: String| Err(SpecError::Value { name: name.into(), why });
        check_uid(&self.uid)?;
        if self.argv.first().is_none_or(|a| a.is_empty()) {
            return bad("argv", "the command is empty".into());
        }
        let words = || self.argv.iter().chain(&self.direct);
        if let Some(a) = words().find(|a| a.as_bytes().contains(&0)) {
            return bad("argv", format!("{a:?} contains a NUL byte"));
        }
        for (k, v) in &self.env {
            if k.is_empty() || k.as_bytes().iter().any(|b| *b == b'=' || *b == 0) {
                return bad("env", format!("{k:?} is not the name of a variable"));
            }
            if v.as_bytes().contains(&0) {
                return bad("env", format!("the value of {k:?} contains a NUL byte"));
            }
        }
        // The kernel's limits (execve(2)): a quarter of the stack in all, 128 KiB for one string.
        // Better said here by name than as a bare E2BIG at the start (A9).
        const ONE: usize = 128 << 10;
        const ALL: usize = 2 << 20;
        let over = self.env.iter().find(|(k, v)| k.len() + v.len() + 2 > ONE);
        if let Some((k, v)) = over {
            let n = v.len();
            return bad(
                "env",
                format!("{k:?} is {n} bytes long; one variable may have 128 KiB: pass a file"),
            );
        }
        if let Some(a) = words().find(|a| a.len() + 1 > ONE) {
            let n = a.len();
            return bad(
                "argv",
                format!("an argument is {n} bytes long; the kernel allows 128 KiB: pass a file"),
            );
        }
        let all: usize = self.env.iter().map(|(k, v)| k.len() + v.len() + 10).sum::<usize>()
            + self.argv.iter().map(|a| a.len() + 9).sum::<usize>();
        if all > ALL {
            return bad(
                "env",
                format!("command and environment have {all} bytes; 2 MiB fit: pass files"),
            );
        }
        if !self.cwd.is_absolute() {
            return bad("cwd", format!("{} is not absolute", self.cwd.display()));
        }
        for path in self.read_only.iter().flat_map(|(host, place)| [host, place]) {
            if !path.is_absolute() || path.as_os_str().as_bytes().contains(&0) {
                return bad("readonly", format!("{path:?} is not an absolute path without NUL"));
            }
        }
        if self.spool.segment_bytes < 4096 {
            return bad("spool", "a segment has at least 4096 bytes".into());
        }
        Ok(())
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = HEADER.to_vec();
        let mut put = |name: &str, value: &[u8]| {
            out.extend_from_slice(format!("{name} {}\n", value.len()).as_bytes());
            out.extend_from_slice(value);
            out.push(b'\n');
        };
        put("uid", self.uid.as_bytes());
        for a in &self.argv {
            put("arg", a.as_bytes());
        }
        for a in &self.direct {
            put("direct", a.as_bytes());
        }
        for (k, v) in &self.env {
            let mut pair = k.as_bytes().to_vec();
            pair.push(b'=');
            pair.extend_from_slice(v.as_bytes());
            put("env", &pair);
        }
        put("cwd", self.cwd.as_os_str().as_bytes());
        put("isolation", self.isolation.word().as_bytes());
        if let Some(tmp) = &self.tmp {
            put("tmp", tmp.as_os_str().as_bytes());
        }
        if self.private_shm {
            put("shm", b"private");
        }
        for k in &self.keep {
            put("keep", k.as_os_str().as_bytes());
        }
        for (host, place) in &self.read_only {
            let pair = [host.as_os_str().as_bytes(), place.as_os_str().as_bytes()];
            put("readonly", &pair.join(&0));
        }
        if let Some(u) = &self.user {
            let groups = u.groups.iter().map(|g| format!(" {g}")).collect::<String>();
            // A shim that does not know users must not run the stage as the agent.
            put("!user", format!("{} {}{groups}", u.uid, u.gid).as_bytes());
        }
        for (r, soft, hard) in &self.rlimits {
            put("rlimit", format!("{r} {soft} {hard}").as_bytes());
        }
        let s = &self.spool;
        let text = format!("{} {} {}", s.segment_bytes, s.head_bytes, s.tail_bytes);
        put("spool", text.as_bytes());
        for (controller, path) in &self.cgroups {
            put(&format!("cgroup.{controller}"), path.as_os_str().as_bytes());
        }
        let l = &self.limits;
        let limits = [("memory", l.memory_bytes), ("pids", l.pids), ("cpu", l.cpu_milli)];
        for (name, value) in limits {
            if let Some(v) = value {
                put(&format!("limit.{name}"), v.to_string().as_bytes());
            }
        }
        put("grace", self.grace_ms.to_string().as_bytes());
        if let Some(t) = self.timeout_ms {
            put("timeout", t.to_string().as_bytes());
        }
        put("end", b"");
        out
    }

    /// Reads the file's bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, SpecError> {
        let mut fields = Fields { bytes, at: HEADER.len() };
        if !bytes.starts_with(HEADER) {
            return Err(SpecError::Header);
        }
        let mut spec = Self::default();
        loop {
            let (name, value) = fields.next()?;
            if name == "end" {
                return Ok(spec);
            }
            spec.set(name, value)?;
        }
    }

    fn set(&mut self, name: &str, value: &[u8]) -> Result<(), SpecError> {
        let path = || PathBuf::from(OsString::from_vec(value.to_vec()));
        let os = |v: &[u8]| OsString::from_vec(v.to_vec());
        let refuse = |why: &str| SpecError::Value { name: name.into(), why: why.into() };
        match name {
            "uid" => self.uid = String::from_utf8_lossy(value).into_owned(),
            "arg" => self.argv.push(os(value)),
            "direct" => self.direct.push(os(value)),
            "env" => {
                let eq = value.iter().position(|b| *b == b'=').ok_or(refuse("no `=` in it"))?;
                self.env.push((os(&value[..eq]), os(&value[eq + 1..])));
            }
            "cwd" => self.cwd = path(),
            "isolation" => {
                self.isolation = Isolate::parse(value).ok_or(refuse("not auto, user or none"))?;
            }
            "tmp" => self.tmp = Some(path()),
            "shm" => self.private_shm = value == b"private",
            "keep" => self.keep.push(path()),
            "readonly" => {
                let nul = value.iter().position(|b| *b == 0);
                let nul = nul.ok_or(refuse("no NUL between the host's path and the place"))?;
                self.read_only.push((os(&value[..nul]).into(), os(&value[nul + 1..]).into()));
            }
            "!user" => {
                let ids = numbers(name, value)?;
                let id = |n: u64| u32::try_from(n).map_err(|_| refuse("an id is over 32 bits"));
                let [uid, gid, groups @ ..] = ids.as_slice() else {
                    return Err(refuse("not a user and a group id"));
                };
                let groups = groups.iter().map(|g| id(*g)).collect::<Result<_, _>>()?;
                self.user = Some(User { uid: id(*uid)?, gid: id(*gid)?, groups });
            }
            "rlimit" => {
                let [r, soft, hard] = exactly::<3>(name, value)?;
                let r = i32::try_from(r).map_err(|_| refuse("no such resource"))?;
                self.rlimits.push((r, soft, hard));
            }
            "spool" => {
                let [segment_bytes, head_bytes, tail_bytes] = exactly::<3>(name, value)?;
                self.spool = SpoolLimits { segment_bytes, head_bytes, tail_bytes };
            }
            "limit.memory" => self.limits.memory_bytes = Some(exactly::<1>(name, value)?[0]),
            "limit.pids" => self.limits.pids = Some(exactly::<1>(name, value)?[0]),
            "limit.cpu" => self.limits.cpu_milli = Some(exactly::<1>(name, value)?[0]),
            "grace" => self.grace_ms = exactly::<1>(name, value)?[0],
            "timeout" => self.timeout_ms = Some(exactly::<1>(name, value)?[0]),
            other => match other.strip_prefix("cgroup.") {
                Some(controller) => self.cgroups.push((controller.into(), path())),
                None if other.starts_with('!') => {
                    return Err(SpecError::Unknown { name: other.into() });
                }
                None => {}
            },
        }
        Ok(())
    }
}

impl Isolate {
    fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::User => "user",
            Self::None => "none",
        }
    }

    fn parse(value: &[u8]) -> Option<Self> {
        [Self::Auto, Self::User, Self::None].into_iter().find(|i| i.word().as_bytes() == value)
    }
}

/// A uid is a file name and the value of a variable.
pub(crate) fn check_uid(uid: &str) -> Result<(), SpecError> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let shape = (1..=128).contains(&uid.len()) && uid.bytes().all(good) && !uid.starts_with('.');
    if shape {
        return Ok(());
    }
    Err(SpecError::Value {
        name: "uid".into(),
        why: format!("{uid:?} is not 1 to 128 of [A-Za-z0-9._-], the first no dot"),
    })
}

struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<(&'a str, &'a [u8]), SpecError> {
        let at = self.at;
        let field = self.parse();
        field.ok_or(SpecError::Damaged { at })
    }

    fn parse(&mut self) -> Option<(&'a str, &'a [u8])> {
        let rest = self.bytes.get(self.at..)?;
        let eol = rest.iter().position(|b| *b == b'\n')?;
        let line = std::str::from_utf8(&rest[..eol]).ok()?;
        let (name, len) = line.split_once(' ')?;
        let len: usize = len.parse().ok()?;
        let end = (eol + 1).checked_add(len)?;
        let value = rest.get(eol + 1..end)?;
        if rest.get(end) != Some(&b'\n') {
            return None;
        }
        self.at += end + 1;
        Some((name, value))
    }
}

fn numbers(name: &str, value: &[u8]) -> Result<Vec<u64>, SpecError> {
    let text = String::from_utf8_lossy(value);
    let parsed = text.split(' ').map(str::parse::<u64>).collect::<Result<Vec<_>, _>>();
    parsed.map_err(|_| SpecError::Value {
        name: name.into(),
        why: format!("{text:?} is not a list of numbers"),
    })
}

fn exactly<const N: usize>(name: &str, value: &[u8]) -> Result<[u64; N], SpecError> {
    let list = numbers(name, value)?;
    list.try_into().map_err(|l: Vec<u64>| SpecError::Value {
        name: name.into(),
        why: format!("{} numbers where {N} belong", l.len()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> WorkerSpec {
        WorkerSpec {
            uid: "01J.a-b_c".into(),
            argv: vec!["sh".into(), "-c".into(), "echo \n\"x\" end 0\n".into()],
            direct: vec!["/bin/echo".into(), "a b".into()],
            env: vec![
                ("A".into(), "b=c\nd".into()),
                ("E".into(), OsString::from_vec(vec![0xff, 0xfe])),
            ],
            cwd: "/w".into(),
            isolation: Isolate::User,
            tmp: Some("/t".into()),
            private_shm: true,
            keep: vec!["/tmp/x y".into()],
            read_only: vec![("/mnt/a b".into(), "/w/data".into()), ("/n".into(), "/n".into())],
            user: Some(User { uid: 7, gid: 8, groups: vec![8, 9] }),
            rlimits: vec![(4, 0, u64::MAX)],
            spool: SpoolLimits { segment_bytes: 4096, head_bytes: 1, tail_bytes: 2 },
            cgroups: vec![("memory".into(), "/sys/fs/cgroup/memory/x".into())],
            limits: Limits { memory_bytes: Some(1), pids: Some(2), cpu_milli: Some(3) },
            grace_ms: 5,
            timeout_ms: Some(6),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(WorkerSpec::decode(&full().encode()).expect("own bytes"), full());
        full().check().expect("a good spec");
    }

    #[test]
    fn every_cut_is_noticed() {
        let bytes = full().encode();
        for n in 0..bytes.len() {
            assert!(WorkerSpec::decode(&bytes[..n]).is_err(), "a spec cut to {n} bytes was read");
        }
    }

    #[test]
    fn v1_is_frozen_to_the_byte() {
        let spec = WorkerSpec {
            uid: "u".into(),
            argv: vec!["true".into()],
            cwd: "/".into(),
            spool: SpoolLimits { segment_bytes: 4096, head_bytes: 5, tail_bytes: 6 },
            ..WorkerSpec::default()
        };
        let text = "runyard-shim 1\nuid 1\nu\narg 4\ntrue\ncwd 1\n/\nisolation 4\nauto\nspool 8\n4096 5 6\ngrace 1\n0\nend 0\n\n";
        assert_eq!(String::from_utf8(spec.encode()).expect("ascii"), text);
        let newer = text.replace("end 0", "colour 3\nred\nend 0");
        assert_eq!(WorkerSpec::decode(newer.as_bytes()).expect("unknown fields are skipped"), spec);
        let cut = text.replace("end 0", "readonly 4\n/mnt\nend 0");
        let error = WorkerSpec::decode(cut.as_bytes()).expect_err("half a mount");
        assert!(error.to_string().contains("readonly"), "{error}");
        let must = text.replace("end 0", "!colour 3\nred\nend 0");
        let error = WorkerSpec::decode(must.as_bytes()).expect_err("must be understood");
        assert!(error.to_string().contains("!colour"), "{error}");
    }

    #[test]
    fn a9_what_exec_can_not_carry_is_refused_by_name() {
        let refused = |change: fn(&mut WorkerSpec), word: &str| {
            let mut spec = full();
            change(&mut spec);
            let text = spec.check().expect_err(word).to_string();
            assert!(text.contains(word), "{text}");
        };
        refused(|s| s.argv.clear(), "empty");
        refused(|s| s.argv.push("a\0b".into()), "NUL");
        refused(|s| s.env.push(("A=B".into(), "".into())), "A=B");
        refused(|s| s.env.push(("BIG".into(), "x".repeat(200 << 10).into())), "BIG");
        refused(
            |s| s.env.extend((0..40).map(|n| (format!("V{n}").into(), "x".repeat(100_000).into()))),
            "2 MiB",
        );
        refused(|s| s.uid = "../x".into(), "uid");
        refused(|s| s.cwd = "w".into(), "absolute");
        refused(|s| s.read_only.push(("/a".into(), "data".into())), "readonly");
        refused(|s| s.read_only.push(("/a\0b".into(), "/w/data".into())), "readonly");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let mut text = HEADER.to_vec();
            text.extend(bytes);
            let _ = WorkerSpec::decode(&text);
        }
    }
}
