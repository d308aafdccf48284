//! The metastore of one daemon's life. It stands on a machine of its own, which keeps its power; a call whose caller gave up, or died, may
//! still be done, and what is done is looked at.

use std::time::Duration;

use async_trait::async_trait;
use binlake::lake::LakeName;
use binlake::lake::metastore::{Database, Error, Expected, Format, MemoryMetastore, Metastore, Partition, Result, Table};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::shown::Call;
use crate::stage::{Fate, Life, Step, change, look};

/// How long a daemon waits for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// See the module.
#[derive(Debug)]
pub(crate) struct LifeMetastore {
    pub life: Life,
    pub inner: MemoryMetastore,
    /// Whether it compares before it swaps.
    pub compares: bool,
}

fn away(reason: &str) -> Error {
    Error::Away { address: "memory".to_owned(), reason: reason.to_owned() }
}

/// A call, made when its time has come.
type Work<T> = Box<dyn FnOnce(MemoryMetastore) -> BoxFuture<'static, Result<T>> + Send>;

impl LifeMetastore {
    async fn look<T>(&self, name: &'static str, work: impl Future<Output = Result<T>>) -> Result<T> {
        match self.life.fate(look(name)).await {
            Fate::Refused => Err(away("refused")),
            _ => work.await,
        }
    }

    async fn change<T: Send + 'static>(&self, name: &'static str, of: &str, work: Work<T>) -> Result<T> {
        let step = Step { late: true, ..change(name) };
        let fate = self.drawn_out(self.life.fate(step).await);
        let outcome = match fate {
            Fate::Refused => Err(away("refused")),
            Fate::Late(ms) => return self.late(ms, step, of.to_owned(), work).await,
            _ => self.done((name, of), false, work),
        };
        let outcome = if fate == Fate::AnswerLost { outcome.and(Err(away("the answer was lost"))) } else { outcome };
        self.life.stage.stepped(self.life.number, name, &format_args!("{of} {fate:?} {}", outcome.is_ok()));
        match fate {
            Fate::KilledBehind => self.life.die(step).await,
            _ => outcome,
        }
    }

    /// Some of the calls without an answer are done only long after they were given up.
    fn drawn_out(&self, fate: Fate) -> Fate {
        let mut scene = self.life.stage.scene();
        match fate {
            Fate::Refused | Fate::AnswerLost if scene.chance(0.4) => Fate::Late(scene.between(1, 70_000)),
            fate => fate,
        }
    }

    /// The metastore does it now, and what it shows from here on is held against the lake.
    fn done<T>(&self, (name, of): (&'static str, &str), late: bool, work: Work<T>) -> Result<T> {
        let outcome = work(self.inner.clone()).now_or_never().expect("memory answers at once");
        if outcome.is_ok() {
            let mut scene = self.life.stage.scene();
            let now_ms = crate::stage::BEGIN_MS + scene.elapsed_ms();
            let call = Call { name, of, daemon: self.life.number, compares: self.compares, late, now_ms };
            let scene = &mut *scene;
            if let Err((invariant, detail)) = scene.oracle.showed(&call, &self.inner.sights(), &mut scene.coverage) {
                scene.violate(invariant, detail);
            }
        }
        outcome
    }

    /// The caller dies, or gives up after a while; the call is done whenever it is.
    async fn late<T: Send + 'static>(&self, ms: u64, step: Step, of: String, work: Work<T>) -> Result<T> {
        let this = Self { life: self.life.clone(), inner: self.inner.clone(), compares: self.compares };
        let dies = self.life.stage.scene().chance(0.3);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            let done = this.done((step.name, &of), true, work).is_ok();
            this.life.stage.stepped(this.life.number, step.name, &format_args!("{of} late {done}"));
        });
        if dies {
            self.life.die(step).await
        }
        tokio::time::sleep(PATIENCE).await;
        Err(away("no answer"))
    }
}

#[async_trait]
impl Metastore for LifeMetastore {
    fn place(&self) -> String {
        self.inner.place()
    }

    async fn database(&self, name: &str) -> Result<Option<Database>> {
        self.look("metastore: database", self.inner.database(name)).await
    }

    async fn create_database(&self, database: &Database) -> Result<()> {
        let (name, database) = (database.name.clone(), database.clone());
        let work: Work<()> = Box::new(|inner| async move { inner.create_database(&database).await }.boxed());
        self.change("create database", &name, work).await
    }

    async fn drop_database(&self, name: &str) -> Result<()> {
        let database = name.to_owned();
        let work: Work<()> = Box::new(|inner| async move { inner.drop_database(&database).await }.boxed());
        self.change("drop database", name, work).await
    }

    async fn table(&self, name: &LakeName) -> Result<Option<Table>> {
        self.look("metastore: table", self.inner.table(name)).await
    }

    async fn create_table(&self, table: &Table) -> Result<()> {
        let (name, table) = (table.name.to_string(), table.clone());
        let work: Work<()> = Box::new(|inner| async move { inner.create_table(&table).await }.boxed());
        self.change("create table", &name, work).await
    }

    async fn alter_table(&self, name: &LakeName, table: &Table, expected: Option<Expected<'_>>) -> Result<()> {
        let expected = expected.map(|expected| (expected.key.to_owned(), expected.value.to_owned()));
        let (text, name, table) = (name.to_string(), name.clone(), table.clone());
        let work: Work<()> = Box::new(|inner| {
            let alter = async move {
                let expected = expected.as_ref().map(|(key, value)| Expected { key, value });
                inner.alter_table(&name, &table, expected).await
            };
            alter.boxed()
        });
        self.change("alter table", &text, work).await
    }

    async fn drop_table(&self, name: &LakeName) -> Result<()> {
        let (text, name) = (name.to_string(), name.clone());
        let work: Work<()> = Box::new(|inner| async move { inner.drop_table(&name).await }.boxed());
        self.change("drop table", &text, work).await
    }

    async fn partitions(&self, name: &LakeName) -> Result<Vec<Partition>> {
        self.look("metastore: partitions", self.inner.partitions(name)).await
    }

    async fn add_partitions(&self, name: &LakeName, format: &Format, partitions: &[Partition]) -> Result<()> {
        let (text, name, format, partitions) = (name.to_string(), name.clone(), format.clone(), partitions.to_vec());
        let work: Work<()> = Box::new(|inner| async move { inner.add_partitions(&name, &format, &partitions).await }.boxed());
        self.change("add partitions", &text, work).await
    }

    async fn alter_partitions(&self, name: &LakeName, format: &Format, partitions: &[Partition]) -> Result<()> {
        let (text, name, format, partitions) = (name.to_string(), name.clone(), format.clone(), partitions.to_vec());
        let work: Work<()> = Box::new(|inner| async move { inner.alter_partitions(&name, &format, &partitions).await }.boxed());
        self.change("alter partitions", &text, work).await
    }

    async fn drop_partition(&self, name: &LakeName, values: &[String]) -> Result<()> {
        let (text, name, values) = (name.to_string(), name.clone(), values.to_vec());
        let work: Work<()> = Box::new(|inner| async move { inner.drop_partition(&name, &values).await }.boxed());
        self.change("drop partition", &text, work).await
    }
}
