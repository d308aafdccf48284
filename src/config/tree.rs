//! The YAML file as a tree of places and texts. Nothing is interpreted here: `0123` stays a text until somebody asks for a number,
//! and a key that is given twice is an error and not the last one's victory.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};

use super::problem::Place;

/// How deep a file may nest. Ours needs six.
const DEPTH_MAX: usize = 32;
/// How many nodes a file may have, aliases expanded.
const NODES_MAX: usize = 200_000;

/// A node and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) kind: Kind,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// A text as written; plain: without quotes.
    Scalar { text: String, plain: bool },
    /// `[a, b]` or lines with `-`.
    List(Vec<Node>),
    /// `{a: 1}` or lines with `key:`.
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    /// Of the key.
    pub(super) place: Place,
    pub(super) value: Node,
}

/// Something that keeps a tree from being built, with its line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Flaw {
    pub(super) place: Place,
    pub(super) message: String,
}

impl Node {
    /// Whether it is YAML's null: nothing, `~` or `null`, without quotes.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// What it is, in words.
    pub(super) fn describe(&self) -> &'static str {
        match &self.kind {
            Kind::Scalar { .. } if self.is_null() => "nothing",
            Kind::Scalar { .. } => "a single value",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map of keys",
        }
    }

    /// Gives every node its path.
    fn set_paths(&mut self, path: String) {
        match &mut self.kind {
            Kind::Scalar { .. } => {}
            Kind::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    item.set_paths(format!("{path}[{index}]"));
                }
            }
            Kind::Map(entries) => {
                let place = Place { line: 0, path: path.clone() };
                for entry in entries {
                    entry.place.path = place.key(&entry.key).path;
                    entry.value.set_paths(entry.place.path.clone());
                }
            }
        }
        self.place.path = path;
    }
}

/// The file's one document, with the flaws that do not keep it from being read (keys given twice). A file without a document is an
/// empty map.
pub(super) fn parse(text: &str) -> Result<(Node, Vec<Flaw>), Flaw> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| scan_flaw(&error))?;
        builder.take(event, span.start.line())?;
    }
    let empty = Node { place: Place { line: 1, path: String::new() }, kind: Kind::Map(Vec::new()) };
    let mut root = builder.root.take().filter(|root| !root.is_null()).unwrap_or(empty);
    root.set_paths(String::new());
    let flaws = duplicates(&root);
    Ok((root, flaws))
}

fn scan_flaw(error: &ScanError) -> Flaw {
    let line = error.marker().line();
    let hint = if error.info().contains("unknown anchor") { " (a text that begins with `*` needs quotes)" } else { "" };
    Flaw { place: Place { line, path: String::new() }, message: format!("not YAML: {}{hint}", error.info()) }
}

fn flaw(line: usize, message: &str) -> Flaw {
    Flaw { place: Place { line, path: String::new() }, message: message.to_owned() }
}

/// Keys that are given twice. Depth is bounded by the builder.
fn duplicates(node: &Node) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    match &node.kind {
        Kind::Scalar { .. } => {}
        Kind::List(items) => items.iter().for_each(|item| flaws.extend(duplicates(item))),
        Kind::Map(entries) => {
            let mut first: HashMap<&str, usize> = HashMap::new();
            for entry in entries {
                if let Some(line) = first.get(entry.key.as_str()) {
                    let message = format!("this key is given twice, first in line {line}");
                    flaws.push(Flaw { place: entry.place.clone(), message });
                } else {
                    first.insert(&entry.key, entry.place.line);
                }
                flaws.extend(duplicates(&entry.value));
            }
        }
    }
    flaws
}

/// A list or map that is not closed yet.
struct Open {
    node: Node,
    anchor: usize,
    /// The key whose value comes next.
    key: Option<(String, usize)>,
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    root: Option<Node>,
    nodes: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, line: usize) -> Result<(), Flaw> {
        let place = Place { line, path: String::new() };
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) if self.root.is_some() => Err(flaw(line, "a second YAML document begins here")),
            Event::DocumentStart(_) => Ok(()),
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(flaw(line, "this alias (`*…`) names no anchor before it"));
                };
                self.nodes += size(&node);
                self.add(node, 0)
            }
            Event::Scalar(text, style, anchor, tag) => {
                refuse_tag(tag.as_deref(), line)?;
                let kind = Kind::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain };
                self.add(Node { place, kind }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_tag(tag.as_deref(), line)?;
                self.start(Node { place, kind: Kind::List(Vec::new()) }, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                refuse_tag(tag.as_deref(), line)?;
                self.start(Node { place, kind: Kind::Map(Vec::new()) }, anchor)
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => self.add(open.node, open.anchor),
                None => Err(flaw(line, "this ends nothing")),
            },
        }
    }

    fn start(&mut self, node: Node, anchor: usize) -> Result<(), Flaw> {
        if self.open.len() >= DEPTH_MAX {
            return Err(flaw(node.place.line, "this nests too deep"));
        }
        self.open.push(Open { node, anchor, key: None });
        Ok(())
    }

    /// Puts a finished node where it belongs.
    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Flaw> {
        let line = node.place.line;
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(flaw(line, "the file is too large"));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match (&mut parent.node.kind, parent.key.take()) {
            (Kind::List(items), _) => items.push(node),
            (Kind::Map(entries), Some((key, line))) => {
                entries.push(Entry { key, place: Place { line, path: String::new() }, value: node });
            }
            (Kind::Map(_), None) => match node.kind {
                Kind::Scalar { text, .. } => parent.key = Some((text, line)),
                Kind::List(_) | Kind::Map(_) => return Err(flaw(line, "a key must be a single word")),
            },
            (Kind::Scalar { .. }, _) => return Err(flaw(line, "a single value holds no others")),
        }
        Ok(())
    }
}

