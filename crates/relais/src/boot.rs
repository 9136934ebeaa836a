//! The only place where concrete types are chosen and put together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use parking_lot::Mutex;
use relais_hub::{Hub, HubConfig, NobodyWatches};
use relais_protocol::time::{SharedClock, SystemClock};
use relais_store::{Store, StoreConfig, StoreError, private};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::{App, Parts, Services};
use crate::auth::expiry::Expiries;
use crate::auth::{Auth, AuthError, Policy};
use crate::config::Config;
use crate::declared::declared;
use crate::event_log::{Publisher, RightsObserver, StoredLog};
use crate::feature::{Observers, OpenError, Opening};
use crate::features;
use crate::folder_lock::{FolderLock, FolderLockError};
use crate::http;
use crate::jobs::{self, JobsWatch};
use crate::said::FrenchAddresses;
use crate::web::{self, Server};

/// How often sessions are checked for expired credentials.
const EXPIRY_CHECK: Duration = Duration::from_secs(1);
/// How often the log is looked at for events of other processes.
const LOG_CHECK: Duration = Duration::from_secs(1);
/// How often the clock is compared with the time that passed.
const DATE_CHECK: Duration = Duration::from_secs(60);

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The data folder.
    #[error("{path}: {error}; {}, or choose another with --data or RELAIS_DATA", crate::disk::remedy(error))]
    Data {
        /// The folder.
        path: String,
        /// The error of the disk.
        error: std::io::Error,
    },
    /// The address.
    #[error("cannot listen on {address}: {error}; {}", listen_remedy(error))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The error of the system.
        error: std::io::Error,
    },
    /// The data folder is another server's.
    #[error(transparent)]
    InUse(#[from] FolderLockError),
    /// The database.
    #[error("database: {0}")]
    Store(#[from] StoreError),
    /// Identity and access.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// A feature.
    #[error(transparent)]
    Feature(#[from] OpenError),
    /// Metrics, or a task that did not end well.
    #[error("{0}")]
    Internal(String),
}

/// What to do when an address cannot be listened on.
#[must_use]
pub fn listen_remedy(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::AddrInUse => "stop the other program, or choose another address with --listen",
        ErrorKind::AddrNotAvailable => {
            "this computer does not have that address: choose one that it has with --listen (127.0.0.1 for programs on \
             it, 0.0.0.0 for all of its addresses)"
        }
        ErrorKind::PermissionDenied => {
            "ports below 1024 are for the administrator: choose another with --listen, and let the reverse proxy have \
             the low one"
        }
        _ => "choose another address with --listen",
    }
}

/// A server that runs.
pub struct Running {
    app: App,
    server: Server,
    address: SocketAddr,
    tasks: TaskTracker,
    stop: CancellationToken,
    accepting: watch::Sender<bool>,
    _folders: Vec<FolderLock>,
}

/// Starts a server with the computer's own clock.
///
/// # Errors
/// [`BootError`] with what to do.
pub async fn start(config: Config) -> Result<Running, BootError> {
    start_with(config, Arc::new(SystemClock)).await
}

/// Starts a server: opens the database, finishes what a crash interrupted, then listens.
///
/// # Errors
/// [`BootError`] with what to do.
pub async fn start_with(config: Config, clock: SharedClock) -> Result<Running, BootError> {
    let config = Arc::new(config);
    let data = config.server.data.clone();
    private::create_folder(&data)
        .map_err(|error| BootError::Data { path: data.display().to_string(), error })?;
    let (metrics, store) = (install_metrics()?, open_store(&config, Arc::clone(&clock)).await?);
    let folders = vec![FolderLock::take_data(&data)?];
    let hub = Hub::start(
        hub_config(&config, Arc::clone(&clock)),
        store.head(),
        Arc::new(StoredLog(store.clone())),
        Arc::new(NobodyWatches),
    );
    let (heads_sender, heads) = watch::channel(store.head());
    let observers = Observers::default();
    let sink = Publisher { hub: hub.clone(), heads: heads_sender, observers: observers.clone() };
    store.set_sink(Arc::new(sink));
    let open_mode = config.auth.is_open(config.server.listen.ip());
    let policy = Policy { open_mode, topics: features::topics() };
    let auth = Auth::open(&config.auth, store.clone(), &data, policy, Arc::clone(&clock))?;
    observers.add(RightsObserver { hub: hub.clone(), auth: auth.clone() });
    let mut opening = Opening {
        config: Arc::clone(&config),
        clock,
        store,
        hub,
        auth,
        services: Services::default(),
        observers,
        folders,
    };
    for feature in features::ALL {
        (feature.open)(&mut opening).await?;
    }

    opening.services.add(JobsWatch::default());
    let (accepting_sender, accepting) = watch::channel(true);
    let Opening { clock, store, hub, auth, services, folders, .. } = opening;
    let app = App::new(Parts {
        config,
        clock,
        store,
        hub,
        auth,
        services,
        heads,
        expiries: Arc::new(Expiries::default()),
        accepting,
        polls_waiting: Arc::new(AtomicUsize::new(0)),
        metrics,
    });
    serve(app, accepting_sender, folders, open_mode)
}

fn serve(
    app: App,
    accepting: watch::Sender<bool>,
    folders: Vec<FolderLock>,
    open_mode: bool,
) -> Result<Running, BootError> {
    let wanted = app.config().server.listen;
    let listener = web::listen(wanted).map_err(|error| BootError::Listen { address: wanted, error })?;
    let address = listener.local_addr().map_err(|error| BootError::Listen { address: wanted, error })?;
    let french = FrenchAddresses::new(declared().flat_map(|feature| feature.french).copied());
    let server = Server::start(listener, http::router(&app), &app.config().server, french);
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    tasks.spawn(end_expired_sessions(app.clone(), stop.clone()));
    tasks.spawn(follow_the_log(app.clone(), stop.clone()));
    tasks.spawn(jobs::work(app.clone(), stop.clone()));
    tasks.spawn(jobs::watch(app.clone(), stop.clone()));
    tasks.spawn(note_date(app.clone(), stop.clone()));
    for task in declared().flat_map(|feature| (feature.tasks)(&app, &stop)) {
        tasks.spawn(task);
    }
    let mode = if open_mode { "open to every program on this computer" } else { "credentials required" };
    tracing::info!(%address, mode, data = %app.config().server.data.display(), "listening on http://{address}");
    Ok(Running { app, server, address, tasks, stop, accepting, _folders: folders })
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The application, for tests.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.app
    }

    /// How many connections were ended or turned away for this reason, for tests: `/metrics` counts for the process.
    #[must_use]
    pub fn ended(&self, why: &str) -> u64 {
        self.server.ended(why)
    }

    /// Drains: accepts nothing new, finishes requests, asks live clients to reconnect, writes everything.
    pub async fn stop(mut self) {
        tracing::info!("stopping: requests under way are finished, live clients are asked to reconnect");
        self.accepting.send_replace(false);
        declared().for_each(|feature| (feature.stopping)(&self.app));
        let spread = Duration::from_secs(self.app.config().server.drain_s);
        let hub = self.app.hub().clone();
        tokio::join!(self.server.stop(), hub.drain(spread));
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        for feature in declared() {
            if let Err(error) = (feature.flush)(&self.app).await {
                tracing::error!(%error, feature = feature.name, "what was only in memory could not be written");
            }
        }
        self.app.store().shutdown().await;
        tracing::info!("stopped");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        // The store's sink holds the hub and the features, which hold the store.
        self.app.store().clear_sink();
    }
}

