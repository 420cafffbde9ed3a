//! TLS for a listener, from a certificate and a key in PEM files.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _};

/// Why a certificate and a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read, or what is in it is not PEM.
    #[error("{what} {path}: {reason}", path = path.display())]
    File {
        /// `certificate` or `private key`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The two do not make an identity: the key belongs to another certificate, for one.
    #[error("certificate {cert} and private key {key} cannot be used together: {reason}", cert = cert.display(), key = key.display())]
    Identity {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// TLS 1.2 and 1.3 with this certificate chain and key; offers HTTP/2 and HTTP/1.1.
///
/// # Errors
/// [`TlsError`] names the file and what is wrong with it.
pub fn tls_from_pem_files(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let file = |what, path: &Path, error: &pem::Error| TlsError::File {
        what,
        path: path.to_owned(),
        reason: match error {
            pem::Error::NoItemsFound => format!("no PEM block of a {what} in it"),
            pem::Error::Io(error) => error.to_string(),
            other => format!("not a PEM file: {other}"),
        },
    };
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| file("certificate", cert, &error))?;
    if chain.is_empty() {
        return Err(file("certificate", cert, &pem::Error::NoItemsFound));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| file("private key", key, &error))?;
    let identity = |error: rustls::Error| TlsError::Identity {
        cert: cert.to_owned(),
        key: key.to_owned(),
        reason: match error {
            rustls::Error::InconsistentKeys(_) => "the key belongs to another certificate".to_owned(),
            other => other.to_string(),
        },
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(identity)?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(identity)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn load(cert: &str, key: &str) -> Result<Arc<ServerConfig>, String> {
        let dir = tempfile::tempdir().expect("a directory");
        let (cert_path, key_path) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        std::fs::write(&cert_path, cert).expect("written");
        std::fs::write(&key_path, key).expect("written");
        let hidden = dir.path().display().to_string();
        tls_from_pem_files(&cert_path, &key_path).map_err(|error| error.to_string().replace(&hidden, ""))
    }

    #[test]
    fn a_good_pair_offers_http2_first() {
        let (cert, key) = identity();
        assert_eq!(load(&cert, &key).expect("a good pair").alpn_protocols[0], b"h2");
    }

    #[test]
    fn what_is_wrong_with_the_files_is_said() {
        let ((cert, key), (_, other_key)) = (identity(), identity());
        let said = |result: Result<Arc<ServerConfig>, String>| result.expect_err("a bad pair");
        assert_eq!(said(load("", &key)), "certificate /cert.pem: no PEM block of a certificate in it");
        assert_eq!(said(load(&cert, "")), "private key /key.pem: no PEM block of a private key in it");
        assert_eq!(
            said(load(&cert, &other_key)),
            "certificate /cert.pem and private key /key.pem cannot be used together: the key belongs to another certificate"
        );
        let missing = tls_from_pem_files(Path::new("/nowhere/cert.pem"), Path::new("/nowhere/key.pem"));
        assert!(missing.expect_err("missing").to_string().starts_with("certificate /nowhere/cert.pem: No such file"));
    }
}
