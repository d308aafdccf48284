//! How `memory` is shared out. Everything that buffers gets a fixed part, so the sum stays below it whatever comes.

use binlake::pipeline::tail;

/// The parts of `memory`, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parts {
    /// Row events of one open transaction, per source, before it spills.
    pub(crate) transaction: usize,
    /// Records waiting to be appended, per source.
    pub(crate) append: usize,
    /// Changes in one writer's batch before it spills.
    pub(crate) batch: usize,
    /// Batches at once.
    pub(crate) batches: usize,
    /// One snapshot chunk.
    pub(crate) chunk: u64,
    /// Bytes of records fetched at once.
    pub(crate) read: usize,
    /// Records on their way to Kafka, per source.
    pub(crate) in_flight: usize,
    /// Consumers of Kafka, for some megabytes each.
    pub(crate) consumers: usize,
}

impl Parts {
    /// Shares `memory` out over `sources`, each with `parallel` chunks in flight.
    pub(crate) fn of(memory: u64, sources: usize, parallel: usize) -> Self {
        let sources = sources.max(1) as u64;
        let clamp = |bytes: u64, low: u64, high: u64| bytes.clamp(low, high) as usize;
        Self {
            transaction: clamp(memory / 16 / sources, 1 << 20, 64 << 20),
            append: clamp(memory / 128 / sources, 256 << 10, 4 << 20),
            // A mirror's batch is held about twice and a half while it is sorted and merged, beside a row group or two.
            batch: clamp(memory / 16, 4 << 20, 256 << 20),
            batches: 2,
            // A chunk is sorted and encoded before it is written: it is held about twice.
            chunk: (memory / 8 / sources / parallel.max(1) as u64).max(1 << 20),
            read: clamp(memory / 256, 64 << 10, 1 << 20),
            in_flight: clamp(memory / 64 / sources, 1 << 20, 32 << 20),
            consumers: clamp(memory / (64 << 20), 2, 16),
        }
    }

    /// The tailer's limits.
    pub(crate) fn tail(&self) -> tail::Settings {
        tail::Settings { batch_bytes: self.append, ..tail::Settings::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_stay_below_the_whole() {
        for memory in [128_u64 << 20, 512 << 20, 8 << 30] {
            let parts = Parts::of(memory, 2, 4);
            let chunks = 2 * 2 * 4 * parts.chunk;
            let kafka = 2 * parts.in_flight + parts.consumers * (4 << 20);
            let sum = (2 * (parts.transaction + parts.append) + parts.batches * parts.batch + kafka) as u64 + chunks;
            assert!(sum <= memory, "{parts:?} of {memory}");
        }
    }
}
