//! The rules of the house, kept by reading the sources: which room may name which, which crate belongs to which room, how files open,
//! how long they are, and how modules are laid out. The checker is itself checked on planted violations.

use std::fs;
use std::path::{Path, PathBuf};

/// Rooms of the library and the rooms they may name besides themselves. A room that is not here must be added before it is built.
const ROOMS: &[(&str, &[&str])] = &[
    ("change", &[]),
    ("source", &["change"]),
    ("changelog", &["change"]),
    ("lake", &["change"]),
    ("metadata", &["change"]),
    ("config", &[]),
    ("pipeline", &["change", "source", "changelog", "lake", "metadata"]),
    ("coordinator", &["change", "pipeline", "metadata"]),
];

/// What belongs to the binary: it sees the library's rooms, and alone sees `config`.
const BINARY: &[&str] = &["main", "arguments", "command"];

/// External crates (with all whose names begin with them and `_`) and where they may be named.
const CRATES: &[(&str, &[&str])] = &[
    ("mysql_async", &["source"]),
    ("mysql_common", &["source"]),
    ("tokio_rustls", &["source"]),
    ("rustls_native_certs", &["source"]),
    ("sqlparser", &["source"]),
    ("rdkafka", &["changelog"]),
    ("arrow", &["lake"]),
    ("parquet", &["lake"]),
    ("object_store", &["lake"]),
    ("rusqlite", &["metadata", "changelog"]),
    ("saphyr", &["config"]),
    ("globset", &["config"]),
    ("clap", &["main"]),
    ("indicatif", &["main"]),
    ("tracing_subscriber", &["main"]),
];

/// Paths that a room does without: `change` is pure, `config` is read before anything runs, `coordinator` never sees rows.
const WITHOUT: &[(&str, &[&str])] = &[
    ("change", &["tokio", "futures", "async_trait", "std::fs", "std::net", "std::process", "std::thread"]),
    ("config", &["tokio", "futures", "async_trait", "std::thread"]),
    ("coordinator", &["crate::change::RowSink", "crate::change::Image", "crate::change::Value", "crate::change::row"]),
];

/// Lines of production code a file may have: without tests, comments and blank lines.
const LINES_MAX: usize = 500;

/// Names that say nothing of what is in a file.
const EMPTY_NAMES: &[&str] = &["utils", "util", "helpers", "helper", "common", "manager", "types", "misc"];

#[test]
fn the_sources_keep_the_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for directory in ["src", "tests", "benches"] {
        rust_files(&root.join(directory), &mut files);
    }
    assert!(files.len() > 20, "the sources were not found");
    let mut violations = Vec::new();
    for file in &files {
        let name = file.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
        violations.extend(check(&name, &fs::read_to_string(file).unwrap()));
        if file.with_extension("").is_dir() && file.file_name() != Some("mod.rs".as_ref()) && name.starts_with("src/") {
            violations.push(format!(
                "{name}:1: it stands beside a directory of its name; move it to {}/mod.rs",
                name.trim_end_matches(".rs")
            ));
        }
    }
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

fn rust_files(directory: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let mut entries: Vec<PathBuf> = entries.map(|entry| entry.expect("the directory can be listed").path()).collect();
    entries.sort();
    for entry in entries {
        if entry.is_dir() {
            rust_files(&entry, files);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            files.push(entry);
        }
    }
}

