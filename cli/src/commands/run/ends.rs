//! The last lines of what went wrong: mostly they say why, and nobody has to ask for them.

use std::time::Duration;

use runyard_proto::v1;

use crate::client::Client;
use crate::commands::logs::Tail;
use crate::output::Sanitiser;

/// Lines of each log.
const LINES: u64 = 10;
/// Logs that are shown; where more went wrong, the first ones are enough to begin with.
const TASKS_MAX: usize = 5;
/// Bytes of a log that are shown, however long its lines are.
const BYTES_MAX: usize = 4 << 10;
/// A report does not wait longer for a log.
const PATIENCE: Duration = Duration::from_secs(5);

/// The end of the log of a task that went wrong.
#[derive(Debug, Clone)]
pub(super) struct LogEnd {
    pub(super) task: String,
    /// Harmless for a terminal, without a line end at its end; never empty.
    pub(super) text: String,
}

/// The ends of the logs of what failed, in the order of the run's stages. A log that can't be read is
/// left out: the run's result does not hang on it.
pub(super) async fn collect(client: &Client, run: &v1::Run) -> Vec<LogEnd> {
    let tasks = run.stages.iter().flat_map(|stage| &stage.tasks);
    let wrong = tasks.filter(|task| {
        matches!(task.state.as_str(), "failed" | "error") && !task.attempts.is_empty()
    });
    let mut ends = Vec::new();
    for task in wrong.take(TASKS_MAX) {
        if let Ok(Some(text)) = tokio::time::timeout(PATIENCE, end_of(client, &task.key)).await {
            ends.push(LogEnd { task: task.key.clone(), text });
        }
    }
    ends
}

async fn end_of(client: &Client, task: &str) -> Option<String> {
    let request =
        v1::LogsRequest { target: task.to_owned(), tail_lines: LINES, ..Default::default() };
    let mut logs = client.logs(request);
    let mut tail = Tail::new(LINES);
    while let Ok(Some(record)) = logs.next().await {
        tail.push(record);
    }
    let mut sanitiser = Sanitiser::default();
    let mut text: String = tail.take().iter().map(|record| sanitiser.push(&record.data)).collect();
    text.push_str(&sanitiser.finish());
    shortened(text.trim_end())
}

/// Its last bytes, from a character's beginning; `None` of nothing.
fn shortened(text: &str) -> Option<String> {
    if text.len() <= BYTES_MAX {
        return (!text.is_empty()).then(|| text.to_owned());
    }
    let from = text.len() - BYTES_MAX;
    let begin = (from..text.len()).find(|at| text.is_char_boundary(*at))?;
    Some(format!("… {}", &text[begin..]))
}

impl LogEnd {
    /// For a terminal: a heading and the lines, indented.
    pub(super) fn text(&self) -> String {
        let lines: String = self.text.lines().map(|line| format!("  {line}\n")).collect();
        format!("\nthe end of {}'s log:\n{lines}", self.task)
    }

    /// As a block below an item of a list. Nothing in it ends the block.
    pub(super) fn markdown(&self) -> String {
        let mut fence = "```".to_owned();
        while self.text.contains(&fence) {
            fence.push('`');
        }
        let lines: String = self.text.lines().map(|line| format!("  {line}\n")).collect();
        format!("\n\n  {fence}text\n{lines}  {fence}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fake::{Fake, Script};

    fn run(states: &[&str]) -> v1::Run {
        let task = |state: &&str| v1::Task {
            key: format!("digits-1/{state}"),
            state: (*state).to_owned(),
            attempts: vec![v1::Attempt::default()],
            ..Default::default()
        };
        let stage = v1::Stage { tasks: states.iter().map(task).collect(), ..Default::default() };
        v1::Run { stages: vec![stage], ..Default::default() }
    }

    fn record(offset: u64, text: &str) -> Result<v1::LogRecord, tonic::Status> {
        let data = text.as_bytes().to_vec().into();
        Ok(v1::LogRecord { worker: "w".into(), offset, data, ..Default::default() })
    }

    #[tokio::test]
    async fn the_last_lines_of_what_failed_are_fetched_and_harmless() {
        let lines: String = (1..=30).map(|n| format!("line {n}\n")).collect();
        let at = lines.len() as u64;
        let mut script = Script::default();
        script.logs.push_back(vec![record(0, &lines), record(at, "\u{1b}[31mred\u{1b}[0m")]);
        let fake = Fake::start(script).await;
        let ends = collect(&fake.client, &run(&["succeeded", "failed"])).await;
        let [end] = ends.as_slice() else { panic!("{ends:?}") };
        assert_eq!(end.task, "digits-1/failed");
        assert_eq!(end.text.lines().count(), 10, "{end:?}");
        assert!(end.text.starts_with("line 22\n") && end.text.ends_with("\nred"), "{end:?}");
    }

    #[tokio::test]
    async fn a_log_that_cannot_be_read_is_left_out() {
        let mut script = Script::default();
        script.logs.push_back(vec![Err(tonic::Status::not_found("gone"))]);
        let fake = Fake::start(script).await;
        assert!(collect(&fake.client, &run(&["error"])).await.is_empty());
    }

    #[test]
    fn a35_no_log_ends_its_block() {
        let end = LogEnd { task: "t".into(), text: "```\n## not a heading\n````".into() };
        let shown = end.markdown();
        assert!(shown.contains("\n  `````text\n") && shown.ends_with("\n  `````\n"), "{shown}");
        assert!(!shown.contains("\n## "), "every line is indented: {shown}");
    }

    #[test]
    fn a_line_without_end_is_cut_to_its_end() {
        let text = shortened(&"ü".repeat(BYTES_MAX)).expect("not empty");
        assert!(text.starts_with("… ü") && text.len() <= BYTES_MAX + "… ".len());
    }
}
