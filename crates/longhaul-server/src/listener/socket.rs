//! The socket under a connection: plain or TLS, and reporting to [`Connection`] what moves on it.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use super::connection::Connection;

/// Bytes in the clear, or through TLS.
pub(super) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A transport that reports. When it is dropped, it hands a plain socket back, so that its last answer can reach the
/// client before the socket closes.
pub(super) struct Socket {
    transport: Option<Transport>,
    connection: Arc<Connection>,
}

impl Socket {
    pub(super) fn new(transport: Transport, connection: Arc<Connection>) -> Self {
        Self { transport: Some(transport), connection }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(Transport::Plain(socket)) = self.transport.take() {
            self.connection.keep(socket);
        }
    }
}

macro_rules! on_transport {
    ($socket:expr, $io:ident => $call:expr) => {
        match &mut $socket.transport {
            Some(Transport::Plain(stream)) => {
                let $io = Pin::new(stream);
                $call
            }
            Some(Transport::Tls(stream)) => {
                let $io = Pin::new(&mut **stream);
                $call
            }
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    };
}

impl Socket {
    fn report_write(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &result {
            Poll::Pending => self.connection.on_write_blocked(),
            Poll::Ready(_) => self.connection.on_written(),
        }
        result
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = on_transport!(self, io => io.poll_read(cx, buf));
        if let Poll::Ready(Ok(())) = result {
            if buf.filled().len() > before {
                self.connection.on_read();
            } else {
                self.connection.on_peer_closed();
            }
        }
        result
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = on_transport!(self, io => io.poll_write(cx, buf));
        self.report_write(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = on_transport!(self, io => io.poll_write_vectored(cx, bufs));
        self.report_write(result)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Some(Transport::Plain(stream)) => stream.is_write_vectored(),
            Some(Transport::Tls(stream)) => stream.is_write_vectored(),
            None => false,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_transport!(self, io => io.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_transport!(self, io => io.poll_shutdown(cx))
    }
}
