//! What octets travel over: a socket, or TLS on top of one (RFC 8446, RFC 5246).
//!
//! A [`Wire`] reads and writes; the rest of the driver does not ask which it is.
//! TLS is begun in the middle of a conversation as well as at its beginning; what
//! came to naught in between leaves [`Wire::Gone`], which is at its end.
//!
//! What has to hold here: a client that stops without ending TLS is an error, not
//! an end; nothing that was read in the clear is ever taken for said under TLS.

use super::tls::Certificates;
use crate::envelope::Tls;
use rustls::{AlertDescription, HandshakeKind, ServerConnection};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A socket of either kind.
pub(super) enum Raw {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A socket, or TLS over one.
#[derive(Default)]
pub(super) enum Wire {
    Raw(Raw),
    Tls(Box<TlsStream<Raw>>),
    #[default]
    Gone,
}

/// What can be read before anything may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Early {
    /// Nothing: the client waits, as it should.
    Nothing,
    /// Octets.
    Talk,
    /// The end.
    End,
}

/// An encrypted wire and what was settled about it.
pub(super) struct Secured {
    pub(super) wire: Wire,
    pub(super) tls: Tls,
    /// What the protocol log says.
    pub(super) note: String,
}

impl Raw {
    /// Replies leave whole: there is nothing to wait for.
    pub(super) fn set_nodelay(&self) {
        if let Raw::Tcp(stream) = self {
            // Slower without, but not wrong.
            let _ = stream.set_nodelay(true);
        }
    }

    /// Writes what fits at once, not through the runtime, which has yet to learn
    /// that a fresh socket is writable.
    pub(super) fn write_at_once(self, octets: &[u8]) -> io::Result<()> {
        use std::io::Write as _;
        match self {
            Raw::Tcp(stream) => stream.into_std()?.write(octets)?,
            Raw::Unix(stream) => stream.into_std()?.write(octets)?,
        };
        Ok(())
    }

    /// The socket must become ready for writing, so this waits for nobody.
    async fn early(&self) -> io::Result<Early> {
        let both = Interest::READABLE | Interest::WRITABLE;
        let mut octet = [0];
        let read = match self {
            Raw::Tcp(stream) if stream.ready(both).await?.is_readable() => stream.try_read(&mut octet),
            Raw::Unix(stream) if stream.ready(both).await?.is_readable() => stream.try_read(&mut octet),
            _ => return Ok(Early::Nothing),
        };
        match read {
            Ok(0) => Ok(Early::End),
            Ok(_) => Ok(Early::Talk),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Early::Nothing),
            Err(error) => Err(error),
        }
    }

    fn stream(&mut self) -> &mut dyn Stream {
        match self {
            Raw::Tcp(stream) => stream,
            Raw::Unix(stream) => stream,
        }
    }
}

impl Wire {
    /// Whether the client said something before it was greeted; that is read, but
    /// not for its meaning.
    pub(super) async fn early(&mut self) -> io::Result<Early> {
        let tls = match self {
            Wire::Raw(raw) => return raw.early().await,
            Wire::Tls(tls) => tls,
            Wire::Gone => return Ok(Early::End),
        };
        // What came along with the end of the handshake.
        let mut octet = [0];
        let mut buffer = ReadBuf::new(&mut octet);
        let read = poll_fn(|context| Poll::Ready(Pin::new(&mut *tls).poll_read(context, &mut buffer))).await;
        match read {
            Poll::Pending => Ok(Early::Nothing),
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => Ok(Early::End),
            Poll::Ready(Ok(())) => Ok(Early::Talk),
            Poll::Ready(Err(error)) => Err(error),
        }
    }

    /// Tells the client that nothing more will come, if there is a word for it:
    /// under TLS an end without one looks like an attack.
    pub(super) async fn part(&mut self) -> io::Result<()> {
        match self {
            Wire::Tls(tls) => tls.shutdown().await,
            Wire::Raw(_) | Wire::Gone => Ok(()),
        }
    }

    /// Begins TLS. The error says what went wrong.
    pub(super) async fn encrypt(self, certificates: Certificates) -> Result<Secured, String> {
        let Wire::Raw(raw) = self else { return Err("the connection is encrypted already".to_owned()) };
        let loaded = certificates.loaded();
        let acceptor = TlsAcceptor::from(loaded.config());
        let stream = acceptor.accept(raw).await.map_err(|error| explain(&error))?;
        let (_, session) = stream.get_ref();
        let mut note = describe(session);
        let names = match session.peer_certificates().map(|chain| loaded.client_names(chain)) {
            None => Vec::new(),
            Some(Ok(names)) => {
                note = format!("{note}, the client is {}", names.join(", "));
                names
            }
            Some(Err(why)) => {
                note = format!("{note}, the client's certificate counts for nothing: {why}");
                Vec::new()
            }
        };
        let tls = Tls { version: version(session), names };
        Ok(Secured { wire: Wire::Tls(Box::new(stream)), tls, note })
    }

    fn stream(&mut self) -> Option<&mut dyn Stream> {
        match self {
            Wire::Raw(raw) => Some(raw.stream()),
            Wire::Tls(tls) => Some(&mut **tls),
            Wire::Gone => None,
        }
    }
}

fn version(session: &ServerConnection) -> &'static str {
    match session.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLSv1.3",
    }
}

/// `TLSv1.3 with TLS13_AES_256_GCM_SHA384 for gateway.example`
fn describe(session: &ServerConnection) -> String {
    let suite = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
    let name = session.server_name().map(|name| format!(" for {name}")).unwrap_or_default();
    let is_resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
    let resumed = if is_resumed { ", resumed" } else { "" };
    format!("{} with {}{name}{resumed}", version(session), suite.unwrap_or("an unknown suite"))
}

/// Why a handshake failed, in words.
fn explain(error: &io::Error) -> String {
    use rustls::Error::{AlertReceived, InvalidMessage, NoApplicationProtocol, PeerIncompatible};
    use rustls::PeerIncompatible as Lack;
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(InvalidMessage(_)) => format!("what came is not TLS ({error})"),
        Some(AlertReceived(AlertDescription::UnknownCA | AlertDescription::BadCertificate)) => {
            format!("the client does not trust our certificate ({error})")
        }
        Some(NoApplicationProtocol) => "the client wants to speak something else than SMTP".to_owned(),
        Some(PeerIncompatible(
            Lack::Tls12NotOffered
            | Lack::Tls12NotOfferedOrEnabled
            | Lack::SupportedVersionsExtensionRequired
            // Missing before TLS 1.2.
            | Lack::SignatureAlgorithmsExtensionRequired
            | Lack::ServerTlsVersionIsDisabledByOurConfig,
        )) => "the client is too old: TLS 1.2 and 1.3 are spoken here".to_owned(),
        _ if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the client closed the connection in its midst".to_owned()
        }
        _ => error.to_string(),
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

impl AsyncRead for Raw {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().stream()).poll_read(cx, buf)
    }
}

impl AsyncWrite for Raw {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self.get_mut().stream()).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().stream()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().stream()).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.get_mut().stream()).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream().map_or(Poll::Ready(Ok(())), |stream| Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().stream().map_or(Poll::Ready(Ok(0)), |stream| Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream().map_or(Poll::Ready(Ok(())), |stream| Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream().map_or(Poll::Ready(Ok(())), |stream| Pin::new(stream).poll_shutdown(cx))
    }
}
