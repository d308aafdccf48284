//! A lake table in Hive's words: types, columns, partition columns, locations, parameters.

use std::collections::BTreeMap;

use arrow::datatypes::DataType;
use object_store::path::Path;

use super::{SCHEMA, SEQ, TABLE, Version, refused};
use crate::change::Cut;
use crate::lake::columns::Shape;
use crate::lake::datafile::FileEntry;
use crate::lake::log::state::State;
use crate::lake::log::{table_folder, table_object};
use crate::lake::metastore::{EXTERNAL, EXTERNAL_TABLE, Format, HiveColumn, PURGE, Table};
use crate::lake::store::LakeStore;
use crate::lake::table::days;
use crate::lake::{LakeName, Layout, Result, Settings, TableKind, TableSpec};

/// The number that tells directories apart.
pub(super) const PART: &str = "_part";
/// The day of a changelog's rows, or of those of a mirror that is cut by days.
pub(super) const DAY: &str = "dt";
/// The directory of a table that shows nothing by itself: without anything that engines look at. Hadoop takes a directory whose own name is
/// hidden for one that is not there, and Spark then fails by its Hive reader.
pub(super) const EMPTY: &str = "empty";
/// The directory of partitions that show nothing. It is not the table's: Hive 4 takes a partition at its table's own place for one whose place
/// nobody has said, looks for `dt=…/_part=…` there, and fails.
pub(super) const SPARE: &str = "spare";
/// Statistics of somebody's, wrong with the next commit: with them an engine might answer without reading.
const STALE: [&str; 2] = ["COLUMN_STATS_ACCURATE", "spark.sql.statistics."];
/// What a reader finds in Hive's comment column at most.
const COMMENT_MAX: usize = 256;

/// What the metastore is to show.
#[derive(Debug)]
pub(super) struct Wanted {
    /// As the lake has it.
    pub(super) lake_name: LakeName,
    /// As Hive has it.
    pub(super) name: LakeName,
    pub(super) version: Version,
    pub(super) columns: Vec<HiveColumn>,
    pub(super) partitioned_by: Vec<HiveColumn>,
    /// The table's folder.
    pub(super) folder: String,
    /// A directory without files, for the table.
    pub(super) empty: String,
    /// One for partitions.
    pub(super) spare: String,
    pub(super) directories: Vec<Directory>,
    /// What we say of the table.
    pub(super) parameters: BTreeMap<String, String>,
}

/// A directory with one live file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directory {
    /// The values of the partition columns before `_part`.
    pub(super) group: Vec<String>,
    pub(super) location: String,
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

/// Hive keeps names in lower case.
pub(super) fn hive_name(name: &LakeName) -> LakeName {
    LakeName { database: name.database.to_lowercase(), table: name.table.to_lowercase() }
}

/// An object of the lake as Hadoop names it.
pub(in crate::lake) fn hive_location(store: &LakeStore, path: &Path) -> String {
    let location = store.location(path);
    match location.strip_prefix("s3://") {
        Some(rest) => format!("s3a://{rest}"),
        None if location.starts_with('/') => format!("file://{location}"),
        None => location,
    }
}

/// One form for the ways to write a location: `file:/a`, `file:///a` and `/a` are the same.
pub(crate) fn canonical(location: &str) -> String {
    let location = location.trim_end_matches('/');
    let path = location.strip_prefix("file:").or_else(|| location.starts_with('/').then_some(location));
    match path {
        Some(path) => format!("file:/{}", path.trim_start_matches('/')),
        None => location.to_owned(),
    }
}

/// The one table of types: what Hive calls that which a file holds.
fn hive_type(data_type: &DataType) -> Option<String> {
    Some(match data_type {
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 => "tinyint".to_owned(),
        DataType::Int16 => "smallint".to_owned(),
        DataType::Int32 => "int".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::Float32 => "float".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::Utf8 => "string".to_owned(),
        DataType::Binary => "binary".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Timestamp(..) => "timestamp".to_owned(),
        _ => return None,
    })
}

pub(super) fn column(name: &str, data_type: &str) -> HiveColumn {
    HiveColumn { name: name.to_owned(), data_type: data_type.to_owned(), comment: None }
}

