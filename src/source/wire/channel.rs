//! Packets over a socket: plain or TLS, with limits on silence.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::inbox::{Inbox, Step};
use crate::source::{Error, Result, Settings};

/// The longest payload of one frame.
const FRAME_BYTES_MAX: usize = 0xff_ffff;
/// A peer that vanished without a word is noticed by the kernel after so long.
const KEEPALIVE: Duration = Duration::from_secs(60);

#[expect(clippy::large_enum_variant, reason = "one per connection")]
enum Stream {
    Plain(TcpStream),
    Tls(TlsStream<TcpStream>),
    /// Between plain and TLS, or after a failure.
    Closed,
}

/// A socket that carries packets.
pub(super) struct Channel {
    stream: Stream,
    inbox: Inbox,
    outbox: Vec<u8>,
    settings: Settings,
}

impl Channel {
    /// Opens the TCP connection. The caller limits the time.
    pub(super) async fn open(settings: &Settings) -> Result<Self> {
        let closed = Self { stream: Stream::Closed, inbox: Inbox::new(), outbox: Vec::new(), settings: settings.clone() };
        let stream = TcpStream::connect((settings.host.as_str(), settings.port))
            .await
            .map_err(|error| closed.failure(format!("cannot connect: {error}")))?;
        let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 6);
        stream
            .set_nodelay(true)
            .and_then(|()| socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive))
            .map_err(|error| closed.failure(format!("cannot set up the socket: {error}")))?;
        Ok(Self { stream: Stream::Plain(stream), ..closed })
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    pub(super) fn failure(&self, reason: impl Into<String>) -> Error {
        let address = format!("{}:{}", self.settings.host, self.settings.port);
        Error::Connection { name: self.settings.name.clone(), address, reason: reason.into() }
    }

    pub(super) fn refused(&self, reason: impl Into<String>, remedy: impl Into<String>) -> Error {
        let address = format!("{}:{}", self.settings.host, self.settings.port);
        Error::Refused { name: self.settings.name.clone(), address, reason: reason.into(), remedy: remedy.into() }
    }

    /// Goes on in TLS.
    pub(super) async fn encrypt(&mut self, tls: &crate::source::tls::Client) -> Result<()> {
        // What came in the clear before the handshake must not be taken for what came behind it.
        if !self.inbox.is_drained() {
            return Err(self.failure("the server sent bytes before the TLS handshake"));
        }
        let Stream::Plain(stream) = std::mem::replace(&mut self.stream, Stream::Closed) else {
            return Err(self.failure("the connection is not in the state for a TLS handshake"));
        };
        self.stream = Stream::Tls(tls.connect(stream, &self.settings).await?);
        Ok(())
    }

    pub(super) fn reset_sequence(&mut self) {
        self.inbox.reset_sequence();
    }

    /// Sends one packet, in as many frames as it takes. Not cancel-safe.
    pub(super) async fn write(&mut self, payload: &[u8]) -> Result<()> {
        self.outbox.clear();
        let mut rest = payload;
        loop {
            let (frame, behind) = rest.split_at(rest.len().min(FRAME_BYTES_MAX));
            self.outbox.extend_from_slice((frame.len() as u32).to_le_bytes().get(..3).unwrap_or_default());
            self.outbox.push(self.inbox.take_sequence());
            self.outbox.extend_from_slice(frame);
            rest = behind;
            if frame.len() < FRAME_BYTES_MAX {
                break;
            }
        }
        let sent = match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(&self.outbox).await,
            Stream::Tls(stream) => match stream.write_all(&self.outbox).await {
                Ok(()) => stream.flush().await,
                failed => failed,
            },
            Stream::Closed => Err(io::ErrorKind::NotConnected.into()),
        };
        sent.map_err(|error| self.broken(&error))
    }

    /// The next packet, when bytes arrive at least every `silence`. Cancel-safe.
    pub(super) async fn read(&mut self, silence: Duration) -> Result<&[u8]> {
        while self.inbox.advance().map_err(|reason| self.failure(reason))? == Step::NeedMore {
            self.receive(silence).await?;
        }
        Ok(self.inbox.packet())
    }

    /// Like [`Self::read`], but what has come of a large packet is handed out as a piece ([`Self::packet`]); true for a packet's
    /// last piece, which a small packet is as a whole. Cancel-safe.
    pub(super) async fn read_piece(&mut self, silence: Duration) -> Result<bool> {
        while self.inbox.advance().map_err(|reason| self.failure(reason))? == Step::NeedMore {
            if self.inbox.take_piece() {
                return Ok(false);
            }
            self.receive(silence).await?;
        }
        Ok(true)
    }

    /// Whether the last piece was not the packet's last.
    pub(super) fn is_within_packet(&self) -> bool {
        self.inbox.is_within_packet()
    }

    async fn receive(&mut self, silence: Duration) -> Result<()> {
        let space = self.inbox.space();
        let received = match &mut self.stream {
            Stream::Plain(stream) => tokio::time::timeout(silence, stream.read(space)).await,
            Stream::Tls(stream) => tokio::time::timeout(silence, stream.read(space)).await,
            Stream::Closed => Ok(Err(io::ErrorKind::NotConnected.into())),
        };
        match received {
            Ok(Ok(0)) => Err(self.failure("the server closed the connection")),
            Ok(Ok(count)) => {
                self.inbox.filled(count);
                Ok(())
            }
            Ok(Err(error)) => Err(self.broken(&error)),
            Err(_) => Err(self.failure(format!("nothing was received for {} s", silence.as_secs_f64()))),
        }
    }

    /// The packet that [`Self::read`] returned last.
    pub(super) fn packet(&self) -> &[u8] {
        self.inbox.packet()
    }

    /// A packet is there without waiting for the network.
    pub(super) fn is_packet_ready(&self) -> bool {
        self.inbox.is_packet_ready()
    }

    fn broken(&self, error: &io::Error) -> Error {
        crate::source::tls::refusal(error, &self.settings)
            .unwrap_or_else(|| self.failure(format!("the connection broke: {error}")))
    }
}
