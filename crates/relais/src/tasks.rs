//! Tasks that end by themselves: errands that must not be dropped half way, and sweeps that end with what they sweep. What
//! runs as long as the server is in its list of tasks (`boot.rs`).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::task::JoinHandle;

/// Starts a task. The log has its name if it fails.
pub(crate) fn spawn<T: Send + 'static>(
    name: &'static str,
    task: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    #[expect(clippy::disallowed_methods, reason = "the one place where tasks without an owner start")]
    tokio::spawn(Named { name, task })
}

pin_project! {
    struct Named<F> {
        name: &'static str,
        #[pin]
        task: F,
    }
}

impl<F: Future> Future for Named<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _failing = Failing(this.name);
        this.task.poll(cx)
    }
}

/// Tells of a panic that comes past it.
struct Failing(&'static str);

impl Drop for Failing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(task = self.0, "a task failed");
        }
    }
}
