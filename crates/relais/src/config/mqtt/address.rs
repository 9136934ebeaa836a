//! The address of the broker, and TLS for the connection to it.

use std::path::Path;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore, crypto};

/// The address of the broker, from `live.mqtt.url`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: bool,
    /// This server's user name and password, if the address contains them.
    pub(crate) user: Option<(String, String)>,
}

/// Why TLS to the broker cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("{file}: {why}; live.mqtt.ca_file has to name a readable PEM file with certificates")]
    File { file: String, why: String },
    #[error(
        "the system has no trusted authorities: install its package ca-certificates, or set live.mqtt.ca_file"
    )]
    NoAuthorities,
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

impl Address {
    /// Parses `mqtt://[USER:PASSWORD@]HOST[:PORT]`, `mqtts://` for TLS.
    ///
    /// # Errors
    /// The expected form.
    pub fn of(url: &str) -> Result<Self, String> {
        let expected = || "expected mqtt://HOST:PORT, or mqtts://HOST:PORT for TLS".to_owned();
        let read = reqwest::Url::parse(url).map_err(|error| format!("{error}; {}", expected()))?;
        let tls = match read.scheme() {
            "mqtt" | "tcp" => false,
            "mqtts" | "ssl" => true,
            _ => return Err(expected()),
        };
        let host = read.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || !matches!(read.path(), "" | "/") || read.query().is_some() {
            return Err(expected());
        }
        let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let user = !read.username().is_empty();
        let user = user.then(|| (plain(read.username()), plain(read.password().unwrap_or_default())));
        Ok(Self {
            host: host.to_owned(),
            port: read.port().unwrap_or(if tls { 8883 } else { 1883 }),
            tls,
            user,
        })
    }

    /// For display, without a password.
    pub(crate) fn shown(&self) -> String {
        format!("{}://{}:{}", if self.tls { "mqtts" } else { "mqtt" }, self.host, self.port)
    }
}

/// Verifies the broker's certificate: signed by a trusted authority, for this host.
pub(crate) fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(file) => add_file(&mut roots, file)?,
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(TlsError::NoAuthorities);
            }
        }
    }
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn add_file(roots: &mut RootCertStore, file: &Path) -> Result<(), TlsError> {
    let fail = |why: &dyn std::fmt::Display| TlsError::File {
        file: file.display().to_string(),
        why: why.to_string(),
    };
    for certificate in CertificateDer::pem_file_iter(file).map_err(|e| fail(&e))? {
        roots.add(certificate.map_err(|e| fail(&e))?).map_err(|e| fail(&e))?;
    }
    if roots.is_empty() { Err(fail(&"no certificate is in it")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_where_how_and_perhaps_who() {
        let plain = Address::of("mqtt://broker.local").unwrap();
        assert_eq!(
            (plain.host.as_str(), plain.port, plain.tls, plain.user),
            ("broker.local", 1883, false, None)
        );
        let safe = Address::of("mqtts://me:p%40ss@[::1]:8884/").unwrap();
        assert_eq!((safe.host.as_str(), safe.port, safe.tls), ("::1", 8884, true));
        assert_eq!(safe.user, Some(("me".to_owned(), "p@ss".to_owned())));
        assert_eq!(safe.shown(), "mqtts://::1:8884");
        for wrong in ["broker", "http://broker", "mqtt://", "mqtt://broker/topic", "mqtt://broker?x=1"] {
            assert!(Address::of(wrong).is_err(), "{wrong}");
        }
    }
}