async fn open_store(config: &Config, clock: SharedClock) -> Result<Store, BootError> {
    let mut store_config = StoreConfig::new(config.database_url().parse()?);
    store_config.readers = config.database.readers;
    store_config.jobs = config.jobs.limits();
    let opened =
        tokio::task::spawn_blocking(move || Store::open(&store_config, &features::migrations(), clock));
    Ok(opened.await.map_err(|e| BootError::Internal(e.to_string()))??)
}

/// What of a message is kept for a client that has not said who it is: more than any first word takes.
const STRANGER_MESSAGE_BYTES_MAX: usize = 32 * 1024;

fn hub_config(config: &Config, clock: SharedClock) -> HubConfig {
    let or_none = |limit: usize| if limit == 0 { usize::MAX } else { limit };
    let limits = &config.hub;
    let common = HubConfig {
        queue_bytes: limits.queue_bytes,
        sessions_max: limits.sessions_max,
        sessions_per_address_max: or_none(limits.sessions_per_address_max),
        sessions_per_principal_max: or_none(limits.sessions_per_principal_max),
        subscriptions_per_session_max: limits.subscriptions_per_session_max,
        recover_events_max: limits.recover_events_max,
        unfinished_bytes_max: usize::try_from(config.server.body_memory_bytes).unwrap_or(usize::MAX),
        message_rate_min: u32::try_from(config.server.transfer_rate_min).unwrap_or(u32::MAX),
        ping_interval_s: limits.ping_interval_s,
        idle_timeout_s: limits.idle_timeout_s,
        clock,
        ..HubConfig::default()
    };
    // In open mode nobody authenticates.
    if config.auth.is_open(config.server.listen.ip()) {
        return common;
    }
    HubConfig {
        anonymous_max: (limits.sessions_max / 2).max(1),
        anonymous_per_address_max: or_none(limits.anonymous_per_address_max),
        anonymous_message_bytes_max: STRANGER_MESSAGE_BYTES_MAX,
        ..common
    }
}

