//! A term's life, fast: orders change late, students change grade, courses are merged, refunds come late.
//!
//! Each step is one transaction. A connection makes its share of the wanted row changes a second and waits when it is ahead.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};

use crate::draw::Dice;
use crate::{CONNECTIONS, DATABASE, Fault};

/// Errors after which the transaction is gone and the next one may go through: lock wait, deadlock.
const BEATEN: [u16; 2] = [1205, 1213];

/// What the load did.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Done {
    pub(crate) inserted: u64,
    pub(crate) updated: u64,
    pub(crate) deleted: u64,
    pub(crate) transactions: u64,
    pub(crate) beaten: u64,
    pub(crate) merged_courses: u64,
}

impl Done {
    /// Rows inserted, updated and deleted.
    pub(crate) fn changes(&self) -> u64 {
        self.inserted + self.updated + self.deleted
    }

    fn add(&mut self, other: Self) {
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.deleted += other.deleted;
        self.transactions += other.transactions;
        self.beaten += other.beaten;
        self.merged_courses += other.merged_courses;
    }
}

/// What all connections share.
struct Shared {
    dice: Dice,
    orders: AtomicU64,
    refunds: AtomicU64,
    students: u64,
    courses: u64,
    stop: AtomicBool,
}

/// One connection at work.
struct Clerk {
    connection: Conn,
    shared: Arc<Shared>,
    number: u64,
    step: u64,
    done: Done,
}

/// Makes `rate` row changes a second until `seconds` have passed or `stopped` is ready; answers what was done, and in what time.
pub(crate) async fn load(
    opts: &Opts,
    seed: u64,
    rate: u64,
    seconds: Option<u64>,
    stopped: impl Future<Output = ()>,
) -> Result<(Done, Duration), Fault> {
    let opts: Opts = OptsBuilder::from_opts(opts.clone()).db_name(Some(DATABASE)).into();
    let shared = Arc::new(shared(&opts, seed).await?);
    let started = Instant::now();
    let mut clerks = tokio::task::JoinSet::new();
    for number in 0..CONNECTIONS {
        clerks.spawn(work(opts.clone(), Arc::clone(&shared), number, rate as f64 / CONNECTIONS as f64));
    }
    let limit = seconds.map_or(Duration::from_secs(86_400), Duration::from_secs);
    tokio::select! {
        () = stopped => {}
        () = tokio::time::sleep(limit) => {}
        // A clerk ends before its time only when it failed.
        Some(ended) = clerks.join_next() => {
            ended??;
            return Err("a connection stopped working".into());
        }
    }
    shared.stop.store(true, Ordering::Relaxed);
    let mut done = Done::default();
    while let Some(ended) = clerks.join_next().await {
        done.add(ended??);
    }
    Ok((done, started.elapsed()))
}

async fn shared(opts: &Opts, seed: u64) -> Result<Shared, Fault> {
    let mut connection = Conn::new(opts.clone()).await?;
    let statement = "SELECT (SELECT MAX(id) FROM orders), (SELECT MAX(id) FROM refunds), \
                     (SELECT MAX(id) FROM students), (SELECT MAX(id) FROM courses)";
    let highest: Option<(u64, u64, u64, u64)> = connection.query_first(statement).await?;
    let (orders, refunds, students, courses) = highest.ok_or("the school is empty")?;
    connection.disconnect().await?;
    Ok(Shared {
        dice: Dice::new(seed ^ 0x10ad),
        orders: AtomicU64::new(orders + 1),
        refunds: AtomicU64::new(refunds + 1),
        students,
        courses,
        stop: AtomicBool::new(false),
    })
}

async fn work(opts: Opts, shared: Arc<Shared>, number: u64, rate: f64) -> Result<Done, Fault> {
    let mut connection = Conn::new(opts).await?;
    connection.query_drop("SET SESSION time_zone = '+00:00', innodb_lock_wait_timeout = 5").await?;
    let mut clerk = Clerk { connection, shared, number, step: 0, done: Done::default() };
    let started = Instant::now();
    while !clerk.shared.stop.load(Ordering::Relaxed) {
        clerk.transaction().await?;
        let due = Duration::from_secs_f64(clerk.done.changes() as f64 / rate);
        tokio::time::sleep_until((started + due).into()).await;
    }
    let done = clerk.done;
    clerk.connection.disconnect().await?;
    Ok(done)
}

