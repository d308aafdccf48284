//! A Rust source as words and signs: just enough to tell code from comments and texts.

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Word(String),
    /// `::`
    Colons,
    Sign(char),
}

#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) line: usize,
    pub(crate) kind: Kind,
}

impl Token {
    pub(crate) fn is_sign(&self, sign: char) -> bool {
        self.kind == Kind::Sign(sign)
    }

    pub(crate) fn is_word(&self, wanted: &str) -> bool {
        matches!(&self.kind, Kind::Word(word) if word == wanted)
    }
}

/// The words and signs of a source, without comments, texts and numbers' insides.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
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
