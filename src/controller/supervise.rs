//! Runs tasks by name, so that none ends unnoticed.
//!
//! A task that panics is otherwise silent: its work just stops, while probes say that all is well. Here a panic of any
//! task, and the end of one that should run as long as the process, is a [`TaskEnded`], upon which the process ends. A
//! restart is the one cure that is always right, because nothing is remembered that a restart may not forget.

use std::any::Any;
use std::borrow::Cow;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Names of tasks. They stand in the log, so they hold no secret.
pub(super) type TaskName = Cow<'static, str>;

/// Why the process must end.
#[derive(Debug, Error)]
pub(super) enum TaskEnded {
    #[error("the task {0} ended, although it should run as long as the process")]
    Early(TaskName),
    #[error("the task {0} panicked: {1}")]
    Panicked(TaskName, String),
}

/// Starts tasks. Clones start them for the same watcher.
#[derive(Clone)]
pub(super) struct Supervisor {
    tasks: TaskTracker,
    stop: CancellationToken,
    ended: mpsc::UnboundedSender<TaskEnded>,
}

/// Hears of the tasks that ended and should not have.
pub(super) struct Ends(mpsc::UnboundedReceiver<TaskEnded>);

/// A supervisor and what it notices. From the moment that `stop` is cancelled services may end.
pub(super) fn supervisor(stop: CancellationToken) -> (Supervisor, Ends) {
    let (ended, ends) = mpsc::unbounded_channel();
    (Supervisor { tasks: TaskTracker::new(), stop, ended }, Ends(ends))
}

impl Supervisor {
    /// Starts a task that runs until the process stops.
    pub(super) fn service(&self, name: impl Into<TaskName>, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn(name.into(), task, true);
    }

    /// Starts a task that ends once its work is done.
    pub(super) fn task(&self, name: impl Into<TaskName>, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn(name.into(), task, false);
    }

    fn spawn(&self, name: TaskName, task: impl Future<Output = ()> + Send + 'static, is_service: bool) {
        let (stop, ended) = (self.stop.clone(), self.ended.clone());
        self.tasks.spawn(async move {
            let end = match AssertUnwindSafe(task).catch_unwind().await {
                Err(panic) => TaskEnded::Panicked(name, words(panic.as_ref())),
                Ok(()) if is_service && !stop.is_cancelled() => TaskEnded::Early(name),
                Ok(()) => return,
            };
            // Once nobody listens the process ends anyway.
            let _ = ended.send(end);
        });
    }

    /// Waits until all tasks have ended, those that begin meanwhile too.
    pub(super) async fn all_ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Ends {
    /// Waits for the first task that ended and should not have.
    pub(super) async fn first(&mut self) -> TaskEnded {
        match self.0.recv().await {
            Some(ended) => ended,
            // No task is left, and no supervisor that could start one: there is nothing to hear of.
            None => std::future::pending().await,
        }
    }
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a text".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test(start_paused = true)]
    async fn a_service_that_ends_and_a_task_that_panics_are_named() {
        let (supervisor, mut ends) = supervisor(CancellationToken::new());
        supervisor.service("watch of pods", async {});
        assert_eq!(
            timeout(LONG, ends.first()).await.unwrap().to_string(),
            "the task watch of pods ended, although it should run as long as the process"
        );
        let number = 7;
        supervisor.task(format!("send {number}"), async move { panic!("no {number}") });
        supervisor.service("elector", async { panic!("lost") });
        let ended = [ends.first().await.to_string(), ends.first().await.to_string()];
        assert_eq!(ended, ["the task send 7 panicked: no 7", "the task elector panicked: lost"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_may_end_and_once_the_process_stops_a_service_too() {
        let stop = CancellationToken::new();
        let (supervisor, mut ends) = supervisor(stop.clone());
        supervisor.task("send", async {});
        let stopped = stop.clone();
        supervisor.service("watch of jobs", async move { stopped.cancelled().await });
        timeout(LONG, ends.first()).await.unwrap_err();
        timeout(LONG, supervisor.all_ended()).await.unwrap_err();
        stop.cancel();
        let last = supervisor.clone();
        supervisor.task("last", async move { last.task("very last", tokio::time::sleep(LONG / 2)) });
        timeout(LONG, supervisor.all_ended()).await.unwrap();
        supervisor.task("late", async { panic!("too late") });
        assert!(matches!(ends.first().await, TaskEnded::Panicked(..)), "a panic is never expected");
        drop(supervisor);
        timeout(LONG, ends.first()).await.unwrap_err();
    }
}
