//! What stages and peers run: this program under another name, so that both run the very same.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The length of a line of a log, its end included.
pub(crate) const LINE_BYTES: usize = 100;
/// What one write of `__lines … block` holds, in whole lines.
const BLOCK_BYTES: usize = 65_500;

/// Nanoseconds since 1970: the one clock that two processes share and write down.
pub(crate) fn now_ns() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}

/// Runs a payload; what it cannot do fails the stage.
pub(crate) fn main(name: &str, args: &[String]) -> ExitCode {
    let started = now_ns();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match (name, args.as_slice()) {
        ("__started", [file]) => std::fs::write(file, started.to_string()),
        ("__lines", [bytes, how, file]) => match bytes.parse() {
            Ok(bytes) => lines(bytes, *how == "block")
                .and_then(|()| std::fs::write(file, format!("{started} {}", now_ns()))),
            Err(_) => return ExitCode::from(2),
        },
        ("__stamps", [count, every_ms]) => match (count.parse(), every_ms.parse()) {
            (Ok(count), Ok(every)) => stamps(count, Duration::from_millis(every)),
            _ => return ExitCode::from(2),
        },
        ("__rest", [file]) => std::fs::write(file, std::process::id().to_string()).map(|()| {
            loop {
                std::thread::sleep(Duration::from_secs(3_600));
            }
        }),
        _ => return ExitCode::from(2),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Writes lines as fast as they are taken: in blocks, or one write for each.
fn lines(bytes: u64, in_blocks: bool) -> std::io::Result<()> {
    let mut line = [b'x'; LINE_BYTES];
    line[LINE_BYTES - 1] = b'\n';
    let block: Vec<u8> = if in_blocks {
        line.iter().copied().cycle().take(BLOCK_BYTES).collect()
    } else {
        line.to_vec()
    };
    // A duplicate is not buffered by lines, as std's own handle is.
    let mut out = std::fs::File::from(nix::unistd::dup(std::io::stdout())?);
    let mut left = bytes - bytes % LINE_BYTES as u64;
    while left > 0 {
        let now = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        out.write_all(&block[..now])?;
        left -= now as u64;
    }
    Ok(())
}

/// Writes lines that tell when they were written.
fn stamps(count: u64, every: Duration) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    for _ in 0..count {
        writeln!(out, "T {}", now_ns())?;
        out.flush()?;
        std::thread::sleep(every);
    }
    Ok(())
}

/// The ages in milliseconds of the stamps in `text`, as of `at_ns`.
pub(crate) fn ages(text: &str, at_ns: u128) -> Vec<f64> {
    text.lines()
        .filter_map(|line| line.strip_prefix("T ")?.trim().parse::<u128>().ok())
        .map(|then| at_ns.saturating_sub(then) as f64 / 1e6)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::ages;

    #[test]
    fn ages_are_read_from_whole_stamps_only() {
        assert_eq!(ages("T 1000000\nx\nT 2500000\n", 3_000_000), [2.0, 0.5]);
        assert_eq!(ages("T \nT x\n", 3), Vec::<f64>::new());
    }
}
