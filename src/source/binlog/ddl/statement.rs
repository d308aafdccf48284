//! Reads a statement's head: the verb, its modifiers, the tables it names.

use crate::change::{Capture, TableName};

use super::tokens::{Token, tokenize};
use super::{Effect, EffectKind, NameCase, key_is_an_index};
use crate::source::binlog::query::{Query, Touched};

/// A statement and what its names are compared with.
pub(super) struct Statement<'a> {
    tokens: Vec<Token>,
    /// The next token.
    at: usize,
    database: &'a str,
    touched: &'a Touched,
    capture: &'a Capture,
    case: NameCase,
    /// It was too long to be read to its end.
    cut: bool,
}

/// Things that are created, altered and dropped, and are no tables.
const OTHER_THINGS: [&str; 14] = [
    "USER",
    "ROLE",
    "VIEW",
    "PROCEDURE",
    "FUNCTION",
    "TRIGGER",
    "EVENT",
    "SERVER",
    "TABLESPACE",
    "RESOURCE",
    "INSTANCE",
    "LOGFILE",
    "SEQUENCE",
    "PACKAGE",
];
/// Verbs that leave tables as they are.
const HARMLESS: [&str; 15] = [
    "OPTIMIZE",
    "CHECK",
    "CHECKSUM",
    "REPAIR",
    "GRANT",
    "REVOKE",
    "SET",
    "FLUSH",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT",
    "RELEASE",
    "INSTALL",
    "UNINSTALL",
];
/// Verbs that change rows.
const ROW_VERBS: [&str; 9] = ["INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD", "WITH", "CALL", "DO", "SELECT"];
/// Clauses of ALTER TABLE that leave every row as it is.
const HARMLESS_CLAUSES: [&[&str]; 10] = [
    &["ADD", "INDEX"],
    &["ADD", "KEY"],
    &["ADD", "FULLTEXT"],
    &["ADD", "SPATIAL"],
    &["ADD", "UNIQUE"],
    &["RENAME", "INDEX"],
    &["RENAME", "KEY"],
    &["ALTER", "INDEX"],
    &["ALGORITHM"],
    &["LOCK"],
];

impl<'a> Statement<'a> {
    pub(super) fn new(query: &'a Query, capture: &'a Capture, case: NameCase) -> Self {
        let (tokens, cut) = tokenize(&query.sql, query.ansi_quotes, query.plain_backslash);
        Self { tokens, at: 0, database: &query.database, touched: &query.touched, capture, case, cut }
    }

    pub(super) fn effects(mut self) -> Vec<Effect> {
        if self.cut {
            return self.every_table();
        }
        let Some(Token::Word(verb)) = self.next().cloned() else { return self.mentioned(&EffectKind::Unknown) };
        match verb.to_ascii_uppercase().as_str() {
            "TRUNCATE" => {
                self.skip("TABLE");
                self.named(EffectKind::Truncate)
            }
            "CREATE" => self.create(),
            "ALTER" => self.alter(),
            "DROP" => self.drop(),
            "RENAME" => self.rename(),
            "XA" | "START" => Vec::new(),
            "SET" if self.peek_is("STATEMENT") => self.set_statement(),
            "ANALYZE" => self.analyze(),
            verb if HARMLESS.contains(&verb) => Vec::new(),
            verb if ROW_VERBS.contains(&verb) => self.row_change(),
            _ => self.mentioned(&EffectKind::Unknown),
        }
    }

    /// `SET STATEMENT variable = value, … FOR statement`: MariaDB writes it whole.
    fn set_statement(mut self) -> Vec<Effect> {
        let mut depth = 0usize;
        while let Some(token) = self.next() {
            match token {
                Token::Sign('(') => depth += 1,
                Token::Sign(')') => depth = depth.saturating_sub(1),
                token if depth == 0 && token.is("FOR") => return self.effects(),
                _ => {}
            }
        }
        self.mentioned(&EffectKind::Unknown)
    }

