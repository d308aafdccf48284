//! The school as it is before anyone looks: every row a function of the seed and its id.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mysql_async::prelude::Queryable;
use mysql_async::{Opts, OptsBuilder};

use crate::draw::Dice;
use crate::{CONNECTIONS, DATABASE, Fault};

/// Rows in one INSERT.
const ROWS_PER_STATEMENT: u64 = 2000;

const FAMILY: [&str; 12] = ["Li", "Wang", "Zhang", "Chen", "Müller", "O'Neil", "García", "Ivanova", "赵", "钱", "孙", "周"];
const GIVEN: [&str; 12] = ["Lei", "Meimei", "Anna", "José", "Olga", "Tom", "Zoë", "Ada", "小明", "丽华", "建国", "芳"];
const CITIES: [&str; 8] = ["Beijing", "Chengdu", "Málaga", "Zürich", "Lyon", "Shanghai", "Wuhan", "Xi'an"];
const SUBJECTS: [&str; 8] = ["art", "biology", "chemistry", "chinese", "english", "maths", "music", "physics"];
const DAYS: [&str; 6] = ["mon", "tue,thu", "wed", "mon,wed,fri", "sat", "sat,sun"];
const REASONS: [&str; 5] = ["moved away", "wrong level", "timetable", "ill for \"weeks\"", "no longer \\ needed"];

/// How large the school is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) students: u64,
    pub(crate) teachers: u64,
    pub(crate) courses: u64,
    pub(crate) orders: u64,
    pub(crate) refunds: u64,
}

impl Size {
    /// About a million rows at a scale of 1.
    pub(crate) fn of(scale: f64) -> Self {
        let scaled = |rows: f64, least: u64| ((rows * scale) as u64).max(least);
        Self {
            students: scaled(130_000.0, 100),
            teachers: scaled(600.0, 10),
            courses: scaled(4000.0, 40) / 2 * 2,
            orders: scaled(300_000.0, 300),
            refunds: scaled(45_000.0, 30),
        }
    }

    /// Orders up to here are for the spring; those behind it are renewals for the autumn.
    fn spring_orders(self) -> u64 {
        self.orders * 2 / 3
    }
}

/// Fills one table: the columns of its INSERT, how many ids, and the rows of an id.
struct Filling {
    table: &'static str,
    ids: u64,
    rows: fn(&School, u64, &mut String),
}

/// What the rows are made from.
#[derive(Debug, Clone, Copy)]
struct School {
    dice: Dice,
    size: Size,
}

/// Makes the tables and fills them; answers the number of rows.
pub(crate) async fn seed(opts: &Opts, seed: u64, scale: f64) -> Result<u64, Fault> {
    let mut connection = mysql_async::Conn::new(opts.clone()).await?;
    connection.query_drop(format!("DROP DATABASE IF EXISTS {DATABASE}")).await?;
    connection.query_drop(format!("CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4")).await?;
    connection.query_drop(format!("USE {DATABASE}")).await?;
    for statement in crate::statements(include_str!("../school.sql")) {
        connection.query_drop(statement).await?;
    }
    connection.disconnect().await?;

    let school = School { dice: Dice::new(seed), size: Size::of(scale) };
    let jobs: Arc<Vec<(usize, u64)>> = Arc::new(jobs(&school));
    let next = Arc::new(AtomicUsize::new(0));
    let opts: Opts = OptsBuilder::from_opts(opts.clone()).db_name(Some(DATABASE)).into();
    let mut fillers = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        fillers.spawn(fill(opts.clone(), school, Arc::clone(&jobs), Arc::clone(&next)));
    }
    let mut rows = 0;
    while let Some(filled) = fillers.join_next().await {
        rows += filled??;
    }
    Ok(rows)
}

fn fillings(size: Size) -> [Filling; 7] {
    [
        Filling { table: "teachers", ids: size.teachers, rows: School::teacher },
        Filling { table: "courses", ids: size.courses, rows: School::course },
        Filling { table: "students", ids: size.students, rows: School::student },
        Filling { table: "orders", ids: size.orders, rows: School::order },
        Filling { table: "order_items", ids: size.orders, rows: School::items },
        Filling { table: "refunds", ids: size.refunds, rows: School::refund },
        Filling { table: "renewals", ids: size.orders, rows: School::renewal },
    ]
}

