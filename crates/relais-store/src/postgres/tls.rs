//! Encrypted connections to the server, and what its certificate must prove.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{self, CryptoProvider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::{Address, Authorities, SslMode};
use crate::error::StoreError;

/// How to encrypt as `address` asks; `None` for not at all. Reads the certificates of the authorities.
pub(super) fn connector(address: &Address) -> Result<Option<MakeRustlsConnect>, StoreError> {
    let authorities = match (address.mode, &address.authorities) {
        (SslMode::Disable, _) => return Ok(None),
        (_, None) => None,
        (mode, Some(authorities)) => Some(Trusted::load(authorities, mode == SslMode::VerifyFull)?),
    };
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let verifier = Verifier { authorities, provider: Arc::clone(&provider) };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| StoreError::Internal(format!("TLS cannot be set up: {e}")))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    // What PostgreSQL 17 expects when a connection begins with TLS (`sslnegotiation=direct`).
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(Some(MakeRustlsConnect::new(config)))
}

/// Whose signature a certificate must have.
#[derive(Debug)]
struct Trusted {
    roots: RootCertStore,
    /// The certificates that were named one by one, as they are in the file.
    named: Vec<CertificateDer<'static>>,
    /// Whether the certificate must be for the host of the address, too.
    with_name: bool,
}

impl Trusted {
    fn load(authorities: &Authorities, with_name: bool) -> Result<Self, StoreError> {
        let mut trusted = Self { roots: RootCertStore::empty(), named: Vec::new(), with_name };
        match authorities {
            Authorities::File(path) => trusted.add_file(path)?,
            Authorities::System => {
                let found = rustls_native_certs::load_native_certs();
                trusted.roots.add_parsable_certificates(found.certs);
                if trusted.roots.is_empty() {
                    return Err(StoreError::Tls(
                        "the system has no trusted authorities: install its package ca-certificates, or name \
                         one with sslrootcert=FILE"
                            .to_owned(),
                    ));
                }
            }
        }
        Ok(trusted)
    }

    fn add_file(&mut self, path: &Path) -> Result<(), StoreError> {
        let fail = |why: &dyn std::fmt::Display| {
            StoreError::Parameter(format!(
                "sslrootcert={}: {why}; it has to be a readable PEM file with certificates",
                path.display()
            ))
        };
        for certificate in CertificateDer::pem_file_iter(path).map_err(|e| fail(&e))? {
            let certificate = certificate.map_err(|e| fail(&e))?;
            self.roots.add(certificate.clone()).map_err(|e| fail(&e))?;
            self.named.push(certificate);
        }
        match self.named.is_empty() {
            true => Err(fail(&"no certificate is in it")),
            false => Ok(()),
        }
    }

    fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server: &ServerName<'_>,
        now: UnixTime,
        provider: &CryptoProvider,
    ) -> Result<(), Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = provider.signature_verification_algorithms.all;
        let signed = verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            intermediates,
            now,
            algorithms,
        );
        match signed {
            // A server's certificate that is its own authority, which is how PostgreSQL's manual makes the first
            // one. Its dates are checked before its kind, so an expired one is not accepted here.
            Err(Error::InvalidCertificate(CertificateError::Other(OtherError(_))))
                if self.named.contains(end_entity) => {}
            other => other?,
        }
        match self.with_name {
            true => verify_server_name(&certificate, server),
            false => Ok(()),
        }
    }
}

/// Checks what `sslmode` asks to be checked.
///
/// The signature of the handshake is checked always: only so does channel binding notice somebody in between who
/// shows the server's certificate.
#[derive(Debug)]
struct Verifier {
    authorities: Option<Trusted>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(trusted) = &self.authorities {
            trusted.check(end_entity, intermediates, server_name, now, &self.provider)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};

    use super::*;

    /// A moment at which the certificates of these tests are valid: the start of 2030.
    const VALID_S: u64 = 1_893_456_000;
    const TOO_LATE_S: u64 = VALID_S + 20 * 365 * 86_400;

    /// A certificate that signs itself, as the first one of a server usually does.
    fn self_signed(names: &[&str], is_ca: IsCa) -> CertificateDer<'static> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.is_ca = is_ca;
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2040, 1, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    /// The result of checking `shown` when `named` is in the file of the authorities.
    fn check(named: &CertificateDer<'static>, shown: &CertificateDer<'_>, at_s: u64) -> Result<(), Error> {
        let mut trusted =
            Trusted { roots: RootCertStore::empty(), named: vec![named.clone()], with_name: true };
        trusted.roots.add(named.clone()).unwrap();
        let provider = crypto::aws_lc_rs::default_provider();
        let server = ServerName::try_from("db.example").unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(at_s));
        trusted.check(shown, &[], &server, now, &provider)
    }

    #[test]
    fn a_certificate_that_is_its_own_authority_is_accepted_where_it_is_named() {
        for is_ca in [IsCa::NoCa, IsCa::Ca(BasicConstraints::Unconstrained)] {
            let own = self_signed(&["db.example"], is_ca);
            assert_eq!(check(&own, &own, VALID_S), Ok(()), "{is_ca:?}");
            let stranger = self_signed(&["db.example"], is_ca);
            assert!(check(&own, &stranger, VALID_S).is_err(), "{is_ca:?}: same names, another key");
        }
    }

    #[test]
    fn a_certificate_that_is_its_own_authority_needs_its_name_and_its_time() {
        use CertificateError::{ExpiredContext, NotValidForNameContext};
        for is_ca in [IsCa::NoCa, IsCa::Ca(BasicConstraints::Unconstrained)] {
            let own = self_signed(&["db.example"], is_ca);
            let late = check(&own, &own, TOO_LATE_S);
            assert!(matches!(late, Err(Error::InvalidCertificate(ExpiredContext { .. }))), "{late:?}");
            let other = self_signed(&["elsewhere.example"], is_ca);
            let named = check(&other, &other, VALID_S);
            assert!(
                matches!(named, Err(Error::InvalidCertificate(NotValidForNameContext { .. }))),
                "{named:?}"
            );
        }
    }

    #[test]
    fn the_system_s_authorities_can_be_loaded_or_their_absence_is_told() {
        match Trusted::load(&Authorities::System, true) {
            Ok(trusted) => assert!(trusted.named.is_empty() && !trusted.roots.is_empty()),
            Err(error) => assert!(error.to_string().contains("ca-certificates"), "{error}"),
        }
    }
}
