//! A MySQL statement as tokens: comments gone, executable comments (`/*!50003 … */`) opened, names unquoted.
//!
//! Nothing is rejected: what is no token is a sign of one character, what is not closed ends with the statement.

/// One token. Literals keep no text: only keywords, names and signs decide what a statement does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source::binlog) enum Token {
    /// A bare word: a keyword or a name.
    Word(String),
    /// A quoted name.
    Name(String),
    /// A string, which a `"…"` is too unless ANSI_QUOTES.
    Literal,
    /// A number that cannot be part of a name.
    Number,
    /// Any other character.
    Sign(char),
}

impl Token {
    /// Whether it is this keyword (given in upper case).
    pub(super) fn is(&self, keyword: &str) -> bool {
        matches!(self, Self::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    /// The identifier that it can be.
    pub(super) fn identifier(&self) -> Option<&str> {
        match self {
            Self::Word(text) | Self::Name(text) => Some(text),
            _ => None,
        }
    }
}

/// More than this is no statement that changes a schema; the rest of such a statement is not looked at for names one by one.
const TOKENS_MAX: usize = 1 << 20;

struct Scanner<'a> {
    rest: &'a str,
    ansi_quotes: bool,
    plain_backslash: bool,
    /// Inside a `/*! … */`.
    opened: bool,
}

/// Cuts a statement into tokens. The flag says that it was too long to be cut to its end.
pub(in crate::source::binlog) fn tokenize(sql: &str, ansi_quotes: bool, plain_backslash: bool) -> (Vec<Token>, bool) {
    let mut scanner = Scanner { rest: sql, ansi_quotes, plain_backslash, opened: false };
    let mut tokens = Vec::new();
    while tokens.len() < TOKENS_MAX {
        match scanner.next_token() {
            Some(token) => tokens.push(token),
            None => return (tokens, false),
        }
    }
    (tokens, true)
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '$') || u32::from(character) >= 0x80
}

impl Scanner<'_> {
    fn next_token(&mut self) -> Option<Token> {
        self.skip_blank();
        let first = self.rest.chars().next()?;
        let token = match first {
            '`' => Token::Name(self.quoted('`', false)),
            '"' if self.ansi_quotes => Token::Name(self.quoted('"', false)),
            '\'' | '"' => {
                self.quoted(first, !self.plain_backslash);
                Token::Literal
            }
            first if is_word(first) => self.word(),
            first => {
                self.advance(first.len_utf8());
                Token::Sign(first)
            }
        };
        Some(token)
    }

    fn advance(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    fn skip_blank(&mut self) {
        loop {
            self.rest = self.rest.trim_start_matches(|c: char| c.is_whitespace() || c == '\0');
            if self.rest.starts_with('#') || self.starts_line_comment() {
                self.advance(self.rest.find('\n').map_or(self.rest.len(), |end| end + 1));
            } else if let Some(behind) = self.rest.strip_prefix("/*!").or_else(|| self.rest.strip_prefix("/*M!")) {
                // The server's version is not asked: what it may have executed is looked at.
                self.rest = behind.trim_start_matches(|c: char| c.is_ascii_digit());
                self.opened = true;
            } else if self.rest.starts_with("/*") {
                self.advance(self.rest.find("*/").map_or(self.rest.len(), |end| end + 2));
            } else if self.opened && self.rest.starts_with("*/") {
                self.advance(2);
                self.opened = false;
            } else {
                return;
            }
        }
    }

    /// Two dashes begin a comment only before a blank.
    fn starts_line_comment(&self) -> bool {
        self.rest
            .strip_prefix("--")
            .is_some_and(|behind| behind.chars().next().is_none_or(|c| c.is_whitespace() || c.is_control()))
    }

    fn word(&mut self) -> Token {
        let end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        let text = self.rest.get(..end).unwrap_or_default().to_owned();
        self.advance(end);
        if text.bytes().all(|byte| byte.is_ascii_digit()) { Token::Number } else { Token::Word(text) }
    }

    /// Reads from a quote to the one that closes it; a doubled one stands for itself.
    fn quoted(&mut self, quote: char, backslash: bool) -> String {
        let mut text = String::new();
        let mut characters = self.rest.char_indices().skip(1).peekable();
        while let Some((place, character)) = characters.next() {
            if backslash && character == '\\' {
                characters.next();
            } else if character != quote {
                text.push(character);
            } else if characters.peek().is_some_and(|(_, next)| *next == quote) {
                text.push(quote);
                characters.next();
            } else {
                self.advance(place + quote.len_utf8());
                return text;
            }
        }
        self.rest = "";
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(sql: &str) -> Vec<String> {
        tokenize(sql, false, false)
            .0
            .into_iter()
            .map(|token| match token {
                Token::Word(text) => text,
                Token::Name(text) => format!("`{text}`"),
                Token::Literal => "''".to_owned(),
                Token::Number => "0".to_owned(),
                Token::Sign(sign) => sign.to_string(),
            })
            .collect()
    }

    #[test]
    fn comments_are_gone_and_executable_ones_are_open() {
        assert_eq!(
            words("/* x */ DROP -- y\n /*!50003 TABLE*/ `a``b` # z\n, c.d--1 /*"),
            ["DROP", "TABLE", "`a``b`", ",", "c", ".", "d", "-", "-", "0"].map(|word| word.replace("``", "`"))
        );
    }

    #[test]
    fn literals_end_where_mysql_ends_them() {
        assert_eq!(words(r"'a\'b''c' x"), ["''", "x"]);
        assert_eq!(tokenize(r"'a\' x", false, true).0, [Token::Literal, Token::Word("x".to_owned())]);
        assert_eq!(tokenize(r#""a" x"#, true, false).0, [Token::Name("a".to_owned()), Token::Word("x".to_owned())]);
        assert_eq!(words("'never closed"), ["''"]);
    }
}
