//! The change log of one daemon's life.

use std::sync::Arc;

use async_trait::async_trait;
use binlake::change::{LogOffset, LogPlace, Term};
use binlake::changelog::memory::{Call, Fault};
use binlake::changelog::{
    Acknowledged, AppendBatch, ChangeLog, Consumer, Error, MemoryLog, PartitionTail, Record, Result, Unpublished, Usage,
};

use crate::stage::{Life, Step, change, look};

/// See the module.
#[derive(Debug)]
pub(crate) struct LifeLog {
    pub life: Life,
    pub inner: MemoryLog,
    /// An append that nobody answers may be in by half: of each partition's records the first few.
    pub halves: bool,
    /// … or come in when its daemon has long been succeeded.
    pub late: bool,
}

fn fault(reason: &'static str) -> Error {
    Error::Storage { path: "memory".to_owned(), reason: reason.to_owned() }
}

impl LifeLog {
    /// The next append's answer is lost, and where that can be half of it as well, or it comes late.
    fn fail_append(&self) {
        let mut scene = self.life.stage.scene();
        let fault = if self.late && scene.chance(0.4) {
            scene.coverage.count("fault: late append");
            Fault::LandsLater
        } else if self.halves {
            scene.coverage.count("fault: half of a batch");
            Fault::Half(scene.between(0, u64::MAX))
        } else {
            Fault::AnswerLost
        };
        self.inner.fail_next(Call::Append, fault);
    }

    /// Now and then an append is on its way for longer than its daemon waits.
    fn delay_append(&self) {
        let mut scene = self.life.stage.scene();
        if self.late && !scene.calm && scene.chance(0.02) {
            scene.coverage.count("fault: late append");
            self.inner.fail_next(Call::Append, Fault::LandsLater);
        }
    }

    async fn act<T>(&self, step: Step, detail: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.life.act(step, detail, fault, || (), work).await
    }
}

#[async_trait]
impl ChangeLog for LifeLog {
    async fn open_topic(&self, topic: &str, term: Term) -> Result<u32> {
        self.act(change("open_topic"), topic, self.inner.open_topic(topic, term)).await
    }

    async fn append(&self, batches: Vec<AppendBatch>) -> Result<Vec<Acknowledged>> {
        let records: usize = batches.iter().map(|batch| batch.records.len()).sum();
        let doubt = || self.fail_append();
        self.life.act(change("append"), &records.to_string(), fault, doubt, self.inner.append(batches)).await
    }

    async fn append_unpublished(
        &self,
        batches: &Arc<Vec<AppendBatch>>,
        unpublished: &Arc<Unpublished>,
    ) -> Result<Vec<Acknowledged>> {
        let records: usize = batches.iter().map(|batch| batch.records.len()).sum();
        let doubt = || self.fail_append();
        let work = async {
            self.delay_append();
            self.inner.append_unpublished(batches, unpublished).await
        };
        self.life.act(change("append"), &records.to_string(), fault, doubt, work).await
    }

    async fn bytes_from(&self, topic: &str, from: LogOffset) -> Result<u64> {
        self.act(look("bytes_from"), topic, self.inner.bytes_from(topic, from)).await
    }

    async fn ends(&self, topic: &str) -> Result<Vec<LogOffset>> {
        self.act(look("ends"), topic, self.inner.ends(topic)).await
    }

    async fn tails(&self, topic: &str, known: &[LogPlace]) -> Result<Vec<PartitionTail>> {
        self.act(look("tails"), topic, self.inner.tails(topic, known)).await
    }

    async fn read(&self, topic: &str, partition: u32, from: LogOffset, until: LogOffset, bytes: usize) -> Result<Vec<Record>> {
        self.act(look("read"), topic, self.inner.read(topic, partition, from, until, bytes)).await
    }

    async fn register(&self, topic: &str, term: Term, consumer: &Consumer, offsets: &[LogOffset]) -> Result<()> {
        self.act(change("register"), &consumer.0, self.inner.register(topic, term, consumer, offsets)).await
    }

    async fn advance(&self, topic: &str, consumer: &Consumer, offsets: &[LogOffset]) -> Result<()> {
        self.act(change("advance"), &consumer.0, self.inner.advance(topic, consumer, offsets)).await
    }

    async fn set_active(&self, topic: &str, consumer: &Consumer, active: bool) -> Result<()> {
        self.act(change("set_active"), &consumer.0, self.inner.set_active(topic, consumer, active)).await
    }

    async fn consumers(&self, topic: &str) -> Result<Vec<Consumer>> {
        self.act(look("consumers"), topic, self.inner.consumers(topic)).await
    }

    async fn forget(&self, topic: &str, term: Term, consumers: &[Consumer]) -> Result<()> {
        let work = self.inner.forget(topic, term, consumers);
        self.life.act(change("forget"), &format!("{topic} {}", consumers.len()), fault, || (), work).await
    }

    async fn begin_topic(&self, topic: &str, term: Term) -> Result<Vec<LogOffset>> {
        self.act(change("begin_topic"), topic, self.inner.begin_topic(topic, term)).await
    }

    async fn topic_term(&self, topic: &str) -> Result<Option<Term>> {
        self.act(look("topic_term"), topic, self.inner.topic_term(topic)).await
    }

    async fn usage(&self) -> Result<Usage> {
        self.act(look("usage"), "", self.inner.usage()).await
    }
}
