//! Accepting connections, and ending them in good order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::origins::Secure;
use super::proxies::{client_address, is_proxy};
use crate::config::{Network, ServerConfig};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// Bytes that the HTTP server buffers per connection at most: request heads are far smaller.
const HTTP_BUFFER_BYTES: usize = 64 * 1024;
/// How long requests under way may take once the server stops.
const REQUESTS_TIMEOUT: Duration = Duration::from_secs(20);

/// Binds the address.
///
/// # Errors
/// Why not, for instance that another program listens there.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A server that accepts connections.
pub struct Server {
    stop: CancellationToken,
    tasks: TaskTracker,
}

struct Acceptor {
    router: Router,
    settings: hyper::server::conn::http1::Builder,
    proxies: Arc<[Network]>,
    places: Arc<Semaphore>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// Serves `router` on `listener` from now on.
    #[must_use]
    pub fn start(listener: TcpListener, router: Router, config: &ServerConfig) -> Self {
        let mut settings = hyper::server::conn::http1::Builder::new();
        settings
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_secs(config.header_timeout_s.max(1)))
            .max_buf_size(HTTP_BUFFER_BYTES);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let places = Arc::new(Semaphore::new(config.connections_max));
        let proxies = config.trusted_proxies.as_slice().into();
        let acceptor =
            Acceptor { router, settings, proxies, places, stop: stop.clone(), tasks: tasks.clone() };
        tasks.spawn(accept(listener, acceptor));
        Self { stop, tasks }
    }

    /// Accepts no more connections and waits for the requests under way.
    pub async fn stop(&mut self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(REQUESTS_TIMEOUT, self.tasks.wait()).await.is_err() {
            tracing::warn!("some requests did not end in time and were cut off");
        }
    }
}

async fn accept(listener: TcpListener, acceptor: Acceptor) {
    loop {
        // The place first: beyond the limit, clients wait in the backlog instead of being dropped.
        let Ok(place) = Arc::clone(&acceptor.places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = acceptor.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => acceptor.serve(stream, address, place),
            Err(error) => {
                // Out of descriptors, usually. Others end meanwhile; trying at once would only spin.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

impl Acceptor {
    fn serve(&self, stream: TcpStream, address: SocketAddr, place: OwnedSemaphorePermit) {
        let _ = stream.set_nodelay(true);
        let (router, proxies) = (self.router.clone(), Arc::clone(&self.proxies));
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            let mut request: Request = request.map(Body::new);
            let client = client_address(address, request.headers(), &proxies);
            let secure = Secure::of(request.headers(), is_proxy(address.ip(), &proxies));
            request.extensions_mut().insert(ConnectInfo(client));
            request.extensions_mut().insert(secure);
            router.clone().oneshot(request)
        });
        let connection = self.settings.serve_connection(TokioIo::new(stream), service).with_upgrades();
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let mut connection = std::pin::pin!(connection);
            let outcome = tokio::select! {
                biased;
                outcome = connection.as_mut() => outcome,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = outcome {
                tracing::debug!(%error, %address, "a connection ended early");
            }
            drop(place);
        });
    }
}
