//! A WebSocket that upgrades a polling connection (section "Upgrade").

use std::sync::Arc;

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response as HttpResponse};
use bytes::Bytes;
use relais_hub::{CloseCode, Leftover, QueueBody};
use relais_protocol::engineio::{Action, Frame, SocketId};
use relais_protocol::websocket::{Decoder, Limits, Message, Opcode, ProtocolError, encode_frame};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use super::connection::{Connection, Outcome, ReadRequest};
use super::websocket::{limits, run};
use super::{Endpoint, wire};
use crate::gateways::opening::write_close;
use crate::gateways::upgrade::{Handshake, Upgraded};
use crate::web::Guest;

/// Bytes read at once: a probe sends `2probe` and `5`.
const READ_BYTES: usize = 1024;
/// Pending read requests at once; a client has one GET in progress.
const READ_REQUESTS_MAX: usize = 4;

/// A WebSocket with the id of a connection.
pub(super) fn open(
    endpoint: &Arc<Endpoint>,
    connection: Arc<Connection>,
    mut request: Request,
) -> HttpResponse {
    let mut handshake = match Handshake::new(&mut request) {
        Ok(handshake) => handshake,
        Err(error) => return error.into_response(),
    };
    let deflate = handshake.agree_deflate(endpoint.settings.deflate);
    let (response, stream) = handshake.accept();
    let endpoint = Arc::clone(endpoint);
    let reads = accept_reads(&connection);
    let taken_over = Box::pin(async move {
        let Upgraded { stream, leftover, guest } = stream.await?;
        let limits = Limits { deflate, ..limits(&endpoint) };
        take_over(&endpoint, connection, (stream, guest), leftover, limits, reads).await
    });
    crate::gateways::spawn_connection(async move {
        if let Some((connection, ws, leftover, limits)) = taken_over.await {
            run(connection, ws, leftover, limits).await;
        }
    });
    response
}

/// From now on requests of the connection can ask for its socket to be read. A second socket beside a probing one is
/// refused, and not asked.
fn accept_reads(connection: &Connection) -> mpsc::Receiver<ReadRequest> {
    let (sender, reads) = mpsc::channel(READ_REQUESTS_MAX);
    let mut state = connection.state.lock();
    if state.probe_reads.as_ref().is_none_or(mpsc::Sender::is_closed) {
        state.probe_reads = Some(sender);
    }
    reads
}

/// Probes the socket, and makes it the transport if that succeeds.
async fn take_over(
    endpoint: &Endpoint,
    connection: Arc<Connection>,
    (stream, guest): (TcpStream, Guest),
    leftover: Leftover,
    limits: Limits,
    reads: mpsc::Receiver<ReadRequest>,
) -> Option<(Arc<Connection>, SocketId, Leftover, Limits)> {
    let ws = connection.number();
    let (leftover, held) = leftover.into_parts();
    let mut probe = Probe { connection, ws, stream, decoder: Decoder::new(limits), reads };
    let attempt = tokio::time::timeout(endpoint.settings.upgrade_timeout, probe.attempt(leftover));
    let taken = match attempt.await {
        Ok(Ok(taken)) => taken,
        Ok(Err(code)) => return probe.give_up(code).await,
        Err(_) => return probe.give_up(CloseCode::Policy.number()).await,
    };
    let Probe { connection, stream, .. } = probe;
    match endpoint.hub.upgrade(taken.body, stream, taken.first.into()) {
        Ok(session) => {
            if limits.deflate {
                endpoint.hub.compress(&session);
            }
            endpoint.await_name(&session, guest);
            // Its messages come after those of a POST.
            connection.turn().await;
            Some((connection, ws, Leftover::new(taken.rest.into(), held), limits))
        }
        Err(error) => {
            tracing::debug!(%error, "a connection ended during its upgrade");
            connection.finish();
            None
        }
    }
}

/// A probing socket.
struct Probe {
    connection: Arc<Connection>,
    ws: SocketId,
    stream: TcpStream,
    decoder: Decoder,
    /// Requests that wait for the received data to be read.
    reads: mpsc::Receiver<ReadRequest>,
}

/// The initial state of a socket that became the transport.
struct Taken {
    /// The client's outbound queue.
    body: QueueBody,
    /// Frames before that.
    first: Vec<u8>,
    /// What the client has already sent after its `5`.
    rest: Vec<u8>,
}

enum Said {
    Packet(Frame),
    /// A ping of the WebSocket, and the frame that answers it.
    Ping(Vec<u8>),
    Nothing,
}

