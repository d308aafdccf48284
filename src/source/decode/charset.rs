//! Bytes of a MySQL character set to Unicode.
