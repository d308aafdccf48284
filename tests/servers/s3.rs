//! A real S3 endpoint for tests, by `s3.sh`: on loopback, in a directory of its own, and gone with the test, however it ends.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::hosted::{self, Hosted};

/// What the tests sign with: the server takes anything.
pub(crate) const KEY: &str = "binlake-test";
/// See [`KEY`]; no output may ever show it.
pub(crate) const SECRET: &str = "s3cr3t/of+the=tests";

static SHARED: OnceLock<S3> = OnceLock::new();

/// A running server.
#[derive(Debug)]
pub(crate) struct S3(Hosted);

impl S3 {
    fn start() -> Self {
        Self(Hosted::start("s3.sh", hosted::directory("s3"), 1, |port| vec![port.to_string()]))
    }

    /// The one that all tests of a process share.
    pub(crate) fn shared() -> &'static Self {
        SHARED.get_or_init(Self::start)
    }

    /// The same, if a test has asked for it.
    #[allow(dead_code, reason = "each user of this file needs other parts")]
    pub(crate) fn started() -> Option<&'static Self> {
        SHARED.get()
    }

    /// Where it answers.
    pub(crate) fn port(&self) -> u16 {
        self.0.port()
    }

    /// A new, empty bucket.
    pub(crate) fn bucket(&self) -> String {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let name = format!("bucket-{}", MADE.fetch_add(1, Ordering::Relaxed));
        let answer = self.ask("PUT", &format!("/{name}"));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        name
    }

    /// The paths of all objects of a bucket.
    pub(crate) fn objects(&self, bucket: &str) -> Vec<String> {
        let mut objects: Vec<String> = Vec::new();
        loop {
            let behind = objects.last().cloned().unwrap_or_default().replace('=', "%3D");
            let answer = self.ask("GET", &format!("/{bucket}?list-type=2&start-after={behind}"));
            objects.extend(answer.split("<Key>").skip(1).map(|rest| rest.split("</Key>").next().unwrap().to_owned()));
            if answer.contains("<IsTruncated>false</IsTruncated>") {
                return objects;
            }
            assert!(answer.contains("<IsTruncated>true</IsTruncated>"), "{answer}");
        }
    }

    /// How many uploads in parts nobody has ended.
    pub(crate) fn open_uploads(&self, bucket: &str) -> usize {
        let answer = self.ask("GET", &format!("/{bucket}?uploads"));
        assert!(answer.contains("ListMultipartUploadsResult"), "{answer}");
        answer.matches("<Upload>").count()
    }

    /// One request, signed as badly as the server allows, and its whole answer.
    fn ask(&self, method: &str, target: &str) -> String {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port())).unwrap();
        let signed = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
        let host = format!("127.0.0.1:{}", self.port());
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {signed}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        connection.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    }
}
