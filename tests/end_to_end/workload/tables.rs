//! The tables that the writers change: every kind of key, and a table of every type.

use std::sync::LazyLock;

use rand::RngExt;
use rand::rngs::StdRng;

use super::types::{TYPES, TYPES_COLUMNS, types};

/// A table and how its rows are made.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) create: &'static str,
    /// Key columns; for a table without a key, those that its rows are found by.
    pub(super) keys: &'static [&'static str],
    pub(super) values: &'static [&'static str],
    pub(super) key: fn(&mut StdRng) -> Vec<String>,
    pub(super) value: fn(&mut StdRng) -> Vec<String>,
    /// The key is one whole number: rows can be shifted along it.
    pub(super) whole_numbers: bool,
    /// The key is text: its case can be changed.
    pub(super) text: bool,
    /// How many different keys make sense.
    pub(crate) rows_at_most: usize,
}

impl Shape {
    /// `t (columns) VALUES …` for so many rows.
    pub(crate) fn rows(&self, dice: &mut StdRng, count: usize) -> String {
        let columns: Vec<&str> = self.keys.iter().chain(self.values).copied().collect();
        let rows: Vec<String> = (0..count)
            .map(|_| {
                let cells: Vec<String> = (self.key)(dice).into_iter().chain((self.value)(dice)).collect();
                format!("({})", cells.join(","))
            })
            .collect();
        format!("{} ({}) VALUES {}", self.name, columns.join(","), rows.join(","))
    }

    fn has_key(&self, key: &[String]) -> String {
        let parts: Vec<String> = self.keys.iter().zip(key).map(|(column, value)| format!("{column} = {value}")).collect();
        parts.join(" AND ")
    }

    fn sets_key(&self, key: &[String]) -> String {
        let parts: Vec<String> = self.keys.iter().zip(key).map(|(column, value)| format!("{column} = {value}")).collect();
        parts.join(", ")
    }

    fn sets_values(&self, dice: &mut StdRng) -> String {
        let parts: Vec<String> =
            self.values.iter().zip((self.value)(dice)).map(|(column, value)| format!("{column} = {value}")).collect();
        parts.join(", ")
    }

    /// A random change: statements to be run one after another in one transaction.
    pub(crate) fn change(&self, dice: &mut StdRng) -> Vec<String> {
        let name = self.name;
        let (key, other) = ((self.key)(dice), (self.key)(dice));
        let first = self.keys[0];
        let several = dice.random_range(2..12);
        match dice.random_range(0..100) {
            0..12 => vec![format!("INSERT INTO {}", self.rows(dice, 1))],
            12..22 => vec![format!("INSERT IGNORE INTO {}", self.rows(dice, several))],
            22..32 => vec![format!("REPLACE INTO {}", self.rows(dice, several / 2))],
            32..42 => {
                let sets = self.sets_values(dice);
                vec![format!("INSERT INTO {} ON DUPLICATE KEY UPDATE {sets}", self.rows(dice, several / 2))]
            }
            42..57 => vec![format!("UPDATE {name} SET {} WHERE {}", self.sets_values(dice), self.has_key(&key))],
            57..67 => {
                let (sets, from) = (self.sets_values(dice), &key[0]);
                vec![format!("UPDATE {name} SET {sets} WHERE {first} >= {from} ORDER BY {first} LIMIT {several}")]
            }
            67..75 => vec![format!("DELETE FROM {name} WHERE {}", self.has_key(&key))],
            75..80 => vec![format!("DELETE FROM {name} WHERE {first} >= {} ORDER BY {first} LIMIT {several}", key[0])],
            80..90 => vec![format!("UPDATE {name} SET {} WHERE {}", self.sets_key(&other), self.has_key(&key))],
            90..95 if self.text => {
                let case = if several % 2 == 0 { "UPPER" } else { "LOWER" };
                vec![format!("UPDATE {name} SET {first} = {case}({first}) WHERE {}", self.has_key(&key))]
            }
            90..95 if self.whole_numbers => {
                // A chain of key updates in one statement: each row takes the place of the next.
                vec![format!(
                    "UPDATE {name} SET {first} = {first} + 1 WHERE {first} BETWEEN {} AND {} + {several} ORDER BY {first} DESC",
                    key[0], key[0]
                )]
            }
            _ => self.swap(&key, &other, &(self.key)(dice)),
        }
    }

    /// Two rows take each other's key, by way of a third.
    fn swap(&self, one: &[String], other: &[String], between: &[String]) -> Vec<String> {
        [(one, between), (other, one), (between, other)]
            .iter()
            .map(|(from, to)| format!("UPDATE {} SET {} WHERE {}", self.name, self.sets_key(to), self.has_key(from)))
            .collect()
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

pub(super) fn pick<'a>(dice: &mut StdRng, choices: &[&'a str]) -> &'a str {
    choices[dice.random_range(0..choices.len())]
}

