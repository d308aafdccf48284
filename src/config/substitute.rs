//! `${VAR}`, `${VAR:-default}`, `${file:/run/secrets/x}` and `$$` in values.
//!
//! A value is substituted after YAML and URL have been taken apart, so any character may stand in a secret. A `$` before anything
//! but `{` or `$` is a `$`: regular expressions end in it. Nothing is substituted in what was substituted.

use std::io;
use std::path::{Path, PathBuf};

/// Where variables and secret files come from.
pub trait Environment {
    /// A variable; None where it is not set.
    ///
    /// # Errors
    /// One that is set and cannot be read as text.
    fn variable(&self, name: &str) -> Result<Option<String>, String>;
    /// A file's text.
    fn file(&self, path: &Path) -> io::Result<String>;
}

/// The process's own environment.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn variable(&self, name: &str) -> Result<Option<String>, String> {
        match std::env::var(name) {
            Ok(value) => Ok(Some(value)),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => Err("it is not UTF-8".to_owned()),
        }
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(path)
    }
}

/// What keeps a value from being substituted. The message never holds a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) message: String,
    pub(super) remedy: String,
}

/// Substitutes, with relative file names below `directory`.
pub(super) struct Substitution<'a> {
    pub(super) environment: &'a dyn Environment,
    pub(super) directory: &'a Path,
}

enum Piece<'t> {
    Literal(&'t str),
    Dollar,
    Variable { name: &'t str, default: Option<&'t str> },
    File(&'t str),
}

impl Substitution<'_> {
    /// The value of a text. All that is missing is reported at once.
    pub(super) fn apply(&self, text: &str) -> Result<String, Vec<Missing>> {
        self.apply_with(text, &|literal| Ok(literal.to_owned()))
    }

    /// The same with `literal` applied to what is written literally, and to nothing that is substituted.
    pub(super) fn apply_with(
        &self,
        text: &str,
        literal: &dyn Fn(&str) -> Result<String, Missing>,
    ) -> Result<String, Vec<Missing>> {
        let (mut value, mut missing) = (String::new(), Vec::new());
        for piece in pieces(text).map_err(|missing| vec![missing])? {
            let part = match piece {
                Piece::Literal(text) => literal(text),
                Piece::Dollar => Ok("$".to_owned()),
                Piece::Variable { name, default } => self.variable(name, default),
                Piece::File(name) => self.file(name),
            };
            match part {
                Ok(part) => value.push_str(&part),
                Err(what) => missing.push(what),
            }
        }
        if missing.is_empty() { Ok(value) } else { Err(missing) }
    }

    fn variable(&self, name: &str, default: Option<&str>) -> Result<String, Missing> {
        let found = self.environment.variable(name).map_err(|reason| Missing {
            message: format!("the environment variable {name} cannot be used: {reason}"),
            remedy: format!("set {name} to a text"),
        })?;
        match (found, default) {
            (Some(value), None) => Ok(value),
            (Some(value), Some(default)) => Ok(if value.is_empty() { default.to_owned() } else { value }),
            (None, Some(default)) => Ok(default.to_owned()),
            (None, None) => Err(Missing {
                message: format!("the environment variable {name} is not set"),
                remedy: format!("set {name}, or write ${{{name}:-default}}; $$ stands for a $"),
            }),
        }
    }

    fn file(&self, name: &str) -> Result<String, Missing> {
        let path: PathBuf = self.directory.join(name);
        let text = self.environment.file(&path).map_err(|error| Missing {
            message: format!("the file {} cannot be read: {error}", path.display()),
            remedy: "put the secret there, readable by binlake alone".to_owned(),
        })?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
    }
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>, Missing> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        if let Some(after) = from.strip_prefix("$$") {
            pieces.extend([Piece::Literal(before), Piece::Dollar]);
            rest = after;
        } else if let Some(inside) = from.strip_prefix("${") {
            let Some((reference, after)) = inside.split_once('}') else {
                return Err(Missing {
                    message: "a `${` has no `}`".to_owned(),
                    remedy: "write ${VAR}, ${VAR:-default} or ${file:/path}; $$ stands for a $".to_owned(),
                });
            };
            pieces.extend([Piece::Literal(before), piece(reference)?]);
            rest = after;
        } else {
            let (literal, after) = rest.split_at(at + 1);
            pieces.push(Piece::Literal(literal));
            rest = after;
        }
    }
    pieces.push(Piece::Literal(rest));
    Ok(pieces)
}

