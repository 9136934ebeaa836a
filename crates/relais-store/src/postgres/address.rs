//! What the address of a PostgreSQL server asks for.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use tokio_postgres::config::Host;

use crate::error::StoreError;

/// How safe the connection must be: `sslmode`, as libpq defines it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SslMode {
    /// Never encrypted.
    Disable,
    /// Encrypted if the server can.
    Prefer,
    /// Encrypted, without verifying the server.
    Require,
    /// Encrypted, with a server that a trusted authority has certified under any name.
    VerifyCa,
    /// Encrypted, with the server that is named, certified by a trusted authority.
    VerifyFull,
}

/// Which authorities may have certified the server: `sslrootcert`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Authorities {
    /// Those that the operating system trusts.
    System,
    /// Those in this PEM file.
    File(PathBuf),
}

/// An address, understood.
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) config: tokio_postgres::Config,
    pub(crate) mode: SslMode,
    /// What the server's certificate is checked against; `None` leaves it unchecked.
    pub(crate) authorities: Option<Authorities>,
}

impl Address {
    /// Understands `postgres://USER:PASSWORD@HOST:PORT/NAME?PARAMETER=VALUE&…`. No error repeats the password.
    pub(crate) fn parse(url: &str) -> Result<Self, StoreError> {
        let (url, asked) = Asked::take_from(url)?;
        let mut config: tokio_postgres::Config = url.parse().map_err(|e| wrong(&super::failure::text(&e)))?;
        let (mode, authorities) = asked.settle()?;
        // A socket file leads to this computer only; libpq does not encrypt it either.
        let hosts = config.get_hosts();
        let local = !hosts.is_empty() && hosts.iter().all(|host| matches!(host, Host::Unix(_)));
        let mode = if local { SslMode::Disable } else { mode };
        config.ssl_mode(match mode {
            SslMode::Disable => tokio_postgres::config::SslMode::Disable,
            SslMode::Prefer => tokio_postgres::config::SslMode::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => {
                tokio_postgres::config::SslMode::Require
            }
        });
        Ok(Self { config, mode, authorities })
    }

    /// Whether the way to the server leaves this computer.
    pub(crate) fn is_remote(&self) -> bool {
        let is_near = |host: &Host| match host {
            Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()),
            Host::Unix(_) => true,
        };
        match self.config.get_hostaddrs() {
            [] => !self.config.get_hosts().iter().all(is_near),
            addresses => !addresses.iter().all(IpAddr::is_loopback),
        }
    }
}

/// Where it leads and as whom, nothing else of it.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        if let Some(user) = self.config.get_user() {
            write!(f, "{user}@")?;
        }
        for (at, host) in self.config.get_hosts().iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            match host {
                // What stands before an `@` in a host is the rest of a password that was not percent-encoded.
                Host::Tcp(name) => write!(f, "{comma}{}", name.rsplit('@').next().unwrap_or(""))?,
                Host::Unix(path) => write!(f, "{comma}{}", path.display())?,
            }
            match self.config.get_ports().get(at) {
                None | Some(5432) => {}
                Some(port) => write!(f, ":{port}")?,
            }
        }
        write!(f, "/{}", self.config.get_dbname().unwrap_or(""))
    }
}

/// The parameters of the address that the client library does not know, or knows too few values of.
#[derive(Default)]
struct Asked {
    mode: Option<SslMode>,
    authorities: Option<Authorities>,
}

impl Asked {
    /// Takes its parameters out of `url` and returns the rest.
    fn take_from(url: &str) -> Result<(String, Self), StoreError> {
        let mut asked = Self::default();
        // A password may have a question mark in it.
        let credentials = url.find('@').map_or(0, |at| at + 1);
        let Some(query) = url[credentials..].find('?') else { return Ok((url.to_owned(), asked)) };
        let (base, query) = url.split_at(credentials + query);
        let mut rest = String::new();
        for pair in query[1..].split('&').filter(|pair| !pair.is_empty()) {
            if !asked.take(pair)? {
                rest.push(if rest.is_empty() { '?' } else { '&' });
                rest.push_str(pair);
            }
        }
        Ok((format!("{base}{rest}"), asked))
    }

