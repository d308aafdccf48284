//! Which of a server's tables are meant, and under which names they come into the lake. Pure: the caller asks the server.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use super::problem::{Place, Problem, in_order};
use super::settings::{ChangelogConfig, Config, LakeConfig, Mode, SourceConfig, TableEntry, TableOptions};
use super::suggest::nearest;

/// The longest name that a topic may have.
pub(super) const TOPIC_LENGTH: usize = 249;

/// Where a table goes in the lake. At least one of the two tables is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LakeTables {
    /// The Hive database.
    pub database: String,
    /// The table's own name in the lake.
    pub table: String,
    /// The mirror, unless `mode: changelog`: always [`LakeTables::table`].
    pub mirror: Option<String>,
    /// The changelog table: `<table>`, or `<table>_changelog` beside a mirror.
    pub changelog: Option<String>,
    /// The table of its days (`daily: true`): `<table>_daily`.
    pub daily: Option<String>,
}

/// A table of the server that an entry takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedTable {
    /// The source's name.
    pub source: String,
    /// The database on the server.
    pub database: String,
    /// The table on the server.
    pub table: String,
    /// Where the entry stands in the file.
    pub place: Place,
    /// The entry names this very table; else a pattern brought it. What cannot be captured is an error if it is named, and parks
    /// if it is not.
    pub named: bool,
    /// What the entry says.
    pub options: TableOptions,
    /// Where it goes.
    pub lake: LakeTables,
    /// Its topic in the change log.
    pub topic: String,
}

/// What became of a source's entries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolution {
    /// The tables: by entry, in the file's order; within an entry in the server's.
    pub tables: Vec<ResolvedTable>,
    /// What cannot be: a named table that is not there, two tables with one name in the lake.
    pub errors: Vec<Problem>,
    /// A pattern that takes nothing (yet).
    pub warnings: Vec<Problem>,
}

/// The entry that takes a table, and its place among the source's: the first that matches, unless the table is excluded.
pub fn entry_of<'a>(source: &'a SourceConfig, database: &str, table: &str) -> Option<(usize, &'a TableEntry)> {
    let first = source.tables.iter().enumerate().find(|(_, entry)| entry.pattern.matches(database, table));
    let excluded = source.exclude.iter().any(|pattern| pattern.matches(database, table));
    first.filter(|(_, entry)| !excluded || entry.pattern.exact().is_some())
}

/// Resolves one source's entries against its server's tables, given as (database, table). Names that clash with another source's
/// are found by [`LakeNames`].
pub fn resolve(config: &Config, source: &SourceConfig, server: &[(String, String)]) -> Resolution {
    let mut taken: Vec<Vec<ResolvedTable>> = vec![Vec::new(); source.tables.len()];
    for (database, table) in server {
        let Some((index, entry)) = entry_of(source, database, table) else { continue };
        if let Some(of_entry) = taken.get_mut(index) {
            of_entry.push(ResolvedTable {
                source: source.name.clone(),
                database: database.clone(),
                table: table.clone(),
                place: entry.place.clone(),
                named: entry.pattern.exact().is_some(),
                options: entry.options.clone(),
                lake: lake_tables(&config.lake, &source.name, database, table, &entry.options),
                topic: topic(&config.changelog, &source.name, database, table),
            });
        }
    }
    let mut resolution = Resolution::default();
    for (entry, tables) in source.tables.iter().zip(&taken) {
        if !tables.is_empty() {
            continue;
        }
        let place = entry.place.key("table");
        match entry.pattern.exact() {
            Some((database, table)) => resolution.errors.push(not_there(config, source, &place, (database, table), server)),
            None => {
                let message = format!("no table of {} matches {}", source.name, entry.pattern);
                let remedy = "none is needed if one will be created: it is taken up at the next start";
                resolution.warnings.push(Problem::new(&config.file, &place, message, remedy));
            }
        }
    }
    resolution.tables = taken.into_iter().flatten().collect();
    let unfit = resolution.tables.iter().filter_map(|table| unfit(config, table));
    resolution.errors.extend(unfit);
    resolution.errors.extend(clashes(config, &resolution.tables.iter().collect::<Vec<_>>()));
    resolution.errors = in_order(resolution.errors);
    resolution
}

/// Tables that would have one name in the lake, or one topic, of all the given ones (of one source or of several).
pub fn clashes(config: &Config, tables: &[&ResolvedTable]) -> Vec<Problem> {
    let mut names: BTreeMap<(&str, &str), &ResolvedTable> = BTreeMap::new();
    let mut topics: BTreeMap<&str, &ResolvedTable> = BTreeMap::new();
    let mut problems = Vec::new();
    for table in tables {
        if let Some(first) = topics.insert(&table.topic, table) {
            let message = format!("{} and {} would both have the topic {}", of_source(first), of_source(table), table.topic);
            let remedy = "exclude one of the two, or tell them apart by {source} and {database} in changelog.topic";
            problems.push(Problem::new(&config.file, &table.place, message, remedy));
        }
        for name in [&table.lake.mirror, &table.lake.changelog, &table.lake.daily].into_iter().flatten() {
            let Some(first) = names.insert((&table.lake.database, name), table) else { continue };
            let message =
                format!("{} and {} would both be {}.{name} in the lake", of_source(first), of_source(table), table.lake.database);
            let remedy = "exclude one of the two, or tell them apart by {source} and {database} in lake.database";
            problems.push(Problem::new(&config.file, &table.place, message, remedy));
        }
    }
    problems
}

