//! `information_schema.columns.COLUMN_TYPE` read exactly: `decimal(10,2) unsigned`, `enum('it''s','a,b')`.

use crate::change::{AddressKind, Charset, ColumnType};

/// Reads a declared type. `charset` is `CHARACTER_SET_NAME`.
///
/// # Errors
/// One sentence where the type is none that can be captured.
pub(in crate::source) fn column_type(declared: &str, charset: Option<&str>) -> Result<ColumnType, String> {
    let declared = declared.trim();
    let word_end = declared.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(declared.len());
    let (word, rest) = declared.split_at(word_end);
    let word = word.to_ascii_lowercase();
    if word == "enum" || word == "set" {
        let labels = labels(rest).ok_or_else(|| format!("the labels of {declared} cannot be read"))?;
        // One of bytes has no character set; its labels are kept if they are text.
        let charset = required_charset(declared, charset.or(Some("binary")))?;
        return Ok(if word == "enum" { ColumnType::Enum { labels, charset } } else { ColumnType::Set { labels, charset } });
    }
    let (arguments, attributes) = arguments(declared, rest)?;
    let unsigned = attributes.split_ascii_whitespace().any(|attribute| matches!(attribute, "unsigned" | "zerofill"));
    let integer = |bits: u8| Ok(ColumnType::Integer { bits, unsigned });
    let fraction = || argument(declared, &arguments, 0, 0);
    match word.as_str() {
        "tinyint" => integer(8),
        "smallint" => integer(16),
        "mediumint" => integer(24),
        "int" => integer(32),
        "bigint" => integer(64),
        "year" => Ok(ColumnType::Year),
        "float" => Ok(ColumnType::Float),
        "double" => Ok(ColumnType::Double),
        "decimal" => Ok(ColumnType::Decimal {
            precision: argument(declared, &arguments, 0, 10)?,
            scale: argument(declared, &arguments, 1, 0)?,
        }),
        "bit" => Ok(ColumnType::Bit { bits: argument(declared, &arguments, 0, 1)? }),
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => {
            Ok(ColumnType::Text { charset: required_charset(declared, charset)? })
        }
        "binary" => Ok(ColumnType::Binary { fixed: Some(argument(declared, &arguments, 0, 1)?) }),
        "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Ok(ColumnType::Binary { fixed: None }),
        "json" => Ok(ColumnType::Json),
        "date" => Ok(ColumnType::Date),
        "time" => Ok(ColumnType::Time { fraction: fraction()? }),
        "datetime" => Ok(ColumnType::Datetime { fraction: fraction()? }),
        "timestamp" => Ok(ColumnType::Timestamp { fraction: fraction()? }),
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring" | "multipolygon"
        | "geomcollection" | "geometrycollection" => Ok(ColumnType::Geometry),
        "vector" => Ok(ColumnType::Vector),
        "uuid" => Ok(ColumnType::Address(AddressKind::Uuid)),
        "inet4" => Ok(ColumnType::Address(AddressKind::Inet4)),
        "inet6" => Ok(ColumnType::Address(AddressKind::Inet6)),
        _ => Err(format!("the type {declared} is not supported")),
    }
}

fn required_charset(declared: &str, charset: Option<&str>) -> Result<Charset, String> {
    match charset.map(str::to_ascii_lowercase) {
        // What the older servers call it.
        Some(name) if name == "utf8" => Ok(Charset("utf8mb3".to_owned())),
        Some(name) => Ok(Charset(name)),
        None => Err(format!("the server names no character set for {declared}")),
    }
}

/// The numbers in parentheses, and the attributes behind them.
fn arguments<'a>(declared: &str, rest: &'a str) -> Result<(Vec<u32>, &'a str), String> {
    let Some(inside) = rest.strip_prefix('(') else { return Ok((Vec::new(), rest)) };
    let (numbers, attributes) = inside.split_once(')').ok_or_else(|| format!("the type {declared} cannot be read"))?;
    let numbers =
        numbers.split(',').map(|number| number.trim().parse().map_err(|_| format!("the type {declared} cannot be read")));
    Ok((numbers.collect::<Result<_, _>>()?, attributes))
}

fn argument<T: TryFrom<u32>>(declared: &str, arguments: &[u32], index: usize, default: u32) -> Result<T, String> {
    let value = arguments.get(index).copied().unwrap_or(default);
    T::try_from(value).map_err(|_| format!("the type {declared} cannot be read"))
}

