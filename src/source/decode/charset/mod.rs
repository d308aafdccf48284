//! Bytes of a MySQL character set to Unicode: exactly what MySQL itself converts them to, and an error for everything else.
//!
//! Never a replacement character: bytes that mean nothing in the column's character set stop the table loudly, since the lake
//! would otherwise keep a value that the source does not have. Text that is ASCII is borrowed as it is.

use crate::change::Charset;

mod multi_byte;
mod single_byte;
#[cfg(test)]
mod tests;

/// A character set that cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("character set {0} is not supported")]
pub struct UnsupportedCharset(pub String);

/// Bytes that are no text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("0x{bytes} at byte {offset} is not a character of {charset}")]
pub struct InvalidText {
    /// The character set.
    pub charset: String,
    /// Where the first wrong character starts.
    pub offset: usize,
    /// Its first bytes, in hexadecimal.
    pub bytes: String,
}

/// Whether columns of this character set can be captured.
pub fn supported(charset: &Charset) -> bool {
    let name = charset.0.as_str();
    DIRECT.iter().any(|(direct, _)| *direct == name)
        || single_byte::SINGLE_BYTE.iter().any(|set| set.name == name)
        || multi_byte::MULTI_BYTE.iter().any(|set| set.name == name)
}

/// Decodes one character set. Made once per column, then used for every cell.
#[derive(Debug, Clone)]
pub struct Decoder {
    name: String,
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    Ascii,
    Utf8,
    /// At most three bytes a character.
    Utf8Three,
    /// Two bytes, no surrogates.
    Ucs2,
    Utf16,
    Utf16LittleEndian,
    Utf32,
    /// The meaning of every byte, U+FFFD for none; whether ASCII bytes are ASCII.
    SingleByte {
        table: Box<[char; 256]>,
        ascii: bool,
    },
    MultiByte(Box<Planes>),
}

const DIRECT: &[(&str, Form)] = &[
    ("utf8mb4", Form::Utf8),
    ("utf8mb3", Form::Utf8Three),
    ("utf8", Form::Utf8Three),
    ("ascii", Form::Ascii),
    // The labels of a binary ENUM: whatever they are, they are only kept when they are text.
    ("binary", Form::Utf8),
    ("ucs2", Form::Ucs2),
    ("utf16", Form::Utf16),
    ("utf16le", Form::Utf16LittleEndian),
    ("utf32", Form::Utf32),
];

impl Decoder {
    /// A decoder for a character set.
    pub fn new(charset: &Charset) -> Result<Self, UnsupportedCharset> {
        let name = charset.0.as_str();
        let direct = || DIRECT.iter().find(|(direct, _)| *direct == name).map(|(_, form)| form.clone());
        let single = || single_byte::SINGLE_BYTE.iter().find(|set| set.name == name).map(single_byte_form);
        let multi = || {
            let set = multi_byte::MULTI_BYTE.iter().find(|set| set.name == name)?;
            Some(Form::MultiByte(Box::new(Planes::new(set))))
        };
        match direct().or_else(single).or_else(multi) {
            Some(form) => Ok(Self { name: name.to_owned(), form }),
            None => Err(UnsupportedCharset(name.to_owned())),
        }
    }

    /// The text of a cell: borrowed from `bytes` where they are Unicode already, else written to `scratch`.
    pub fn decode_into<'a>(&self, bytes: &'a [u8], scratch: &'a mut String) -> Result<&'a str, InvalidText> {
        match &self.form {
            Form::Utf8 => return std::str::from_utf8(bytes).map_err(|error| self.invalid(bytes, error.valid_up_to(), 4)),
            Form::Utf8Three => return self.utf8_three(bytes),
            Form::Ascii | Form::SingleByte { ascii: true, .. } | Form::MultiByte(_) => {
                let ascii = bytes.iter().position(|byte| *byte >= 0x80);
                match (ascii, &self.form) {
                    (None, _) => return std::str::from_utf8(bytes).map_err(|_| self.invalid(bytes, 0, 1)),
                    (Some(offset), Form::Ascii) => return Err(self.invalid(bytes, offset, 1)),
                    (Some(_), _) => {}
                }
            }
            Form::Ucs2 | Form::Utf16 | Form::Utf16LittleEndian | Form::Utf32 | Form::SingleByte { .. } => {}
        }
        scratch.clear();
        scratch.reserve(bytes.len());
        let mut offset = 0;
        while let Some(rest) = bytes.get(offset..).filter(|rest| !rest.is_empty()) {
            let Some((character, length)) = self.character(rest) else { return Err(self.invalid(bytes, offset, 4)) };
            scratch.push(character);
            offset += length;
        }
        Ok(scratch)
    }

