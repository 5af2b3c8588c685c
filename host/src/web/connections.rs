//! Connections: how many there are at a time, and how long a peer may let the server wait. They speak HTTP/1.1. Must not know what is asked.
use std::{
    future::{Ready, ready},
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use axum::{Extension, middleware::AddExtension};
use axum_server::{
    Server,
    accept::Accept,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use hyper_util::rt::TokioTimer;
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tower_layer::Layer;

/// Connections at a time; those beyond are closed at once.
pub(super) const CONNECTIONS_MAX: usize = 512;

/// The longest a connection is kept until the next request's head is there, counted from its beginning or from the answer before.
pub(super) const HEAD_TIME_MAX: Duration = Duration::from_secs(30);

/// The longest a TLS handshake takes.
pub(super) const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);

/// The longest what was sent is not taken by the peer, who is gone then, or does not read.
pub(super) const UNREAD_TIME_MAX: Duration = Duration::from_secs(60);

/// Bytes of a request's head, and of what is read of its body at once.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Lets in so many connections at a time.
#[derive(Clone)]
pub(super) struct Capped(Arc<Semaphore>);

impl<S> Accept<TcpStream, S> for Capped {
    type Stream = TcpStream;
    // The permit is a connection's as long as its service is.
    type Service = AddExtension<S, Arc<OwnedSemaphorePermit>>;
    type Future = Ready<io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let permit = self.0.clone().try_acquire_owned().map_err(io::Error::other);
        ready(permit.map(|permit| (stream, Extension(Arc::new(permit)).layer(service))))
    }
}

/// A server for connections of this listener, all within limits.
pub(super) fn server(listener: TcpListener) -> io::Result<Server<SocketAddr, Capped>> {
    close_unread(&listener)?;
    let capped = Capped(Arc::new(Semaphore::new(CONNECTIONS_MAX)));
    let mut server = axum_server::from_tcp(listener)?.acceptor(capped).http1_only();
    let mut http = server.http_builder().http1();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX).max_buf_size(HEAD_BYTES_MAX);
    Ok(server)
}

/// With TLS.
pub(super) fn encrypted(
    server: Server<SocketAddr, Capped>,
    tls: RustlsConfig,
) -> Server<SocketAddr, RustlsAcceptor<Capped>> {
    server.map(|capped| RustlsAcceptor::new(tls).handshake_timeout(HANDSHAKE_TIME_MAX).acceptor(capped))
}

/// Connections inherit it from their listener.
#[cfg_attr(not(target_os = "linux"), expect(unused_variables, reason = "it is an option of Linux"))]
fn close_unread(listener: &TcpListener) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(listener).set_tcp_user_timeout(Some(UNREAD_TIME_MAX))?;
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net;

    use socket2::SockRef;

    use super::*;

    #[test]
    fn a_connection_ends_if_what_was_sent_is_not_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        close_unread(&listener).unwrap();
        let _peer = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let accepted = listener.accept().unwrap().0;
        assert_eq!(SockRef::from(&accepted).tcp_user_timeout().unwrap(), Some(UNREAD_TIME_MAX));
    }
}
