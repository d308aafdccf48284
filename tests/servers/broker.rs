//! Kafka brokers for a test, by `kafka.sh`: on loopback, in a directory of their own, and gone with the test, however it ends.

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::hosted::{self, Hosted};

/// A running cluster.
#[derive(Debug)]
pub(crate) struct Brokers {
    nodes: u16,
    server: Hosted,
}

impl Brokers {
    /// Starts 1 or 3 nodes with settings (`KEY=VALUE`) that win over those of the script; `@PORT@` in them is the first node's, and
    /// `@CONTROLLER@` that of its controller.
    pub(crate) fn start(nodes: u16, settings: &[&str]) -> Self {
        Self::start_in(hosted::directory("kafka"), nodes, settings)
    }

    /// The same in a directory that is there; node 1 has its files in `n1` of it. The directory goes with the brokers.
    pub(crate) fn start_in(directory: PathBuf, nodes: u16, settings: &[&str]) -> Self {
        let arguments = |port: u16| {
            let with_port = |text: &&str| {
                let text = text.replace("@PORT@", &port.to_string());
                text.replace("@CONTROLLER@", &(port + 1).to_string())
            };
            [nodes.to_string(), port.to_string()].into_iter().chain(settings.iter().map(with_port)).collect()
        };
        Self { nodes, server: Hosted::start("kafka.sh", directory, 2 * nodes, arguments) }
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
        self.server.port()
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
        std::fs::read_to_string(self.server.directory().join(format!("n{node}/pid"))).unwrap().trim().parse().unwrap()
    }

    fn run(&self, command: &str, node: Option<u16>) -> bool {
        let node = node.map(|node| node.to_string());
        self.server.run(command, node.as_slice())
    }
}
