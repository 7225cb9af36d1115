//! What the machine does without any system in between.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::Failure;
use crate::client::payload;
use crate::figures::Values;
use crate::payload::{ages, now_ns};

/// Runs a script; anything but success is an error.
pub(crate) fn shell(script: &str) -> Result<(), Failure> {
    let status = Command::new("sh").args(["-c", script]).stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(format!("`{script}`: {status}").into()) }
}

/// Seconds that a script takes.
pub(crate) fn timed_shell(script: &str) -> Result<f64, Failure> {
    let begun = Instant::now();
    shell(script)?;
    Ok(begun.elapsed().as_secs_f64())
}

/// Seconds for `n` × /bin/true, two at a time.
pub(crate) fn xargs(n: usize) -> Result<f64, Failure> {
    timed_shell(&format!("seq {n} | xargs -P2 -n1 /bin/true"))
}

/// Seconds for lines through a pipe and `cat` into a file.
pub(crate) fn cat_to_file(bytes: u64, how: &str, dir: &Path) -> Result<f64, Failure> {
    let (file, mark) = (dir.join("cat"), dir.join("cat-mark"));
    let lines = payload(&["__lines", &bytes.to_string(), how, &mark.display().to_string()])?;
    let seconds = timed_shell(&format!("{lines} | cat > '{}'", file.display()))?;
    std::fs::remove_file(file)?;
    Ok(seconds)
}

/// Ages of lines when they come out of a pipe and `cat`, in milliseconds.
pub(crate) fn pipe_latency(lines: usize, every_ms: u64) -> Result<Values, Failure> {
    let stamps = payload(&["__stamps", &lines.to_string(), &every_ms.to_string()])?;
    let mut child = Command::new("sh")
        .args(["-c", &format!("{stamps} | cat")])
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().ok_or("no pipe")?;
    let mut values = Values::default();
    for line in BufReader::new(output).lines() {
        let line = line?;
        ages(&line, now_ns()).into_iter().for_each(|age| values.push(age));
    }
    child.wait()?;
    Ok(values)
}
