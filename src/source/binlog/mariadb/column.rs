//! Columns that are declared COMPRESSED: each value with a head that says whether and how.

use super::inflate::{big_endian, inflate};
use crate::source::binlog::event::{Malformed, OrMalformed};

/// The value's own bytes: cut out of `bytes`, or decompressed into `scratch`.
pub(in crate::source::binlog) fn value<'a>(bytes: &'a [u8], scratch: &'a mut Vec<u8>) -> Result<&'a [u8], Malformed> {
    const ZLIB: u8 = 8;
    const RAW_STREAM: u8 = 8;
    // An empty value has not even a head.
    let Some((head, rest)) = bytes.split_first() else { return Ok(&[]) };
    match (head >> 4, head & 15) {
        (0, 0) => Ok(rest),
        (ZLIB, low) => {
            let (length, stream) = rest.split_at_checked(usize::from(low & 7)).or_malformed("a compressed column")?;
            scratch.clear();
            inflate(stream, low & RAW_STREAM == 0, big_endian(length), scratch)?;
            Ok(scratch)
        }
        _ => Err(Malformed(format!("a compressed column with the head {head:#x} is not known"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_as_servers_wrote_them() {
        let mut scratch = Vec::new();
        // 250 times x in a raw stream, 100 times ab in a wrapped one, and what was too short to be compressed.
        let raw = b"\x89\xfa\xab\xa8\x18\xa9\x00\x00";
        let wrapped = b"\x81\xc8x\x9cKLJ\x1c\x16\x10\x00\xe9\x8fL-";
        assert_eq!(value(raw, &mut scratch).unwrap(), [b'x'; 250]);
        assert_eq!(value(wrapped, &mut scratch).unwrap(), b"ab".repeat(100));
        assert_eq!(value(b"\0short", &mut scratch).unwrap(), b"short");
        assert_eq!(value(b"", &mut scratch).unwrap(), b"");
        assert!(value(b"\x99\x01x", &mut scratch).is_err() && value(&raw[..5], &mut scratch).is_err());
    }
}
