//! Commands of one kind that come in crowds, and are run together.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::completion::Work;
use crate::error::StoreError;
use crate::tx::WriteTx;
use crate::writer::Command;

/// Commands of one lane that may wait, and so the most that are run together; further ones wait to wait.
const WAITING_MAX: usize = 512;

/// What runs several commands: a result for each, or why all of it failed.
type Run<I, T, E> = dyn Fn(&mut WriteTx<'_>, &[I]) -> Result<Vec<Result<T, E>>, E> + Send + Sync;

/// A way to the writer for commands of one kind. What waits when the writer comes to it is run by one call, as one closure
/// of the group: it can ask and write for all of them in one statement each.
///
/// Each command has its own result. One that is refused (`Err` among the results) must not have changed anything. Should the
/// call itself fail, all it did is undone and each command runs again alone, so that one that cannot be carried out keeps no
/// other from it: the function may run more than once for a command, and is not to remember.
///
/// Cheap to clone. The order in which commands of a lane run is that in which they came; to other commands of the same
/// group it is not said.
pub struct Lane<I, T, E> {
    shared: Arc<Shared<I, T, E>>,
}

struct Shared<I, T, E> {
    queue: mpsc::Sender<Command>,
    run: Box<Run<I, T, E>>,
    waiting: Mutex<Waiting<I, T, E>>,
    places: Arc<Semaphore>,
}

struct Waiting<I, T, E> {
    commands: Vec<Waiter<I, T, E>>,
    /// Whether the writer is on its way.
    called: bool,
}

/// A command, who waits for its result, and its place.
struct Waiter<I, T, E>(I, Reply<T, E>, OwnedSemaphorePermit);

type Reply<T, E> = oneshot::Sender<Result<T, E>>;

impl<I, T, E> Clone for Lane<I, T, E> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<I, T, E> Lane<I, T, E> {
    pub(crate) fn new(
        queue: mpsc::Sender<Command>,
        run: impl Fn(&mut WriteTx<'_>, &[I]) -> Result<Vec<Result<T, E>>, E> + Send + Sync + 'static,
    ) -> Self {
        let waiting = Mutex::new(Waiting { commands: Vec::new(), called: false });
        let places = Arc::new(Semaphore::new(WAITING_MAX));
        Self { shared: Arc::new(Shared { queue, run: Box::new(run), waiting, places }) }
    }
}

impl<I, T, E> Lane<I, T, E>
where
    I: Send + 'static,
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    /// Runs a command with those that wait meanwhile, and answers after the commit. Once it waits, it runs even if the
    /// caller stops waiting.
    ///
    /// # Errors
    /// What the command's result says, or why its changes are not stored.
    pub async fn write(&self, command: I) -> Result<T, E> {
        let shared = &self.shared;
        let closed = || E::from(StoreError::Closed);
        let place = Arc::clone(&shared.places).acquire_owned().await.map_err(|_| closed())?;
        // Room for the call first: nothing may come between the command and the call.
        let call = shared.queue.reserve().await.map_err(|_| closed())?;
        let (reply, answer) = oneshot::channel();
        {
            let mut waiting = shared.waiting.lock();
            waiting.commands.push(Waiter(command, reply, place));
            if !std::mem::replace(&mut waiting.called, true) {
                call.send(Command::Write(Box::new(Crowd::called(Arc::clone(shared)))));
            }
        }
        answer.await.unwrap_or_else(|_| Err(closed()))
    }
}

/// Commands of a lane on their way through the writer.
struct Crowd<I, T, E> {
    shared: Arc<Shared<I, T, E>>,
    /// Whether it has still to fetch the queued commands.
    is_empty: bool,
    commands: Vec<I>,
    replies: Vec<Reply<T, E>>,
    results: Option<Result<Vec<Result<T, E>>, E>>,
}

impl<I, T, E> Crowd<I, T, E> {
    fn called(shared: Arc<Shared<I, T, E>>) -> Self {
        Self { shared, is_empty: true, commands: Vec::new(), replies: Vec::new(), results: None }
    }

    fn fetch(&mut self) {
        if !std::mem::replace(&mut self.is_empty, false) {
            return;
        }
        let waiters = {
            let mut waiting = self.shared.waiting.lock();
            waiting.called = false;
            std::mem::take(&mut waiting.commands)
        };
        for Waiter(command, reply, _place) in waiters {
            self.commands.push(command);
            self.replies.push(reply);
        }
    }
}

impl<I, T, E> Work for Crowd<I, T, E>
where
    I: Send + 'static,
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    fn run(&mut self, tx: &mut WriteTx<'_>) -> bool {
        self.fetch();
        self.results = None;
        let results = (self.shared.run)(tx, &self.commands);
        let keep = results.is_ok();
        self.results = Some(results);
        keep
    }

    fn count(&self) -> usize {
        self.commands.len()
    }

    fn parts(&mut self, has_failed_statement: bool) -> Option<Vec<Box<dyn Work>>> {
        let is_done = matches!(self.results, Some(Ok(_))) && !has_failed_statement;
        if is_done || self.commands.len() < 2 {
            return None;
        }
        let each = self.commands.drain(..).zip(self.replies.drain(..));
        let alone = each.map(|(command, reply)| {
            let (commands, replies) = (vec![command], vec![reply]);
            let shared = Arc::clone(&self.shared);
            Box::new(Self { shared, is_empty: false, commands, replies, results: None }) as Box<dyn Work>
        });
        Some(alone.collect())
    }

    fn answer(mut self: Box<Self>, outcome: Result<(), StoreError>) {
        self.fetch();
        let replies = std::mem::take(&mut self.replies);
        match (outcome, self.results.take()) {
            (Ok(()), Some(Ok(results))) => {
                let mut results = results.into_iter();
                for reply in replies {
                    let missing = || Err(StoreError::Internal("a command has no result".to_owned()).into());
                    let _ = reply.send(results.next().unwrap_or_else(missing));
                }
            }
            (Ok(()), Some(Err(error))) => {
                // Alone, as several are run one by one.
                let mut error = Some(error);
                for reply in replies {
                    let _ = reply.send(Err(error.take().unwrap_or_else(|| StoreError::Panicked.into())));
                }
            }
            (outcome, _) => {
                let error = outcome.err().unwrap_or(StoreError::Panicked);
                for reply in replies {
                    let _ = reply.send(Err(error.clone().into()));
                }
            }
        }
    }
}

impl<I, T, E> Drop for Crowd<I, T, E> {
    /// A caller waiting for a stopped writer is notified by the end of its reply.
    fn drop(&mut self) {
        self.fetch();
    }
}