/// The first id of every statement, by table.
fn jobs(school: &School) -> Vec<(usize, u64)> {
    let mut jobs = Vec::new();
    for (index, filling) in fillings(school.size).iter().enumerate() {
        let mut first = 1;
        while first <= filling.ids {
            jobs.push((index, first));
            first += ROWS_PER_STATEMENT;
        }
    }
    jobs
}

async fn fill(opts: Opts, school: School, jobs: Arc<Vec<(usize, u64)>>, next: Arc<AtomicUsize>) -> Result<u64, Fault> {
    let mut connection = mysql_async::Conn::new(opts).await?;
    connection.query_drop("SET SESSION time_zone = '+00:00', unique_checks = 0").await?;
    let fillings = fillings(school.size);
    let mut rows = 0;
    while let Some((index, first)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
        let Some(filling) = fillings.get(*index) else { continue };
        let mut values = String::new();
        for id in *first..(*first + ROWS_PER_STATEMENT).min(filling.ids + 1) {
            (filling.rows)(&school, id, &mut values);
        }
        let Some(values) = values.strip_suffix(',') else { continue };
        connection.query_drop(format!("INSERT INTO {} VALUES {values}", filling.table)).await?;
        rows += connection.affected_rows();
    }
    connection.disconnect().await?;
    Ok(rows)
}

/// A text as SQL writes it.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// Appends one row; writing into a String does not fail.
macro_rules! row {
    ($into:expr, $($argument:tt)*) => {{
        write!($into, $($argument)*).ok();
        $into.push(',');
    }};
}

impl School {
    fn name(&self, of: &str, id: u64) -> String {
        let family = self.dice.pick(of, id, &FAMILY);
        let given = self.dice.pick(of, id.wrapping_add(1 << 40), &GIVEN);
        quoted(&format!("{given} {family}"))
    }

    /// A moment in the half year from 1 December 2025 on.
    fn moment(&self, of: &str, id: u64) -> String {
        let second = self.dice.below(of, id, 180 * 86_400);
        format!("TIMESTAMP'2025-12-01 00:00:00' + INTERVAL {second} SECOND")
    }

    fn student(&self, id: u64, into: &mut String) {
        let (name, moment) = (self.name("student", id), self.moment("registered", id));
        let grade = 1 + self.dice.below("grade", id, 12);
        let born = self.dice.below("born", id, 4000);
        let city = quoted(self.dice.pick("city", id, &CITIES));
        let boarder = u8::from(self.dice.chance("boarder", id, 20));
        row!(into, "({id},{name},{grade},DATE'2008-01-01' + INTERVAL {born} DAY,{city},b'{boarder}',{moment},{moment})");
    }

    fn teacher(&self, id: u64, into: &mut String) {
        let name = self.name("teacher", id);
        let subject = quoted(self.dice.pick("subject", id, &SUBJECTS));
        let rate = 8000 + self.dice.below("rate", id, 30_000);
        let hired = match self.dice.below("hired", id, 5000) {
            0..500 => "NULL".to_owned(),
            day => format!("DATE'2010-01-01' + INTERVAL {day} DAY"),
        };
        let profile = match self.dice.below("profile", id, 10) {
            0 => "NULL".to_owned(),
            stars => format!("JSON_OBJECT('stars', {stars}, 'speaks', JSON_ARRAY('zh', 'en'), 'room', 'B{}')", id % 40),
        };
        row!(into, "({id},{name},{subject},{}.{:02},{hired},{profile})", rate / 100, rate % 100);
    }

    /// Odd courses are in spring; the next even one goes on from it in the autumn.
    fn course(&self, id: u64, into: &mut String) {
        let pair = id.div_ceil(2);
        let teacher = self.teacher_of(id);
        let grade = 1 + self.dice.below("course grade", pair, 12);
        let term = if id % 2 == 1 { "2026-spring" } else { "2026-autumn" };
        let days = self.dice.pick("days", id, &DAYS);
        let hour = 8 + self.dice.below("hour", id, 12);
        let price = 300 + 10 * self.dice.below("price", pair, 300);
        row!(into, "({id},'Course {pair}, {term}',{teacher},{grade},'{term}','{days}','{hour}:30:00',{price})");
    }