impl Wanted {
    pub(super) fn new(store: &LakeStore, settings: &Settings, spec: &TableSpec, state: &State) -> Result<Self> {
        let single = spec.kind == TableKind::Mirror && spec.layout == Layout::Single;
        let partitioned_by = match (spec.kind, single) {
            (_, true) => Vec::new(),
            (TableKind::Mirror, false) if spec.partition_by.is_none() => vec![column(PART, "int")],
            (_, false) => vec![column(DAY, "string"), column(PART, "int")],
        };
        let columns = columns(&Shape::new(spec, settings)?, spec, &partitioned_by)?;
        let files = state.files();
        let folder = table_folder(&spec.name);
        let wanted = Self {
            lake_name: spec.name.clone(),
            name: hive_name(&spec.name),
            version: Version::of(state),
            columns,
            partitioned_by,
            empty: hive_location(store, &folder.clone().join(EMPTY)),
            spare: hive_location(store, &folder.clone().join(SPARE)),
            folder: hive_location(store, &folder),
            directories: files.iter().map(|file| directory(store, spec, file)).collect::<Result<_>>()?,
            parameters: parameters(spec, state, &hive_location(store, &folder)),
        };
        let mut seen = std::collections::BTreeSet::new();
        if (single && files.len() > 1) || !wanted.directories.iter().all(|directory| seen.insert(&directory.location)) {
            let reason = "its files were written by an earlier version and share directories";
            return Err(refused(&spec.name, reason, format!("run `binlake rebuild {}`", spec.schema.name)));
        }
        Ok(wanted)
    }

    /// The group that all partitions of a mirror without days are in, also while it has none.
    pub(super) fn only_group(&self) -> Option<&[String]> {
        (self.partitioned_by.len() == 1).then_some(&[])
    }

    /// Where a table with one location lies.
    pub(super) fn location(&self) -> String {
        match (self.partitioned_by.is_empty(), self.directories.first()) {
            (true, Some(only)) => only.location.clone(),
            _ => self.empty.clone(),
        }
    }

    /// A new table under `name`.
    pub(super) fn table(&self, name: &LakeName, now_ms: u64) -> Table {
        let shape = (self.columns.clone(), self.partitioned_by.clone());
        our_table(name, shape, self.location(), self.parameters.clone(), now_ms)
    }

    /// The table that is there as it is to be. What others said of it stays, but for statistics.
    pub(super) fn applied_to(&self, found: &Table) -> Table {
        let mut table = Table { columns: arranged(&found.columns, &self.columns), location: self.location(), ..found.clone() };
        table.parameters.retain(|key, _| !STALE.iter().any(|stale| key.starts_with(stale)) && !key.starts_with("binlake."));
        table.parameters.extend(self.parameters.clone());
        table.parameters.insert(SCHEMA.to_owned(), fingerprint(&table));
        table
    }

    /// Refuses a table that is not ours, or no longer as we left it.
    pub(super) fn check_ours(&self, found: &Table) -> Result<()> {
        check_ours(found, &self.folder).map_err(|(reason, remedy)| refused(&self.lake_name, reason, remedy))
    }
}

/// A new external table with these columns, those that it is partitioned by, and what we say of it.
pub(super) fn our_table(
    name: &LakeName,
    (columns, partitioned_by): (Vec<HiveColumn>, Vec<HiveColumn>),
    location: String,
    parameters: BTreeMap<String, String>,
    now_ms: u64,
) -> Table {
    let mut table = Table {
        name: name.clone(),
        kind: EXTERNAL_TABLE.to_owned(),
        columns,
        partitioned_by,
        location,
        format: Format::parquet(),
        owner: Some("binlake".to_owned()),
        created: i32::try_from(now_ms / 1000).unwrap_or_default(),
        parameters,
    };
    table.parameters.insert(SCHEMA.to_owned(), fingerprint(&table));
    table
}

/// What is said of every table of ours: whose it is.
pub(super) fn ours(spec: &TableSpec, folder: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (EXTERNAL.to_owned(), "TRUE".to_owned()),
        (TABLE.to_owned(), folder.to_owned()),
        ("binlake.source".to_owned(), spec.source.clone()),
        ("binlake.source_table".to_owned(), spec.schema.name.to_string()),
    ])
}

/// A place in a source's history, as parameters say it.
pub(super) fn place(position: Cut, file_name: &str) -> (String, String) {
    ("binlake.position".to_owned(), format!("{}:{file_name}:{}", position.0.epoch, position.0.offset))
}

/// Whether a table shows the lake table in `folder`, as we left it; else why not, and what helps.
pub(super) fn check_ours(found: &Table, folder: &str) -> std::result::Result<(), (String, String)> {
    let said = |key: &str| found.parameters.get(key).map(String::as_str);
    let is_true = |key: &str| said(key).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let name = &found.name;
    let reason = match said(TABLE) {
        None => format!("the metastore has a table {name} that binlake did not make"),
        Some(other) if canonical(other) != canonical(folder) => {
            format!("the metastore's table {name} shows another lake table, {other}")
        }
        Some(_) if found.kind != EXTERNAL_TABLE || !is_true(EXTERNAL) || is_true(PURGE) => {
            format!("somebody made {name} a table whose files go with it ({EXTERNAL}, {PURGE})")
        }
        Some(_) if said(SCHEMA) != Some(fingerprint(found).as_str()) => {
            format!("somebody changed the columns or the format of {name}")
        }
        Some(_) if !lies_below(&found.location, folder) => format!("somebody let {name} show {}", found.location),
        Some(_) => return Ok(()),
    };
    Err((reason, format!("drop or rename the table {name} in the metastore (its files stay): it is made anew by itself")))
}