impl Probe {
    /// Runs until the socket is the transport; else returns the code to close it with.
    async fn attempt(&mut self, leftover: Bytes) -> Result<Taken, u16> {
        let mut told_to_close = self.begin()?;
        let mut bytes = leftover.to_vec();
        let mut waiting: Vec<ReadRequest> = Vec::new();
        loop {
            let mut input = &mut bytes[..];
            while let Some(said) = next(&mut self.decoder, &mut input)? {
                match said {
                    Said::Packet(packet) => {
                        if let Some((body, first)) = self.packet(packet).await? {
                            return Ok(Taken { body, first, rest: input.to_vec() });
                        }
                    }
                    Said::Ping(pong) => self.write(&pong).await?,
                    Said::Nothing => {}
                }
            }
            if !waiting.is_empty() && !has_arrived(&self.stream) {
                waiting.clear();
            }
            bytes.resize(READ_BYTES, 0);
            let read = tokio::select! {
                code = &mut told_to_close => return Err(code.unwrap_or(CloseCode::Normal.number())),
                Some(request) = self.reads.recv() => {
                    waiting.push(request);
                    bytes.clear();
                    continue;
                }
                read = self.stream.read(&mut bytes) => read,
            };
            match read {
                Ok(read) if read > 0 => bytes.truncate(read),
                _ => return Err(CloseCode::Normal.number()),
            }
        }
    }

    fn begin(&self) -> Result<oneshot::Receiver<u16>, u16> {
        let mut actions = Vec::new();
        let mut state = self.connection.state.lock();
        state.engine.ws_open(self.ws, self.connection.client.instant(), &mut actions);
        let refused = actions.iter().find_map(|action| match action {
            Action::CloseSocket(ws, code) if *ws == self.ws => Some(*code),
            _ => None,
        });
        if let Some(code) = refused {
            return Err(code);
        }
        let (close, told_to_close) = oneshot::channel();
        state.probe = Some((self.ws, close));
        Ok(told_to_close)
    }

    /// Handles one packet of the socket; the last one makes it the transport.
    async fn packet(&mut self, packet: Frame) -> Result<Option<(QueueBody, Vec<u8>)>, u16> {
        let (outcome, body) = {
            let mut actions = Vec::new();
            let mut state = self.connection.state.lock();
            state.engine.ws_frame(self.ws, packet, self.connection.client.instant(), &mut actions);
            let outcome = self.connection.carry_out(&mut state, actions, None);
            // From here on no GET takes anything.
            let body = if outcome.upgraded_after.is_some() { state.body.take() } else { None };
            (outcome, body)
        };
        let Outcome { writes, upgraded_after, .. } = outcome;
        let mut bytes = Vec::new();
        writes.iter().for_each(|frame| wire::write(frame, &mut bytes));
        match (upgraded_after, body) {
            (Some(_), Some(body)) => Ok(Some((body, bytes))),
            (Some(_), None) => Err(CloseCode::Normal.number()),
            (None, _) => self.write(&bytes).await.map(|()| None),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), u16> {
        self.stream.write_all(bytes).await.map_err(|_| CloseCode::Normal.number())
    }

    /// The connection continues polling.
    async fn give_up<T>(mut self, code: u16) -> Option<T> {
        {
            let mut state = self.connection.state.lock();
            state.engine.ws_closed(self.ws, &mut Vec::new());
            state.probe.take_if(|(probing, _)| *probing == self.ws);
        }
        write_close(&self.stream, code, "this WebSocket did not take over: polling goes on");
        let _ = self.stream.shutdown().await;
        None
    }
}

/// Whether the kernel has unread data of the client, including the end of the stream. The runtime's own readiness may
/// lag behind.
fn has_arrived(stream: &TcpStream) -> bool {
    let mut byte = [std::mem::MaybeUninit::uninit()];
    socket2::SockRef::from(stream).peek(&mut byte).is_ok()
}

/// The next message of the client, or the code to close with.
fn next(decoder: &mut Decoder, input: &mut &mut [u8]) -> Result<Option<Said>, u16> {
    let message = decoder.next(input).map_err(ProtocolError::close_code)?;
    Ok(Some(match message {
        None => return Ok(None),
        Some(Message::Text(text)) => Said::Packet(Frame::Text(text.to_owned().into())),
        Some(Message::Binary(bytes)) => Said::Packet(Frame::Binary(Bytes::copy_from_slice(bytes))),
        Some(Message::Ping(payload)) => {
            let mut pong = Vec::new();
            encode_frame(Opcode::Pong, payload, &mut pong);
            Said::Ping(pong)
        }
        Some(Message::Pong(_)) => Said::Nothing,
        Some(Message::Close(_)) => return Err(CloseCode::Normal.number()),
    }))
}
