//! Streams, sessions, presence, recovery, fan-out and backpressure. No HTTP and no SQL.
//!
//! One thread owns every stream and every membership and processes one ordered [inbox](Hub), so that publishing,
//! joining and leaving have a single order. It writes to sockets itself: all frames that a stream gathered since the
//! last pass go to a subscriber in one non-blocking write of a buffer that all subscribers share. Only a session whose
//! socket is full, or whose recovery is in progress, has a queue.
//!
//! - [`Hub`]: publish, open, subscribe, revoke, drain;
//! - [`Session`] and [`Transport`]: one live connection and where its bytes are written;
//! - [`run_socket`] and [`Receiver`]: the read side of a WebSocket;
//! - [`QueueBody`]: the same stream of frames as the body of an HTTP response;
//! - [`Dialect`], [`Filter`], [`EventLog`], [`PresenceWatcher`]: what the application provides;
//! - [`CloseCode`]: why a connection ends, and whether its client should reconnect;
//! - [`Broker`]: events of other nodes.

mod admission;
mod broker;
mod close;
mod config;
mod dialect;
mod engine;
mod error;
mod frame_batch;
mod heartbeat;
mod history;
mod hub;
mod identity;
mod inbox;
mod log;
mod members;
mod outbox;
mod pass;
mod presence;
mod queue;
mod recovery;
mod session;
mod shared;
mod slots;
mod socket;
mod stats;
mod streams;
mod subscription;
mod timer_wheel;
mod transport;

pub use broker::{Broker, BrokerSink, LocalBroker};
pub use close::{CloseCode, CloseReason};
pub use config::{HubConfig, Ticks};
pub use dialect::{Dialect, Filter};
pub use error::{OpenError, SubscribeError};
pub use hub::Hub;
pub use identity::Identity;
pub use log::{EventLog, LogBounds, LogError};
pub use presence::{NobodyWatches, Presence, PresenceWatcher};
pub use queue::QueueBody;
pub use session::{Session, SessionId, SessionSpec};
pub use socket::{Ended, Flow, Held, Leftover, Receiver, SocketRun, run_socket};
pub use stats::HubStats;
pub use subscription::{Joined, StartPosition, Subscription};
pub use transport::Transport;
