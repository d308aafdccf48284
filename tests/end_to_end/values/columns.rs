//! Column types drawn at random over all that MySQL and MariaDB have, each with the values at its edges and with random ones.

use rand::RngExt;
use rand::rngs::StdRng;

use super::alphabets::{ALPHABETS, Alphabet, PLAIN_TEXTS, literal};
use super::documents;
use super::tables::pick;
use crate::workload::mariadb;

/// What a server knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Mysql,
    Mariadb,
    /// Without VECTOR, and with instants that end in 2038.
    OldMariadb,
}

/// How random values of a type are made.
#[derive(Debug, Clone)]
enum Random {
    Integer { low: i128, high: i128 },
    Decimal { precision: u32, scale: u32, signed: bool },
    Real { low: f64, high: f64 },
    Bits { bits: u32 },
    Text { alphabet: usize, characters: usize },
    Bytes { most: usize },
    Labels { count: usize },
    Document,
    Date,
    Time { fraction: usize },
    Datetime { fraction: usize },
    Timestamp { fraction: usize },
    Geometry,
    Vector { dimensions: usize, read_by: &'static str },
    Uuid,
    Address4,
    Address6,
    Corners,
}

/// A column type with its values.
#[derive(Debug, Clone)]
pub(super) struct Drawn {
    /// The type as `CREATE TABLE` has it.
    pub(super) declared: String,
    /// Literals at the edges.
    corners: Vec<String>,
    random: Random,
}

impl Drawn {
    fn new(declared: String, corners: Vec<String>, random: Random) -> Self {
        Self { declared, corners, random }
    }

    /// Whether it may stand in a key without a length.
    pub(super) fn can_be_key(&self) -> bool {
        let temporal_or_plain = !matches!(
            self.random,
            Random::Document
                | Random::Geometry
                | Random::Vector { .. }
                | Random::Real { .. }
                | Random::Date
                | Random::Datetime { .. }
                | Random::Timestamp { .. }
        );
        // What has no length of its own, or one that is too long for a key; FLOAT compares badly; a zero date is no key.
        temporal_or_plain
            && !["TEXT", "BLOB", "POINT", "(0)", "(200)", "(300)", "COMPRESSED", "JSON"]
                .iter()
                .any(|word| self.declared.contains(word))
    }

    pub(super) fn is_document(&self) -> bool {
        matches!(self.random, Random::Document)
    }

    pub(super) fn is_integer(&self) -> bool {
        matches!(self.random, Random::Integer { .. })
    }

    pub(super) fn is_text(&self) -> bool {
        matches!(self.random, Random::Text { .. })
    }

