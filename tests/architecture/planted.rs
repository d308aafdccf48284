//! The checker finds what is planted, and lets be what only looks like it.

use crate::{LINES_MAX, check};

/// What the checker says of a planted text in the file `name`, without the place.
fn said(name: &str, body: &str) -> Vec<String> {
    let found = check(name, &format!("//! Planted.\n{body}"));
    found.into_iter().map(|violation| violation.splitn(3, ':').nth(2).unwrap_or_default().trim().to_owned()).collect()
}

#[test]
fn a_room_that_names_another_is_found_however_it_does_so() {
    let ways = [
        "use crate::lake::Lake;",
        "use crate::lake;",
        "use crate::{change::Cut, lake::{self, Lake}};",
        "use crate::{\n    change::{Cut, Term},\n    lake as water,\n};",
        "pub(crate) use crate::lake::*;",
        "fn f() -> crate::lake::Result<()> { Ok(()) }",
        "fn f(x: Option<crate::lake::Lake>) {}",
        "fn f() { let x = [crate::lake::probe()]; }",
        "use super::super::lake::Lake;",
        "use self::super::super::lake::Lake;",
        "mod inner { use super::super::super::lake::Lake; }",
        "#[cfg(test)] mod tests { fn f() { crate::lake::probe(); } }",
        "macro_rules! m { () => { $crate::lake::probe() } }",
        "const RAW: &str = r#\" \" \"#; use crate::lake::Lake;",
        "mod inner { fn f() {r\"}\";} use super::super::super::lake::Lake; }",
        "fn f<'a>(x: &'a str) -> char { '\"' } use crate::lake::Lake;",
    ];
    for way in ways {
        let said = said("src/source/binlog.rs", way);
        let named = said.iter().filter(|what| what.starts_with("`source` may not name `crate::lake"));
        assert!(!said.is_empty() && named.count() == said.len(), "{way}\n{said:?}");
        let said = self::said("src/source/binlog.rs", &way.replace("lake", "change"));
        assert_eq!(said, Vec::<String>::new(), "{way}: the vocabulary is everybody's");
    }
}

#[test]
fn what_only_looks_like_a_path_is_let_be() {
    let harmless = [
        "/// See [`crate::lake::Lake`].\nfn f() {}",
        "// use crate::lake::Lake;",
        "/* use crate::lake::Lake; /* nested */ use parquet::X; */",
        "const TEXT: &str = \"use crate::lake::Lake; \\\" parquet::x\";",
        "fn f(arrow: u8) -> u8 { arrow }",
        "mod inner { use super::other::Thing; use super::super::Door; }",
        "#[cfg(test)] mod tests { use super::super::contract; mod deeper { use super::super::super::contract; } }",
        "mod one { fn f() {} } use super::Door;",
        "fn f() { crate::source::go(); crate::change::Cut::default(); }",
    ];
    for text in harmless {
        assert_eq!(said("src/source/binlog.rs", text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn every_rule_can_be_broken() {
    let cases = [
        ("src/lake/x.rs", "use mysql_common::Row;", "`lake` may not name `mysql_common::Row`: mysql_common belongs to source"),
        (
            "src/source/x.rs",
            "fn f() { arrow_select::concat(); }",
            "`source` may not name `arrow_select::concat`: arrow belongs to lake",
        ),
        (
            "src/pipeline/x.rs",
            "use ::rusqlite;",
            "`pipeline` may not name `rusqlite`: rusqlite belongs to metadata and changelog",
        ),
        (
            "src/metadata/x.rs",
            "use {parquet::file, serde::Serialize};",
            "`metadata` may not name `parquet::file`: parquet belongs to lake",
        ),
        ("src/lake/x.rs", "extern crate saphyr_parser as yaml;", "`lake` may not name `saphyr_parser`: saphyr belongs to config"),
        ("src/change/x.rs", "use tokio::sync::Mutex;", "`change` does without `tokio`"),
        ("src/change/x.rs", "fn f() { std::fs::read(\"x\"); }", "`change` does without `std::fs`"),
        ("src/change/x.rs", "use crate::config::Config;", "`change` may not name `crate::config::Config`"),
        ("src/config/x.rs", "use crate::change::Cut;", "`config` may not name `crate::change::Cut`"),
        ("src/coordinator/x.rs", "use crate::lake::Lake;", "`coordinator` may not name `crate::lake::Lake`"),
        ("src/coordinator/x.rs", "use crate::change::{Cut, RowSink};", "`coordinator` does without `crate::change::RowSink`"),
        ("src/pipeline/x.rs", "use crate::coordinator::run;", "`pipeline` may not name `crate::coordinator::run`"),
        ("src/attic/x.rs", "", "the room `attic` is unknown; say in ROOMS what it may name"),
        ("src/lake/utils.rs", "", "`utils` says nothing of what is in it"),
    ];
    for (file, text, expected) in cases {
        assert_eq!(said(file, text), [expected], "{file}: {text}");
    }
    assert_eq!(
        said("src/command/run.rs", "use binlake::config::Config; use crate::arguments::Arguments; use clap::Parser;"),
        Vec::<String>::new()
    );
}

#[test]
fn long_files_and_bare_ones_are_found() {
    assert_eq!(check("tests/x.rs", "fn f() {}").len(), 1, "no purpose");
    let code = "fn f() {}\n".repeat(LINES_MAX);
    assert_eq!(said("src/lake/x.rs", &code), Vec::<String>::new());
    assert_eq!(said("src/lake/x.rs", &format!("{code}fn g() {{}}\n")).len(), 1);
    assert_eq!(said("src/lake/x.rs", &format!("{code}// a comment\n\n/// another\n")), Vec::<String>::new());
    assert_eq!(said("src/lake/x.rs", &format!("{code}#[cfg(test)]\nmod tests {{\n{code}}}\n")), Vec::<String>::new());
    assert_eq!(
        said("src/lake/x.rs", &format!("#[cfg(test)]\nmod tests {{}}\n{code}fn g() {{}}\n")).len(),
        1,
        "what follows tests counts"
    );
    assert_eq!(said("src/lake/tests.rs", &format!("{code}{code}")), Vec::<String>::new());
}
