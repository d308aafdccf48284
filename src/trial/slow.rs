//! A lake that is slow to take what is put into it.

use std::sync::OnceLock;
use std::time::Duration;

/// How much longer a put takes, in milliseconds.
const VARIABLE: &str = "BINLAKE_SLOW_LAKE_MS";

fn delay() -> Option<Duration> {
    static DELAY: OnceLock<Option<Duration>> = OnceLock::new();
    let read = || std::env::var(VARIABLE).ok().and_then(|text| text.parse().ok()).map(Duration::from_millis);
    *DELAY.get_or_init(read)
}

pub(super) async fn put() {
    if let Some(delay) = delay() {
        tokio::time::sleep(delay).await;
    }
}