    /// A value as a literal or expression, never NULL.
    pub(super) fn value(&self, dice: &mut StdRng) -> String {
        if dice.random_range(0..2) == 0 || matches!(self.random, Random::Corners) {
            return pick(dice, &self.corners.iter().map(String::as_str).collect::<Vec<_>>()).to_owned();
        }
        self.random.value(dice)
    }
}

impl Random {
    fn value(&self, dice: &mut StdRng) -> String {
        match *self {
            Self::Integer { low, high } => dice.random_range(low..=high).to_string(),
            Self::Decimal { precision, scale, signed } => decimal(dice, precision, scale, signed),
            Self::Real { low, high } => {
                let value = if dice.random_range(0..2) == 0 {
                    dice.random_range(-1000.0..1000.0)
                } else {
                    low + (high - low) * dice.random::<f64>()
                };
                format!("{:e}", value.clamp(low, high))
            }
            Self::Bits { bits } => format!("b'{:b}'", dice.random::<u64>() >> (64 - bits)),
            Self::Text { alphabet, characters } => text(dice, &ALPHABETS[alphabet], characters),
            Self::Bytes { most } => {
                let bytes = dice.random_range(0..=most);
                let hexadecimal: String =
                    (0..bytes).map(|_| format!("{:02X}", dice.random::<u8>() & pick(dice, &[0xff, 0]))).collect();
                format!("X'{hexadecimal}'")
            }
            Self::Labels { count } => dice.random_range(0..=count.min(1 << 20)).to_string(),
            Self::Document => documents::document(dice, 0),
            Self::Date => format!("'{}'", date(dice)),
            Self::Time { fraction } => {
                let sign = pick(dice, &["", "-"]);
                let (hour, minute, second) = (dice.random_range(0..838), dice.random_range(0..60), dice.random_range(0..60));
                format!("'{sign}{hour}:{minute:02}:{second:02}{}'", below_second(dice, fraction))
            }
            Self::Datetime { fraction } => format!("'{} {}'", date(dice), clock(dice, fraction)),
            Self::Timestamp { fraction } => {
                let date =
                    format!("{}-{:02}-{:02}", dice.random_range(1971..2038), dice.random_range(1..13), dice.random_range(1..29));
                format!("'{date} {}'", clock(dice, fraction))
            }
            Self::Geometry => geometry(dice),
            Self::Vector { dimensions, read_by } => {
                let cells: Vec<String> = (0..dimensions).map(|_| format!("{:e}", dice.random_range(-1e3..1e3))).collect();
                format!("{read_by}('[{}]')", cells.join(","))
            }
            Self::Uuid => mariadb::uuid(dice),
            Self::Address4 => mariadb::inet4(dice),
            Self::Address6 => mariadb::inet6(dice),
            Self::Corners => "NULL".to_owned(),
        }
    }
}

fn decimal(dice: &mut StdRng, precision: u32, scale: u32, signed: bool) -> String {
    let mut digits = |count: u32| -> String { (0..count).map(|_| char::from(b'0' + dice.random_range(0..10u8))).collect() };
    let (whole, fraction) = (digits(precision - scale), digits(scale));
    let sign = if signed && fraction.len() % 2 == 1 { "-" } else { "" };
    format!("{sign}{}.{}", if whole.is_empty() { "0" } else { &whole }, if fraction.is_empty() { "0" } else { &fraction })
}

fn text(dice: &mut StdRng, alphabet: &Alphabet, characters: usize) -> String {
    let mut text = String::new();
    for _ in 0..dice.random_range(0..4) {
        text.push_str(pick(dice, alphabet.texts));
        text.push_str(pick(dice, &["", " ", "x", ","]));
    }
    if characters > 1000 && dice.random_range(0..20) == 0 {
        return format!("REPEAT({}, 20000)", literal(pick(dice, alphabet.texts)));
    }
    literal(&text.chars().take(characters).collect::<String>())
}

fn date(dice: &mut StdRng) -> String {
    format!("{:04}-{:02}-{:02}", dice.random_range(1000..10_000), dice.random_range(1..13), dice.random_range(1..29))
}

fn below_second(dice: &mut StdRng, fraction: usize) -> String {
    if fraction == 0 { String::new() } else { format!(".{:0fraction$}", dice.random_range(0..10u32.pow(fraction as u32))) }
}

fn clock(dice: &mut StdRng, fraction: usize) -> String {
    let (hour, minute, second) = (dice.random_range(0..24), dice.random_range(0..60), dice.random_range(0..60));
    format!("{hour:02}:{minute:02}:{second:02}{}", below_second(dice, fraction))
}

fn geometry(dice: &mut StdRng) -> String {
    let mut point = || format!("{} {}", dice.random_range(-80..80), f64::from(dice.random_range(-80..80)) / 8.0);
    let (a, b, c) = (point(), point(), point());
    let shape = match dice.random_range(0..7) {
        0 => format!("POINT({a})"),
        1 => format!("LINESTRING({a},{b},{c})"),
        2 => "POLYGON((0 0,10 0,10 10,0 10,0 0),(5 5,7 5,7 7,5 7,5 5))".to_owned(),
        3 => format!("MULTIPOINT({a},{b})"),
        4 => format!("MULTILINESTRING(({a},{b}),({b},{c}))"),
        5 => "MULTIPOLYGON(((0 0,1 0,1 1,0 0)),((5 5,6 5,6 6,5 5)))".to_owned(),
        _ => format!("GEOMETRYCOLLECTION(POINT({a}),LINESTRING({b},{c}),GEOMETRYCOLLECTION EMPTY)"),
    };
    format!("ST_GeomFromText('{shape}', {})", pick(dice, &["0", "4326", "3857"]))
}

fn owned(corners: &[&str]) -> Vec<String> {
    corners.iter().map(|corner| (*corner).to_owned()).collect()
}

/// A type over all that there are.
pub(super) fn draw(dice: &mut StdRng, dialect: Dialect) -> Drawn {
    match dice.random_range(0..24) {
        16 | 23 if dialect == Dialect::OldMariadb => mariadb_type(dice),
        16 if dialect == Dialect::Mariadb => mariadb_type(dice),
        0..3 => integer(dice),
        3..5 => decimal_type(dice),
        5 => float(dice),
        6 => bits(dice),
        7..12 => text_type(dice, dialect),
        12..14 => bytes_type(dice, dialect),
        14..16 => labels(dice, dialect),
        16 => Drawn::new("JSON".to_owned(), documents::corners(), Random::Document),
        17 => {
            let corners = owned(&[
                "'1000-01-01'",
                "'9999-12-31'",
                "'0000-00-00'",
                "'2024-00-15'",
                "'2023-02-30'",
                "'2024-02-29'",
                "'1969-12-31'",
                "'0001-01-01'",
            ]);
            Drawn::new("DATE".to_owned(), corners, Random::Date)
        }
        18..20 => clock_type(dice),
        20 => timestamp(dice, dialect),
        21 => Drawn::new("YEAR".to_owned(), owned(&["0", "1901", "2155", "'0000'", "2026", "70"]), Random::Corners),
        22 => geometry_type(dice),
        _ => {
            let dimensions = dice.random_range(1..40);
            let corner = vec!["1.5"; dimensions].join(",");
            let edge = vec!["-3.4028235e38"; dimensions].join(",");
            let zero = vec!["-0.0"; dimensions].join(",");
            let read_by = if dialect == Dialect::Mysql { "TO_VECTOR" } else { "VEC_FROMTEXT" };
            let corners = [corner, edge, zero].iter().map(|cells| format!("{read_by}('[{cells}]')")).collect();
            Drawn::new(format!("VECTOR({dimensions})"), corners, Random::Vector { dimensions, read_by })
        }
    }
}

/// What only MariaDB has, and JSON, which is a text there.
fn mariadb_type(dice: &mut StdRng) -> Drawn {
    let (declared, corners, random): (_, &[&str], _) = match dice.random_range(0..4) {
        0 => ("UUID", &["'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-7fff-bfff-ffffffffffff'"], Random::Uuid),
        1 => ("INET4", &["'0.0.0.0'", "'255.255.255.255'"], Random::Address4),
        2 => ("INET6", &["'::'", "'::ffff:1.2.3.4'", "'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'"], Random::Address6),
        _ => ("JSON", &["'null'", "'{ \"b\": 1.50, \"a\": [] }'", "'\"é😀\"'", "'{\"a\": 1, \"a\": 2}'"], Random::Corners),
    };
    Drawn::new(declared.to_owned(), owned(corners), random)
}

/// One that the server has.
fn alphabet(dice: &mut StdRng, dialect: Dialect) -> usize {
    loop {
        let chosen = dice.random_range(0..ALPHABETS.len());
        if dialect == Dialect::Mysql || ALPHABETS[chosen].charset != "gb18030" {
            return chosen;
        }
    }
}

/// What stands behind a type that MariaDB may compress.
fn compressed(dice: &mut StdRng, dialect: Dialect, declared: &str) -> &'static str {
    let may = dialect != Dialect::Mysql && ["VAR", "TEXT", "BLOB"].iter().any(|word| declared.contains(word));
    if may && dice.random_range(0..3) == 0 { " COMPRESSED" } else { "" }
}

