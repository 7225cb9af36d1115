//! `status`: how a worker ended. Part of the frozen protocol v1.
//!
//! `runyard-status 1`, then `key value` lines, then `end`. Newlines and backslashes in values are
//! escaped. A reader skips keys it does not know. The file appears by rename, whole or not at all.

use std::fmt::Write as _;

/// How a worker ended, as its shim saw it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExitStatus {
    /// The exit code, when the stage's main process exited by itself.
    pub code: Option<i32>,
    /// The signal that ended it otherwise.
    pub signal: Option<i32>,
    /// What made it end.
    pub reason: Reason,
    /// The stage could not be started, or the shim failed: what was tried, and why it failed.
    pub error: Option<String>,
    /// Times the kernel's OOM killer struck inside the worker's memory cgroup.
    pub oom_kills: u64,
    /// Peak memory in bytes: of the cgroup where there is one, else of the largest process.
    pub peak_memory_bytes: u64,
    /// CPU time of the worker's processes, in ms.
    pub cpu_ms: u64,
    /// Bytes that the stage wrote; the offset behind its last one.
    pub log_end: u64,
    /// Bytes of these that the shim had to drop (quota or full disk).
    pub log_dropped: u64,
    /// The boot it ran in.
    pub boot_id: String,
    /// Start of the stage, UTC ms.
    pub started_ms: u64,
    /// End of the stage's main process, UTC ms.
    pub ended_ms: u64,
    /// What of the asked isolation was had: words, separated by blanks (`pid-namespace`,
    /// `mount-namespace`, `private-tmp`, `memory`, …; a leading `no-` with `:why` for what failed).
    pub isolation: String,
}

/// What made a worker end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reason {
    /// The stage ended by itself.
    #[default]
    Exit,
    /// It was told to stop.
    Stopped,
    /// The deadline its agent had set passed (an exclusive stage without its agent).
    Deadline,
    /// Its time limit passed.
    Timeout,
    /// It never started; `error` says why.
    NotStarted,
}

impl Reason {
    const ALL: [(Self, &str); 5] = [
        (Self::Exit, "exit"),
        (Self::Stopped, "stopped"),
        (Self::Deadline, "deadline"),
        (Self::Timeout, "timeout"),
        (Self::NotStarted, "not-started"),
    ];

    /// The word in the file.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(r, _)| *r == self).map_or("exit", |(_, w)| w)
    }
}

/// Why a status file was refused.
#[derive(Debug, thiserror::Error)]
#[error("status is damaged or of an unknown version: {what}")]
pub struct StatusError {
    what: String,
}

impl ExitStatus {
    /// True when the stage's own code succeeded: exit 0, by itself.
    pub fn success(&self) -> bool {
        self.code == Some(0) && self.error.is_none() && self.reason == Reason::Exit
    }

    /// True when the worker failed because memory ran out in its cgroup.
    pub fn oom(&self) -> bool {
        self.oom_kills > 0 && !self.success()
    }

    /// The text of the file.
    pub fn encode(&self) -> String {
        let mut out = String::from("runyard-status 1\n");
        let mut put = |key: &str, value: &dyn std::fmt::Display| {
            let value = value.to_string().replace('\\', "\\\\").replace('\n', "\\n");
            writeln!(out, "{key} {value}").expect("writing to a String succeeds");
        };
        if let Some(c) = self.code {
            put("exit", &c);
        }
        if let Some(s) = self.signal {
            put("signal", &s);
        }
        put("reason", &self.reason.word());
        if let Some(e) = &self.error {
            put("error", e);
        }
        put("oom-kills", &self.oom_kills);
        put("peak-memory-bytes", &self.peak_memory_bytes);
        put("cpu-ms", &self.cpu_ms);
        put("log-end", &self.log_end);
        put("log-dropped", &self.log_dropped);
        put("boot", &self.boot_id);
        put("started-ms", &self.started_ms);
        put("ended-ms", &self.ended_ms);
        put("isolation", &self.isolation);
        out.push_str("end\n");
        out
    }

    /// Reads the file's text.
    pub fn decode(text: &str) -> Result<Self, StatusError> {
        let refuse = |what: &str| StatusError { what: what.into() };
        let body = text.strip_prefix("runyard-status 1\n").ok_or(refuse("its first line"))?;
        let body = body.strip_suffix("end\n").ok_or(refuse("it has no end"))?;
        let mut status = Self::default();
        for line in body.lines() {
            let (key, value) = line.split_once(' ').ok_or(refuse(line))?;
            let number = || value.parse::<u64>().map_err(|_| refuse(line));
            let small = || value.parse::<i32>().map_err(|_| refuse(line));
            match key {
                "exit" => status.code = Some(small()?),
                "signal" => status.signal = Some(small()?),
                "reason" => {
                    let known = Reason::ALL.iter().find(|(_, w)| *w == value);
                    status.reason = known.ok_or(refuse(line))?.0;
                }
                "error" => status.error = Some(unescape(value)),
                "oom-kills" => status.oom_kills = number()?,
                "peak-memory-bytes" => status.peak_memory_bytes = number()?,
                "cpu-ms" => status.cpu_ms = number()?,
                "log-end" => status.log_end = number()?,
                "log-dropped" => status.log_dropped = number()?,
                "boot" => status.boot_id = unescape(value),
                "started-ms" => status.started_ms = number()?,
                "ended-ms" => status.ended_ms = number()?,
                "isolation" => status.isolation = unescape(value),
                _ => {}
            }
        }
        Ok(status)
    }
}

fn unescape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some(other) => out.push(other),
                None => {}
            },
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_every_cut_is_noticed() {
        let status = ExitStatus {
            code: None,
            signal: Some(9),
            reason: Reason::Timeout,
            error: Some("a\nb\\n c".into()),
            oom_kills: 1,
            peak_memory_bytes: 2,
            cpu_ms: 3,
            log_end: 4,
            log_dropped: 5,
            boot_id: "b".into(),
            started_ms: 6,
            ended_ms: 7,
            isolation: "pid-namespace no-memory:EACCES".into(),
        };
        let text = status.encode();
        assert_eq!(ExitStatus::decode(&text).expect("own text"), status);
        for n in 0..text.len() {
            assert!(ExitStatus::decode(&text[..n]).is_err(), "cut to {n} bytes");
        }
        let newer = text.replace("end\n", "later 1\nend\n");
        assert_eq!(ExitStatus::decode(&newer).expect("unknown keys are skipped"), status);
    }

    #[test]
    fn success_and_oom() {
        let done = ExitStatus { code: Some(0), oom_kills: 1, ..ExitStatus::default() };
        assert!(done.success() && !done.oom());
        let stopped = ExitStatus { reason: Reason::Stopped, ..done.clone() };
        assert!(!stopped.success());
        let killed = ExitStatus { code: None, signal: Some(9), ..done };
        assert!(killed.oom());
    }
}