/// The recorder belongs to the process: servers that tests start beside each other share it.
fn install_metrics() -> Result<PrometheusHandle, BootError> {
    static HANDLE: Mutex<Option<PrometheusHandle>> = Mutex::new(None);
    const SECONDS: &[f64] =
        &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
    let fault = |error: &dyn std::fmt::Display| BootError::Internal(format!("metrics: {error}"));
    let mut handle = HANDLE.lock();
    if let Some(handle) = &*handle {
        return Ok(handle.clone());
    }
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)
        .map_err(|e| fault(&e))?;
    let installed = builder.install_recorder().map_err(|e| fault(&e))?;
    *handle = Some(installed.clone());
    Ok(installed)
}

async fn end_expired_sessions(app: App, stop: CancellationToken) {
    let mut seconds = tokio::time::interval(EXPIRY_CHECK);
    let mut passed = 0u32;
    while until(&stop, seconds.tick()).await {
        app.expiries().close_due(app.hub(), app.clock().steady());
        passed = passed.wrapping_add(1);
        if passed.is_multiple_of(60) {
            app.expiries().forget_ended();
        }
    }
}

/// Another process may commit events while this one has nothing to write.
async fn follow_the_log(app: App, stop: CancellationToken) {
    let mut looks = tokio::time::interval(LOG_CHECK);
    while until(&stop, looks.tick()).await {
        if let Err(error) = app.store().catch_up().await {
            tracing::warn!(%error, "events of other processes could not be looked for; trying again");
        }
    }
}

/// A clock that leaps is noticed soon, and across restarts.
async fn note_date(app: App, stop: CancellationToken) {
    let mut looks = tokio::time::interval(DATE_CHECK);
    while until(&stop, looks.tick()).await {
        if let Err(error) = app.store().note_date().await {
            tracing::warn!(%error, "the date could not be noted; trying again");
        }
    }
}

async fn until(stop: &CancellationToken, tick: impl Future) -> bool {
    tokio::select! {
        () = stop.cancelled() => false,
        _ = tick => true,
    }
}
