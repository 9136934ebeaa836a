//! Accepting connections, and shutting them down gracefully.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connections::{Admitted, Connections, Course};
use super::{descriptors, refusal};
use crate::config::ServerConfig;
use crate::said::{FrenchAddresses, Language};

/// Maximum number of connections waiting to be accepted.
const BACKLOG: i32 = 4096;
/// Maximum bytes buffered per connection by the HTTP server: request headers are far smaller.
const HTTP_BUFFER_BYTES: usize = 64 * 1024;
/// How long requests in progress may take once the server stops.
const REQUESTS_TIMEOUT: Duration = Duration::from_secs(20);
/// Maximum number of clients being sent a rejection at the same time; others are only closed.
const TURNED_AWAY_MAX: usize = 256;
/// How long a rejected client has to close its side.
const FAREWELL: Duration = Duration::from_secs(1);

/// Binds the address.
///
/// # Errors
/// The address cannot be bound, for instance because another program listens there.
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
    connections: Connections,
    stop: CancellationToken,
    tasks: TaskTracker,
}

struct Acceptor {
    router: Router,
    settings: hyper::server::conn::http1::Builder,
    connections: Connections,
    turned_away: Arc<Semaphore>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// Starts serving `router` on `listener`. Errors of the addresses in `french` are in French, others in English.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    #[must_use]
    pub fn start(
        listener: TcpListener,
        router: Router,
        config: &ServerConfig,
        french: FrenchAddresses,
    ) -> Self {
        let mut settings = hyper::server::conn::http1::Builder::new();
        // The sweep over all connections enforces the header timeout.
        settings.header_read_timeout(None).max_buf_size(HTTP_BUFFER_BYTES);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let connections_max = descriptors::connections_that_fit(config.connections_max);
        let connections = Connections::new(config, connections_max, french);
        let acceptor = Acceptor {
            router,
            settings,
            connections: connections.clone(),
            turned_away: Arc::new(Semaphore::new(TURNED_AWAY_MAX)),
            stop: stop.clone(),
            tasks: tasks.clone(),
        };
        tasks.spawn(accept(listener, acceptor));
        Self { connections, stop, tasks }
    }

    /// How many connections were closed or rejected for this reason: `relais_http_ended_total` of this server alone,
    /// for tests.
    #[must_use]
    pub fn ended(&self, why: &str) -> u64 {
        self.connections.ended(why)
    }

    /// Stops accepting connections and waits for the requests in progress.
    pub async fn stop(&mut self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(REQUESTS_TIMEOUT, self.tasks.wait()).await.is_err() {
            tracing::warn!("some requests did not end in time and were cut off");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The acceptor holds the routes, and through them the application.
        self.stop.cancel();
    }
}

async fn accept(listener: TcpListener, acceptor: Acceptor) {
    loop {
        let accepted = tokio::select! {
            () = acceptor.stop.cancelled() => break,
            // Room first: beyond it, clients wait in the backlog instead of being dropped.
            accepted = async {
                acceptor.connections.room().await;
                listener.accept().await
            } => accepted,
        };
        match accepted {
            Ok((stream, peer)) => acceptor.serve(stream, peer),
            Err(error) => {
                // Usually out of descriptors. Others are closing meanwhile; retrying at once would only spin.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    acceptor.connections.finish();
}

impl Acceptor {
    fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        let admitted = match self.connections.admit(stream, peer) {
            Ok(admitted) => admitted,
            Err(stream) => return self.turn_away(stream),
        };
        let Admitted { stream, activity } = admitted;
        let (router, connections, served) =
            (self.router.clone(), self.connections.clone(), Arc::clone(&activity));
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            let (connections, activity) = (connections.clone(), Arc::clone(&served));
            let answer = connections.serve(router.clone(), request, peer, activity);
            async move { Ok::<_, std::convert::Infallible>(answer.await) }
        });
        let connection = self.settings.serve_connection(TokioIo::new(stream), service).with_upgrades();
        self.tasks.spawn(async move {
            let mut connection = std::pin::pin!(connection);
            let mut finishes = false;
            let outcome = std::future::poll_fn(|cx| {
                let course = activity.course(cx);
                if course == Course::Finish && !std::mem::replace(&mut finishes, true) {
                    connection.as_mut().graceful_shutdown();
                }
                match connection.as_mut().poll(cx) {
                    // It has written its last output in this poll.
                    Poll::Pending if activity.course(cx) == Course::Leave => Poll::Ready(Ok(())),
                    outcome => outcome,
                }
            });
            if let Err(error) = outcome.await {
                tracing::debug!(%error, %peer, "a connection ended early");
            }
        });
    }

    /// Sends a rejection to a client whose address has too many connections.
    fn turn_away(&self, stream: TcpStream) {
        let Ok(permit) = Arc::clone(&self.turned_away).try_acquire_owned() else { return };
        let answer = refusal::raw(
            &refusal::too_many_from_address(self.connections.per_address_max()),
            Language::English,
        );
        self.tasks.spawn(async move {
            let farewell = send_refusal(stream, &answer);
            // A client that is gone no longer waits for it.
            let _ = tokio::time::timeout(FAREWELL, farewell).await;
            drop(permit);
        });
    }
}

/// Closing a connection with unread input resets it, and the response may be lost.
async fn send_refusal(mut stream: TcpStream, answer: &[u8]) -> std::io::Result<()> {
    stream.write_all(answer).await?;
    stream.shutdown().await?;
    let mut unread = [0; 512];
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}