/// Whether a location lies below another.
pub(super) fn lies_below(location: &str, above: &str) -> bool {
    canonical(location).strip_prefix(&canonical(above)).is_some_and(|rest| rest.starts_with('/'))
}

/// The columns of a mirror's days.
pub(in crate::lake) fn day_columns(shape: &Shape, spec: &TableSpec) -> Result<Vec<HiveColumn>> {
    columns(shape, spec, &[column(DAY, "string")])
}

fn columns(shape: &Shape, spec: &TableSpec, partitioned_by: &[HiveColumn]) -> Result<Vec<HiveColumn>> {
    let mut columns = Vec::new();
    for field in shape.arrow_schema().fields() {
        let taken = partitioned_by.iter().any(|partition| partition.name == *field.name());
        if taken {
            let reason = format!("it has a column {}, which is what the published table is partitioned by", field.name());
            return Err(refused(
                &spec.name,
                reason,
                "leave it out with `columns: {exclude: […]}`, or use `layout: single` and no `daily`",
            ));
        }
        let data_type = hive_type(field.data_type()).ok_or_else(|| {
            refused(&spec.name, format!("Hive has no type for {}", field.data_type()), "report this with the log")
        })?;
        columns.push(HiveColumn { name: field.name().clone(), data_type, comment: None });
    }
    Ok(columns)
}

fn directory(store: &LakeStore, spec: &TableSpec, file: &FileEntry) -> Result<Directory> {
    let damaged = || refused(&spec.name, format!("{} lies in no directory", file.path), "run `binlake rebuild` for it");
    let (directory, _) = file.path.rsplit_once('/').ok_or_else(damaged)?;
    let group = match spec.kind {
        TableKind::Mirror if spec.partition_by.is_none() => Vec::new(),
        _ => vec![days::of_path(&file.path).ok_or_else(damaged)?.to_owned()],
    };
    let location = hive_location(store, &table_object(&spec.name, directory));
    Ok(Directory { group, location, rows: file.rows, bytes: file.bytes })
}

fn parameters(spec: &TableSpec, state: &State, folder: &str) -> BTreeMap<String, String> {
    let committed = state.committed();
    let mut parameters = ours(spec, folder);
    parameters.extend([
        (SEQ.to_owned(), Version::of(state).to_string()),
        ("binlake.committed_ms".to_owned(), committed.committed_ms.to_string()),
        ("numRows".to_owned(), committed.rows.to_string()),
        ("totalSize".to_owned(), committed.bytes.to_string()),
        ("numFiles".to_owned(), committed.files.to_string()),
    ]);
    if let Some(point) = &committed.point {
        parameters.extend([place(point.position, &point.file_name)]);
        parameters.insert("binlake.source_time_us".to_owned(), point.source_time_us.to_string());
        parameters.extend(point.gtid.iter().map(|gtid| ("binlake.gtid".to_owned(), gtid.clone())));
    }
    parameters
}

/// The columns in the order that a metastore accepts: those that are there keep their place, new ones come at the end.
fn arranged(found: &[HiveColumn], wanted: &[HiveColumn]) -> Vec<HiveColumn> {
    let mut columns: Vec<HiveColumn> = Vec::with_capacity(wanted.len());
    for old in found {
        if let Some(new) = wanted.iter().find(|new| new.name == old.name) {
            let comment = old.comment.as_ref().map(|comment| comment.chars().take(COMMENT_MAX).collect());
            columns.push(HiveColumn { comment, ..new.clone() });
        }
    }
    columns.extend(wanted.iter().filter(|new| !found.iter().any(|old| old.name == new.name)).cloned());
    columns
}

/// Whether old files can be read by the new columns while partitions still show them.
pub(super) fn can_follow(found: &[HiveColumn], wanted: &[HiveColumn]) -> bool {
    const WIDENING: [&[&str]; 2] = [&["tinyint", "smallint", "int", "bigint"], &["float", "double"]];
    let wider = |old: &str, new: &str| {
        let place = |family: &&[&str], data_type: &str| family.iter().position(|known| *known == data_type);
        WIDENING.iter().any(|family| place(family, old).zip(place(family, new)).is_some_and(|(old, new)| old <= new))
    };
    found.iter().all(|old| {
        let new = wanted.iter().find(|new| new.name == old.name);
        new.is_none_or(|new| new.data_type == old.data_type || wider(&old.data_type, &new.data_type))
    })
}

/// What somebody would have changed who changed how the files are read; comments are free.
pub(super) fn fingerprint(table: &Table) -> String {
    let of = |columns: &[HiveColumn]| {
        columns.iter().map(|column| format!("{} {},", column.name, column.data_type)).collect::<String>()
    };
    let format = &table.format;
    let text =
        format!("{}|{}|{}|{}|{}", of(&table.columns), of(&table.partitioned_by), format.input, format.output, format.serde);
    // FNV-1a: it has to be the same in every version of this program.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}
