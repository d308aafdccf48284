//! What `information_schema` says of one table, as it is, before anything is judged.

use crate::change::{Generated, TableName};
use crate::source::control::{Answer, Control, Denial, identifier, quoted};
use crate::source::{Error, Result};

/// One table as the server describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::source) struct TableFacts {
    /// `BASE TABLE`, `VIEW`, …
    pub table_type: String,
    /// The storage engine; empty where there is none.
    pub engine: String,
    /// The server's estimate; 0 where it has none.
    pub rows: u64,
    /// The server's estimate of the rows' bytes; 0 where it has none.
    pub bytes: u64,
    /// In the table's order.
    pub columns: Vec<ColumnFacts>,
    /// UNIQUE and primary keys.
    pub unique_keys: Vec<IndexFacts>,
    /// Foreign keys by which a change of a parent row changes rows of this table: name and rule.
    pub cascades: Vec<(String, String)>,
}

/// One column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::source) struct ColumnFacts {
    /// As MySQL has it.
    pub name: String,
    /// `COLUMN_TYPE`.
    pub declared: String,
    /// `CHARACTER_SET_NAME`.
    pub charset: Option<String>,
    /// NULL is allowed.
    pub nullable: bool,
    /// Computed or not.
    pub generated: Generated,
    /// `CHARACTER_OCTET_LENGTH`: how wide a key over it is.
    pub octets: Option<u64>,
}

/// One unique key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::source) struct IndexFacts {
    /// `PRIMARY` or its name.
    pub name: String,
    /// The optimizer may use it.
    pub visible: bool,
    /// The column of each part; None for an expression.
    pub columns: Vec<Option<String>>,
    /// A part holds only the beginning of its column.
    pub prefixed: bool,
    /// `INDEX_TYPE` is HASH.
    pub hashed: bool,
}

/// Reads one table; None where there is none of this name that we may see.
pub(in crate::source) async fn read(control: &mut Control, table: &TableName) -> Result<Option<TableFacts>> {
    let place =
        |schema: &str, name: &str| format!("{schema} = {} AND {name} = {}", quoted(&table.database), quoted(&table.table));
    let rows = control
        .rows(&format!(
            "SELECT table_type AS t, engine AS e, table_rows AS r, data_length AS b FROM information_schema.tables WHERE {}",
            place("table_schema", "table_name")
        ))
        .await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let mut facts = TableFacts {
        table_type: cell(control, row, "t")?,
        engine: row.text("e").unwrap_or_default().to_owned(),
        // NULL for views and for tables without statistics: an estimate, not a value.
        rows: row.number("r").unwrap_or(0),
        bytes: row.number("b").unwrap_or(0),
        ..TableFacts::default()
    };
    let columns = control
        .rows(&format!(
            "SELECT column_name AS n, column_type AS t, character_set_name AS c, is_nullable AS u, extra AS x, \
             character_octet_length AS o, ordinal_position AS p FROM information_schema.columns WHERE {} ORDER BY ordinal_position",
            place("table_schema", "table_name")
        ))
        .await?;
    for row in &columns {
        facts.columns.push(column(control, row)?);
    }
    facts.unique_keys = unique_keys(control, &place("table_schema", "table_name")).await?;
    facts.cascades = cascades(control, &place("constraint_schema", "table_name")).await?;
    Ok(Some(facts))
}

/// Whether all columns may be read: with rights on some of them only, `information_schema` shows only these, and every
/// ordinal would be wrong.
pub(in crate::source) async fn readable(control: &mut Control, table: &TableName) -> Result<std::result::Result<(), Denial>> {
    let name = format!("{}.{}", identifier(&table.database), identifier(&table.table));
    Ok(control.probe(&format!("SELECT * FROM {name} LIMIT 0")).await?.map(drop))
}

fn cell(control: &Control, row: &Answer, name: &str) -> Result<String> {
    row.text(name).map(str::to_owned).ok_or_else(|| Error::Setting {
        name: control.settings().name.clone(),
        reason: format!("information_schema answers without {name}"),
        remedy: "give the url of a MySQL server, version 8.0, 8.4 or 9, or of a MariaDB server, version 10.11 or 11.8".to_owned(),
    })
}

fn column(control: &Control, row: &Answer) -> Result<ColumnFacts> {
    let extra = cell(control, row, "x")?.to_ascii_uppercase();
    let generated = if extra.contains("VIRTUAL GENERATED") {
        Generated::Virtual
    } else if extra.contains("STORED GENERATED") {
        Generated::Stored
    } else {
        Generated::No
    };
    Ok(ColumnFacts {
        name: cell(control, row, "n")?,
        declared: cell(control, row, "t")?,
        charset: row.text("c").map(str::to_owned),
        nullable: cell(control, row, "u")? != "NO",
        generated,
        octets: row.number("o"),
    })
}

async fn unique_keys(control: &mut Control, place: &str) -> Result<Vec<IndexFacts>> {
    // SELECT *: EXPRESSION and IS_VISIBLE came with 8.0. A part without a column is an expression there.
    let sql =
        format!("SELECT * FROM information_schema.statistics WHERE {place} AND non_unique = 0 ORDER BY index_name, seq_in_index");
    let mut keys: Vec<IndexFacts> = Vec::new();
    for row in control.rows(&sql).await? {
        let name = cell(control, &row, "INDEX_NAME")?;
        if keys.last().is_none_or(|key| key.name != name) {
            keys.push(IndexFacts { name, visible: row.text("IS_VISIBLE") != Some("NO"), ..IndexFacts::default() });
        }
        if let Some(key) = keys.last_mut() {
            key.columns.push(row.text("COLUMN_NAME").map(str::to_owned));
            key.prefixed |= row.text("SUB_PART").is_some();
            key.hashed |= row.text("INDEX_TYPE") == Some("HASH");
        }
    }
    Ok(keys)
}

async fn cascades(control: &mut Control, place: &str) -> Result<Vec<(String, String)>> {
    let found = all_cascades(control, place).await?;
    Ok(found.into_iter().map(|(_, name, rule)| (name, rule)).collect())
}

/// The foreign keys that change a child table by themselves: table, name, rule.
pub(in crate::source) async fn all_cascades(control: &mut Control, place: &str) -> Result<Vec<(TableName, String, String)>> {
    let sql = format!(
        "SELECT constraint_schema AS s, table_name AS t, constraint_name AS n, update_rule AS u, delete_rule AS d \
         FROM information_schema.referential_constraints WHERE {place} ORDER BY constraint_schema, table_name, constraint_name"
    );
    let mut cascades = Vec::new();
    for row in control.rows(&sql).await? {
        let rules = [("UPDATE", cell(control, &row, "u")?), ("DELETE", cell(control, &row, "d")?)];
        let active: Vec<String> = rules
            .iter()
            .filter(|(_, rule)| !matches!(rule.as_str(), "NO ACTION" | "RESTRICT"))
            .map(|(event, rule)| format!("ON {event} {rule}"))
            .collect();
        if !active.is_empty() {
            let table = TableName::new(cell(control, &row, "s")?, cell(control, &row, "t")?);
            cascades.push((table, cell(control, &row, "n")?, active.join(" ")));
        }
    }
    Ok(cascades)
}
