//! Kafka brokers for a test, by `kafka.sh`: on loopback, in a directory of their own, and gone with the test, however it ends.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;

/// A running cluster.
#[derive(Debug)]
pub(crate) struct Brokers {
    directory: PathBuf,
    nodes: u16,
    port: u16,
    /// A shell that ends the brokers when its input does: also when the test process is killed, or ends without dropping a static.
    keeper: Child,
    input: Option<ChildStdin>,
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/kafka.sh")
}

/// The first of so many ports in a row that nobody listens on at this moment.
fn free_ports(count: u16) -> u16 {
    loop {
        let any = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // Below the ports that outgoing connections get, lest one of these takes a broker's while it is down.
        let port = 10_000 + any % 20_000;
        if (port..port + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return port;
        }
    }
}

impl Brokers {
    /// Starts 1 or 3 nodes with settings (`KEY=VALUE`) that win over those of the script; `@PORT@` in them is the first node's, and
    /// `@CONTROLLER@` that of its controller.
    pub(crate) fn start(nodes: u16, settings: &[&str]) -> Self {
        Self::start_in(tempfile::Builder::new().prefix("binlake-kafka.").tempdir().unwrap().keep(), nodes, settings)
    }

    /// The same in a directory that is there; node 1 has its files in `n1` of it. The directory goes with the brokers.
    pub(crate) fn start_in(directory: PathBuf, nodes: u16, settings: &[&str]) -> Self {
        let mut keeper = Command::new("sh")
            .args(["-c", r#"trap '' INT TERM HUP; read -r _; "$1" kill "$2"; rm -rf "$2""#, "keeper"])
            .args([script(), directory.clone()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let input = keeper.stdin.take();
        let mut brokers = Self { directory, nodes, port: 0, keeper, input };
        // Another process may take a port between the choice and the start.
        for _ in 0..3 {
            brokers.port = free_ports(2 * nodes);
            let with_port = |text: &&str| {
                let text = text.replace("@PORT@", &brokers.port.to_string());
                text.replace("@CONTROLLER@", &(brokers.port + 1).to_string())
            };
            let with_port: Vec<String> = settings.iter().map(with_port).collect();
            let numbers = [nodes.to_string(), brokers.port.to_string()];
            let started = Command::new(script()).arg("start").arg(&brokers.directory).args(numbers).args(with_port).status();
            if started.unwrap().success() {
                return brokers;
            }
            brokers.run("kill", None);
        }
        panic!("the brokers did not start: see above");
    }

    /// The single node that tests share which need nothing special of it.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Brokers> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(1, &[]))
    }

    /// Where they answer.
    pub(crate) fn addresses(&self) -> Vec<String> {
        (0..self.nodes).map(|node| format!("127.0.0.1:{}", self.port() + 2 * node)).collect()
    }

    /// The port of node 1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// SIGKILL for a node, by its number from 1.
    pub(crate) fn kill(&self, node: u16) {
        assert!(self.run("kill", Some(node)), "node {node} could not be killed");
    }

    /// Ends a node in order.
    pub(crate) fn stop(&self, node: u16) {
        assert!(self.run("stop", Some(node)), "node {node} could not be stopped");
    }

    /// Starts a node again, with its data.
    pub(crate) fn start_again(&self, node: u16) {
        assert!(self.run("node", Some(node)), "node {node} did not start again");
    }

    /// The process of a node, to freeze it.
    pub(crate) fn pid(&self, node: u16) -> u32 {
        std::fs::read_to_string(self.directory.join(format!("n{node}/pid"))).unwrap().trim().parse().unwrap()
    }

    fn run(&self, command: &str, node: Option<u16>) -> bool {
        let node = node.map(|node| node.to_string());
        Command::new(script()).arg(command).arg(&self.directory).args(node).status().unwrap().success()
    }
}

impl Drop for Brokers {
    fn drop(&mut self) {
        drop(self.input.take());
        if let Err(error) = self.keeper.wait() {
            eprintln!("the brokers' keeper could not be waited for: {error}");
        }
    }
}
