//! The text of statements in a client's character set, by the collation's id.

use mysql_common::collations::{Collation, CollationId};

use crate::change::Charset;
use crate::source::decode::charset::Decoder;

/// The character set of a collation, by today's name; None for an id that is not known here.
pub(super) fn charset_of(collation: u16) -> Option<&'static str> {
    // A constant table: the name outlives the lookup.
    match Collation::resolve(CollationId::from(collation)).charset {
        "unknown" => None,
        "utf8" => Some("utf8mb3"),
        name => Some(name),
    }
}

/// A statement's text, if it is text of the collation's character set.
pub(super) fn decode_statement(collation: u16, bytes: &[u8]) -> Option<String> {
    let decoder = Decoder::new(&Charset(charset_of(collation)?.to_owned())).ok()?;
    let mut scratch = String::new();
    decoder.decode_into(bytes, &mut scratch).ok().map(str::to_owned)
}
