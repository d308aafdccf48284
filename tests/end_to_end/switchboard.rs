//! The address of a failover group: a TCP forwarder that a test points from one server to another.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

/// See the module.
#[derive(Debug)]
pub(crate) struct Switchboard {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: AtomicU16,
    closed: AtomicBool,
    lines: Mutex<Vec<Line>>,
}

/// One connection through the board: both its ends, and whether it still passes anything on.
#[derive(Debug)]
struct Line {
    client: TcpStream,
    server: TcpStream,
    dead: Arc<AtomicBool>,
}

impl Switchboard {
    /// A board whose lines lead to `target`, a port of this machine.
    pub(crate) fn new(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared { target: AtomicU16::new(target), closed: AtomicBool::new(false), lines: Mutex::default() });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if accepting.closed.load(Ordering::SeqCst) {
                    return;
                }
                // A server that is down refuses: the client sees its connection closed.
                let _refused = client.and_then(|client| accepting.connect(client));
            }
        });
        Self { port, shared }
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Leads to another server from now on; what was connected is cut.
    pub(crate) fn point(&self, target: u16) {
        self.point_quietly(target);
        for line in self.shared.lines.lock().unwrap().drain(..) {
            line.cut();
        }
    }

    /// Leads new connections to another server; those that are there stay with the old one.
    pub(crate) fn point_quietly(&self, target: u16) {
        self.shared.target.store(target, Ordering::SeqCst);
    }

    /// Every line that is there loses all that is sent on it, both ways, and stays open. New ones work.
    pub(crate) fn lose_everything(&self) {
        for line in self.shared.lines.lock().unwrap().iter() {
            line.dead.store(true, Ordering::SeqCst);
        }
    }
}

impl Drop for Switchboard {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a connection.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        for line in self.shared.lines.lock().unwrap().drain(..) {
            line.cut();
        }
    }
}

impl Line {
    fn cut(&self) {
        let _closed = (self.client.shutdown(Shutdown::Both), self.server.shutdown(Shutdown::Both));
    }
}

impl Shared {
    fn connect(&self, client: TcpStream) -> std::io::Result<()> {
        let server = TcpStream::connect(("127.0.0.1", self.target.load(Ordering::SeqCst)))?;
        let dead = Arc::new(AtomicBool::new(false));
        for (from, to) in [(&client, &server), (&server, &client)] {
            from.set_nodelay(true)?;
            let (from, to, dead) = (from.try_clone()?, to.try_clone()?, Arc::clone(&dead));
            std::thread::spawn(move || pass(from, to, &dead));
        }
        self.lines.lock().unwrap().push(Line { client, server, dead });
        Ok(())
    }
}

/// Passes on what comes until one side ends.
fn pass(mut from: TcpStream, mut to: TcpStream, dead: &AtomicBool) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(_) if dead.load(Ordering::SeqCst) => {}
            Ok(count) if to.write_all(&buffer[..count]).is_err() => break,
            Ok(_) => {}
        }
    }
    let _closed = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
