//! A network that can be bad, and the address of a failover group: a TCP proxy on loopback before a server, whose connections are cut,
//! muted, held up or refused, and which a test points to another server.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Bytes passed on at once: small, so that much is under way when something happens.
const BUFFER_BYTES: usize = 8 << 10;

/// What becomes of bytes and connections from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    Fair,
    /// Nothing passes, nothing is lost.
    Stalled,
    /// Every buffer comes so much later.
    Slow(Duration),
    /// Connections are closed as soon as they are made, and those that were there.
    Refusing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    ToServer,
    FromServer,
}

#[derive(Debug, Clone, Copy)]
struct Sky {
    /// The port that new connections lead to.
    server: u16,
    weather: Weather,
    /// Connections of an earlier number are closed.
    cuts: u64,
    /// Connections of an earlier number no longer carry anything this way.
    mutes_to_server: u64,
    mutes_from_server: u64,
}

impl Sky {
    fn mutes(&self, direction: Direction) -> u64 {
        match direction {
            Direction::ToServer => self.mutes_to_server,
            Direction::FromServer => self.mutes_from_server,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Proxy {
    port: u16,
    sky: watch::Sender<Sky>,
    accepting: AbortHandle,
}

impl Proxy {
    /// Listens on a port of its own for a server on loopback, by its port.
    pub(crate) async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sky, seen) =
            watch::channel(Sky { server, weather: Weather::Fair, cuts: 0, mutes_to_server: 0, mutes_from_server: 0 });
        let accepting = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                if seen.borrow().weather != Weather::Refusing {
                    tokio::spawn(carry(client, seen.clone()));
                }
            }
        });
        Self { port, sky, accepting: accepting.abort_handle() }
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Changes the weather.
    pub(crate) fn set(&self, weather: Weather) {
        self.sky.send_modify(|sky| sky.weather = weather);
    }

    /// Leads to another server from now on; what was connected is cut.
    pub(crate) fn point(&self, server: u16) {
        self.point_quietly(server);
        self.cut();
    }

    /// Leads new connections to another server; those that are there stay with the old one.
    pub(crate) fn point_quietly(&self, server: u16) {
        self.sky.send_modify(|sky| sky.server = server);
    }

    /// Closes all connections there are.
    pub(crate) fn cut(&self) {
        self.sky.send_modify(|sky| sky.cuts += 1);
    }

    /// The connections that are there stay open, and nothing passes them in this direction any more.
    pub(crate) fn mute(&self, direction: Direction) {
        self.sky.send_modify(|sky| match direction {
            Direction::ToServer => sky.mutes_to_server += 1,
            Direction::FromServer => sky.mutes_from_server += 1,
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Carries one connection until either end closes it or it is cut; then both ends are closed. A server that is down refuses.
async fn carry(client: TcpStream, sky: watch::Receiver<Sky>) {
    let born = *sky.borrow();
    let Ok(server) = TcpStream::connect(("127.0.0.1", born.server)).await else { return };
    for end in [&client, &server] {
        end.set_nodelay(true).unwrap();
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pump(from_client, to_server, sky.clone(), born, Direction::ToServer) => {}
        () = pump(from_server, to_client, sky.clone(), born, Direction::FromServer) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut sky: watch::Receiver<Sky>, born: Sky, direction: Direction) {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let now = *sky.borrow_and_update();
        if now.cuts != born.cuts || now.weather == Weather::Refusing {
            return;
        }
        let muted = now.mutes(direction) != born.mutes(direction);
        let read = tokio::select! {
            changed = sky.changed() => if changed.is_ok() { continue } else { return },
            read = from.read(&mut buffer), if now.weather != Weather::Stalled => read,
        };
        let Ok(read @ 1..) = read else { return };
        if let Weather::Slow(pause) = now.weather {
            tokio::time::sleep(pause).await;
        }
        if !muted && to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