impl Clerk {
    /// A number from 0 to `sides` - 1, another one for each name and step.
    fn below(&self, name: &str, sides: u64) -> u64 {
        self.shared.dice.below(name, self.step * CONNECTIONS + self.number, sides)
    }

    /// The first of `count` neighbouring ids among the first `ids`.
    fn window(&self, name: &str, ids: u64, count: u64) -> (u64, u64) {
        let first = 1 + self.below(name, ids.saturating_sub(count).max(1));
        (first, first + count - 1)
    }

    fn orders_so_far(&self) -> u64 {
        self.shared.orders.load(Ordering::Relaxed) - 1
    }

    /// One step; when another one's locks beat it, it counts for nothing.
    async fn transaction(&mut self) -> Result<(), Fault> {
        self.step += 1;
        let before = self.done;
        match self.attempt().await {
            Ok(()) => {
                self.done.transactions += 1;
                Ok(())
            }
            Err(mysql_async::Error::Server(error)) if BEATEN.contains(&error.code) => {
                self.connection.query_drop("ROLLBACK").await?;
                self.done = before;
                self.done.beaten += 1;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn attempt(&mut self) -> Result<(), mysql_async::Error> {
        self.connection.query_drop("START TRANSACTION").await?;
        match self.below("what", 100) {
            0..40 => self.place_orders().await?,
            40..62 => self.change_orders().await?,
            62..80 => self.change_grades().await?,
            80..89 => self.refund().await?,
            89..92 => self.change_rates().await?,
            92..99 => self.cancel().await?,
            _ => self.merge_courses().await?,
        }
        self.connection.query_drop("COMMIT").await
    }

    async fn insert(&mut self, statement: String) -> Result<(), mysql_async::Error> {
        self.connection.query_drop(statement).await?;
        self.done.inserted += self.connection.affected_rows();
        Ok(())
    }

    async fn update(&mut self, statement: String) -> Result<(), mysql_async::Error> {
        self.connection.query_drop(statement).await?;
        self.done.updated += self.connection.affected_rows();
        Ok(())
    }

    async fn delete(&mut self, statement: String) -> Result<(), mysql_async::Error> {
        self.connection.query_drop(statement).await?;
        self.done.deleted += self.connection.affected_rows();
        Ok(())
    }

    /// New orders; some of them renew a course.
    async fn place_orders(&mut self) -> Result<(), mysql_async::Error> {
        const ORDERS: u64 = 3;
        let first = self.shared.orders.fetch_add(ORDERS, Ordering::Relaxed);
        let (mut orders, mut items, mut renewals) = (Vec::new(), Vec::new(), Vec::new());
        for id in first..first + ORDERS {
            let student = 1 + self.shared.dice.below("new buyer", id, self.shared.students);
            let spring = 2 * self.shared.dice.below("new course", id, self.shared.courses / 2) + 1;
            let renews = self.shared.dice.chance("renews now", id, 40);
            let course = if renews { spring + 1 } else { spring };
            let price = 300 + self.shared.dice.below("new price", id, 3000);
            orders.push(format!("({id},{student},'paid',NOW(),NOW(3),NULL,NOW(6))"));
            items.push(format!("({id},1,{course},{price},0),({id},2,{spring},{price}.25,1.75)"));
            if renews {
                renewals.push(format!("({student},{spring},{id},1,NOW(6))"));
            }
        }
        self.insert(format!("INSERT INTO orders VALUES {}", orders.join(","))).await?;
        self.insert(format!("INSERT INTO order_items VALUES {}", items.join(","))).await?;
        if !renewals.is_empty() {
            let values = renewals.join(",");
            self.insert(format!("INSERT INTO renewals VALUES {values} ON DUPLICATE KEY UPDATE renewed_at = NOW(6)")).await?;
        }
        Ok(())
    }

    /// Old orders are paid at last, or noted on, and their prices corrected.
    async fn change_orders(&mut self) -> Result<(), mysql_async::Error> {
        let (first, last) = self.window("late order", self.orders_so_far(), 20);
        self.update(format!(
            "UPDATE orders SET paid_at = COALESCE(paid_at, NOW(3)), status = IF(status = 'placed', 'paid', status), \
             note = IF(note IS NULL, 'changed late', NULL), updated_at = NOW(6) WHERE id BETWEEN {first} AND {last}"
        ))
        .await?;
        let discount = self.below("late discount", 90);
        self.update(format!(
            "UPDATE order_items SET discount = {discount}.25 WHERE order_id BETWEEN {first} AND {} AND line = 1",
            first + 7
        ))
        .await
    }

    async fn change_grades(&mut self) -> Result<(), mysql_async::Error> {
        let (first, last) = self.window("grade", self.shared.students, 25);
        self.update(format!(
            "UPDATE students SET grade = IF(grade = 12, 1, grade + 1), updated_at = NOW(6) WHERE id BETWEEN {first} AND {last}"
        ))
        .await
    }

    /// Refunds for old orders, and decisions on refunds that were asked for long ago.
    async fn refund(&mut self) -> Result<(), mysql_async::Error> {
        const REFUNDS: u64 = 4;
        let first = self.shared.refunds.fetch_add(REFUNDS, Ordering::Relaxed);
        let (order, _) = self.window("refunded order", self.orders_so_far(), REFUNDS);
        let rows: Vec<String> = (0..REFUNDS)
            .map(|place| {
                let amount = 200 + self.below("amount", 3000);
                format!("({},{},1,{amount}.75,'asked','late: “{place}”',NOW(3),NULL)", first + place, order + place)
            })
            .collect();
        self.insert(format!("INSERT INTO refunds VALUES {}", rows.join(","))).await?;
        let (oldest, newest) = self.window("decided refund", first, 30);
        self.update(format!(
            "UPDATE refunds SET status = 'granted', decided_at = NOW(3) WHERE id BETWEEN {oldest} AND {newest} AND status = 'asked'"
        ))
        .await
    }

    async fn change_rates(&mut self) -> Result<(), mysql_async::Error> {
        let (first, last) = self.window("rate", 10, 4);
        self.update(format!(
            "UPDATE teachers SET hourly_rate = hourly_rate + 0.05, profile = JSON_SET(profile, '$.raised', UNIX_TIMESTAMP()) \
             WHERE id BETWEEN {first} AND {last}"
        ))
        .await
    }

    /// Orders that are taken back as if they had never been.
    async fn cancel(&mut self) -> Result<(), mysql_async::Error> {
        let (first, last) = self.window("cancelled", self.orders_so_far(), 4);
        self.delete(format!("DELETE FROM orders WHERE id BETWEEN {first} AND {last}")).await?;
        self.delete(format!("DELETE FROM order_items WHERE order_id BETWEEN {first} AND {last}")).await?;
        self.delete(format!("DELETE FROM renewals WHERE order_id BETWEEN {first} AND {last}")).await
    }

    /// One course takes another one's students (a change of primary keys in `renewals`), and the other is no more.
    async fn merge_courses(&mut self) -> Result<(), mysql_async::Error> {
        let gone = 1 + self.below("merged", self.shared.courses);
        let kept = 2 * self.below("into", self.shared.courses / 2) + 2 - gone % 2;
        if gone == kept {
            return Ok(());
        }
        self.update(format!("UPDATE order_items SET course_id = {kept} WHERE course_id = {gone}")).await?;
        self.delete(format!(
            "DELETE g FROM renewals g JOIN renewals k ON k.student_id = g.student_id AND k.order_id = g.order_id \
             AND k.course_id = {kept} WHERE g.course_id = {gone}"
        ))
        .await?;
        self.update(format!("UPDATE renewals SET course_id = {kept} WHERE course_id = {gone}")).await?;
        self.delete(format!("DELETE FROM courses WHERE id = {gone}")).await?;
        self.done.merged_courses += 1;
        Ok(())
    }
}