    /// Of a table, or MariaDB's ANALYZE of a statement, which it runs.
    fn analyze(self) -> Vec<Effect> {
        let of_table = ["TABLE", "TABLES", "LOCAL", "NO_WRITE_TO_BINLOG"].iter().any(|word| self.peek_is(word));
        if of_table { Vec::new() } else { self.mentioned(&EffectKind::Statement) }
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<&Token> {
        self.at += 1;
        self.tokens.get(self.at - 1)
    }

    fn peek_is(&self, keyword: &str) -> bool {
        self.peek().is_some_and(|token| token.is(keyword))
    }

    fn skip(&mut self, keyword: &str) -> bool {
        let found = self.peek_is(keyword);
        self.at += usize::from(found);
        found
    }

    /// `name` or `database.name` at this place.
    fn name(&mut self) -> Option<TableName> {
        let first = self.next()?.identifier()?.to_owned();
        if self.peek() == Some(&Token::Sign('.')) {
            self.next();
            let table = self.next()?.identifier()?.to_owned();
            return Some(self.case.fold(&first, &table));
        }
        Some(self.case.fold(self.database, &first))
    }

    fn effect(&self, table: TableName, kind: EffectKind) -> Option<Effect> {
        self.capture.tables.contains_key(&table).then_some(Effect { table, kind })
    }

    /// The one table that is named here; if there is none, whatever is mentioned.
    fn named(mut self, kind: EffectKind) -> Vec<Effect> {
        let at = self.at;
        match self.name() {
            Some(table) => self.effect(table, kind).into_iter().collect(),
            None => {
                self.at = at;
                self.mentioned(&EffectKind::Unknown)
            }
        }
    }

    /// A list of tables that are named here.
    fn names(mut self, happened: &str) -> Vec<Effect> {
        let mut effects = Vec::new();
        while let Some(table) = self.name() {
            effects.extend(self.effect(table, EffectKind::Schema(happened.to_owned())));
            if self.peek() != Some(&Token::Sign(',')) {
                return effects;
            }
            self.next();
        }
        effects.extend(self.mentioned(&EffectKind::Unknown));
        effects
    }

    fn every_table(&self) -> Vec<Effect> {
        self.capture.tables.keys().map(|table| Effect { table: table.clone(), kind: EffectKind::Unknown }).collect()
    }

    /// Every captured table whose name stands anywhere in the statement.
    fn mentioned(&self, kind: &EffectKind) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (place, token) in self.tokens.iter().enumerate() {
            let Some(name) = token.identifier() else { continue };
            let before = |back: usize| place.checked_sub(back).and_then(|place| self.tokens.get(place));
            let database = match (before(1), before(2).and_then(Token::identifier)) {
                (Some(Token::Sign('.')), Some(database)) => database,
                _ => self.database,
            };
            effects.extend(self.effect(self.case.fold(database, name), kind.clone()));
        }
        effects
    }

    /// A statement that changes rows. One that names no captured table may yet reach some: the names of views, triggers and functions
    /// say nothing of the tables behind them.
    fn row_change(&self) -> Vec<Effect> {
        let mentioned = self.mentioned(&EffectKind::Statement);
        if !mentioned.is_empty() {
            return mentioned;
        }
        let is = |database: &str, table: &TableName| self.case.fold(database, "").database == table.database;
        let touched = |table: &&TableName| match self.touched {
            Touched::Many => true,
            Touched::Named(databases) => databases.iter().any(|database| is(database, table)),
            Touched::Untold => {
                let named = || self.tokens.iter().filter_map(Token::identifier).any(|name| is(name, table));
                is(self.database, table) || named()
            }
        };
        let around = self.capture.tables.keys().filter(touched);
        around.map(|table| Effect { table: table.clone(), kind: EffectKind::Around }).collect()
    }

    fn create(mut self) -> Vec<Effect> {
        // MariaDB's OR REPLACE drops what is there.
        let replaces = self.peek_is("OR");
        if replaces {
            self.at += 2;
        }
        if self.peek_is("TEMPORARY") {
            return Vec::new();
        }
        if self.skip("TABLE") {
            // Where the table is there already nothing happens, and a captured table is.
            if self.peek_is("IF") {
                return Vec::new();
            }
            return self.named(EffectKind::Schema("was created anew".to_owned()));
        }
        if replaces && (self.skip("DATABASE") || self.skip("SCHEMA")) {
            return self.dropped_database();
        }
        if replaces && (self.skip("UNIQUE") || self.skip("INDEX")) {
            self.skip("INDEX");
            return self.drop_index();
        }
        // An index changes no row; everything else that is created is no table.
        Vec::new()
    }

    fn dropped_database(mut self) -> Vec<Effect> {
        self.skip_if_exists();
        let Some(database) = self.next().and_then(Token::identifier).map(str::to_owned) else { return self.every_table() };
        let database = self.case.fold(&database, "").database;
        let dropped = self.capture.tables.keys().filter(|table| table.database == database);
        let kind = EffectKind::Schema("was dropped with its database".to_owned());
        dropped.map(|table| Effect { table: table.clone(), kind: kind.clone() }).collect()
    }

    fn drop(mut self) -> Vec<Effect> {
        if self.peek_is("TEMPORARY") || OTHER_THINGS.iter().any(|thing| self.peek_is(thing)) || self.peek_is("PREPARE") {
            return Vec::new();
        }
        if self.skip("DATABASE") || self.skip("SCHEMA") {
            return self.dropped_database();
        }
        if self.skip("TABLE") || self.skip("TABLES") {
            self.skip_if_exists();
            return self.names("was dropped");
        }
        if self.skip("INDEX") {
            return self.drop_index();
        }
        self.mentioned(&EffectKind::Unknown)
    }

    fn skip_if_exists(&mut self) {
        if self.skip("IF") {
            self.skip("EXISTS");
        }
    }

    fn drop_index(mut self) -> Vec<Effect> {
        self.skip_if_exists();
        let index = self.next().and_then(Token::identifier).map(str::to_owned);
        if !self.skip("ON") {
            return self.mentioned(&EffectKind::Unknown);
        }
        let is_primary = index.is_some_and(|index| index.eq_ignore_ascii_case("PRIMARY"));
        let effects = self.named_with_capture(EffectKind::Schema("lost an index that may be its key".to_owned()));
        effects
            .into_iter()
            .filter(|(effect, key_is_an_index)| is_primary || *key_is_an_index || effect.kind == EffectKind::Unknown)
            .map(|(effect, _)| effect)
            .collect()
    }

