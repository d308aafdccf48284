//! Which tables an entry means: `shop.orders` exactly, `shop.*` as a glob, `/shop\.orders_[0-9]+/` as a regular expression.
//!
//! A glob is two globs, one for the database and one for the table: `*` never crosses the dot. A regular expression must match the
//! whole of `database.table`. Case counts, as it does in MySQL on Linux.

use globset::{GlobBuilder, GlobMatcher};
use regex::Regex;

/// Characters that make a name a glob.
const GLOB: [char; 5] = ['*', '?', '[', '{', '\\'];

/// A checked pattern.
#[derive(Debug, Clone)]
pub struct TablePattern {
    text: String,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Exact { database: String, table: String },
    Glob { database: GlobMatcher, table: GlobMatcher },
    Regex(Regex),
}

impl PartialEq for TablePattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl std::fmt::Display for TablePattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl TablePattern {
    /// Checks a pattern. The error is a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let kind = match text.strip_prefix('/') {
            Some(rest) => Kind::Regex(regex(rest)?),
            None => by_parts(text)?,
        };
        Ok(Self { text: text.to_owned(), kind })
    }

    /// The names of the one table that it means, if it names one.
    pub fn exact(&self) -> Option<(&str, &str)> {
        match &self.kind {
            Kind::Exact { database, table } => Some((database, table)),
            Kind::Glob { .. } | Kind::Regex(_) => None,
        }
    }

    /// Whether it means this table.
    pub fn matches(&self, database: &str, table: &str) -> bool {
        match &self.kind {
            Kind::Exact { database: own, table: name } => own == database && name == table,
            Kind::Glob { database: own, table: name } => own.is_match(database) && name.is_match(table),
            Kind::Regex(regex) => regex.is_match(&format!("{database}.{table}")),
        }
    }
}

fn regex(rest: &str) -> Result<Regex, String> {
    let Some(expression) = rest.strip_suffix('/').filter(|expression| !expression.is_empty()) else {
        return Err("a regular expression stands between two slashes".to_owned());
    };
    Regex::new(&format!("^(?:{expression})$")).map_err(|error| {
        // The library prints a picture of several lines; its last one says what is wrong.
        let text = error.to_string();
        let last = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        format!("not a regular expression: {last}")
    })
}

fn by_parts(text: &str) -> Result<Kind, String> {
    let Some((database, table)) = text.split_once('.').filter(|(database, table)| !database.is_empty() && !table.is_empty())
    else {
        return Err("a table is named database.table".to_owned());
    };
    if text.contains('`') {
        return Err("names are written without backticks".to_owned());
    }
    if !text.contains(GLOB) {
        return Ok(Kind::Exact { database: database.to_owned(), table: table.to_owned() });
    }
    Ok(Kind::Glob { database: glob(database)?, table: glob(table)? })
}

fn glob(text: &str) -> Result<GlobMatcher, String> {
    let glob = GlobBuilder::new(text).backslash_escape(true).build();
    glob.map(|glob| glob.compile_matcher()).map_err(|error| format!("not a glob: {}", error.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        let (database, table) = name.split_once('.').unwrap();
        TablePattern::parse(pattern).unwrap().matches(database, table)
    }

    #[test]
    fn the_three_kinds_mean_what_they_say() {
        assert!(matches("shop.orders", "shop.orders") && !matches("shop.orders", "shop.Orders"));
        assert!(matches("shop.*", "shop.orders") && !matches("shop.*", "shop2.orders"));
        assert!(matches("shop.tmp_*", "shop.tmp_") && !matches("shop.tmp_*", "shop.a_tmp_b"));
        assert!(matches("shop_{a,b}.t?", "shop_b.t1") && !matches("shop_{a,b}.t?", "shop_c.t1"));
        assert!(matches("shop[0-9].orders", "shop3.orders"));
        assert!(matches(r"shop.a\*", "shop.a*") && !matches(r"shop.a\*", "shop.ab"));
        assert!(matches(r"/shop\.orders_[0-9]+/", "shop.orders_17"));
    }

    #[test]
    fn a_star_does_not_cross_the_dot_and_an_expression_matches_whole_names() {
        assert!(!matches("*.orders", "shop.orders.old") && matches("*.orders", "shop.orders"));
        assert!(matches("shop.*", "shop.odd.name/with:all"), "the table's part may hold anything");
        assert!(!matches(r"/shop\.orders/", "myshop.orders") && !matches(r"/shop\.orders/", "shop.orders_old"));
        assert!(!matches(r"/shop\.a|b/", "shop.ab") && matches(r"/shop\.(a|b)/", "shop.b"));
    }

    #[test]
    fn bad_patterns_are_refused_with_a_sentence() {
        for text in ["orders", ".orders", "shop.", "/shop", "//", "/(/", "shop.[a", "shop.{a", "`shop`.`orders`", ""] {
            let error = TablePattern::parse(text).unwrap_err();
            assert!(!error.contains('\n') && !error.is_empty(), "{text}: {error}");
        }
    }
}
