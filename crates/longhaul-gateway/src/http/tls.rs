//! TLS to providers: the roots of the system, and a file of one's own beside them.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::HttpError;

/// Speaks TLS to one host.
#[derive(Clone)]
pub(super) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Tls {
    /// Trusts what the system trusts, and the PEM certificates in `extra_roots`.
    pub(super) fn to(host: &str, extra_roots: Option<&[u8]>) -> Result<Self, HttpError> {
        let failed = |error: &dyn std::fmt::Display| HttpError::Tls(error.to_string());
        let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(&error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let extra: Vec<CertificateDer<'static>> = match extra_roots {
            None => Vec::new(),
            Some(pem) => {
                CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| failed(&error))?
            }
        };
        let config = config(provider, extra).map_err(|error| failed(&error))?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name })
    }

    pub(super) async fn connect(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, HttpError> {
        let connected = self.connector.connect(self.name.clone(), stream).await;
        connected.map_err(|error| HttpError::Tls(error.to_string()))
    }
}

fn config(provider: Arc<CryptoProvider>, extra: Vec<CertificateDer<'static>>) -> Result<ClientConfig, rustls::Error> {
    let verifier = Verifier::new_with_extra_roots(extra, Arc::clone(&provider))?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        // Nothing is weakened by this: the verifier is the platform's own.
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
