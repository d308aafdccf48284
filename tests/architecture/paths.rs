//! The paths that a source names: in `use`, with nested groups, and in code.

use crate::tokens::{Kind, Token};

/// A path as it is named, with `self` and `super` resolved.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NamedPath {
    pub(crate) line: usize,
    pub(crate) segments: Vec<String>,
}

/// Every path of the source: in `use`, with nested groups, and in code.
pub(crate) fn paths(tokens: &[Token], modules: &[String]) -> Vec<NamedPath> {
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