    fn take(&mut self, pair: &str) -> Result<bool, StoreError> {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = percent_decode_str(value).decode_utf8();
        match &*percent_decode_str(key).decode_utf8_lossy() {
            "sslmode" => {
                let value = decoded.map_err(|_| wrong("sslmode is not UTF-8"))?;
                self.mode = Some(ssl_mode(&value)?);
            }
            "sslrootcert" => {
                let value = decoded.map_err(|_| wrong("sslrootcert is not UTF-8"))?;
                self.authorities = match value {
                    Cow::Borrowed("") => return Err(wrong("sslrootcert is empty: name a PEM file")),
                    Cow::Borrowed("system") => Some(Authorities::System),
                    path => Some(Authorities::File(path.into_owned().into())),
                };
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What they come to together. The defaults are libpq's, except that `verify-full` alone trusts the system's
    /// authorities, and that authorities which would not be asked are refused.
    fn settle(self) -> Result<(SslMode, Option<Authorities>), StoreError> {
        use SslMode::{Disable, Prefer, Require, VerifyCa, VerifyFull};
        match (self.mode, self.authorities) {
            (Some(Disable), _) => Ok((Disable, None)),
            (None, Some(Authorities::System)) => Ok((VerifyFull, Some(Authorities::System))),
            (Some(VerifyFull), authorities) => {
                Ok((VerifyFull, Some(authorities.unwrap_or(Authorities::System))))
            }
            (Some(Require | VerifyCa), Some(Authorities::System)) => {
                Err(wrong("sslrootcert=system needs sslmode=verify-full: anybody can get such a certificate"))
            }
            (Some(VerifyCa), None) => {
                Err(wrong("sslmode=verify-ca needs sslrootcert=FILE, the authority's certificate as PEM"))
            }
            // For libpq, naming an authority means that it is asked.
            (Some(Require | VerifyCa), file) if file.is_some() => Ok((VerifyCa, file)),
            (Some(Require), _) => Ok((Require, None)),
            (mode, None) => Ok((mode.unwrap_or(Prefer), None)),
            (_, Some(_)) => {
                Err(wrong("sslrootcert is used only with sslmode=verify-full, verify-ca or require: add one"))
            }
        }
    }
}

fn ssl_mode(value: &str) -> Result<SslMode, StoreError> {
    match value {
        "disable" => Ok(SslMode::Disable),
        "prefer" => Ok(SslMode::Prefer),
        "require" => Ok(SslMode::Require),
        "verify-ca" => Ok(SslMode::VerifyCa),
        "verify-full" => Ok(SslMode::VerifyFull),
        other => {
            // Whatever follows a mistyped separator is not repeated.
            let word = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            let other: String = other.chars().take_while(word).take(20).collect();
            Err(wrong(&format!(
                "sslmode={other} is unknown: use disable, prefer, require, verify-ca or verify-full"
            )))
        }
    }
}

fn wrong(what: &str) -> StoreError {
    StoreError::Parameter(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(query: &str) -> Result<(SslMode, Option<Authorities>), String> {
        let parsed = Address::parse(&format!("postgres://relais:s3cr?t@db.example/relais{query}"));
        parsed.map(|a| (a.mode, a.authorities)).map_err(|e| e.to_string())
    }

    fn file() -> Option<Authorities> {
        Some(Authorities::File("/etc/ca.pem".into()))
    }

    #[test]
    fn every_mode_is_understood_as_libpq_means_it() {
        let system = Some(Authorities::System);
        for (query, expected) in [
            ("", (SslMode::Prefer, None)),
            ("?sslmode=disable", (SslMode::Disable, None)),
            ("?sslmode=prefer", (SslMode::Prefer, None)),
            ("?sslmode=require", (SslMode::Require, None)),
            ("?sslmode=require&sslrootcert=/etc/ca.pem", (SslMode::VerifyCa, file())),
            ("?sslrootcert=/etc/ca.pem&sslmode=verify-ca", (SslMode::VerifyCa, file())),
            ("?sslmode=verify-full&sslrootcert=%2Fetc%2Fca.pem", (SslMode::VerifyFull, file())),
            ("?sslmode=verify-full", (SslMode::VerifyFull, system.clone())),
            ("?sslmode=verify-full&sslrootcert=system", (SslMode::VerifyFull, system.clone())),
            ("?sslrootcert=system", (SslMode::VerifyFull, system)),
        ] {
            assert_eq!(settled(query), Ok(expected), "{query}");
        }
    }

    #[test]
    fn the_other_parameters_stay() {
        let address =
            Address::parse("postgres://u:p?x@h/n?sslmode=require&connect_timeout=7&options=-c%20a%3Db");
        let config = address.unwrap().config;
        assert_eq!(config.get_connect_timeout(), Some(&std::time::Duration::from_secs(7)));
        assert_eq!(config.get_options(), Some("-c a=b"));
        assert_eq!(config.get_password(), Some(b"p?x".as_slice()));
        assert_eq!(config.get_ssl_mode(), tokio_postgres::config::SslMode::Require);
    }

    #[test]
    fn a_wrong_parameter_is_named_and_the_password_is_not() {
        for (query, named) in [
            ("?sslmode=allow", "sslmode=allow is unknown"),
            ("?sslmode=verify_full", "sslmode=verify_full is unknown"),
            ("?sslmode=require;password=s3cr?t", "sslmode=require is unknown"),
            ("?sslmode", "sslmode= is unknown"),
            ("?sslmode=verify-ca", "sslrootcert=FILE"),
            ("?sslmode=require&sslrootcert=system", "sslmode=verify-full"),
            ("?sslmode=prefer&sslrootcert=/etc/ca.pem", "sslrootcert is used only with"),
            ("?sslrootcert=/etc/ca.pem", "sslrootcert is used only with"),
            ("?sslmode=verify-full&sslrootcert=", "sslrootcert is empty"),
            ("?sslcert=/etc/me.pem", "sslcert"),
            ("?connect_timeout=soon", "connect_timeout"),
        ] {
            let error = settled(query).unwrap_err();
            assert!(error.contains(named) && !error.contains("s3cr"), "{query}: {error}");
        }
    }

    #[test]
    fn a_socket_file_is_not_encrypted() {
        let address = Address::parse("postgres://u@%2Frun%2Fpostgresql/n?sslmode=require").unwrap();
        assert_eq!(address.mode, SslMode::Disable);
        assert_eq!(address.to_string(), "postgres://u@/run/postgresql/n");
    }
}