    /// The order that an autumn order renews.
    fn renewed_order(&self, id: u64) -> Option<u64> {
        let place = id.checked_sub(self.size.spring_orders() + 1)?;
        Some(2 * place + 1 + self.dice.below("renews", id, 2))
    }

    fn student_of(&self, order: u64) -> u64 {
        1 + self.dice.below("buyer", self.renewed_order(order).unwrap_or(order), self.size.students)
    }

    fn course_of(&self, order: u64, line: u64) -> u64 {
        let spring = |order: u64| 2 * self.dice.below("bought", order * 4 + line, self.size.courses / 2) + 1;
        self.renewed_order(order).map_or_else(|| spring(order), |renewed| spring(renewed) + 1)
    }

    fn teacher_of(&self, course: u64) -> u64 {
        1 + self.dice.below("course teacher", course.div_ceil(2), self.size.teachers)
    }

    /// The percentage of renewals that are never paid: some teachers and subjects lose more students than others.
    fn lost_percent(&self, course: u64) -> u64 {
        let teacher = self.teacher_of(course);
        let subject = self.dice.below("subject", teacher, SUBJECTS.len() as u64);
        self.dice.below("teacher loses", teacher, 30) + self.dice.below("subject loses", subject, 30)
    }

    fn order(&self, id: u64, into: &mut String) {
        let student = self.student_of(id);
        let placed = self.moment("placed", id);
        let (status, paid) = match self.dice.below("status", id, 100) {
            0..10 => ("placed", "NULL".to_owned()),
            10..13 => ("cancelled", "NULL".to_owned()),
            _ if self.renewed_order(id).is_some() && self.dice.chance("lost", id, self.lost_percent(self.course_of(id, 1))) => {
                ("placed", "NULL".to_owned())
            }
            minutes => ("paid", format!("{placed} + INTERVAL {minutes} MINUTE")),
        };
        let note = if self.dice.chance("note", id, 5) { "'call the parents'" } else { "NULL" };
        row!(into, "({id},{student},'{status}',{placed},{paid},{note},{placed})");
    }

    fn items(&self, id: u64, into: &mut String) {
        let lines = match self.dice.below("lines", id, 10) {
            0..7 => 1,
            7..9 => 2,
            _ => 3,
        };
        for line in 1..=lines {
            let course = self.course_of(id, line);
            let price = 300 + 10 * self.dice.below("price", course.div_ceil(2), 300);
            let discount = if self.dice.chance("discount", id, 30) { price / 10 } else { 0 };
            row!(into, "({id},{line},{course},{price},{discount}.50)");
        }
    }

    fn refund(&self, id: u64, into: &mut String) {
        let order = 1 + self.dice.below("refund", id, self.size.orders);
        let course = self.course_of(order, 1);
        let price = 300 + 10 * self.dice.below("price", course.div_ceil(2), 300);
        let amount = if self.dice.chance("in full", id, 60) { price } else { price / 2 };
        let asked = self.moment("asked", id);
        let reason = quoted(self.dice.pick("reason", id, &REASONS));
        match self.dice.below("decision", id, 10) {
            0..3 => row!(into, "({id},{order},1,{amount},'asked',{reason},{asked},NULL)"),
            3 => row!(into, "({id},{order},1,{amount},'refused',NULL,{asked},{asked} + INTERVAL 5 DAY)"),
            _ => row!(into, "({id},{order},1,{amount},'granted',{reason},{asked},{asked} + INTERVAL 2 DAY)"),
        }
    }

    /// Every autumn order renews the first line of its spring order.
    fn renewal(&self, id: u64, into: &mut String) {
        let Some(renewed) = self.renewed_order(id) else { return };
        let (student, course, at) = (self.student_of(id), self.course_of(renewed, 1), self.moment("placed", id));
        row!(into, "({student},{course},{id},1,{at})");
    }
}