/// Everything that is wrong with one file.
fn check(name: &str, text: &str) -> Vec<String> {
    let mut violations = Vec::new();
    if !text.starts_with("//! ") {
        violations.push(format!("{name}:1: a file opens with `//!` and its purpose"));
    }
    let Some(inside) = name.strip_prefix("src/") else { return violations };
    let modules = module_path(inside);
    if let Some(empty) = modules.iter().find(|module| EMPTY_NAMES.contains(&module.as_str())) {
        violations.push(format!("{name}:1: `{empty}` says nothing of what is in it"));
    }
    let tokens = tokens(text);
    let lines = production_lines(name, &tokens);
    if lines > LINES_MAX {
        violations
            .push(format!("{name}:1: {lines} lines of production code; {LINES_MAX} are the limit: look for the second noun"));
    }
    let Some(room) = room(&modules) else { return violations };
    if room != "main" && !ROOMS.iter().any(|(known, _)| *known == room) {
        violations.push(format!("{name}:1: the room `{room}` is unknown; say in ROOMS what it may name"));
        return violations;
    }
    for path in paths(&tokens, &modules) {
        violations.extend(judge(room, &path).map(|what| format!("{name}:{}: {what}", path.line)));
    }
    violations
}

/// `lake/log/mod.rs` is `[lake, log]`.
fn module_path(inside: &str) -> Vec<String> {
    let mut modules: Vec<String> = inside.trim_end_matches(".rs").split('/').map(ToOwned::to_owned).collect();
    if modules.last().is_some_and(|last| last == "mod" || last == "lib") {
        modules.pop();
    }
    modules
}

/// None for `lib.rs`, which only lists the rooms.
fn room(modules: &[String]) -> Option<&str> {
    let first = modules.first()?.as_str();
    Some(if BINARY.contains(&first) { "main" } else { first })
}

/// Whether the room may name the path; else why not.
fn judge(room: &str, path: &NamedPath) -> Option<String> {
    let text = path.segments.join("::");
    let head = path.segments.first()?.as_str();
    if head == "crate" && room != "main" {
        let other = path.segments.get(1)?.as_str();
        let allowed = ROOMS.iter().find(|(known, _)| *known == room).map_or(&[][..], |(_, allowed)| allowed);
        if other != room && !allowed.contains(&other) {
            return Some(format!("`{room}` may not name `{text}`"));
        }
    }
    let begins = |name: &str, with: &str| name == with || name.strip_prefix(with).is_some_and(|rest| rest.starts_with('_'));
    if let Some((known, rooms)) = CRATES.iter().find(|(known, _)| begins(head, known))
        && !rooms.contains(&room)
    {
        return Some(format!("`{room}` may not name `{text}`: {known} belongs to {}", rooms.join(" and ")));
    }
    let without = WITHOUT.iter().find(|(known, _)| *known == room).map_or(&[][..], |(_, without)| without);
    let named = without.iter().find(|path| text == **path || text.starts_with(&format!("{path}::")));
    named.map(|path| format!("`{room}` does without `{path}`"))
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Word(String),
    /// `::`
    Colons,
    Sign(char),
}

#[derive(Debug, Clone)]
struct Token {
    line: usize,
    kind: Kind,
}

impl Token {
    fn is_sign(&self, sign: char) -> bool {
        self.kind == Kind::Sign(sign)
    }

    fn is_word(&self, wanted: &str) -> bool {
        matches!(&self.kind, Kind::Word(word) if word == wanted)
    }
}

/// The words and signs of a source, without comments, texts and numbers' insides.
fn tokens(text: &str) -> Vec<Token> {
    let c: Vec<char> = text.chars().collect();
    let (mut tokens, mut at, mut line) = (Vec::new(), 0, 1);
    while at < c.len() {
        let start = at;
        let next = c.get(at + 1).copied().unwrap_or('\0');
        if let Some(end) = raw_text_end(&c, at) {
            at = end;
            line += c[start..at].iter().filter(|one| **one == '\n').count();
            continue;
        }
        match c[at] {
            '/' if next == '/' => at = find(&c, at, '\n'),
            '/' if next == '*' => at = block_comment_end(&c, at),
            '"' => at = text_end(&c, at + 1),
            'b' | 'c' if next == '"' => at = text_end(&c, at + 2),
            '\'' => at = quote_end(&c, at),
            ':' if next == ':' => {
                tokens.push(Token { line, kind: Kind::Colons });
                at += 2;
            }
            first if first.is_alphanumeric() || first == '_' => {
                while at < c.len() && (c[at].is_alphanumeric() || c[at] == '_') {
                    at += 1;
                }
                let word: String = c[start..at].iter().collect();
                tokens.push(Token { line, kind: Kind::Word(word) });
            }
            sign => {
                if !sign.is_whitespace() {
                    tokens.push(Token { line, kind: Kind::Sign(sign) });
                }
                at += 1;
            }
        }
        line += c[start..at.min(c.len())].iter().filter(|one| **one == '\n').count();
    }
    tokens
}