pub(super) fn or_null(dice: &mut StdRng, text: String) -> String {
    if dice.random_range(0..5) == 0 { "NULL".to_owned() } else { text }
}

fn word(dice: &mut StdRng) -> String {
    const WORDS: [&str; 14] =
        ["a", "A", "á", "Ä", "ss", "ß", "straße", "STRASSE", "Zoë", "zoe", "n", "Ñ", "o'neil", "back\\slash"];
    format!("{}{}", pick(dice, &WORDS), dice.random_range(0..120))
}

/// The columns of all tables but `types`.
const COMMON: [&str; 4] = ["n", "note", "amount", "at"];

fn common(dice: &mut StdRng) -> Vec<String> {
    let (whole, micros) = (dice.random_range(-999_999..999_999), dice.random_range(0..1_000_000));
    let note = format!("{} {}", pick(dice, &["plain", "naïve", "日本語", "tab\there", "", "😀", "it''s"]), whole);
    let second = dice.random_range(0..60);
    vec![
        whole.to_string(),
        or_null(dice, format!("'{note}'")),
        or_null(dice, format!("{whole}.{:03}", micros % 1000)),
        or_null(dice, format!("'2026-03-29 02:30:{second:02}.{micros:06}'")),
    ]
}

macro_rules! with_common {
    ($head:literal, $key:literal) => {
        concat!(
            "CREATE TABLE ",
            $head,
            ", n INT NOT NULL, note VARCHAR(60) NULL, amount DECIMAL(12,3) NULL, at DATETIME(6) NULL, ",
            $key,
            ")"
        )
    };
}

/// A table with the common columns.
const fn common_shape(
    name: &'static str,
    create: &'static str,
    keys: &'static [&'static str],
    key: fn(&mut StdRng) -> Vec<String>,
) -> Shape {
    Shape { name, create, keys, values: &COMMON, key, value: common, whole_numbers: false, text: false, rows_at_most: 1_000_000 }
}