fn integer(dice: &mut StdRng) -> Drawn {
    let (name, bits) = [("TINYINT", 8), ("SMALLINT", 16), ("MEDIUMINT", 24), ("INT", 32), ("BIGINT", 64), ("TINYINT(1)", 8)]
        [dice.random_range(0..6)];
    let sign = if name == "TINYINT(1)" { "" } else { pick(dice, &["", "", " UNSIGNED", " UNSIGNED", " ZEROFILL"]) };
    let (low, high) =
        if sign.is_empty() { (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1) } else { (0, (1i128 << bits) - 1) };
    let near = [low, high, low + 1, high - 1, 0, 1, -1, 2, 222, (high + 1) / 2, (high + 1) / 2 + 7, 3_349_714_808];
    let corners = near.iter().filter(|value| (low..=high).contains(*value)).map(ToString::to_string).collect();
    Drawn::new(format!("{name}{sign}"), corners, Random::Integer { low, high })
}

fn decimal_type(dice: &mut StdRng) -> Drawn {
    let (precision, scale) = match dice.random_range(0..4) {
        0 => (65, 30),
        1 => (38, 10),
        _ => {
            let precision = dice.random_range(1..=65u32);
            (precision, dice.random_range(0..=precision.min(30)))
        }
    };
    let sign = pick(dice, &["", "", "", " UNSIGNED", " ZEROFILL"]);
    let nines = |count: u32| "9".repeat(count as usize);
    let largest = format!(
        "{}.{}",
        if precision == scale { "0".to_owned() } else { nines(precision - scale) },
        if scale == 0 { "0".to_owned() } else { nines(scale) }
    );
    let smallest = if scale == 0 { "1".to_owned() } else { format!("0.{}1", "0".repeat(scale as usize - 1)) };
    let mut corners =
        vec![largest.clone(), smallest.clone(), "0".to_owned(), "-0.0".to_owned(), "0.1".to_owned(), "1".to_owned()];
    if sign.is_empty() {
        corners.extend([format!("-{largest}"), format!("-{smallest}"), "-0.5".to_owned()]);
    }
    Drawn::new(
        format!("DECIMAL({precision},{scale}){sign}"),
        corners,
        Random::Decimal { precision, scale, signed: sign.is_empty() },
    )
}