fn find(c: &[char], from: usize, wanted: char) -> usize {
    c[from..].iter().position(|one| *one == wanted).map_or(c.len(), |at| from + at)
}

fn block_comment_end(c: &[char], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0);
    while at + 1 < c.len() {
        match (c[at], c[at + 1]) {
            ('/', '*') => (at, depth) = (at + 2, depth + 1),
            ('*', '/') => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    c.len()
}

fn text_end(c: &[char], mut at: usize) -> usize {
    while at < c.len() && c[at] != '"' {
        at += if c[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// Behind `r"…"`, `r#"…"#`, `br"…"`; None where no raw text begins.
fn raw_text_end(c: &[char], from: usize) -> Option<usize> {
    if !matches!(c[from], 'r' | 'b' | 'c') {
        return None;
    }
    let mut at = from + usize::from(c[from] != 'r');
    if c.get(at) != Some(&'r') || (from > 0 && (c[from - 1].is_alphanumeric() || c[from - 1] == '_')) {
        return None;
    }
    at += 1;
    let hashes = c[at..].iter().take_while(|one| **one == '#').count();
    at += hashes;
    if c.get(at) != Some(&'"') {
        return None;
    }
    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let behind = c[at + 1..].windows(end.len()).position(|window| window == end);
    Some(behind.map_or(c.len(), |found| at + 1 + found + end.len()))
}

/// Behind a character, or behind the quote of a lifetime.
fn quote_end(c: &[char], at: usize) -> usize {
    match (c.get(at + 1), c.get(at + 2)) {
        (Some('\\'), _) => find(c, at + 3, '\'') + 1,
        (Some(_), Some('\'')) => at + 3,
        _ => at + 1,
    }
}

/// Lines that hold code of the product: those of tests are left out.
fn production_lines(name: &str, tokens: &[Token]) -> usize {
    let file = name.rsplit('/').next().unwrap_or(name);
    if file == "tests.rs" || file.ends_with("_tests.rs") || name.contains("/tests/") {
        return 0;
    }
    let (mut lines, mut at) = (std::collections::BTreeSet::new(), 0);
    while at < tokens.len() {
        if is_test_module(&tokens[at..]) {
            at = behind_braces(tokens, at);
        } else {
            lines.insert(tokens[at].line);
            at += 1;
        }
    }
    lines.len()
}

/// `#[cfg(test)] mod name {`
fn is_test_module(tokens: &[Token]) -> bool {
    let shape = ["#", "[", "cfg", "(", "test", ")", "]", "mod"];
    tokens.len() > 9
        && tokens[9].is_sign('{')
        && shape.iter().zip(tokens).all(|(wanted, token)| {
            wanted.chars().next().is_some_and(|sign| wanted.len() == 1 && token.is_sign(sign)) || token.is_word(wanted)
        })
}

fn behind_braces(tokens: &[Token], from: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        if token.is_sign('{') {
            depth += 1;
        } else if token.is_sign('}') {
            depth = depth.saturating_sub(1);
            if depth == 0 {
                return at + 1;
            }
        }
    }
    tokens.len()
}

/// A path as it is named, with `self` and `super` resolved.
#[derive(Debug, Clone, PartialEq)]
struct NamedPath {
    line: usize,
    segments: Vec<String>,
}

/// Every path of the source: in `use`, with nested groups, and in code.
fn paths(tokens: &[Token], modules: &[String]) -> Vec<NamedPath> {
    let mut paths = Vec::new();
    // Modules within the file: the brace depth at which each ends.
    let (mut inner, mut depth): (Vec<(usize, String)>, usize) = (Vec::new(), 0);
    for (at, token) in tokens.iter().enumerate() {
        match &token.kind {
            Kind::Sign('{') => {
                if let Some([keyword, name]) = at.checked_sub(2).and_then(|from| tokens.get(from..at))
                    && let (true, Kind::Word(name)) = (keyword.is_word("mod"), &name.kind)
                {
                    inner.push((depth, name.clone()));
                }
                depth += 1;
            }
            Kind::Sign('}') => {
                depth = depth.saturating_sub(1);
                inner.retain(|(ends, _)| *ends < depth);
            }
            Kind::Word(_) if begins_path(tokens, at) => {
                let mut found = Vec::new();
                expand(tokens, at, Vec::new(), &mut found, 0);
                let here: Vec<String> = modules.iter().cloned().chain(inner.iter().map(|(_, name)| name.clone())).collect();
                let before = at.checked_sub(1).and_then(|index| tokens.get(index));
                let used = before.is_some_and(|one| one.is_word("use") || one.is_word("crate") || one.kind == Kind::Colons);
                let found = found.into_iter().filter(|path| path.segments.len() > 1 || used);
                paths.extend(found.map(|path| NamedPath { segments: resolved(path.segments, &here), ..path }));
            }
            Kind::Word(_) | Kind::Colons | Kind::Sign(_) => {}
        }
    }
    paths
}

fn begins_path(tokens: &[Token], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).and_then(|index| tokens.get(index)).map(|token| &token.kind);
    match before(1) {
        Some(Kind::Sign('.')) => false,
        // `::serde::…` begins one, `a::b` and `<T>::b` do not.
        Some(Kind::Colons) => match before(2) {
            Some(Kind::Word(word)) => word == "use",
            Some(Kind::Sign(sign)) => !matches!(sign, '>' | ']' | ')'),
            Some(Kind::Colons) | None => true,
        },
        _ => true,
    }
}

/// Follows `a::b::{c, d::{e}}` from the word at `at`; returns the token behind.
fn expand(tokens: &[Token], mut at: usize, mut prefix: Vec<String>, found: &mut Vec<NamedPath>, depth: usize) -> usize {
    let line = tokens.get(at).map_or(0, |token| token.line);
    while let Some(Token { kind: Kind::Word(word), .. }) = tokens.get(at) {
        prefix.push(word.clone());
        at += 1;
        if tokens.get(at).is_none_or(|token| token.kind != Kind::Colons) {
            found.push(NamedPath { line, segments: prefix });
            return at;
        }
        at += 1;
    }
    if tokens.get(at).is_none_or(|token| !token.is_sign('{')) || depth > 16 {
        // `a::*`, `a::<T>`
        found.push(NamedPath { line, segments: prefix });
        return at;
    }
    at += 1;
    while let Some(token) = tokens.get(at) {
        match &token.kind {
            Kind::Sign('}') => return at + 1,
            Kind::Word(word) if word == "as" => at += 2,
            Kind::Word(_) => at = expand(tokens, at, prefix.clone(), found, depth + 1),
            Kind::Sign(_) | Kind::Colons => {
                if token.is_sign('*') {
                    found.push(NamedPath { line: token.line, segments: prefix.clone() });
                }
                at += 1;
            }
        }
    }
    at
}

fn resolved(segments: Vec<String>, modules: &[String]) -> Vec<String> {
    let mut here = modules.to_vec();
    let mut rest = segments.as_slice();
    match rest.first().map(String::as_str) {
        Some("self") => rest = &rest[1..],
        Some("super") => {}
        _ => return segments,
    }
    while rest.first().is_some_and(|first| first == "super") {
        here.pop();
        rest = &rest[1..];
    }
    std::iter::once("crate".to_owned()).chain(here).chain(rest.iter().cloned()).collect()
}

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
