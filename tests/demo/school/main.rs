//! The school of the demo: its data, its life, and its renewal report out of MySQL.
//!
//! Not a part of binlake: `demo.sh` runs it against the server that binlake captures.

mod draw;
#[path = "../../servers/dump.rs"]
mod dump;
mod load;
mod seed;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Row, Value};

pub(crate) use dump::Fault;

/// Where the school lives.
pub(crate) const DATABASE: &str = "binlake_school";

/// Connections that fill and that load.
pub(crate) const CONNECTIONS: u64 = 4;

/// The school's tables.
const TABLES: [&str; 7] = ["students", "teachers", "courses", "orders", "order_items", "refunds", "renewals"];

#[derive(Parser)]
#[command(about = "A school's data and life for the demo")]
struct Arguments {
    /// The server: mysql://user:password@host:port
    #[arg(long, env = "SCHOOL_URL", hide_env_values = true)]
    url: String,
    /// What the school is made from.
    #[arg(long, default_value_t = 2026)]
    seed: u64,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the database and fill it.
    Seed {
        /// 1: about a million rows.
        #[arg(long, default_value_t = 1.0)]
        scale: f64,
        /// Leave a school alone that was filled by such a call before.
        #[arg(long)]
        once: bool,
    },
    /// Insert, update and delete until SIGTERM or SIGINT.
    Load {
        /// Row changes a second.
        #[arg(long, default_value_t = 1200)]
        rate: u64,
        /// Stop by itself after so long.
        #[arg(long)]
        seconds: Option<u64>,
    },
    /// Run a report: statements of a file, the rows of each into DIR as tab-separated text.
    Report {
        /// The statements.
        file: PathBuf,
        /// Where the results go: 1.tsv, 2.tsv, …
        into: PathBuf,
    },
    /// Write every table into DIR as text, for comparison.
    Dump {
        /// Where the files go: TABLE.parquet.
        into: PathBuf,
    },
    /// Drop the database.
    Drop,
}

#[tokio::main]
async fn main() -> Result<(), Fault> {
    let arguments = Arguments::parse();
    let opts = OptsBuilder::from_opts(Opts::from_url(&arguments.url)?).prefer_socket(false).into();
    match arguments.command {
        Command::Seed { scale, once: false } => fill(&opts, arguments.seed, scale).await,
        Command::Seed { scale, once: true } => fill_once(&opts, arguments.seed, scale).await,
        Command::Load { rate, seconds } => live(&opts, arguments.seed, rate, seconds).await,
        Command::Report { file, into } => report(&opts, &file, &into).await,
        Command::Dump { into } => dump_all(&opts, &into).await,
        Command::Drop => {
            let mut connection = Conn::new(opts).await?;
            connection.query_drop(format!("DROP DATABASE IF EXISTS {DATABASE}")).await?;
            Ok(connection.disconnect().await?)
        }
    }
}

async fn fill(opts: &Opts, seed: u64, scale: f64) -> Result<(), Fault> {
    let started = Instant::now();
    let rows = seed::seed(opts, seed, scale).await?;
    println!("{rows} rows in {} tables, in {:.1} s", TABLES.len(), started.elapsed().as_secs_f64());
    Ok(())
}

/// What says that a school is whole: the comment of a table. One that was left half filled is made anew.
const FILLED: &str = "filled";

async fn fill_once(opts: &Opts, seed: u64, scale: f64) -> Result<(), Fault> {
    let mut connection = Conn::new(opts.clone()).await?;
    let asked = "SELECT table_comment FROM information_schema.tables WHERE table_schema = ? AND table_name = 'renewals'";
    let comment: Option<String> = connection.exec_first(asked, (DATABASE,)).await?;
    if comment.as_deref() == Some(FILLED) {
        println!("the school is there");
    } else {
        fill(opts, seed, scale).await?;
        connection.query_drop(format!("ALTER TABLE {DATABASE}.renewals COMMENT = '{FILLED}'")).await?;
    }
    Ok(connection.disconnect().await?)
}

async fn live(opts: &Opts, seed: u64, rate: u64, seconds: Option<u64>) -> Result<(), Fault> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let stopped = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    let (done, took) = load::load(opts, seed, rate, seconds, stopped).await?;
    println!("{}", summary(&done, took));
    Ok(())
}

fn summary(done: &load::Done, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    format!(
        "{} row changes in {seconds:.1} s, {:.0} a second: {} inserts, {} updates, {} deletes in {} transactions; \
         {} courses merged, {} transactions beaten by a lock",
        done.changes(),
        done.changes() as f64 / seconds,
        done.inserted,
        done.updated,
        done.deleted,
        done.transactions,
        done.merged_courses,
        done.beaten
    )
}

/// The statements of an SQL file that has no semicolon inside one, but maybe in its comments.
pub(crate) fn statements(text: &str) -> Vec<String> {
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
    code.join("\n").split(';').map(str::trim).filter(|statement| !statement.is_empty()).map(str::to_owned).collect()
}

async fn report(opts: &Opts, file: &Path, into: &Path) -> Result<(), Fault> {
    let mut connection = Conn::new(OptsBuilder::from_opts(opts.clone()).db_name(Some(DATABASE))).await?;
    connection.query_drop("SET SESSION time_zone = '+00:00'").await?;
    let mut number = 0;
    for statement in statements(&std::fs::read_to_string(file)?) {
        let rows: Vec<Row> = connection.query(statement).await?;
        let Some(first) = rows.first() else { continue };
        let names: Vec<_> = first.columns_ref().iter().map(|column| column.name_str().into_owned()).collect();
        let mut text = names.join("\t") + "\n";
        for row in rows {
            let cells: Vec<String> = row.unwrap().iter().map(cell).collect();
            writeln!(text, "{}", cells.join("\t"))?;
        }
        number += 1;
        std::fs::write(into.join(format!("{number}.tsv")), text)?;
    }
    Ok(connection.disconnect().await?)
}

/// A cell of the text protocol.
fn cell(value: &Value) -> String {
    match value {
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => other.as_sql(true),
    }
}

async fn dump_all(opts: &Opts, into: &Path) -> Result<(), Fault> {
    let mut connection = Conn::new(opts.clone()).await?;
    for table in TABLES {
        dump::dump(&mut connection, DATABASE, table, &into.join(format!("{table}.parquet"))).await?;
    }
    Ok(connection.disconnect().await?)
}