fn piece(reference: &str) -> Result<Piece<'_>, Missing> {
    if let Some(path) = reference.strip_prefix("file:").filter(|path| !path.is_empty()) {
        return Ok(Piece::File(path));
    }
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    let plain = |(index, c): (usize, char)| c == '_' || c.is_ascii_alphabetic() || (index > 0 && c.is_ascii_digit());
    if !name.is_empty() && name.chars().enumerate().all(plain) {
        return Ok(Piece::Variable { name, default });
    }
    Err(Missing {
        message: "what stands between `${` and `}` is no variable's name".to_owned(),
        remedy: "write ${VAR}, ${VAR:-default} or ${file:/path}; $$ stands for a $".to_owned(),
    })
}

/// The first or last place of a character that does not stand inside a `${…}`.
pub(super) fn find_outside(text: &str, wanted: char, last: bool) -> Option<usize> {
    let (mut found, mut inside) = (None, false);
    for (at, c) in text.char_indices() {
        match c {
            '}' if inside => inside = false,
            '{' if text[..at].ends_with('$') => inside = true,
            c if c == wanted && !inside => {
                found = Some(at);
                if !last {
                    break;
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Environment for Fixed {
        fn variable(&self, name: &str) -> Result<Option<String>, String> {
            Ok(match name {
                "SECRET" => Some("p@ss:w/rd#${X}$$%41\"".to_owned()),
                "EMPTY" => Some(String::new()),
                _ => None,
            })
        }

        fn file(&self, path: &Path) -> io::Result<String> {
            match path.to_str() {
                Some("/etc/binlake/secret") => Ok("line\n\r\n".to_owned()),
                Some("/run/x") => Ok("windows\r\n".to_owned()),
                _ => Err(io::Error::from(io::ErrorKind::NotFound)),
            }
        }
    }

    fn apply(text: &str) -> Result<String, Vec<Missing>> {
        Substitution { environment: &Fixed, directory: Path::new("/etc/binlake") }.apply(text)
    }

    #[test]
    fn values_are_put_in_as_they_are() {
        assert_eq!(apply("a${SECRET}b").unwrap(), "ap@ss:w/rd#${X}$$%41\"b");
        assert_eq!(apply("${NONE:-x:-y}/${EMPTY:-e}/${EMPTY}").unwrap(), "x:-y/e/");
        assert_eq!(apply("${file:secret}|${file:/run/x}").unwrap(), "line\n|windows");
        assert_eq!(apply("/^t_[0-9]+$/ $$ $$${EMPTY} $").unwrap(), "/^t_[0-9]+$/ $ $ $");
    }

    #[test]
    fn everything_that_is_missing_is_said_at_once() {
        let missing = apply("${ONE} ${SECRET} ${TWO} ${file:nowhere}").unwrap_err();
        let messages: Vec<_> = missing.iter().map(|missing| missing.message.as_str()).collect();
        assert_eq!(messages.len(), 3, "{messages:?}");
        assert!(messages[0].contains("ONE") && messages[1].contains("TWO") && messages[2].contains("/etc/binlake/nowhere"));
        for text in ["${", "${}", "${1A}", "${A B}", "${file:}"] {
            assert!(apply(text).is_err(), "{text}");
        }
    }

    #[test]
    fn separators_inside_references_are_not_seen() {
        let text = "u${A:-@:}:p@${file:/x@y}@host";
        assert_eq!(find_outside(text, ':', false), Some(9));
        assert_eq!(find_outside(text, '@', true), Some(text.len() - 5));
        assert_eq!(find_outside("{a:b}", ':', false), Some(2), "a brace alone begins nothing");
    }
}
