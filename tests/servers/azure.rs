//! Azure's blob storage for tests, Microsoft's emulator, by `azure.sh`: on loopback, in a directory of its own, and gone with the test, however
//! it ends.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::hosted::{self, Hosted};

/// The account that every emulator has.
pub(crate) const ACCOUNT: &str = "devstoreaccount1";
/// Its key, as its documentation has it.
pub(crate) const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

static SHARED: OnceLock<Azure> = OnceLock::new();

/// A running emulator.
#[derive(Debug)]
pub(crate) struct Azure(Hosted);

impl Azure {
    /// The one that all tests of a process share.
    pub(crate) fn shared() -> &'static Self {
        SHARED.get_or_init(|| Self(Hosted::start("azure.sh", hosted::directory("azure"), 1, |port| vec![port.to_string()])))
    }

    /// Where it answers.
    pub(crate) fn port(&self) -> u16 {
        self.0.port()
    }

    /// A new, empty container.
    pub(crate) fn container(&self) -> String {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let name = format!("container-{}", MADE.fetch_add(1, Ordering::Relaxed));
        assert!(self.0.run("container", std::slice::from_ref(&name)), "no container {name}");
        name
    }
}