/// `('it''s','a\nb')`: the quote is doubled, NUL, newline, return and the backslash are escaped, whatever the `sql_mode`.
fn labels(rest: &str) -> Option<Vec<String>> {
    let inside = rest.strip_prefix('(')?.strip_suffix(')')?;
    let mut letters = inside.chars().peekable();
    let mut labels = Vec::new();
    loop {
        if letters.next()? != '\'' {
            return None;
        }
        let mut label = String::new();
        loop {
            match letters.next()? {
                '\'' if letters.peek() == Some(&'\'') => {
                    letters.next();
                    label.push('\'');
                }
                '\'' => break,
                '\\' => label.push(match letters.next()? {
                    '0' => '\0',
                    'n' => '\n',
                    'r' => '\r',
                    other => other,
                }),
                other => label.push(other),
            }
        }
        labels.push(label);
        match letters.next() {
            None => return Some(labels),
            Some(',') => {}
            Some(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(declared: &str) -> ColumnType {
        column_type(declared, Some("utf8mb4")).unwrap()
    }

    #[test]
    fn numbers_keep_width_and_sign() {
        assert_eq!(kind("tinyint(1)"), ColumnType::Integer { bits: 8, unsigned: false });
        assert_eq!(kind("bigint(20) unsigned zerofill"), ColumnType::Integer { bits: 64, unsigned: true });
        assert_eq!(kind("int zerofill"), ColumnType::Integer { bits: 32, unsigned: true });
        assert_eq!(kind("float(7,3) unsigned zerofill"), ColumnType::Float);
        assert_eq!(kind("decimal(65,30) unsigned"), ColumnType::Decimal { precision: 65, scale: 30 });
        assert_eq!(kind("decimal(10)"), ColumnType::Decimal { precision: 10, scale: 0 });
        assert_eq!(kind("bit(64)"), ColumnType::Bit { bits: 64 });
        assert_eq!(kind("year(4)"), ColumnType::Year);
    }

    #[test]
    fn times_keep_their_fraction_and_bytes_their_length() {
        assert_eq!(kind("datetime(6)"), ColumnType::Datetime { fraction: 6 });
        assert_eq!(kind("timestamp"), ColumnType::Timestamp { fraction: 0 });
        assert_eq!(kind("binary(16)"), ColumnType::Binary { fixed: Some(16) });
        assert_eq!(kind("varbinary(16)"), ColumnType::Binary { fixed: None });
        assert_eq!(kind("geomcollection"), ColumnType::Geometry);
        assert_eq!(kind("vector(3)"), ColumnType::Vector);
    }

    #[test]
    fn labels_with_quotes_commas_and_escapes_come_out_whole() {
        let declared = r"enum('it''s','a,b','unsigned','','x\\y','new\nline','(z)')";
        let labels = ["it's", "a,b", "unsigned", "", r"x\y", "new\nline", "(z)"].map(str::to_owned).to_vec();
        assert_eq!(kind(declared), ColumnType::Enum { labels, charset: Charset("utf8mb4".to_owned()) });
        for broken in ["set('a'", "set('a''", "set(a)", "set('a' 'b')", r"set('a\", "set()"] {
            assert!(column_type(broken, Some("latin1")).is_err(), "{broken}");
        }
    }

    #[test]
    fn the_old_name_of_utf8mb3_and_a_missing_one() {
        assert_eq!(column_type("text", Some("utf8")), Ok(ColumnType::Text { charset: Charset("utf8mb3".to_owned()) }));
        assert!(column_type("text", None).is_err());
        let labels = vec!["é".to_owned()];
        assert_eq!(column_type("set('é')", None), Ok(ColumnType::Set { labels, charset: Charset("binary".to_owned()) }));
        assert!(column_type("enum(x'ff0')", None).is_err());
    }

    #[test]
    fn mariadbs_own_types_and_its_notes_are_read() {
        assert_eq!(column_type("inet6", None), Ok(ColumnType::Address(AddressKind::Inet6)));
        assert_eq!(column_type("uuid", None), Ok(ColumnType::Address(AddressKind::Uuid)));
        assert_eq!(kind("varchar(300) /*M!100301 COMPRESSED*/"), ColumnType::Text { charset: Charset("utf8mb4".to_owned()) });
        assert_eq!(kind("blob /*M!100301 COMPRESSED*/"), ColumnType::Binary { fixed: None });
        assert_eq!(kind("bigint(20) unsigned /* any */"), ColumnType::Integer { bits: 64, unsigned: true });
    }

    #[test]
    fn what_mysql_does_not_have_is_refused_by_name() {
        assert_eq!(column_type("xmltype", None), Err("the type xmltype is not supported".to_owned()));
        assert!(column_type("decimal(300,2)", None).is_err());
    }
}
