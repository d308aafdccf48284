//! Walks the tree: asks a map for its keys and a value for its type, and notes everything that is wrong on the way instead of
//! stopping at the first. What was not asked for is unknown.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::problem::{Place, Problem};
use super::settings::Word;
use super::substitute::{Environment, Missing, Substitution};
use super::suggest::nearest;
use super::tree::{Entry, Kind, Node};
use super::units;

/// A checked read of the tree: values come out, problems are collected.
pub(super) struct Reader<'a> {
    pub(super) file: &'a Path,
    /// The file's directory, absolute: what relative paths are relative to.
    pub(super) directory: &'a Path,
    pub(super) environment: &'a dyn Environment,
    pub(super) errors: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
}

/// A map being read. Every key that is asked for is known; the others are errors when it is finished.
pub(super) struct Fields<'n> {
    pub(super) place: Place,
    entries: &'n [Entry],
    known: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// The value of a key; None where it is not given.
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'n Node> {
        self.known.push(key);
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The place of a key, given or not.
    pub(super) fn place_of(&self, key: &str) -> Place {
        let given = self.entries.iter().find(|entry| entry.key == key);
        given.map_or_else(|| self.place.key(key), |entry| entry.place.clone())
    }
}

impl<'a> Reader<'a> {
    pub(super) fn error(&mut self, place: &Place, message: impl Into<String>, remedy: impl Into<String>) {
        self.errors.push(Problem::new(self.file, place, message, remedy));
    }

    pub(super) fn warning(&mut self, place: &Place, message: impl Into<String>, remedy: impl Into<String>) {
        self.warnings.push(Problem::new(self.file, place, message, remedy));
    }

    pub(super) fn missing(&mut self, place: &Place, missing: Vec<Missing>) {
        for Missing { message, remedy } in missing {
            self.error(place, message, remedy);
        }
    }

