//! Which code runs which kind of job.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::jobs::{Job, JobKind, Outcome};

/// A handler at work.
pub(super) type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;
/// A handler with its context.
pub(super) type Run = Arc<dyn Fn(Job) -> Running + Send + Sync>;

/// The kinds that a worker knows, each with its handler.
#[derive(Default)]
pub struct Handlers {
    pub(super) list: Vec<(JobKind, Run)>,
}

impl Handlers {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With a handler, `async fn(&Ctx, Job) -> Outcome` as `|ctx, job| Box::pin(handle(ctx, job))`, in place of an earlier
    /// one of its kind.
    ///
    /// It may run more than once for a job, so what it does is done under the lease ([`Lease`](crate::jobs::Lease)) or does
    /// no harm when repeated. It is dropped at the kind's timeout, so it must not hold up its thread.
    #[must_use]
    pub fn with<C, F>(mut self, kind: JobKind, ctx: &Arc<C>, handle: F) -> Self
    where
        C: Send + Sync + 'static,
        F: for<'a> Fn(&'a C, Job) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>
            + Send
            + Sync
            + 'static,
    {
        let (ctx, handle) = (Arc::clone(ctx), Arc::new(handle));
        let run: Run = Arc::new(move |job| {
            let (ctx, handle) = (Arc::clone(&ctx), Arc::clone(&handle));
            Box::pin(async move { handle(&ctx, job).await })
        });
        self.list.retain(|(known, _)| known.name != kind.name);
        self.list.push((kind, run));
        self
    }

    pub(super) fn names(&self) -> Vec<&'static str> {
        self.list.iter().map(|(kind, _)| kind.name).collect()
    }

    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.list.iter().position(|(kind, _)| kind.name == name)
    }
}
