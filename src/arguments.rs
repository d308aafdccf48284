//! What may stand on the command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Keeps a lakehouse's tables equal to MySQL.
#[derive(Debug, Parser)]
#[command(name = "binlake", version, about, max_term_width = 110)]
pub(crate) struct Arguments {
    /// How log lines look: `text` for people, `json` for machines.
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub(crate) log: LogFormat,
    /// What is to be done.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What a rebuild is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RebuildFrom {
    /// The server's rows as they are now, and the changes from then on.
    Snapshot,
    /// The change log alone: refused, with the reason for each table.
    Changelog,
}

/// The configuration file.
#[derive(Debug, Args)]
pub(crate) struct ConfigFile {
    /// The YAML file.
    #[arg(short = 'c', long = "config", env = "BINLAKE_CONFIG", default_value = "binlake.yaml")]
    pub(crate) config: PathBuf,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Looks at the configuration and at everything it will touch; changes nothing that lasts.
    Check {
        /// The file.
        #[command(flatten)]
        file: ConfigFile,
        /// Looks at the file alone.
        #[arg(long)]
        offline: bool,
        /// Warnings make it exit 1 too.
        #[arg(long)]
        strict: bool,
        /// For scripts.
        #[arg(long)]
        json: bool,
        /// Prints the settings in force, defaults included, without secrets.
        #[arg(long)]
        print_config: bool,
    },
    /// The daemon.
    Run {
        /// The file.
        #[command(flatten)]
        file: ConfigFile,
        /// Takes the source's position now, works until every table covers it, and ends.
        #[arg(long)]
        until_caught_up: bool,
        /// Goes on with a lake and a change log that are ahead of the metadata store (lost, or restored from an old backup). Only where
        /// no other daemon is alive.
        #[arg(long)]
        take_over: bool,
    },
    /// Phase, progress, positions and lag of every table; works with the daemon up or down.
    Status {
        /// The file.
        #[command(flatten)]
        file: ConfigFile,
        /// For scripts.
        #[arg(long)]
        json: bool,
    },
    /// The Parquet files of the committed state, one path a line.
    Files {
        /// The file.
        #[command(flatten)]
        file: ConfigFile,
        /// `database.table` on the source.
        table: String,
        /// The files of the changelog table.
        #[arg(long)]
        changelog: bool,
        /// The files of a day that was frozen (`daily: true`), as 2026-11-22.
        #[arg(long, conflicts_with = "changelog")]
        day: Option<String>,
        /// For scripts.
        #[arg(long)]
        json: bool,
    },
    /// The handoff ledger: since, each chunk's high, the handoff, every commit.
    Explain {
        /// The file.
        #[command(flatten)]
        file: ConfigFile,
        /// `database.table` on the source.
        table: String,
        /// For scripts.
        #[arg(long)]
        json: bool,
    },
    /// Builds tables anew beside the old state; readers are switched when the new one is exact.
    Rebuild {
        /// Which.
        #[command(flatten)]
        tables: Tables,
        /// What the new state is made from.
        #[arg(long, value_enum, default_value = "snapshot")]
        from: RebuildFrom,
    },
    /// Stops writing tables; their changes go on being captured.
    Pause(Tables),
    /// Goes on with paused or parked tables.
    Resume(Tables),
    /// Prints a configuration file for a server.
    Discover {
        /// `mysql://user:password@host:port`; may hold a literal `${VAR}`.
        url: String,
        /// The name of the source in the printed file.
        #[arg(long, default_value = "mysql")]
        name: String,
    },
}

/// Tables of a request.
#[derive(Debug, Args)]
pub(crate) struct Tables {
    /// The file.
    #[command(flatten)]
    pub(crate) file: ConfigFile,
    /// `database.table` on the source.
    #[arg(required = true)]
    pub(crate) tables: Vec<String>,
    /// For scripts.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Reads the command line; help and version exit 0, a mistake exits 2.
pub(crate) fn parse() -> Result<Arguments, ExitCode> {
    Arguments::try_parse().map_err(|error| {
        let code = if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        match error.print() {
            Ok(()) => code,
            Err(_) => ExitCode::FAILURE,
        }
    })
}