    /// A node as a map; None, and an error, where it is none.
    pub(super) fn fields<'n>(&mut self, node: &'n Node) -> Option<Fields<'n>> {
        match &node.kind {
            Kind::Map(entries) => Some(Fields { place: node.place.clone(), entries, known: Vec::new() }),
            Kind::Scalar { .. } | Kind::List(_) => {
                self.wrong_kind(node, "a map of keys");
                None
            }
        }
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(&mut self, fields: Fields<'_>) {
        for entry in fields.entries.iter().filter(|entry| !fields.known.contains(&entry.key.as_str())) {
            let remedy = match nearest(&entry.key, fields.known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the keys here are {}", fields.known.join(", ")),
            };
            self.error(&entry.place, "unknown key", remedy);
        }
    }

    /// A key whose part is not built: refused by name, never ignored.
    pub(super) fn not_built(&mut self, fields: &mut Fields<'_>, key: &'static str, what: &str, remedy: &str) {
        if fields.take(key).is_some() {
            let place = fields.place_of(key);
            self.error(&place, format!("{what} not built yet in this version"), remedy);
        }
    }

    fn wrong_kind(&mut self, node: &Node, expected: &str) {
        let remedy = if node.is_null() { "give it a value or remove the key" } else { "see binlake.example.yaml" };
        self.error(&node.place, format!("expected {expected}, found {}", node.describe()), remedy);
    }

    /// A single value as it is written.
    pub(super) fn written<'n>(&mut self, node: &'n Node) -> Option<&'n str> {
        match &node.kind {
            Kind::Scalar { text, .. } if !node.is_null() => Some(text),
            Kind::Scalar { .. } | Kind::List(_) | Kind::Map(_) => {
                self.wrong_kind(node, "a single value");
                None
            }
        }
    }

    /// How a value is substituted.
    pub(super) fn substitution(&self) -> Substitution<'a> {
        Substitution { environment: self.environment, directory: self.directory }
    }

    /// A single value, substituted.
    pub(super) fn text(&mut self, node: &Node) -> Option<String> {
        let written = self.written(node)?;
        match self.substitution().apply(written) {
            Ok(text) => Some(text),
            Err(missing) => {
                self.missing(&node.place, missing);
                None
            }
        }
    }

    /// A value that `parse` understands. Its error says what was expected; what was found is quoted as it is written, so that a
    /// variable's value is not shown.
    fn parsed<T>(&mut self, node: &Node, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(node)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(expected) => {
                let written = self.written(node)?;
                self.error(&node.place, format!("{written:?} does not fit"), format!("give {expected}"));
                None
            }
        }
    }

    /// A duration in a range.
    pub(super) fn duration(&mut self, node: &Node, (least, most): (Duration, Duration)) -> Option<Duration> {
        self.parsed(node, |text| {
            let value = units::duration(text)?;
            let range = || format!("{} to {}", units::show_duration(least), units::show_duration(most));
            if (least..=most).contains(&value) { Ok(value) } else { Err(range()) }
        })
    }

    /// A size in a range.
    pub(super) fn size(&mut self, node: &Node, (least, most): (u64, u64)) -> Option<u64> {
        self.parsed(node, |text| {
            let value = units::size(text)?;
            let range = || format!("{} to {}", units::show_size(least), units::show_size(most));
            if (least..=most).contains(&value) { Ok(value) } else { Err(range()) }
        })
    }

    /// A ratio in a range.
    pub(super) fn ratio(&mut self, node: &Node, (least, most): (f64, f64)) -> Option<f64> {
        self.parsed(node, |text| {
            let value = units::ratio(text)?;
            if (least..=most).contains(&value) { Ok(value) } else { Err(format!("{least}x to {most}x")) }
        })
    }

    /// A whole number in a range.
    pub(super) fn number(&mut self, node: &Node, (least, most): (u64, u64)) -> Option<u64> {
        self.parsed(node, |text| {
            let value = text.parse().ok().filter(|value| (least..=most).contains(value));
            value.ok_or_else(|| format!("a whole number from {least} to {most}"))
        })
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, node: &Node) -> Option<bool> {
        self.parsed(node, |text| text.parse().map_err(|_| "true or false".to_owned()))
    }

    /// One of a list of words. YAML's null is the word `null` where that is one of them.
    pub(super) fn word<T: Word>(&mut self, node: &Node) -> Option<T> {
        let words = T::WORDS;
        if node.is_null()
            && let Some((_, value)) = words.iter().find(|(word, _)| *word == "null")
        {
            return Some(*value);
        }
        self.parsed(node, |text| match words.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(*value),
            None => Err(words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(" or ")),
        })
    }

    /// A path, made absolute.
    pub(super) fn path(&mut self, node: &Node) -> Option<PathBuf> {
        let directory = self.directory;
        self.parsed(node, |text| match text {
            "" => Err("a path".to_owned()),
            text => Ok(directory.join(text)),
        })
    }

    /// The items of a list.
    pub(super) fn list<'n>(&mut self, node: &'n Node) -> Option<&'n [Node]> {
        match &node.kind {
            Kind::List(items) => Some(items),
            Kind::Scalar { .. } | Kind::Map(_) => {
                self.wrong_kind(node, "a list");
                None
            }
        }
    }

    /// A list of different, non-empty texts.
    pub(super) fn names(&mut self, node: &Node) -> Option<Vec<String>> {
        let items = self.list(node)?;
        if items.is_empty() {
            self.error(&node.place, "the list is empty", "name at least one, or remove the key");
            return None;
        }
        let mut names: Vec<String> = Vec::new();
        for item in items {
            let Some(name) = self.text(item) else { continue };
            if name.is_empty() {
                self.error(&item.place, "the name is empty", "name each once");
            } else if names.contains(&name) {
                self.error(&item.place, format!("{name:?} is named twice"), "name each once");
            } else {
                names.push(name);
            }
        }
        Some(names)
    }
}
