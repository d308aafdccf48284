//! A network before a NameNode that goes wrong at renames: lost on the way there, or done and not answered.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// What becomes of a rename.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Passes,
    /// The NameNode never sees it, and the connection ends.
    Lost,
    /// The NameNode does it, and the connection ends before the answer.
    AnswerLost,
}

/// When a rule is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// A rename is about to be passed on.
    Asked,
    /// It was done, and its answer is about to be lost.
    Done,
}

type Rule = Box<dyn FnMut(Moment) -> Fate + Send>;

/// See the module.
pub(super) struct NameNodeProxy {
    port: u16,
    rule: Arc<Mutex<Rule>>,
    accepting: AbortHandle,
}

impl NameNodeProxy {
    /// Listens on a port of its own. All passes at first.
    pub(super) async fn start(namenode: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let rule: Arc<Mutex<Rule>> = Arc::new(Mutex::new(Box::new(|_| Fate::Passes)));
        let asked = Arc::clone(&rule);
        let accepting = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let asked = Arc::clone(&asked);
                tokio::spawn(async move {
                    if let Ok(server) = TcpStream::connect(("127.0.0.1", namenode)).await {
                        carry(client, server, asked).await;
                    }
                });
            }
        });
        Self { port, rule, accepting: accepting.abort_handle() }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// From now on this says what becomes of each rename.
    pub(super) fn rule(&self, rule: impl FnMut(Moment) -> Fate + Send + 'static) {
        *self.rule.lock().unwrap() = Box::new(rule);
    }
}

impl Drop for NameNodeProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn carry(client: TcpStream, server: TcpStream, rule: Arc<Mutex<Rule>>) {
    let ((client, answers), (answered, server)) = (client.into_split(), server.into_split());
    let losing = Arc::new(Mutex::new(false));
    let back = tokio::spawn(carry_back(answered, answers, Arc::clone(&losing), Arc::clone(&rule)));
    carry_there(client, server, &losing, &rule).await;
    // What was lost is answered first: only then was it done.
    if !*losing.lock().unwrap() {
        back.abort();
    }
    back.await.ok();
}

async fn carry_there(mut client: OwnedReadHalf, mut server: OwnedWriteHalf, losing: &Mutex<bool>, rule: &Mutex<Rule>) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(length @ 1..) = client.read(&mut bytes).await {
        if bytes[..length].windows(7).any(|word| word == b"rename2") {
            match (rule.lock().unwrap())(Moment::Asked) {
                Fate::Passes => {}
                Fate::Lost => return,
                Fate::AnswerLost => *losing.lock().unwrap() = true,
            }
        }
        if server.write_all(&bytes[..length]).await.is_err() {
            return;
        }
        if *losing.lock().unwrap() {
            return server.forget();
        }
    }
}

async fn carry_back(mut answered: OwnedReadHalf, mut answers: OwnedWriteHalf, losing: Arc<Mutex<bool>>, rule: Arc<Mutex<Rule>>) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(length @ 1..) = answered.read(&mut bytes).await {
        if *losing.lock().unwrap() {
            (rule.lock().unwrap())(Moment::Done);
            return;
        }
        if answers.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}