    fn named_with_capture(self, kind: EffectKind) -> Vec<(Effect, bool)> {
        let capture = self.capture;
        let with_key = |effect: Effect| {
            let key = key_is_an_index(capture, &effect.table);
            (effect, key)
        };
        self.named(kind).into_iter().map(with_key).collect()
    }

    fn rename(mut self) -> Vec<Effect> {
        if self.peek_is("USER") {
            return Vec::new();
        }
        if !self.skip("TABLE") && !self.skip("TABLES") {
            return self.mentioned(&EffectKind::Unknown);
        }
        // Both sides of every pair: one is moved away, the other comes into its place.
        self.mentioned(&EffectKind::Schema("was renamed, or another table came into its place".to_owned()))
    }

    fn alter(mut self) -> Vec<Effect> {
        for word in ["ONLINE", "IGNORE"] {
            self.skip(word);
        }
        if !self.skip("TABLE") {
            let is_other = OTHER_THINGS.iter().chain(&["DATABASE", "SCHEMA", "DEFINER", "ALGORITHM", "SQL"]);
            let is_other = is_other.clone().any(|thing| self.peek_is(thing));
            return if is_other { Vec::new() } else { self.mentioned(&EffectKind::Unknown) };
        }
        self.skip_if_exists();
        let Some(table) = self.name() else { return self.mentioned(&EffectKind::Unknown) };
        if self.skip("WAIT") {
            self.at += 1;
        }
        self.skip("NOWAIT");
        let mut effects = Vec::new();
        if !self.clauses_are_harmless(&table) {
            effects.extend(self.effect(table, EffectKind::Schema("was altered".to_owned())));
        }
        effects.extend(self.other_side());
        effects
    }

    /// The table that an ALTER TABLE renames to or exchanges a partition with.
    fn other_side(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        while let Some(token) = self.next() {
            let (renames, converts, exchanges) = (token.is("RENAME"), token.is("CONVERT"), token.is("EXCHANGE"));
            if renames {
                let is_part = ["COLUMN", "INDEX", "KEY"].iter().any(|part| self.peek_is(part));
                if !is_part {
                    let _to = self.skip("TO") || self.skip("AS") || self.peek() == Some(&Token::Sign('='));
                    self.skip_sign('=');
                    let happened = EffectKind::Schema("had another table renamed to its name".to_owned());
                    effects.extend(self.name().and_then(|table| self.effect(table, happened)));
                }
            } else if converts && (self.peek_is("PARTITION") || self.peek_is("TABLE")) {
                while self.peek().is_some() && !self.skip("TABLE") {
                    self.at += 1;
                }
                let happened = EffectKind::Schema("was converted to or from a partition".to_owned());
                effects.extend(self.name().and_then(|table| self.effect(table, happened)));
            } else if exchanges && self.peek_is("PARTITION") {
                while self.peek().is_some() && !self.skip("TABLE") {
                    self.at += 1;
                }
                let happened = EffectKind::Schema("was exchanged with a partition".to_owned());
                effects.extend(self.name().and_then(|table| self.effect(table, happened)));
            }
        }
        effects
    }

    fn skip_sign(&mut self, sign: char) {
        self.at += usize::from(self.peek() == Some(&Token::Sign(sign)));
    }

    /// Whether every clause from here on is one that leaves the rows and the key as they are.
    fn clauses_are_harmless(&self, table: &TableName) -> bool {
        let clauses = self.tokens.get(self.at..).unwrap_or_default();
        let mut depth = 0usize;
        let mut clause_starts = true;
        for (place, token) in clauses.iter().enumerate() {
            if clause_starts && depth == 0 {
                let clause = clauses.get(place..).unwrap_or_default();
                if !self.clause_is_harmless(clause, table) {
                    return false;
                }
            }
            match token {
                Token::Sign('(') => depth += 1,
                Token::Sign(')') => depth = depth.saturating_sub(1),
                _ => {}
            }
            clause_starts = *token == Token::Sign(',');
        }
        !clauses.is_empty()
    }

    fn clause_is_harmless(&self, clause: &[Token], table: &TableName) -> bool {
        let starts_with =
            |words: &[&str]| words.iter().enumerate().all(|(place, word)| clause.get(place).is_some_and(|token| token.is(word)));
        let drops_index = starts_with(&["DROP", "INDEX"]) || starts_with(&["DROP", "KEY"]);
        if drops_index {
            let name = if clause.get(2).is_some_and(|token| token.is("IF")) { 4 } else { 2 };
            let is_primary =
                clause.get(name).and_then(Token::identifier).is_none_or(|index| index.eq_ignore_ascii_case("PRIMARY"));
            return !is_primary && !key_is_an_index(self.capture, table);
        }
        HARMLESS_CLAUSES.iter().any(|words| starts_with(words))
    }
}