    fn utf8_three<'a>(&self, bytes: &'a [u8]) -> Result<&'a str, InvalidText> {
        let text = std::str::from_utf8(bytes).map_err(|error| self.invalid(bytes, error.valid_up_to(), 3))?;
        // Only a character of four bytes starts with 0xf0 or above.
        match bytes.iter().position(|byte| *byte >= 0xf0) {
            Some(offset) => Err(self.invalid(bytes, offset, 4)),
            None => Ok(text),
        }
    }

    /// The first character of `rest`, which is not empty, and its length.
    fn character(&self, rest: &[u8]) -> Option<(char, usize)> {
        match &self.form {
            Form::SingleByte { table, .. } => {
                let character = *table.get(usize::from(*rest.first()?))?;
                (character != char::REPLACEMENT_CHARACTER).then_some((character, 1))
            }
            Form::MultiByte(planes) => planes.character(rest),
            Form::Ucs2 => char::from_u32(u32::from(u16::from_be_bytes(*rest.first_chunk()?))).map(|character| (character, 2)),
            Form::Utf16 => utf16(rest, u16::from_be_bytes),
            Form::Utf16LittleEndian => utf16(rest, u16::from_le_bytes),
            Form::Utf32 => char::from_u32(u32::from_be_bytes(*rest.first_chunk()?)).map(|character| (character, 4)),
            Form::Ascii | Form::Utf8 | Form::Utf8Three => None,
        }
    }

    fn invalid(&self, bytes: &[u8], offset: usize, shown: usize) -> InvalidText {
        let wrong = bytes.get(offset..).unwrap_or_default();
        let bytes = wrong.iter().take(shown).map(|byte| format!("{byte:02X}")).collect();
        InvalidText { charset: self.name.clone(), offset, bytes }
    }
}

fn utf16(rest: &[u8], unit: fn([u8; 2]) -> u16) -> Option<(char, usize)> {
    let first = unit(*rest.first_chunk()?);
    if let Some(character) = char::from_u32(u32::from(first)) {
        return Some((character, 2));
    }
    let second = unit(*rest.get(2..)?.first_chunk()?);
    let character = char::decode_utf16([first, second]).next()?.ok()?;
    Some((character, 4))
}

fn single_byte_form(set: &single_byte::SingleByte) -> Form {
    let mut table = Box::new([char::REPLACEMENT_CHARACTER; 256]);
    let lower = (0..0x80u8).map(char::from);
    for (cell, character) in table.iter_mut().zip(lower.chain(set.upper.chars())) {
        *cell = character;
    }
    for (byte, character) in set.lower {
        if let Some(cell) = table.get_mut(usize::from(*byte)) {
            *cell = *character;
        }
    }
    Form::SingleByte { table, ascii: set.lower.is_empty() }
}

/// The characters of a multi-byte character set; 0 is none. All but gb18030's longest lie in the basic plane.
#[derive(Debug, Clone)]
struct Planes {
    /// By the byte less 0x80.
    one: Vec<u16>,
    /// By both bytes less 0x8000.
    two: Vec<u16>,
    /// Behind 0x8f, by the two bytes that follow less 0x8000.
    three: Vec<u16>,
    /// Sequences of four bytes follow gb18030's rule.
    four: bool,
}

const LEADS: std::ops::RangeInclusive<u32> = 0x80..=0xff;

impl Planes {
    fn new(set: &multi_byte::MultiByte) -> Self {
        let base = |bytes: &[u8]| {
            let text = set.base.decode_without_bom_handling_and_without_replacement(bytes)?;
            let mut units = text.encode_utf16();
            // Two characters for one sequence, or one beyond the basic plane, is not MySQL's.
            units.next().filter(|_| units.next().is_none())
        };
        let plane = |first: u32, last: u32| -> Vec<u16> {
            let mut plane: Vec<u16> = (first..=last)
                .map(|sequence| {
                    let bytes = sequence.to_be_bytes();
                    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(3);
                    bytes.get(start..).and_then(base).unwrap_or(0)
                })
                .collect();
            for (from, to, code) in set.differences.iter().filter(|(from, _, _)| (first..=last).contains(from)) {
                let cells = plane.get_mut((from - first) as usize..=(to - first) as usize).unwrap_or_default();
                for (cell, step) in cells.iter_mut().zip(0u16..) {
                    *cell = if *code == 0 { 0 } else { code + step };
                }
            }
            plane
        };
        Self {
            one: plane(*LEADS.start(), *LEADS.end()),
            two: plane(LEADS.start() << 8, LEADS.end() << 8 | 0xff),
            three: if set.second_plane { plane(0x8f_8000, 0x8f_ffff) } else { Vec::new() },
            four: set.base == encoding_rs::GB18030,
        }
    }

    fn character(&self, rest: &[u8]) -> Option<(char, usize)> {
        let lead = *rest.first()?;
        if lead < 0x80 {
            return Some((char::from(lead), 1));
        }
        let known = |code: Option<&u16>| code.filter(|code| **code != 0).and_then(|code| char::from_u32(u32::from(*code)));
        if let Some(character) = known(self.one.get(usize::from(lead) - 0x80)) {
            return Some((character, 1));
        }
        let pair = |bytes: &[u8]| bytes.first_chunk().map(|pair| usize::from(u16::from_be_bytes(*pair)).wrapping_sub(0x8000));
        if let Some(character) = known(self.two.get(pair(rest)?)) {
            return Some((character, 2));
        }
        if lead == 0x8f && !self.three.is_empty() {
            return known(self.three.get(pair(rest.get(1..)?)?)).map(|character| (character, 3));
        }
        if self.four {
            let text = encoding_rs::GB18030.decode_without_bom_handling_and_without_replacement(rest.get(..4)?)?;
            let mut characters = text.chars();
            return characters.next().filter(|_| characters.next().is_none()).map(|character| (character, 4));
        }
        None
    }
}