/// The names in the lake that the sources of one daemon have taken so far. Each source is resolved when its server answers, so the
/// clash of two sources shows at the second one: that one is refused, and the first goes on.
#[derive(Debug, Default)]
pub struct LakeNames(Mutex<BTreeMap<String, Vec<ResolvedTable>>>);

impl LakeNames {
    /// Takes the names of a source's tables, in place of those it had. With an error it has none.
    pub fn claim(&self, config: &Config, source: &str, tables: &[ResolvedTable]) -> Vec<Problem> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.remove(source);
        let problems = clashes(config, &taken.values().flatten().chain(tables).collect::<Vec<_>>());
        if problems.is_empty() {
            taken.insert(source.to_owned(), tables.to_vec());
        }
        problems
    }
}

/// The clashes that the file alone shows: among the tables that it names.
pub(super) fn named_clashes(config: &Config) -> Vec<Problem> {
    let mut named = Vec::new();
    for source in &config.sources {
        let mut seen: HashMap<(&str, &str), ()> = HashMap::new();
        for entry in &source.tables {
            let Some((database, table)) = entry.pattern.exact() else { continue };
            // A table that is listed twice is reported as that.
            if seen.insert((database, table), ()).is_some() {
                continue;
            }
            named.push(ResolvedTable {
                source: source.name.clone(),
                database: database.to_owned(),
                table: table.to_owned(),
                place: entry.place.clone(),
                named: true,
                options: entry.options.clone(),
                lake: lake_tables(&config.lake, &source.name, database, table, &entry.options),
                topic: topic(&config.changelog, &source.name, database, table),
            });
        }
    }
    clashes(config, &named.iter().collect::<Vec<_>>())
}

fn of_source(table: &ResolvedTable) -> String {
    format!("{}.{} of source {}", table.database, table.table, table.source)
}

fn lake_tables(lake: &LakeConfig, source: &str, database: &str, table: &str, options: &TableOptions) -> LakeTables {
    let table = table.to_lowercase();
    let (mirror, changelog) = match options.mode {
        Mode::Mirror => (Some(table.clone()), None),
        Mode::Changelog => (None, Some(table.clone())),
        Mode::Both => (Some(table.clone()), Some(format!("{table}_changelog"))),
    };
    let name = filled(&lake.database, &[("{source}", source), ("{database}", database)]);
    let daily = mirror.as_ref().filter(|_| options.daily).map(|mirror| format!("{mirror}_daily"));
    LakeTables { database: name.to_lowercase(), table, mirror, changelog, daily }
}

/// The topic of a table. What a topic's name may not hold becomes `_`, as Debezium has it.
fn topic(changelog: &ChangelogConfig, source: &str, database: &str, table: &str) -> String {
    let ChangelogConfig::Kafka(kafka) = changelog else { return format!("{source}.{database}.{table}") };
    let name = filled(&kafka.topic, &[("{source}", source), ("{database}", database), ("{table}", table)]);
    name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' }).collect()
}

/// A template with its names filled in; in one pass, so that a database called `{source}` stays one.
fn filled(template: &str, values: &[(&str, &str)]) -> String {
    let (mut name, mut rest) = (String::new(), template);
    while let Some(at) = rest.find('{') {
        name.push_str(&rest[..at]);
        rest = &rest[at..];
        let (placeholder, value) = values.iter().find(|(placeholder, _)| rest.starts_with(placeholder)).unwrap_or(&("{", "{"));
        name.push_str(value);
        rest = &rest[placeholder.len()..];
    }
    name.push_str(rest);
    name
}

/// A name that would lead out of its folder, or into one of binlake's own.
fn unfit(config: &Config, table: &ResolvedTable) -> Option<Problem> {
    let bad =
        |name: &str| name.is_empty() || name.starts_with('.') || name.chars().any(|c| matches!(c, '/' | '\\') || c.is_control());
    let (database, name) = (&table.lake.database, &table.lake.table);
    if bad(database) || bad(name) || database.starts_with('_') {
        let message = format!("{} cannot be a folder of the lake as {database:?}.{name:?}", of_source(table));
        return Some(Problem::new(&config.file, &table.place, message, "exclude it, or choose another lake.database"));
    }
    let topic = &table.topic;
    let on_kafka = matches!(config.changelog, ChangelogConfig::Kafka(_));
    (on_kafka && (topic.len() > TOPIC_LENGTH || matches!(topic.as_str(), "." | ".."))).then(|| {
        let message = format!("{} cannot have a topic called {topic:?}", of_source(table));
        Problem::new(&config.file, &table.place, message, "exclude it, or choose another changelog.topic")
    })
}

fn not_there(
    config: &Config,
    source: &SourceConfig,
    place: &Place,
    (database, table): (&str, &str),
    server: &[(String, String)],
) -> Problem {
    let names: Vec<String> = server.iter().map(|(database, table)| format!("{database}.{table}")).collect();
    let wanted = format!("{database}.{table}");
    let other_database =
        || names.iter().map(String::as_str).find(|name| name.split_once('.').is_some_and(|(_, name)| name == table));
    let near = nearest(&wanted, names.iter().map(String::as_str)).or_else(other_database);
    let remedy = match near {
        Some(near) => format!("did you mean {near}?"),
        None if server.is_empty() => "the user sees no table at all: GRANT SELECT on it".to_owned(),
        None if !server.iter().any(|(name, _)| name == database) => {
            format!("the user sees no table in {database}: GRANT SELECT on it, or create it")
        }
        None => "create it, or remove the entry".to_owned(),
    };
    Problem::new(&config.file, place, format!("{} has no table {wanted}", source.name), remedy)
}
