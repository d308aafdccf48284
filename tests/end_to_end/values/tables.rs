//! Tables drawn at random: columns, keys and what else a table may have.

use rand::RngExt;
use rand::rngs::StdRng;

use super::columns::{Dialect, Drawn, draw};

/// One of several.
pub(super) fn pick<T: Copy>(dice: &mut StdRng, choices: &[T]) -> T {
    choices[dice.random_range(0..choices.len())]
}

/// A column that statements write.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) drawn: Drawn,
    nullable: bool,
    pub(super) key: bool,
}

impl Column {
    /// A value as an expression.
    pub(super) fn value(&self, dice: &mut StdRng) -> String {
        match self.nullable && dice.random_range(0..6) == 0 {
            true => "NULL".to_owned(),
            false => self.drawn.value(dice),
        }
    }
}

/// A table.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    /// The statement that makes it.
    pub(super) create: String,
    /// A statement for when it has rows already: columns that old rows do not have in their bytes.
    pub(super) alter: Option<String>,
}

impl Table {
    /// A table of its seed.
    pub(super) fn draw(dice: &mut StdRng, name: String, dialect: Dialect) -> Self {
        let mut columns: Vec<Column> = Vec::new();
        let keys = if dice.random_range(0..3) == 0 { dice.random_range(1..3) } else { 0 };
        let mut definitions: Vec<String> = Vec::new();
        for number in 0..keys + dice.random_range(1..10) {
            let key = number < keys;
            let mut drawn = draw(dice, dialect);
            while key && !drawn.can_be_key() {
                drawn = draw(dice, dialect);
            }
            let nullable = !key && dice.random_range(0..5) > 0;
            let name = if dice.random_range(0..9) == 0 { format!("C o`{number}") } else { format!("c{number}") };
            let mut definition = format!("{} {}{}", quoted(&name), drawn.declared, if nullable { " NULL" } else { " NOT NULL" });
            // MariaDB wants a default for one that is not nullable.
            if !key && dice.random_range(0..12) == 0 && (nullable || dialect == Dialect::Mysql) {
                definition.push_str(" INVISIBLE");
            }
            definitions.push(definition);
            columns.push(Column { name, drawn, nullable, key });
        }
        let computed = computed(dice, &columns, dialect);
        definitions.extend(computed);
        let at = dice.random_range(0..=definitions.len());
        let options = key_and_options(dice, &columns, keys, (&mut definitions, at), dialect);
        let create = format!("CREATE TABLE {name} ({}) {options}", definitions.join(", "));
        // A partitioned table or one of another engine adds columns by copying, which is allowed as well.
        let alter = (dice.random_range(0..4) == 0).then(|| {
            let place = pick(dice, &["", " FIRST"]);
            format!("ALTER TABLE {name} ADD COLUMN later VARCHAR(20) NOT NULL DEFAULT 'añadido'{place}, ADD COLUMN later2 DECIMAL(9,3) NULL")
        });
        Self { name, columns, create, alter }
    }

    pub(super) fn names(&self) -> String {
        self.columns.iter().map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", ")
    }
}

/// Backticks around a name.
pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Columns that no statement writes: generated ones, and defaults that are expressions.
fn computed(dice: &mut StdRng, columns: &[Column], dialect: Dialect) -> Vec<String> {
    let mut definitions = Vec::new();
    let mut add = |dice: &mut StdRng, kind: &str, expression: String| {
        let stored = pick(dice, &["VIRTUAL", "STORED"]);
        definitions.push(format!("g{} {kind} AS ({expression}) {stored}", definitions.len()));
    };
    for column in columns.iter().filter(|column| !column.key) {
        // Newer MariaDB leaves generated ones out of row images.
        if dice.random_range(0..4) > 0 || dialect != Dialect::Mysql {
            continue;
        }
        let name = quoted(&column.name);
        if column.drawn.is_integer() {
            add(dice, "DECIMAL(30,0)", format!("{name} DIV 2"));
        } else if column.drawn.is_text() && !column.drawn.declared.starts_with("CHAR") {
            // With PAD_CHAR_TO_FULL_LENGTH in its session, a writer computes others of a CHAR than readers do.
            add(dice, "BIGINT", format!("CHAR_LENGTH({name})"));
            add(dice, "LONGTEXT CHARACTER SET utf8mb4", format!("CONCAT(CONVERT({name} USING utf8mb4), 'ü')"));
        } else if column.drawn.is_document() {
            add(dice, "JSON", format!("JSON_EXTRACT({name}, '$.a')"));
            add(dice, "LONGTEXT", format!("{name}->>'$.a'"));
        }
    }
    if dice.random_range(0..4) == 0 {
        definitions.push("made CHAR(36) NOT NULL DEFAULT (UUID())".to_owned());
        definitions.push("noted DATETIME(6) DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)".to_owned());
    }
    definitions
}

/// Adds the key to the definitions, and answers what follows them.
fn key_and_options(
    dice: &mut StdRng,
    columns: &[Column],
    keys: usize,
    (definitions, at): (&mut Vec<String>, usize),
    dialect: Dialect,
) -> String {
    let engine = match dice.random_range(0..20) {
        0 => "ENGINE=MyISAM",
        1 => "ROW_FORMAT=COMPRESSED",
        2 => "ROW_FORMAT=REDUNDANT",
        3 => "ROW_FORMAT=COMPACT",
        _ => "",
    };
    if keys > 0 {
        let names: Vec<String> = columns.iter().take(keys).map(|column| quoted(&column.name)).collect();
        // MariaDB makes a long UNIQUE key one by a hash, which is no key of ours.
        let kind = match dialect {
            Dialect::Mysql => pick(dice, &["PRIMARY KEY", "PRIMARY KEY", "UNIQUE KEY only_one"]),
            _ => "PRIMARY KEY",
        };
        definitions.push(format!("{kind} ({})", names.join(", ")));
        return engine.to_owned();
    }
    match dice.random_range(0..10) {
        // The server makes a key of its own, which it hides.
        0 if dialect == Dialect::Mysql => return if engine.contains("MyISAM") { String::new() } else { engine.to_owned() },
        1 => definitions.insert(at, "id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY".to_owned()),
        _ => definitions.insert(at, "id INT NOT NULL AUTO_INCREMENT PRIMARY KEY".to_owned()),
    }
    match dice.random_range(0..12) {
        0 => "PARTITION BY HASH(id) PARTITIONS 3".to_owned(),
        _ => engine.to_owned(),
    }
}
