//! The columns of a table of Flink's for each type of MySQL's, and how a cell is asked for on both sides.

/// A cell that is asked for on both sides.
pub(super) struct Cell {
    pub(super) flink: String,
    pub(super) mysql: String,
    digits: Digits,
}

/// How two texts of one number are compared: both sides have rules of their own for writing floats.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Digits {
    AsWritten,
    Float,
    Double,
}

/// A column as a table of Flink's declares it, and its cells.
pub(super) struct Column {
    pub(super) name: String,
    pub(super) declared: String,
    pub(super) cells: Vec<Cell>,
}

impl Column {
    fn new(name: &str, declared: &str, cells: &[(String, String)], digits: Digits) -> Self {
        let cells = cells.iter().cloned().map(|(flink, mysql)| Cell { flink, mysql, digits }).collect();
        Self { name: name.to_owned(), declared: declared.to_owned(), cells }
    }

    /// For a column of MySQL's: the declaration and the conversion that the document gives for its type.
    pub(super) fn of(c: &str, kind: &str) -> Self {
        let base: String = kind.chars().take_while(char::is_ascii_uppercase).collect();
        let arguments = kind.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map_or("", |(inside, _)| inside);
        let numbers: Vec<usize> = arguments.split(',').map_while(|number| number.trim().parse().ok()).collect();
        let first = numbers.first().copied().unwrap_or(0);
        let one = |declared: &str, mysql: String| Self::new(c, declared, &[(c.to_owned(), mysql)], Digits::AsWritten);
        let converted =
            |declared: &str, flink: String, mysql: String| Self::new(c, declared, &[(flink, mysql)], Digits::AsWritten);
        let number = |declared: &str, digits: Digits, mysql: String| Self::new(c, declared, &[(c.to_owned(), mysql)], digits);
        match base.as_str() {
            "BIGINT" if kind.contains("UNSIGNED") => one("DECIMAL(20, 0)", format!("{c} + 0")),
            "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" | "YEAR" => one("BIGINT", format!("{c} + 0")),
            "DECIMAL" if first <= 38 => one(&format!("DECIMAL({first}, {})", numbers[1]), format!("{c} + 0")),
            "FLOAT" => number("FLOAT", Digits::Float, format!("CAST({c} AS DOUBLE)")),
            "DOUBLE" => number("DOUBLE", Digits::Double, c.to_owned()),
            "BIT" if first == 1 => one("BOOLEAN", format!("ELT({c} + 1, 'false', 'true')")),
            "BIT" => one("BYTES", format!("LPAD(HEX({c}), {}, '0')", first.div_ceil(8) * 2)),
            "BINARY" | "VARBINARY" | "TINYBLOB" | "BLOB" | "MEDIUMBLOB" | "LONGBLOB" => one("BYTES", format!("HEX({c})")),
            "DATE" => converted(
                "INT",
                format!("CAST(TIMESTAMPADD(DAY, {c}, DATE '1970-01-01') AS STRING)"),
                format!("CAST({c} AS CHAR)"),
            ),
            "TIME" => {
                let zero = "TIMESTAMP'2000-01-01 00:00:00'";
                one("BIGINT", format!("TIMESTAMPDIFF(MICROSECOND, {zero}, ADDTIME({zero}, {c}))"))
            }
            "DATETIME" if first <= 3 => converted(
                "BIGINT",
                format!("CAST(CAST(TO_TIMESTAMP_LTZ({c}, 3) AS TIMESTAMP(3)) AS STRING)"),
                format!("CAST(CAST({c} AS DATETIME(3)) AS CHAR)"),
            ),
            "DATETIME" => one("BIGINT", format!("TIMESTAMPDIFF(MICROSECOND, TIMESTAMP'1970-01-01 00:00:00', {c})")),
            "TIMESTAMP" => {
                converted("TIMESTAMP_LTZ(6)", format!("CAST({c} AS STRING)"), format!("CAST(CAST({c} AS DATETIME(6)) AS CHAR)"))
            }
            "GEOMETRY" | "POINT" => {
                let wkb = (format!("{c}.wkb"), format!("SUBSTR(HEX({c}), 9)"));
                Self::new(
                    c,
                    "ROW<wkb BYTES, srid INT>",
                    &[wkb, (format!("{c}.srid"), format!("ST_SRID({c})"))],
                    Digits::AsWritten,
                )
            }
            "VECTOR" => number("ARRAY<FLOAT>", Digits::Float, format!("VECTOR_TO_STRING({c})")),
            _ => one("STRING", format!("CAST({c} AS CHAR)")),
        }
    }
}

impl Cell {
    /// The same text for the same numbers.
    pub(super) fn plain(&self, text: String) -> String {
        let parts = text.trim_matches(['[', ']']).split(',');
        match self.digits {
            Digits::AsWritten => text,
            Digits::Float => parts.map(|part| format!("{:?}", part.parse::<f64>().unwrap() as f32)).collect::<Vec<_>>().join(","),
            Digits::Double => parts.map(|part| format!("{:?}", part.parse::<f64>().unwrap())).collect::<Vec<_>>().join(","),
        }
    }
}