/// The tables, every one with a key.
pub(crate) static SHAPES: [Shape; 16] = [
    Shape {
        whole_numbers: true,
        ..common_shape("ordinary", with_common!("ordinary (id INT NOT NULL", "PRIMARY KEY (id)"), &["id"], |dice| {
            vec![dice.random_range(1..6000).to_string()]
        })
    },
    common_shape(
        "composite",
        with_common!("composite (region VARCHAR(20) NOT NULL, id INT UNSIGNED NOT NULL", "PRIMARY KEY (region, id)"),
        &["region", "id"],
        |dice| {
            let id = dice.random_range(0..400) * 10_737_418_u64;
            vec![quoted(pick(dice, &["north", "NORTH", "Süd", "sud", "o", "Ö"])), id.to_string()]
        },
    ),
    Shape {
        text: true,
        ..common_shape(
            "unicode",
            with_common!("unicode (label VARCHAR(30) COLLATE utf8mb4_0900_ai_ci NOT NULL", "PRIMARY KEY (label)"),
            &["label"],
            |dice| vec![quoted(&word(dice))],
        )
    },
    Shape {
        text: true,
        // The key is not the first column.
        ..common_shape(
            "latin",
            "CREATE TABLE latin (n INT NOT NULL, note VARCHAR(60) NULL, label VARCHAR(30) CHARACTER SET latin1 \
         COLLATE latin1_swedish_ci NOT NULL, amount DECIMAL(12,3) NULL, at DATETIME(6) NULL, PRIMARY KEY (label))",
            &["label"],
            |dice| vec![quoted(&word(dice))],
        )
    },
    Shape {
        text: true,
        // Trailing blanks do not count: 'a' is 'a  '.
        ..common_shape(
            "padded",
            with_common!("padded (label VARCHAR(30) COLLATE utf8mb4_general_ci NOT NULL", "PRIMARY KEY (label)"),
            &["label"],
            |dice| {
                let blanks = " ".repeat(dice.random_range(0..4));
                vec![quoted(&format!("{}{blanks}", word(dice)))]
            },
        )
    },
    // Trailing blanks count, and so do NULs.
    common_shape(
        "spaces",
        with_common!("spaces (label VARCHAR(30) COLLATE utf8mb4_0900_bin NOT NULL", "PRIMARY KEY (label)"),
        &["label"],
        |dice| {
            let end = pick(dice, &["", " ", "  ", "\0", "\0\0", " \0"]);
            vec![quoted(&format!("{}{end}", word(dice)))]
        },
    ),
    common_shape("nuls", with_common!("nuls (k VARBINARY(12) NOT NULL", "PRIMARY KEY (k)"), &["k"], |dice| {
        let zeros = "00".repeat(dice.random_range(0..4));
        vec![format!("X'{:04x}{zeros}'", dice.random_range(0..900_u16))]
    }),
    common_shape("fixed", with_common!("fixed (k BINARY(4) NOT NULL", "PRIMARY KEY (k)"), &["k"], |dice| {
        vec![format!("X'{:04x}'", dice.random_range(0..2000_u16))]
    }),
    common_shape("huge", with_common!("huge (id BIGINT UNSIGNED NOT NULL", "PRIMARY KEY (id)"), &["id"], |dice| {
        let small = dice.random_range(0..500);
        vec![pick_number(dice, &[small, i64::MAX as u64 - 250 + small, u64::MAX - small]).to_string()]
    }),
    Shape {
        whole_numbers: true,
        ..common_shape("negative", with_common!("negative (id BIGINT NOT NULL", "PRIMARY KEY (id)"), &["id"], |dice| {
            let small = dice.random_range(0..500);
            let id = match dice.random_range(0..3) {
                0 => i64::MIN + small,
                1 => small - 250,
                _ => -1_000_000_000_000 + small,
            };
            vec![id.to_string()]
        })
    },
    common_shape(
        "small",
        with_common!("small (a TINYINT NOT NULL, b MEDIUMINT UNSIGNED NOT NULL, c SMALLINT NOT NULL", "PRIMARY KEY (c, a, b)"),
        &["c", "a", "b"],
        |dice| {
            vec![
                dice.random_range(-3..3).to_string(),
                dice.random_range(-128..127).to_string(),
                pick(dice, &["0", "16777215", "8388608"]).to_owned(),
            ]
        },
    ),
    common_shape(
        "days",
        with_common!("days (day DATE NOT NULL, kind ENUM('z','a','m') NOT NULL", "PRIMARY KEY (day, kind)"),
        &["day", "kind"],
        |dice| {
            let day = dice.random_range(0..300);
            vec![format!("DATE'2025-12-25' + INTERVAL {day} DAY"), quoted(pick(dice, &["z", "a", "m"]))]
        },
    ),
    common_shape("money", with_common!("money (price DECIMAL(14,4) NOT NULL", "PRIMARY KEY (price)"), &["price"], |dice| {
        vec![format!("{}.{:04}", dice.random_range(-60..60), dice.random_range(0..20) * 5)]
    }),
    // No primary key: a UNIQUE one whose column is NOT NULL serves.
    Shape {
        whole_numbers: true,
        ..common_shape("uniquely", with_common!("uniquely (code INT NOT NULL", "UNIQUE KEY (code)"), &["code"], |dice| {
            vec![dice.random_range(-1000..1000).to_string()]
        })
    },
    Shape {
        name: "types",
        create: TYPES,
        keys: &["id"],
        values: &TYPES_COLUMNS,
        key: |dice| vec![dice.random_range(0..2000).to_string()],
        value: types,
        whole_numbers: true,
        text: false,
        rows_at_most: 1000,
    },
    // A parent whose children go with it: the cascade is the server's.
    Shape {
        whole_numbers: false,
        ..common_shape(
            "family",
            with_common!(
                "family (id INT NOT NULL, parent INT NULL",
                "PRIMARY KEY (id), FOREIGN KEY (parent) REFERENCES family (id) ON DELETE CASCADE ON UPDATE CASCADE"
            ),
            &["id", "parent"],
            |dice| {
                let id = dice.random_range(1..800);
                let parent = if dice.random_range(0..3) == 0 { "NULL".to_owned() } else { (id / 2).max(1).to_string() };
                vec![id.to_string(), parent]
            },
        )
    },
];

/// The same for MariaDB: its names of collations, no cascades, which are in none of its binlogs, no generated column, which newer
/// ones leave out of images, and its own types beside MySQL's.
pub(crate) static MARIADB_SHAPES: LazyLock<Vec<Shape>> = LazyLock::new(|| {
    let of_mariadb = |shape: &Shape| {
        let create = shape
            .create
            .replace("utf8mb4_0900_ai_ci", "utf8mb4_uca1400_ai_ci")
            .replace("utf8mb4_0900_bin", "utf8mb4_nopad_bin")
            .replace(",\n    whole INT AS (i DIV 2) STORED", "");
        Shape { create: create.leak(), ..shape.clone() }
    };
    let shapes = SHAPES.iter().filter(|shape| shape.name != "family").map(of_mariadb);
    shapes.chain(super::mariadb::shapes()).collect()
});

fn pick_number(dice: &mut StdRng, choices: &[u64]) -> u64 {
    choices[dice.random_range(0..choices.len())]
}
