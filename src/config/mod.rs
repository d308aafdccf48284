//! The configuration: YAML as written becomes checked settings, or all of its errors at once, each with file, line, path and remedy.
//!
//! The way: `tree` (YAML with places, nothing interpreted) → `cursor` (typed reads that note errors) and `substitute` (variables and
//! secret files, put in only after YAML and URLs are taken apart) → `read` (one file per section) → [`Config`]. [`resolve()`] then
//! says which of a server's tables are meant. Nothing here knows of the rooms, and only `main` knows of this.
//!
//! A value whose part is not built yet is refused by name, never ignored.

use std::path::Path;

mod address;
mod cursor;
mod pattern;
mod print;
mod problem;
mod read;
mod resolve;
mod secret;
mod settings;
mod substitute;
mod suggest;
mod tree;
mod units;

#[cfg(test)]
mod tests;

pub use address::Address;
pub use pattern::TablePattern;
pub use problem::{Place, Problem, Problems};
pub use read::store_options;
pub use resolve::{LakeNames, LakeTables, Resolution, ResolvedTable, clashes, entry_of, resolve};
pub use secret::Secret;
pub use settings::{
    Cascades, ChangelogConfig, Check, CommitConfig, Config, Datetime, KafkaConfig, LakeConfig, Layout, LocalConfig,
    MetastoreAddress, Mode, Property, RetentionConfig, SnapshotConfig, SourceConfig, TableEntry, TableOptions, Timestamps,
    TlsConfig, TlsMode, Word, ZeroDates,
};
pub use substitute::{Environment, ProcessEnvironment};

/// Reads and checks a file with the process's environment.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(file: &Path) -> Result<Config, Problems> {
    match std::fs::read_to_string(file) {
        Ok(text) => parse(&text, file, &ProcessEnvironment),
        Err(error) => {
            let remedy = "name the file with -c, or set BINLAKE_CONFIG; `binlake discover URL` prints one";
            Err(Problems(vec![Problem::new(file, &Place::default(), format!("it cannot be read: {error}"), remedy)]))
        }
    }
}

/// Checks a text as if it stood in `file`. Relative paths are relative to that file's directory.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(text: &str, file: &Path, environment: &dyn Environment) -> Result<Config, Problems> {
    let whole = |message: String, remedy: &str| Problems(vec![Problem::new(file, &Place::default(), message, remedy)]);
    let absolute =
        std::path::absolute(file).map_err(|error| whole(format!("its directory is unknown: {error}"), "name a file"))?;
    let directory = absolute.parent().unwrap_or(&absolute);
    let (root, flaws) = tree::parse(text).map_err(|flaw| {
        Problems(vec![Problem::new(file, &flaw.place, flaw.message, "mend this first; what follows was not read")])
    })?;
    let mut reader = cursor::Reader { file, directory, environment, errors: Vec::new(), warnings: Vec::new() };
    for flaw in flaws {
        reader.error(&flaw.place, flaw.message, "keep one of them");
    }
    let config = read::config(&mut reader, &root);
    if let Some(config) = &config {
        reader.errors.extend(resolve::named_clashes(config));
    }
    match config {
        Some(config) if reader.errors.is_empty() => Ok(Config { warnings: problem::in_order(reader.warnings), ..config }),
        None if reader.errors.is_empty() => Err(whole("it could not be read".to_owned(), "report this as a bug")),
        _ => Err(Problems(problem::in_order(reader.errors))),
    }
}

/// Takes the URL of a MySQL server apart (`mysql://[user[:password]@]host[:port]`), with `${…}` substituted. Relative secret files
/// are relative to `directory`.
///
/// # Errors
/// What is wrong with it and what mends it, a line each; never the URL itself.
pub fn parse_address(url: &str, directory: &Path, environment: &dyn Environment) -> Result<Address, String> {
    let substitution = substitute::Substitution { environment, directory };
    address::parse(url, &substitution).map_err(|missing| {
        missing.iter().map(|missing| format!("{}; {}", missing.message, missing.remedy)).collect::<Vec<_>>().join("\n")
    })
}
