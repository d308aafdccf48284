//! A bell: rings for everyone who listens. Who listens is woken in the order in which they began to wait, so that a simulation goes the
//! same way every time (the watch channel of the runtime wakes in an order of its own).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Rings.
#[derive(Debug, Default)]
pub struct Bell(Arc<Tower>);

#[derive(Debug, Default)]
struct Tower {
    rung: AtomicU64,
    ringing: Notify,
}

/// Hears a bell, also what it missed while it was not waiting.
#[derive(Debug, Clone)]
pub struct Listener {
    tower: Arc<Tower>,
    heard: u64,
}

impl Bell {
    /// Rings once.
    pub fn ring(&self) {
        self.0.rung.fetch_add(1, Ordering::SeqCst);
        self.0.ringing.notify_waiters();
    }

    /// Hears what comes from now on.
    pub fn listen(&self) -> Listener {
        Listener { heard: self.0.rung.load(Ordering::SeqCst), tower: Arc::clone(&self.0) }
    }
}

impl Listener {
    /// What rang until now is of no interest any more.
    pub fn forget(&mut self) {
        self.heard = self.tower.rung.load(Ordering::SeqCst);
    }

    /// Waits until it rings, or has rung since it was last heard. Cancel-safe.
    pub async fn heard(&mut self) {
        loop {
            let ringing = self.tower.ringing.notified();
            let rung = self.tower.rung.load(Ordering::SeqCst);
            if rung != self.heard {
                self.heard = rung;
                return;
            }
            ringing.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn what_rang_before_the_wait_is_heard_once() {
        let bell = Bell::default();
        let mut listener = bell.listen();
        assert!(listener.heard().now_or_never().is_none());
        bell.ring();
        bell.ring();
        assert!(listener.heard().now_or_never().is_some());
        assert!(listener.heard().now_or_never().is_none());
        bell.ring();
        listener.forget();
        assert!(listener.heard().now_or_never().is_none());
    }

    #[tokio::test]
    async fn all_are_woken_in_the_order_of_their_waiting() {
        let bell = Bell::default();
        let order: Arc<Mutex<Vec<u32>>> = Arc::default();
        let waiting: Vec<_> = (0..20)
            .map(|number| {
                let (mut listener, order) = (bell.listen(), Arc::clone(&order));
                tokio::spawn(async move {
                    listener.heard().await;
                    order.lock().unwrap().push(number);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        bell.ring();
        for task in waiting {
            task.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), (0..20).collect::<Vec<_>>());
    }
}