fn float(dice: &mut StdRng) -> Drawn {
    let declared = pick(
        dice,
        &[
            "FLOAT",
            "DOUBLE",
            "FLOAT",
            "DOUBLE",
            "FLOAT(7,3)",
            "DOUBLE(20,5)",
            "FLOAT UNSIGNED",
            "DOUBLE UNSIGNED ZEROFILL",
            "FLOAT(30)",
            "REAL",
        ],
    );
    let single = declared.starts_with("FLOAT") && declared != "FLOAT(30)";
    let mut corners = owned(&["0", "0.1", "16777217", "1e16", "123456789.987654321", "1.17549435e-38", "0.3333333333333333"]);
    let edge = if single { 3.4e38 } else { 1.7e308 };
    corners.extend(owned(if single {
        &["3.4028234e38", "1e-45", "8388608.5"]
    } else {
        &["1.7976931348623157e308", "5e-324", "2.2250738585072014e-308"]
    }));
    let low = if declared.contains("UNSIGNED") { 0.0 } else { -edge };
    if low < 0.0 {
        corners.extend(owned(&["-0e0", "-1.5", "-3.4e38"]));
    }
    Drawn::new(declared.to_owned(), corners, Random::Real { low, high: edge })
}

fn bits(dice: &mut StdRng) -> Drawn {
    let bits = pick(dice, &[1, 2, 8, 9, 20, 63, 64]);
    let ones = format!("b'{}'", "1".repeat(bits as usize));
    Drawn::new(format!("BIT({bits})"), vec![ones, "b'0'".to_owned(), "b'1'".to_owned()], Random::Bits { bits })
}

fn text_type(dice: &mut StdRng, dialect: Dialect) -> Drawn {
    let alphabet = alphabet(dice, dialect);
    let Alphabet { charset, width, texts } = ALPHABETS[alphabet];
    let (name, characters) = match dice.random_range(0..10) {
        0 => ("CHAR(0)".to_owned(), 0),
        1 => ("CHAR(255)".to_owned(), 255),
        2..4 => ("CHAR(9)".to_owned(), 9),
        4..6 => ("VARCHAR(20)".to_owned(), 20),
        6 => (format!("VARCHAR({})", if width == 1 { 200 } else { 300 }), 200),
        7 => ("TINYTEXT".to_owned(), 60),
        8 => ("TEXT".to_owned(), 500),
        _ => (pick(dice, &["MEDIUMTEXT", "LONGTEXT"]).to_owned(), 2000),
    };
    let collation = if dice.random_range(0..4) == 0 { format!(" COLLATE {charset}_bin") } else { String::new() };
    let all = texts.iter().chain(PLAIN_TEXTS).map(|text| literal(&text.chars().take(characters).collect::<String>())).collect();
    let packed = compressed(dice, dialect, &name);
    Drawn::new(format!("{name}{packed} CHARACTER SET {charset}{collation}"), all, Random::Text { alphabet, characters })
}

fn bytes_type(dice: &mut StdRng, dialect: Dialect) -> Drawn {
    let (declared, most) = pick(
        dice,
        &[
            ("BINARY(16)", 16),
            ("BINARY(1)", 1),
            ("BINARY(255)", 255),
            ("VARBINARY(16)", 16),
            ("VARBINARY(300)", 300),
            ("TINYBLOB", 200),
            ("BLOB", 1000),
            ("MEDIUMBLOB", 1000),
            ("LONGBLOB", 1000),
            ("CHAR(4) CHARACTER SET binary", 4),
        ],
    );
    let mut corners = owned(&["''", "X'00'", "X'FF'"]);
    if most >= 16 {
        corners.extend(owned(&[
            "X'0102030405060708090A0B0C0D0E0F00'",
            "X'00000000000000000000000000000000'",
            "X'6100'",
            "X'0020'",
        ]));
    }
    if declared.contains("BLOB") && most == 1000 {
        corners.push("REPEAT(X'00FF', 300)".to_owned());
    }
    Drawn::new(format!("{declared}{}", compressed(dice, dialect, declared)), corners, Random::Bytes { most })
}

