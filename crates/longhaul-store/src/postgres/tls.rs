//! TLS to the database.
//!
//! Wanted by the URL alone: `sslmode=require` encrypts or fails, `sslmode=prefer` encrypts where the server can; without
//! `sslmode` nothing is encrypted. What is encrypted is verified as well, the certificate and the name in it, against the
//! system's roots and those of the PEM file that `sslrootcert` names: a connection that anybody could sit in the middle
//! of would only look safe.

use std::{
    future::Future,
    io,
    pin::Pin,
    str::FromStr as _,
    sync::Arc,
    task::{Context, Poll},
};

use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use rustls_platform_verifier::Verifier;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::{
    Config,
    config::SslMode,
    tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream},
};
use tokio_rustls::TlsConnector;

use super::PostgresOpenError;

/// Makes connections that are encrypted where the URL says so; none: nowhere.
#[derive(Clone)]
pub(super) struct Tls(Option<Arc<ClientConfig>>);

/// What a URL says: how to connect, and with which roots.
pub(super) fn configured(url: &str) -> Result<(Config, Tls), PostgresOpenError> {
    let wrong = |why: String| PostgresOpenError::Url(why);
    let Split { url, root_file, has_mode } = split(url);
    let mut config = Config::from_str(&url).map_err(|error| wrong(error.to_string()))?;
    if !has_mode {
        config.ssl_mode(if root_file.is_some() { SslMode::Require } else { SslMode::Disable });
    }
    let mut roots = Vec::new();
    if let Some(path) = root_file {
        let pem = std::fs::read(&path).map_err(|error| wrong(format!("sslrootcert {path:?}: {error}")))?;
        let read: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        roots = read.map_err(|error| wrong(format!("sslrootcert {path:?} holds no certificates: {error}")))?;
        if roots.is_empty() {
            return Err(wrong(format!("sslrootcert {path:?} holds no certificates")));
        }
    }
    // A machine without any roots can do without them where nothing is encrypted.
    let tls = match config.get_ssl_mode() {
        SslMode::Disable => None,
        _ => Some(client(roots).map_err(|error| wrong(format!("no TLS: {error}")))?.into()),
    };
    Ok((config, Tls(tls)))
}

/// A URL, and what it says of TLS.
struct Split {
    /// Without `sslrootcert`, which the driver does not know.
    url: String,
    /// The file that it names.
    root_file: Option<String>,
    /// Whether there is an `sslmode`.
    has_mode: bool,
}

fn split(url: &str) -> Split {
    let Some((before, query)) = url.split_once('?') else {
        return Split { url: url.to_owned(), root_file: None, has_mode: false };
    };
    let (mut left, mut root_file) = (Vec::new(), None);
    for pair in query.split('&') {
        match pair.strip_prefix("sslrootcert=") {
            Some(path) => root_file = Some(path.replace("%2F", "/").replace("%2f", "/").replace("%20", " ")),
            None => left.push(pair),
        }
    }
    let has_mode = left.iter().any(|pair| pair.starts_with("sslmode="));
    let url = if left.is_empty() { before.to_owned() } else { format!("{before}?{}", left.join("&")) };
    Split { url, root_file, has_mode }
}

fn client(roots: Vec<CertificateDer<'static>>) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier::new_with_extra_roots(roots, Arc::clone(&provider))?;
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        // Nothing is weakened by this: the verifier is the platform's own.
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for Tls {
    type Stream = Encrypted<S>;
    type TlsConnect = Connect;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<Connect> {
        // A socket in the file system has no name, and is asked for no TLS.
        let name = ServerName::try_from(host.to_owned()).ok();
        Ok(Connect { connector: self.0.clone().map(TlsConnector::from), name })
    }
}

/// One connection to be.
pub(super) struct Connect {
    connector: Option<TlsConnector>,
    name: Option<ServerName<'static>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Connect {
    type Stream = Encrypted<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let connector = self.connector.ok_or_else(|| io::Error::other("the URL asks for no TLS"))?;
            let name =
                self.name.ok_or_else(|| io::Error::other("the host is no name that a certificate could hold"))?;
            Ok(Encrypted(Box::new(connector.connect(name, stream).await?)))
        })
    }
}

