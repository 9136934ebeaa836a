//! From an HTTP request to a WebSocket (RFC 6455 section 4.2), and back to the bare stream.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use relais_hub::Leftover;
use relais_protocol::websocket::accept_deflate;
use sha1::{Digest, Sha1};
use tokio::net::TcpStream;

use crate::AppError;
use crate::auth::http::has_token;
use crate::said::{Said, said};
use crate::web::{ClientPlace, ClientStream, Guest, Place};

/// RFC 6455 section 1.3.
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A valid WebSocket upgrade request.
pub struct Handshake {
    accept: HeaderValue,
    upgrade: OnUpgrade,
    /// A client behind a proxy holds a place for as long as the WebSocket lasts.
    place: Option<Arc<ClientPlace>>,
    /// Where the client connects from.
    pub address: SocketAddr,
    /// The compression offered by the client that the server supports.
    offered: Option<&'static str>,
    agreed: bool,
}

impl Handshake {
    /// Checks the request.
    ///
    /// # Errors
    /// 400 or 426 with what is missing.
    pub fn new(request: &mut Request) -> Result<Self, AppError> {
        let headers = request.headers();
        if !has_token(headers, &header::UPGRADE, "websocket")
            || !has_token(headers, &header::CONNECTION, "upgrade")
        {
            let what = said!("ce chemin est un WebSocket", "this path is a WebSocket");
            return Err(refused(StatusCode::UPGRADE_REQUIRED, what).with_header(header::UPGRADE, "websocket"));
        }
        if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            let what =
                said!("la version 13 du protocole est attendue", "version 13 of the protocol is expected");
            return Err(
                refused(StatusCode::UPGRADE_REQUIRED, what).with_header(header::SEC_WEBSOCKET_VERSION, "13")
            );
        }
        let key = headers.get(header::SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
        if !STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16) {
            let what = said!(
                "Sec-WebSocket-Key n'est pas une clé de 16 octets",
                "Sec-WebSocket-Key is not a key of 16 bytes"
            );
            return Err(refused(StatusCode::BAD_REQUEST, what));
        }
        let digest = Sha1::new().chain_update(key).chain_update(KEY_SUFFIX).finalize();
        let accept = HeaderValue::try_from(STANDARD.encode(digest)).map_err(AppError::internal)?;
        let offers = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS).iter();
        let offered = accept_deflate(offers.filter_map(|offer| offer.to_str().ok()));
        let address = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
        let upgrade = request.extensions_mut().remove::<OnUpgrade>();
        let place = request.extensions_mut().remove::<Arc<ClientPlace>>();
        match (upgrade, address) {
            (Some(upgrade), Some(address)) => {
                Ok(Self { accept, upgrade, place, address, offered, agreed: false })
            }
            _ => {
                let what = said!(
                    "cette connexion ne peut pas devenir un WebSocket",
                    "this connection cannot become a WebSocket"
                );
                Err(refused(StatusCode::UPGRADE_REQUIRED, what))
            }
        }
    }

    /// Negotiates permessage-deflate (RFC 7692) if the client offers it and it is `wanted`; returns whether it is used.
    pub fn agree_deflate(&mut self, wanted: bool) -> bool {
        self.agreed = wanted && self.offered.is_some();
        self.agreed
    }

    /// The answer that switches protocols, and the stream once it is sent.
    pub fn accept(self) -> (Response, impl Future<Output = Option<Upgraded>> + Send) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, self.accept);
        if let Some(extension) = self.offered.filter(|_| self.agreed) {
            headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(extension));
        }
        (response, bare_stream(self.upgrade, self.place))
    }
}

/// The stream of a WebSocket.
pub struct Upgraded {
    /// The stream without the HTTP server around it.
    pub stream: TcpStream,
    /// What was read beyond the request.
    pub leftover: Leftover,
    /// The guest status, until the client authenticates.
    pub(crate) guest: Guest,
}

/// What a WebSocket holds: its own place, and that of its client behind a proxy.
struct Held {
    _place: Place,
    _client: Option<Arc<ClientPlace>>,
}

async fn bare_stream(upgrade: OnUpgrade, client: Option<Arc<ClientPlace>>) -> Option<Upgraded> {
    let upgraded = upgrade.await.inspect_err(|error| tracing::debug!(%error, "no upgrade")).ok()?;
    let parts = upgraded.downcast::<TokioIo<ClientStream>>().ok()?;
    let (stream, place) = parts.io.into_inner().into_parts();
    let guest = place.guest();
    let held = Held { _place: place, _client: client };
    Some(Upgraded { stream, leftover: Leftover::new(parts.read_buf, Some(Box::new(held))), guest })
}

fn refused(status: StatusCode, what: Said) -> AppError {
    let text = said!("Connexion WebSocket refusée : {}", "WebSocket connection refused: {}"; what);
    AppError::new(status, "websocket_expected", text)
}
