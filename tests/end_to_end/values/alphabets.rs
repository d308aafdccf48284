//! A few texts of each character set, with the characters that other tools get wrong.

/// A character set and what is written in it.
#[derive(Debug)]
pub(super) struct Alphabet {
    pub(super) charset: &'static str,
    /// Bytes that a character may take.
    pub(super) width: usize,
    pub(super) texts: &'static [&'static str],
}

const fn of(charset: &'static str, width: usize, texts: &'static [&'static str]) -> Alphabet {
    Alphabet { charset, width, texts }
}

/// Some of all kinds: one byte a character, several, fixed widths, Unicode beyond the basic plane.
pub(super) const ALPHABETS: &[Alphabet] = &[
    of("utf8mb4", 4, &["😀", "e\u{301}", "中文", "ß", "\u{10ffff}", "a\u{0}b", "\u{2028}"]),
    of("utf8mb3", 3, &["é", "中文", "\u{ffff}", "ﬀ"]),
    of("latin1", 1, &["€“”", "café", "ÿ", "\u{81}\u{9d}", "×÷"]),
    of("ascii", 1, &["plain", "~^\\", "\u{7f}"]),
    of("gbk", 2, &["中国", "混合mixed", "镕"]),
    of("gb18030", 4, &["㐀", "😀", "中国", "ḿ"]),
    of("gb2312", 2, &["中国", "汉字"]),
    of("big5", 2, &["繁體", "裏", "許功蓋"]),
    of("sjis", 2, &["表示", "ソ", "ｱｲｳ", "～"]),
    of("cp932", 2, &["髙", "①", "～∥－", "ソ表"]),
    of("ujis", 3, &["日本", "丂", "ｱ"]),
    of("eucjpms", 3, &["日本", "髙①", "～"]),
    of("euckr", 2, &["한국", "똠방"]),
    of("ucs2", 2, &["é", "中", "\u{e000}"]),
    of("utf16", 4, &["😀", "é"]),
    of("utf16le", 4, &["😀", "中"]),
    of("utf32", 4, &["😀", "a"]),
    of("koi8r", 1, &["Привет", "─│"]),
    of("koi8u", 1, &["Їжак"]),
    of("cp1251", 1, &["Привет", "Ђ№"]),
    of("cp1250", 1, &["Žluťoučký", "€"]),
    of("cp1256", 1, &["سلام"]),
    of("cp1257", 1, &["Šī"]),
    of("latin2", 1, &["Łódź"]),
    of("latin5", 1, &["ığşİ"]),
    of("latin7", 1, &["Ąž"]),
    of("greek", 1, &["Ωμέγα"]),
    of("hebrew", 1, &["שלום"]),
    of("tis620", 1, &["ไทย"]),
    of("armscii8", 1, &["Հայ"]),
    of("geostd8", 1, &["ქართ"]),
    of("cp850", 1, &["Çüé"]),
    of("cp852", 1, &["Šćč"]),
    of("cp866", 1, &["Привет"]),
    of("dec8", 1, &["é", "œ"]),
    of("hp8", 1, &["é"]),
    of("keybcs2", 1, &["Čď"]),
    of("macce", 1, &["Čď"]),
    of("macroman", 1, &["é", "∑"]),
    of("swe7", 1, &["ÅÄÖ"]),
];

/// Texts that are ASCII and still worth a look.
pub(super) const PLAIN_TEXTS: &[&str] =
    &["", " ", "  x", "x  ", "a,b", "NULL", "0", "tab\tline\n", "\"quoted\" 'it'", "back\\slash", "unsigned"];

/// A literal of any text, whatever the `sql_mode`.
pub(super) fn literal(text: &str) -> String {
    let hexadecimal: String = text.bytes().map(|byte| format!("{byte:02X}")).collect();
    format!("_utf8mb4 X'{hexadecimal}'")
}