fn size(node: &Node) -> usize {
    match &node.kind {
        Kind::Scalar { .. } => 1,
        Kind::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Kind::Map(entries) => 1 + entries.iter().map(|entry| 1 + size(&entry.value)).sum::<usize>(),
    }
}

fn refuse_tag(tag: Option<&Tag>, line: usize) -> Result<(), Flaw> {
    match tag {
        Some(tag) if !tag.is_yaml_core_schema() => Err(flaw(line, "tags (`!…`) mean nothing here")),
        _ => Ok(()),
    }
}

/// A map with what it does not give itself taken from `defaults`, maps within maps included. Lists are replaced, not joined. Nodes
/// keep their places, so that a wrong default is reported where it stands.
pub(super) fn merged(explicit: &Node, defaults: Option<&Node>) -> Node {
    let (Kind::Map(own), Some(Node { kind: Kind::Map(given), .. })) = (&explicit.kind, defaults) else {
        return explicit.clone();
    };
    let mut entries = own.clone();
    for default in given {
        match entries.iter_mut().find(|entry| entry.key == default.key) {
            Some(entry) => entry.value = merged(&entry.value, Some(&default.value)),
            None => entries.push(default.clone()),
        }
    }
    Node { place: explicit.place.clone(), kind: Kind::Map(entries) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(node: &Node) -> &str {
        match &node.kind {
            Kind::Scalar { text, .. } => text,
            other => panic!("{other:?}"),
        }
    }

    fn find<'a>(node: &'a Node, key: &str) -> &'a Node {
        match &node.kind {
            Kind::Map(entries) => &entries.iter().find(|entry| entry.key == key).unwrap().value,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn texts_stay_as_written_and_every_node_knows_its_place() {
        let (root, flaws) = parse("a: 0123\nlist:\n  - x: yes\n  - {y: '7'}\n").unwrap();
        assert_eq!((scalar(find(&root, "a")), flaws.len()), ("0123", 0));
        let Kind::List(items) = &find(&root, "list").kind else { panic!() };
        assert_eq!(find(&items[1], "y").place, Place { line: 4, path: "list[1].y".to_owned() });
    }

    #[test]
    fn keys_given_twice_are_all_found() {
        let (_, flaws) = parse("a: 1\nb: {c: 1, c: 2}\na: 3\n").unwrap();
        let found: Vec<_> = flaws.iter().map(|flaw| (flaw.place.line, flaw.place.path.as_str())).collect();
        assert_eq!(found, [(2, "b.c"), (3, "a")]);
    }

    #[test]
    fn what_would_not_end_well_is_refused() {
        assert!(parse(&"[".repeat(100_000)).is_err());
        assert!(parse("a: 1\n---\nb: 2\n").is_err());
        assert!(parse("a: !secret x\n").is_err());
        assert!(parse("a: *nowhere\n").is_err());
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let alias = format!("*a{}", level - 1);
            bomb += &format!("a{level}: &a{level} [{}]\n", vec![alias; 10].join(", "));
        }
        assert_eq!(parse(&bomb).unwrap_err().message, "the file is too large");
    }

    #[test]
    fn defaults_fill_what_is_not_given() {
        let (root, _) = parse("own: {a: {x: 1}, l: [1]}\ndefaults: {a: {x: 2, y: 3}, l: [2], b: 4}\n").unwrap();
        let merged = merged(find(&root, "own"), Some(find(&root, "defaults")));
        assert_eq!(scalar(find(find(&merged, "a"), "x")), "1");
        assert_eq!(find(find(&merged, "a"), "y").place.path, "defaults.a.y");
        assert_eq!(scalar(find(&merged, "b")), "4");
        assert!(matches!(&find(&merged, "l").kind, Kind::List(items) if items.len() == 1 && scalar(&items[0]) == "1"));
    }
}
