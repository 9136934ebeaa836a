//! The store as the rest of the program sees it.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use relais_protocol::event::{Channel, Cursor, Epoch, Event, Position, Topic};
use relais_protocol::time::{SharedClock, Timestamp};
use tokio::sync::{mpsc, oneshot};

use crate::buffer::LogBuffer;
use crate::calendar::Calendar;
use crate::completion::{self, EventSink, SharedSink};
use crate::config::{DatabaseUrl, StoreConfig};
use crate::connection::WriteConnection;
use crate::delivery::Delivery;
use crate::error::StoreError;
use crate::head::SharedHead;
use crate::jobs::Backlog;
use crate::lane::Lane;
use crate::log::{self, LogBounds};
use crate::migration::{self, Migration};
use crate::packs::Packs;
use crate::reader::{Opener, ReaderPool};
use crate::rows::{RowClosure, RowTx, RowsWriter};
use crate::tx::{Query, ReadTx, WriteTx};
use crate::writer::{Closure, Command, Writer};
use crate::{params, postgres, sqlite};

/// Groups that may wait for the completion thread before the writer waits for it.
const COMPLETION_MAX: usize = 4;
/// Commands that may wait to write rows beside the log.
const ROWS_QUEUE_MAX: usize = 64;

/// A database: one writer that commits in groups, several readers, and the event log.
///
/// Cheap to clone. Writes from all clones are committed in one order, which is the order of `seq`.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    queue: mpsc::Sender<Command>,
    /// Where rows beside the log are written; nothing if the database has one writer.
    rows: Option<mpsc::Sender<Command>>,
    readers: Arc<ReaderPool>,
    readers_max: usize,
    packs: Option<Arc<Packs>>,
    has_server: bool,
    head: Arc<SharedHead>,
    sink: SharedSink,
    clock: SharedClock,
    calendar: Arc<Calendar>,
    backlog: Arc<Backlog>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Store {
    /// Opens the database, creating it and applying `migrations` as needed.
    ///
    /// Blocks; call it from a blocking thread. [`Store::set_sink`] belongs before the first write.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another server has the SQLite file, [`StoreError::Schema`] if a newer program
    /// wrote it, [`StoreError::Unavailable`] if it cannot be reached or opened.
    pub fn open(
        config: &StoreConfig,
        migrations: &[Migration],
        clock: SharedClock,
    ) -> Result<Self, StoreError> {
        let plan = migration::plan(migrations)?;
        let Connected { writer: mut connection, rows, opener, packs } = connect(config, &plan, clock.now())?;
        let readers_max = config.readers.max(1);
        let readers = Arc::new(ReaderPool::open(Arc::clone(&opener), readers_max)?);
        let head = connection.begin()?;
        let calendar = Calendar::load(&mut *connection, Arc::clone(&clock));
        connection.rollback();
        let calendar = Arc::new(calendar?);
        let backlog = Arc::new(Backlog::new(config.jobs, Arc::clone(&clock)));

        let (queue, commands) = mpsc::channel(config.queue_max.max(1));
        let (completion, batches) = sync_channel(COMPLETION_MAX);
        let shared_head = Arc::new(SharedHead::new(head.epoch, head.seq));
        let sink = SharedSink::default();
        let delivery = Delivery::new(Arc::clone(&sink), Arc::clone(&shared_head), opener, Arc::clone(&clock));
        let writer = Writer {
            connection,
            clock: Arc::clone(&clock),
            calendar: Arc::clone(&calendar),
            backlog: Arc::clone(&backlog),
            completion,
            epoch: head.epoch,
            log: LogBuffer::default(),
            seq: head.seq,
            group_max: config.group_max.max(1),
        };
        let mut threads = vec![
            spawn("store-writer", move || writer.run(commands))?,
            spawn("store-completion", move || completion::run(&batches, delivery))?,
        ];
        let rows = match rows {
            Some(connection) => {
                let (rows, commands) = mpsc::channel(ROWS_QUEUE_MAX);
                let (clock, calendar) = (Arc::clone(&clock), Arc::clone(&calendar));
                let backlog = Arc::clone(&backlog);
                let writer = RowsWriter { connection, clock, calendar, backlog, epoch: head.epoch };
                threads.push(spawn("store-rows", move || writer.run(commands))?);
                Some(rows)
            }
            None => None,
        };
        let shared = Shared {
            queue,
            rows,
            readers,
            readers_max,
            packs,
            has_server: matches!(config.url, DatabaseUrl::Postgres(_)),
            head: shared_head,
            sink,
            clock,
            calendar,
            backlog,
            threads: Mutex::new(threads),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Sets the sink of committed events. Called once, before the first write: events committed earlier are in the log
    /// only. Returns whether this call was the first.
    pub fn set_sink(&self, sink: Arc<dyn EventSink>) -> bool {
        let mut known = self.shared.sink.write();
        let is_first = known.is_none();
        if is_first {
            *known = Some(sink);
        }
        is_first
    }

    /// Lets go of the sink, whose parts usually hold the store themselves: without this neither would ever end.
    pub fn clear_sink(&self) {
        let sink = self.shared.sink.write().take();
        drop(sink);
    }

    /// Runs `f` in a transaction that is committed together with others, and answers after the commit.
    ///
    /// An `Err` from `f` undoes what `f` did and nothing else. Waits while the queue is full. Once queued, `f`
    /// runs even if the caller stops waiting.
    ///
    /// # Errors
    /// What `f` returns, or why its changes are not stored.
    pub async fn write<T, E>(
        &self,
        f: impl FnOnce(&mut WriteTx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let command = Command::Write(Box::new(Closure::new(f, reply)));
        self.shared.queue.send(command).await.map_err(|_| E::from(StoreError::Closed))?;
        answer.await.unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }

    /// As [`Store::write`], for rows that are no part of the log and that no event tells: periodic states, measurements,
    /// what is noted now and then. On PostgreSQL they have a connection of their own and never hold the head of the log,
    /// so that events do not wait for them; the order in which the two are committed is not said.
    ///
    /// `f` may run several times: a row that another transaction holds for half a second is given up, everything undone and
    /// tried again. Several rows must be written in the order of their keys.
    ///
    /// # Errors
    /// What `f` returns, or why its changes are not stored.
    pub async fn write_rows<T, E>(
        &self,
        f: impl Fn(&mut RowTx<'_, '_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let command = Command::Write(Box::new(RowClosure::new(f, reply)));
        let queue = self.shared.rows.as_ref().unwrap_or(&self.shared.queue);
        queue.send(command).await.map_err(|_| E::from(StoreError::Closed))?;
        answer.await.unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }

    /// A queue for commands that arrive in large numbers: all that are queued when the writer takes them are run by one
    /// call of `run`, which can read and write for all of them at once. See [`Lane`].
    pub fn lane<I, T, E>(
        &self,
        run: impl Fn(&mut WriteTx<'_>, &[I]) -> Result<Vec<Result<T, E>>, E> + Send + Sync + 'static,
    ) -> Lane<I, T, E> {
        Lane::new(self.shared.queue.clone(), run)
    }

    /// Runs `f` on a snapshot of what is committed, on the runtime's blocking pool.
    ///
    /// # Errors
    /// What `f` returns, or why the database cannot be read.
    pub async fn read<T, E>(
        &self,
        f: impl FnOnce(&mut ReadTx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.shared.readers.read(f).await
    }

    /// The contents that [`WriteTx::pack`] put beside the database, if it has such.
    #[must_use]
    pub fn packs(&self) -> Option<&Arc<Packs>> {
        self.shared.packs.as_ref()
    }

    /// The last event that was committed and handed to the sink.
    #[must_use]
    pub fn head(&self) -> Cursor {
        self.shared.head.cursor()
    }

    /// The life of the log.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.shared.head.epoch()
    }

    /// The clock the store was opened with.
    #[must_use]
    pub fn clock(&self) -> &SharedClock {
        &self.shared.clock
    }

    /// The present for whatever deletes by age: the time of day, unless that leapt ahead of the time that passed.
    #[must_use]
    pub fn retention_now(&self) -> Timestamp {
        self.shared.calendar.retention_now()
    }

    /// Looks at the clock, and writes now and then which time of day is believed, so that a leap is noticed across
    /// restarts. To be called every minute or so.
    ///
    /// # Errors
    /// Why the database cannot be written; it is tried again at the next call.
    pub async fn note_date(&self) -> Result<(), StoreError> {
        let Some(new) = self.shared.calendar.to_note() else { return Ok(()) };
        self.write(move |tx| new.write(tx)).await.inspect(|()| self.shared.calendar.noted(new))
    }

    /// Has the workers of this process look for jobs at once, as each commit that enqueues some does.
    pub fn wake_workers(&self) {
        self.shared.backlog.wake();
        self.shared.backlog.wake_for_change();
    }

    /// The time that leases go by where it is not the database server's.
    pub(crate) fn process_now(&self) -> Option<Timestamp> {
        let is_own = !self.shared.has_server || !self.shared.backlog.limits.server_time;
        is_own.then(|| self.shared.clock.now())
    }

    /// Whether it was shut down.
    pub(crate) fn is_closed(&self) -> bool {
        self.shared.queue.is_closed()
    }

    /// The jobs that wait, as this process knows of them.
    pub(crate) fn backlog(&self) -> &Arc<Backlog> {
        &self.shared.backlog
    }

    /// See [`log::events_after`].
    ///
    /// # Errors
    /// Why the database cannot be read.
    pub async fn events_after(
        &self,
        channel: &Channel,
        after: u64,
        up_to: u64,
        limit: usize,
    ) -> Result<Vec<Event>, StoreError> {
        let channel = channel.clone();
        self.read(move |tx| log::events_after(tx, &channel, after, up_to, limit)).await
    }

    /// See [`log::events_after_offset`].
    ///
    /// # Errors
    /// Why the database cannot be read.
    pub async fn events_after_offset(
        &self,
        topic: &Topic,
        after: u64,
        up_to: u64,
        limit: usize,
    ) -> Result<Vec<Event>, StoreError> {
        let topic = topic.clone();
        self.read(move |tx| log::events_after_offset(tx, &topic, after, up_to, limit)).await
    }

    /// What the log still holds, to know whether a cursor can be recovered.
    ///
    /// # Errors
    /// Why the database cannot be read.
    pub async fn log_bounds(&self) -> Result<LogBounds, StoreError> {
        self.read(|tx| log::bounds(tx)).await
    }

    /// See [`log::topic_position`].
    ///
    /// # Errors
    /// Why the database cannot be read.
    pub async fn topic_position(&self, topic: &Topic, up_to: u64) -> Result<Position, StoreError> {
        let topic = topic.clone();
        self.read(move |tx| log::topic_position(tx, &topic, up_to)).await
    }

    /// Forgets events older than `before`, but never the last `keep_min` of the log, and returns how many. Works
    /// in small steps between which other writes go on.
    ///
    /// # Errors
    /// Why the database cannot be written; the steps done so far stand.
    pub async fn trim_events(&self, before: Timestamp, keep_min: u64) -> Result<u64, StoreError> {
        let mut gone = 0;
        loop {
            match self.write(move |tx| log::trim_step(tx, before, keep_min)).await? {
                0 => return Ok(gone),
                step => gone += step,
            }
        }
    }

    /// Hands on what other processes committed, which otherwise waits for the next write of this one. Costs a short
    /// read if there is nothing, and locks nothing.
    ///
    /// # Errors
    /// Why the database cannot be read.
    pub async fn catch_up(&self) -> Result<(), StoreError> {
        if self.log_bounds().await?.head.seq <= self.head().seq {
            return Ok(());
        }
        let (reply, answer) = oneshot::channel();
        self.shared.queue.send(Command::Follow(reply)).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Whether the database answers: a short read, which waits for no writer.
    ///
    /// # Errors
    /// Why not.
    pub async fn check(&self) -> Result<(), StoreError> {
        if self.shared.queue.is_closed() {
            return Err(StoreError::Closed);
        }
        self.log_bounds().await.map(drop)
    }

    /// Whether the database takes a change: one that leaves everything as it is.
    ///
    /// # Errors
    /// Why not.
    pub async fn check_writes(&self) -> Result<(), StoreError> {
        let changed = self.write(|tx| tx.execute(log::TOUCH_HEAD, params![])).await;
        changed.map(drop)
    }

    /// The version of TLS that protects the way to the database server; `None` if nothing does, or if the
    /// database is embedded.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn tls_version(&self) -> Result<Option<String>, StoreError> {
        const TLS_VERSION: &str = "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        if !self.shared.has_server {
            return Ok(None);
        }
        let found = self.read(|tx| tx.query_opt(TLS_VERSION, params![], |row| row.opt_text(0))).await;
        found.map(Option::flatten)
    }

    /// Finishes what is queued, answers its callers, and closes the database. Later calls of any clone fail
    /// with [`StoreError::Closed`].
    pub async fn shutdown(&self) {
        let _ = self.shared.queue.send(Command::Stop).await;
        if let Some(rows) = &self.shared.rows {
            let _ = rows.send(Command::Stop).await;
        }
        self.shared.readers.close(self.shared.readers_max).await;
        let threads = std::mem::take(&mut *self.shared.threads.lock());
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                if thread.join().is_err() {
                    tracing::error!("a thread of the store panicked");
                }
            }
        });
        if joined.await.is_err() {
            tracing::error!("the store's threads could not be waited for");
        }
    }
}

struct Connected {
    writer: Box<dyn WriteConnection>,
    /// A second one, if the database takes several.
    rows: Option<Box<dyn WriteConnection>>,
    opener: Opener,
    packs: Option<Arc<Packs>>,
}

fn connect(config: &StoreConfig, plan: &[Migration], now: Timestamp) -> Result<Connected, StoreError> {
    match &config.url {
        DatabaseUrl::Sqlite(path) => {
            let (writer, packs) = sqlite::open_writer(path, config, plan, now)?;
            let path = path.clone();
            let opener: Opener = Arc::new(move || Ok(Box::new(sqlite::open_reader(&path)?)));
            Ok(Connected { writer: Box::new(writer), rows: None, opener, packs })
        }
        DatabaseUrl::Postgres(url) => {
            let server = postgres::Server::new(url, config)?;
            let writer = server.open_writer(plan, now)?;
            let rows: Box<dyn WriteConnection> = Box::new(server.rows_writer());
            let opener: Opener = Arc::new(move || Ok(Box::new(server.open_reader()?)));
            Ok(Connected { writer: Box::new(writer), rows: Some(rows), opener, packs: None })
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|e| StoreError::Unavailable(format!("no thread for {name}: {e}")))
}