/// A connection that is encrypted.
pub(super) struct Encrypted<S>(Box<tokio_rustls::client::TlsStream<S>>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Encrypted<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls::{ServerConfig, pki_types::PrivateKeyDer};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// Speaks TLS as a database server does, and says what it was told under it: the first bytes of the start.
    async fn serve(listener: TcpListener, acceptor: Option<TlsAcceptor>) -> Option<Vec<u8>> {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 8];
        stream.read_exact(&mut request).await.unwrap();
        // Length 8, and the code that asks for TLS.
        if request != [0, 0, 0, 8, 4, 210, 22, 47] {
            return None;
        }
        let Some(acceptor) = acceptor else {
            stream.write_all(b"N").await.unwrap();
            return None;
        };
        stream.write_all(b"S").await.unwrap();
        let mut stream = acceptor.accept(stream).await.ok()?;
        let mut start = [0; 8];
        stream.read_exact(&mut start).await.ok()?;
        Some(start.to_vec())
    }

    struct Stage {
        address: SocketAddr,
        listener: TcpListener,
        acceptor: TlsAcceptor,
        directory: tempfile::TempDir,
    }

    async fn stage(name: &str) -> Stage {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("root.pem"), cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Stage { address, listener, acceptor: TlsAcceptor::from(Arc::new(config)), directory }
    }

    async fn connect(url: &str) -> String {
        let (config, tls) = configured(url).unwrap();
        config.connect(tls).await.err().map(|error| format!("{error:?}")).unwrap_or_default()
    }

    #[tokio::test]
    async fn a_server_whose_certificate_is_trusted_is_spoken_to_under_tls() {
        let Stage { address, listener, acceptor, directory } = stage("localhost").await;
        let root = directory.path().join("root.pem").display().to_string().replace('/', "%2F");
        let url = format!("postgres://me@localhost:{}/x?sslmode=require&sslrootcert={root}", address.port());
        let (told, _) = tokio::join!(serve(listener, Some(acceptor)), connect(&url));
        // The version of the protocol, 3.0: what comes first, and now nobody else reads it.
        assert_eq!(told.unwrap()[4..8], [0, 3, 0, 0]);
    }

    #[tokio::test]
    async fn a_certificate_that_nobody_vouches_for_or_of_another_name_is_refused() {
        let Stage { address, listener, acceptor, .. } = stage("localhost").await;
        let url = format!("postgres://me@localhost:{}/x?sslmode=require", address.port());
        let (told, error) = tokio::join!(serve(listener, Some(acceptor)), connect(&url));
        assert!(told.is_none() && error.contains("InvalidCertificate"), "{error}");

        let Stage { address, listener, acceptor, directory } = stage("elsewhere.example").await;
        let root = directory.path().join("root.pem").display().to_string();
        let url = format!("postgres://me@localhost:{}/x?sslrootcert={root}", address.port());
        let (told, error) = tokio::join!(serve(listener, Some(acceptor)), connect(&url));
        assert!(told.is_none() && error.contains("InvalidCertificate"), "{error}");
    }

    #[tokio::test]
    async fn what_is_required_is_not_done_without() {
        let Stage { address, listener, .. } = stage("localhost").await;
        let url = format!("postgres://me@localhost:{}/x?sslmode=require", address.port());
        let (told, error) = tokio::join!(serve(listener, None), connect(&url));
        assert!(told.is_none() && error.contains("TLS"), "{error}");
    }

    #[test]
    fn a_root_file_is_taken_out_of_the_url_and_has_to_be_one() {
        let Split { url, root_file, .. } = split("postgres://h/d?sslrootcert=%2Fa%2Fb.pem&connect_timeout=3");
        assert_eq!((url.as_str(), root_file.as_deref()), ("postgres://h/d?connect_timeout=3", Some("/a/b.pem")));
        let refused = configured("postgres://h/d?sslrootcert=/nowhere.pem").err().unwrap().to_string();
        assert!(refused.contains("/nowhere.pem"), "{refused}");
    }

    #[test]
    fn nothing_is_encrypted_unless_the_url_says_so() {
        for url in ["postgres://h/d", "postgres://me:sslmode=@h/d", "postgres://h/d?sslmode=disable"] {
            let (config, tls) = configured(url).unwrap();
            assert_eq!(config.get_ssl_mode(), SslMode::Disable, "{url}");
            assert!(tls.0.is_none(), "{url}: the system's roots are not needed");
        }
        assert_eq!(configured("postgres://h/d?sslmode=prefer").unwrap().0.get_ssl_mode(), SslMode::Prefer);
    }
}
