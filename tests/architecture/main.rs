//! The rules of the house, kept by reading the sources: which room may name which, which crate belongs to which room, how files open,
//! how long they are, and how modules are laid out. The checker is itself checked on planted violations.

use std::fs;
use std::path::{Path, PathBuf};

use crate::paths::{NamedPath, paths};
use crate::tokens::{Token, tokens};

mod paths;
mod planted;
mod tokens;

/// Rooms of the library and the rooms they may name besides themselves. A room that is not here must be added before it is built.
const ROOMS: &[(&str, &[&str])] = &[
    ("change", &[]),
    ("trial", &[]),
    ("source", &["change", "trial"]),
    ("changelog", &["change", "trial"]),
    ("lake", &["change", "trial"]),
    ("metadata", &["change", "trial"]),
    ("config", &[]),
    ("telemetry", &[]),
    ("http", &[]),
    ("pipeline", &["change", "trial", "source", "changelog", "lake", "metadata", "telemetry"]),
    ("coordinator", &["change", "trial", "pipeline", "metadata"]),
];

/// What belongs to the binary: it sees the library's rooms, and alone sees `config`.
const BINARY: &[&str] = &["main", "arguments", "command"];

/// External crates (with all whose names begin with them and `_`) and where they may be named.
const CRATES: &[(&str, &[&str])] = &[
    ("mysql_async", &["source"]),
    ("mysql_common", &["source"]),
    ("tokio_rustls", &["source", "lake"]),
    ("reqwest", &[]),
    ("axum", &["http"]),
    ("prometheus", &["telemetry"]),
    ("rustls_native_certs", &["source"]),
    ("sqlparser", &["source"]),
    ("rdkafka", &["changelog"]),
    ("arrow", &["lake"]),
    ("parquet", &["lake"]),
    ("object_store", &["lake"]),
    ("hdfs_native", &["lake"]),
    ("hive_metastore", &["lake"]),
    ("volo_thrift", &["lake"]),
    ("pilota", &["lake"]),
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