fn labels(dice: &mut StdRng, dialect: Dialect) -> Drawn {
    let Alphabet { charset, texts, .. } = ALPHABETS[alphabet(dice, dialect)];
    // Without names in the table map, what lies beyond the basic plane cannot be known: such a table is refused.
    let mut names: Vec<String> = texts
        .iter()
        .filter(|text| !text.contains(['\0', ',', '\u{301}', '\u{10ffff}', '😀']))
        .map(|text| (*text).to_owned())
        .collect();
    names.extend(["it's", "a b", "unsigned", "x(1)"].map(str::to_owned));
    names.dedup();
    let set = dice.random_range(0..2) == 0;
    let wanted = if set { pick(dice, &[1, 5, 8, 9, 17, 33, 64]) } else { pick(dice, &[1, 5, 255, 256, 300]) };
    names.truncate(wanted);
    (names.len()..wanted).for_each(|number| names.push(format!("l{number}")));
    let list: Vec<String> = names.iter().map(|name| format!("'{}'", name.replace('\\', "\\\\").replace('\'', "''"))).collect();
    let kind = if set { "SET" } else { "ENUM" };
    let mut corners: Vec<String> = names.iter().take(4).chain(names.last()).map(|name| literal(name)).collect();
    corners.push("''".to_owned());
    if set {
        corners.push(if wanted == 64 { u64::MAX.to_string() } else { ((1u64 << wanted) - 1).to_string() });
    }
    let count = if set { (1usize << wanted.min(20)) - 1 } else { wanted };
    Drawn::new(format!("{kind}({}) CHARACTER SET {charset}", list.join(",")), corners, Random::Labels { count })
}

fn clock_type(dice: &mut StdRng) -> Drawn {
    let fraction = dice.random_range(0..7);
    let places = if fraction == 0 { String::new() } else { format!("({fraction})") };
    if dice.random_range(0..2) == 0 {
        let corners = owned(&[
            "'-838:59:59'",
            "'838:59:59'",
            "'00:00:00'",
            "'-00:00:00.000001'",
            "'-00:00:01'",
            "'-00:00:00.5'",
            "'838:59:58.999999'",
            "'-0:0:59.99'",
            "'23:59:59.999999'",
        ]);
        return Drawn::new(format!("TIME{places}"), corners, Random::Time { fraction });
    }
    let corners = owned(&[
        "'1000-01-01 00:00:00'",
        "'9999-12-31 23:59:59'",
        "'1969-12-31 23:59:59.999999'",
        "'1970-01-01 00:00:00'",
        "'0000-00-00 00:00:00'",
        "'2024-00-15 01:02:03'",
        "'2023-02-30 04:05:06.5'",
        "'2026-03-08 02:30:00'",
        "'2026-11-01 01:30:00'",
        "'2026-10-25 02:30:00'",
        "'0001-01-01 00:00:00'",
    ]);
    Drawn::new(format!("DATETIME{places}"), corners, Random::Datetime { fraction })
}

fn timestamp(dice: &mut StdRng, dialect: Dialect) -> Drawn {
    let fraction = dice.random_range(0..7);
    let places = if fraction == 0 { String::new() } else { format!("({fraction})") };
    let mut corners = owned(&[
        "'1970-01-02 00:00:01'",
        "'2038-01-18 03:14:07.499999'",
        "'0000-00-00 00:00:00'",
        "'2026-03-08 02:30:00'",
        "'2026-11-01 01:30:00'",
        "'2026-11-01 06:30:00.123456'",
        "'2026-10-25 00:30:00.5'",
    ]);
    if dialect == Dialect::Mariadb {
        corners.extend(owned(&["'2038-01-20 03:14:07'", "'2106-02-06 06:28:14.5'"]));
    }
    Drawn::new(format!("TIMESTAMP{places}"), corners, Random::Timestamp { fraction })
}

fn geometry_type(dice: &mut StdRng) -> Drawn {
    if dice.random_range(0..3) == 0 {
        let corners = owned(&["POINT(1, 2)", "POINT(-0.0, 1e308)", "ST_GeomFromText('POINT(1 2)')"]);
        return Drawn::new("POINT".to_owned(), corners, Random::Corners);
    }
    let corners = owned(&[
        "ST_GeomFromText('GEOMETRYCOLLECTION EMPTY')",
        "ST_GeomFromText('POINT(45 90)', 4326)",
        "LINESTRING(POINT(0,0), POINT(1,1))",
    ]);
    Drawn::new("GEOMETRY".to_owned(), corners, Random::Geometry)
}
