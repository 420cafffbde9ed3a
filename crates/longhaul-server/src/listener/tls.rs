//! TLS for a listener, from a certificate and a key in PEM files, which may be renewed while it listens.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    ServerConfig,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
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

/// A certificate chain and its key, as they stand in two files.
///
/// Whoever renews the files calls [`reload`](Self::reload): connections that are made from then on see the new ones, those
/// that exist go on.
#[derive(Debug)]
pub struct TlsIdentity {
    cert: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
}

impl TlsIdentity {
    /// Reads both files.
    ///
    /// # Errors
    /// [`TlsError`] names the file and what is wrong with it.
    pub fn from_pem_files(cert: &Path, key: &Path) -> Result<Arc<Self>, TlsError> {
        let current = RwLock::new(Arc::new(read(cert, key)?));
        Ok(Arc::new(Self { cert: cert.to_owned(), key: key.to_owned(), current }))
    }

    /// The two files: the certificate's and the key's.
    #[must_use]
    pub fn files(&self) -> [&Path; 2] {
        [&self.cert, &self.key]
    }

    /// Reads both files again, and says whether another certificate is in force now.
    ///
    /// # Errors
    /// [`TlsError`] as at first; what was in force stays so. A key without its certificate is one of them: of two files
    /// that are renewed one after the other, the first changes nothing.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let renewed = read(&self.cert, &self.key)?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.cert == renewed.cert {
            return Ok(false);
        }
        *current = Arc::new(renewed);
        Ok(true)
    }

    /// TLS 1.2 and 1.3 with this identity; offers HTTP/2 and HTTP/1.1.
    ///
    /// # Errors
    /// [`TlsError::Identity`] when the versions cannot be had.
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| refused(&self.cert, &self.key, &error))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Self>::clone(self));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for TlsIdentity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn read(cert: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
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
    CertifiedKey::from_der(chain, secret, &rustls::crypto::ring::default_provider())
        .map_err(|error| refused(cert, key, &error))
}

fn refused(cert: &Path, key: &Path, error: &rustls::Error) -> TlsError {
    TlsError::Identity {
        cert: cert.to_owned(),
        key: key.to_owned(),
        reason: match error {
            rustls::Error::InconsistentKeys(_) => "the key belongs to another certificate".to_owned(),
            other => other.to_string(),
        },
    }
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
        TlsIdentity::from_pem_files(&cert_path, &key_path)
            .and_then(|identity| identity.server_config())
            .map_err(|error| error.to_string().replace(&hidden, ""))
    }

    #[test]
    fn a_good_pair_offers_http2_first() {
        let (cert, key) = identity();
        assert_eq!(load(&cert, &key).expect("a good pair").alpn_protocols[0], b"h2");
    }

    #[test]
    fn renewed_files_are_in_force_once_they_belong_together() {
        let dir = tempfile::tempdir().expect("a directory");
        let (cert_path, key_path) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        let put = |path: &Path, text: &str| std::fs::write(path, text).expect("written");
        let ((cert, key), (next_cert, next_key)) = (identity(), identity());
        put(&cert_path, &cert);
        put(&key_path, &key);
        let identity = TlsIdentity::from_pem_files(&cert_path, &key_path).expect("a good pair");
        let in_force = || identity.current.read().expect("not poisoned").cert.clone();
        let first = in_force();
        assert!(!identity.reload().expect("the same pair"));
        put(&cert_path, &next_cert);
        assert!(identity.reload().expect_err("half renewed").to_string().contains("belongs to another certificate"));
        assert_eq!(in_force(), first);
        put(&key_path, &next_key);
        assert!(identity.reload().expect("a new pair"));
        assert_ne!(in_force(), first);
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
        let missing = TlsIdentity::from_pem_files(Path::new("/nowhere/cert.pem"), Path::new("/nowhere/key.pem"));
        assert!(missing.expect_err("missing").to_string().starts_with("certificate /nowhere/cert.pem: No such file"));
    }
}
