//! Labels of ENUM and SET columns that `information_schema` cannot show: it prints every character outside the basic plane as `?`.
//!
//! A shown label is then a pattern. The label itself stands in the table map, where `binlog_row_metadata=FULL`, and in what SELECT
//! answers; both are held against the pattern.

use crate::change::Charset;

/// Whether a shown label may hold a character that it does not show.
pub fn hides_letters(label: &str, charset: &Charset) -> bool {
    matches!(charset.0.as_str(), "utf8mb4" | "utf16" | "utf16le" | "utf32" | "gb18030" | "binary") && label.contains('?')
}

/// Whether a label is the one that is shown so.
pub fn is_shown_as(label: &str, shown: &str, charset: &Charset) -> bool {
    if label == shown {
        return true;
    }
    let hidden = |letter: char, shown: char| shown == '?' && letter > '\u{ffff}';
    hides_letters(shown, charset)
        && label.chars().count() == shown.chars().count()
        && label.chars().zip(shown.chars()).all(|(letter, shown)| letter == shown || hidden(letter, shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_mark_stands_for_itself_or_for_what_cannot_be_shown() {
        let wide = Charset("utf8mb4".to_owned());
        for (label, shown, same) in [
            ("a", "a", true),
            ("?", "?", true),
            ("😀", "?", true),
            ("x😀?", "x??", true),
            ("é", "?", false),
            ("😀", "??", false),
            ("😀", "x", false),
        ] {
            assert_eq!(is_shown_as(label, shown, &wide), same, "{label} {shown}");
        }
        assert!(!is_shown_as("😀", "?", &Charset("latin1".to_owned())));
        assert!(!hides_letters("?", &Charset("gbk".to_owned())));
    }
}
