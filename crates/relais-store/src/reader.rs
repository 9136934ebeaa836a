//! A few connections for reading, used on the runtime's blocking pool.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::connection::ReadConnection;
use crate::error::StoreError;
use crate::tx::ReadTx;

/// Opens one more connection.
pub(crate) type Opener = Arc<dyn Fn() -> Result<Box<dyn ReadConnection>, StoreError> + Send + Sync>;

/// The idle connections, and as many permits as there may be connections.
pub(crate) struct ReaderPool {
    open: Opener,
    idle: Mutex<Vec<Box<dyn ReadConnection>>>,
    permits: Arc<Semaphore>,
}

impl ReaderPool {
    /// Opens the first connection at once, the others when they are needed.
    pub(crate) fn open(open: Opener, size: usize) -> Result<Self, StoreError> {
        let first = open()?;
        Ok(Self { open, idle: Mutex::new(vec![first]), permits: Arc::new(Semaphore::new(size.max(1))) })
    }

    /// Runs `f` on a snapshot, away from the async threads. A read whose caller is gone is finished anyway.
    pub(crate) async fn read<T, E>(
        self: &Arc<Self>,
        f: impl FnOnce(&mut ReadTx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let permit =
            Arc::clone(&self.permits).acquire_owned().await.map_err(|_| E::from(StoreError::Closed))?;
        let pool = Arc::clone(self);
        let task = tokio::task::spawn_blocking(move || {
            let result = pool.read_now(f);
            // The pool goes before the permit: once every permit is back, no connection is outside the pool.
            drop(pool);
            drop(permit);
            result
        });
        task.await.unwrap_or_else(|_| Err(StoreError::Panicked.into()))
    }

    fn read_now<T, E: From<StoreError>>(
        &self,
        f: impl FnOnce(&mut ReadTx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = match self.idle.lock().pop() {
            Some(connection) => connection,
            None => (self.open)()?,
        };
        connection.begin_read()?;
        let result = catch_unwind(AssertUnwindSafe(|| f(&mut ReadTx::new(&mut *connection))));
        // A connection that cannot end its read is not kept.
        if connection.end_read().is_ok() {
            self.idle.lock().push(connection);
        }
        result.unwrap_or_else(|_| {
            tracing::error!("a read closure panicked");
            Err(StoreError::Panicked.into())
        })
    }

    /// Waits for the reads under way, refuses further ones and closes the connections.
    pub(crate) async fn close(self: &Arc<Self>, size: usize) {
        let all = u32::try_from(size.max(1)).unwrap_or(u32::MAX);
        if let Ok(permits) = self.permits.acquire_many(all).await {
            self.permits.close();
            drop(permits);
        }
        let idle = std::mem::take(&mut *self.idle.lock());
        close_elsewhere(idle);
    }
}

impl Drop for ReaderPool {
    fn drop(&mut self) {
        close_elsewhere(std::mem::take(self.idle.get_mut()));
    }
}

/// A PostgreSQL connection owns a small runtime and must not be dropped on an async thread.
fn close_elsewhere(connections: Vec<Box<dyn ReadConnection>>) {
    if connections.is_empty() {
        return;
    }
    let spawned = std::thread::Builder::new().name("store-close".to_owned()).spawn(move || drop(connections));
    if let Err(error) = spawned {
        tracing::warn!(%error, "no thread to close the reading connections");
    }
}
