//! The one place where tasks are spawned: each has a name, a span, and a stated meaning of its end.

use std::fmt::Display;
use std::future::Future;
use std::panic::{AssertUnwindSafe, resume_unwind};

use futures::FutureExt;
use tokio::task::JoinHandle;
use tracing::Instrument;

/// The exit status of a process that stops because a task it cannot do without has ended
/// (`EX_SOFTWARE` of sysexits.h).
pub const EXIT_TASK_FAILED: i32 = 70;

/// Runs `f` on the current runtime in a span `task{name}`.
///
/// A panic is logged with the task's name and then given to whoever awaits the handle, so that it
/// is never lost when nobody does. Dropping the handle detaches the task.
#[expect(clippy::disallowed_methods, reason = "the one helper through which all tasks are spawned")]
pub fn spawn<F>(name: &'static str, f: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let span = tracing::info_span!("task", name);
    tokio::spawn(
        async move {
            match AssertUnwindSafe(f).catch_unwind().await {
                Ok(output) => output,
                Err(panic) => {
                    tracing::error!(task = name, panic = panic_text(&*panic), "task panicked");
                    resume_unwind(panic)
                }
            }
        }
        .instrument(span),
    )
}

/// Runs a task without which the process must not go on: on an error or a panic it logs the cause
/// and ends the process with [`EXIT_TASK_FAILED`]. A return of `Ok` is an orderly end.
pub fn spawn_or_exit<F, E>(name: &'static str, f: F) -> JoinHandle<()>
where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Display + Send + 'static,
{
    spawn(name, async move {
        match AssertUnwindSafe(f).catch_unwind().await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => tracing::error!(task = name, %error, "vital task failed; stopping"),
            Err(panic) => {
                tracing::error!(
                    task = name,
                    panic = panic_text(&*panic),
                    "vital task panicked; stopping"
                );
            }
        }
        std::process::exit(EXIT_TASK_FAILED)
    })
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn output_comes_back() {
        assert_eq!(spawn("answer", async { 42 }).await.expect("the task does not panic"), 42);
    }

    #[tokio::test]
    async fn a_panic_reaches_the_one_who_waits() {
        let failed = spawn("boom", async { panic!("broken on purpose") }).await;
        let error = failed.expect_err("the task panics");
        assert!(error.is_panic());
        assert_eq!(panic_text(&*error.into_panic()), "broken on purpose");
    }

    #[tokio::test]
    async fn a_vital_task_may_end_in_order() {
        spawn_or_exit("vital", async { Ok::<(), std::io::Error>(()) }).await.expect("no panic");
    }
}
