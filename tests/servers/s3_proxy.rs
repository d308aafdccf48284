//! A network before an S3 server that goes wrong as real ones do, request by request: refused, cut in the middle, done and not answered.
//!
//! It takes one request of a connection at a time, asks its rule what becomes of it, and closes the connection behind the answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Passes,
    /// The server never sees it; the answer is 503 SlowDown.
    SlowDown,
    /// The server never sees it; the answer is 409: another put of the same name is under way.
    Conflict,
    /// The server never sees it, and the connection ends in the middle of the request's body.
    CutInRequest,
    /// The server does it, and the connection ends before the answer.
    AnswerLost,
    /// The server does it, and nothing is ever answered.
    AnswerWithheld,
    /// The server does it, and the connection ends in the middle of the answer.
    CutInAnswer,
    /// The server does it, and the answer comes so much later.
    Slow(Duration),
}

/// A request as a rule sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// The path with its query.
    pub(crate) target: String,
}

impl Request {
    /// The put of a commit record.
    pub(crate) fn is_commit(&self) -> bool {
        self.method == "PUT" && self.target.contains("/log/")
    }
}

type Rule = Box<dyn FnMut(&Request) -> Fate + Send>;

/// See the module.
pub(crate) struct S3Proxy {
    port: u16,
    rule: Arc<Mutex<Rule>>,
    /// The server is not told of conditions, as by stores that know none.
    unconditional: Arc<AtomicBool>,
    accepting: AbortHandle,
}

impl S3Proxy {
    /// Listens on a port of its own for a server on loopback, by its port. All requests pass at first.
    pub(crate) async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let rule: Arc<Mutex<Rule>> = Arc::new(Mutex::new(Box::new(|_: &Request| Fate::Passes)));
        let asked = Arc::clone(&rule);
        let unconditional = Arc::new(AtomicBool::new(false));
        let without = Arc::clone(&unconditional);
        let accepting = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (asked, without) = (Arc::clone(&asked), Arc::clone(&without));
                tokio::spawn(async move { carry(client, server, &asked, &without).await });
            }
        });
        Self { port, rule, unconditional, accepting: accepting.abort_handle() }
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// From now on this says what becomes of each request.
    pub(crate) fn rule(&self, rule: impl FnMut(&Request) -> Fate + Send + 'static) {
        *self.rule.lock().unwrap() = Box::new(rule);
    }

    /// From now on it leaves `If-None-Match` out.
    #[allow(dead_code, reason = "each user of this file needs other parts")]
    pub(crate) fn forget_conditions(&self) {
        self.unconditional.store(true, Ordering::SeqCst);
    }

    /// All requests pass again.
    pub(crate) fn fair(&self) {
        self.rule(|_| Fate::Passes);
    }
}

impl Drop for S3Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Ends a connection with a reset, so that nobody takes it for the end of an answer.
fn reset(client: &TcpStream) {
    client.set_zero_linger().unwrap();
}

/// The end of the head, if it is all there.
fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

fn length_of(head: &str) -> usize {
    let length =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(|it| it.trim().to_owned()));
    length.map_or(0, |length| length.parse().unwrap())
}

async fn carry(mut client: TcpStream, server: u16, rule: &Mutex<Rule>, unconditional: &AtomicBool) {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = head_end(&bytes) {
            break end;
        }
        match client.read_buf(&mut bytes).await {
            Ok(1..) => {}
            _ => return,
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut words = head.split(' ');
    let request = Request { method: words.next().unwrap().to_owned(), target: words.next().unwrap().to_owned() };
    let fate = (rule.lock().unwrap())(&request);
    let wanted = end + length_of(&head);
    if fate == Fate::CutInRequest {
        return reset(&client);
    }
    while bytes.len() < wanted {
        match client.read_buf(&mut bytes).await {
            Ok(1..) => {}
            _ => return,
        }
    }
    match fate {
        Fate::SlowDown => return answer(&mut client, "503 Slow Down", "SlowDown").await,
        Fate::Conflict => return answer(&mut client, "409 Conflict", "ConditionalRequestConflict").await,
        _ => {}
    }
    let dropped: &[&str] =
        if unconditional.load(Ordering::SeqCst) { &["connection:", "if-none-match:"] } else { &["connection:"] };
    let Some(answered) = asked(server, &head, dropped, &bytes[end..wanted]).await else { return };
    match fate {
        Fate::AnswerLost => reset(&client),
        // Until the client gives up.
        Fate::AnswerWithheld => drop(client.read_u8().await),
        Fate::CutInAnswer => {
            let half = head_end(&answered).map_or(answered.len(), |head| head + (answered.len() - head) / 2);
            client.write_all(&answered[..half.min(answered.len() - 1)]).await.ok();
            client.flush().await.ok();
            // What is sent must arrive before the reset does.
            tokio::time::timeout(Duration::from_millis(50), client.read_u8()).await.ok();
            reset(&client);
        }
        Fate::Slow(pause) => {
            tokio::time::sleep(pause).await;
            client.write_all(&answered).await.ok();
        }
        _ => drop(client.write_all(&answered).await),
    }
}

/// The server's whole answer; None when it is away.
async fn asked(server: u16, head: &str, dropped: &[&str], body: &[u8]) -> Option<Vec<u8>> {
    let mut connection = TcpStream::connect(("127.0.0.1", server)).await.ok()?;
    let is_dropped = |line: &str| dropped.iter().any(|name| line.to_ascii_lowercase().starts_with(name));
    let head: Vec<&str> = head.trim_end().lines().filter(|line| !is_dropped(line)).collect();
    connection.write_all(format!("{}\r\nConnection: close\r\n\r\n", head.join("\r\n")).as_bytes()).await.ok()?;
    connection.write_all(body).await.ok()?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.ok()?;
    Some(answer)
}

async fn answer(client: &mut TcpStream, status: &str, code: &str) {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>a test's</Message></Error>");
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    client.write_all(text.as_bytes()).await.ok();
}
