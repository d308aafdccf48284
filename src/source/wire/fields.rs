//! Reads the fields of a protocol packet in order; what is not there is `None`, never a panic.

/// The rest of a packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// A length-encoded integer.
    pub(crate) fn length(&mut self) -> Option<u64> {
        match self.u8()? {
            0xfc => self.u16().map(u64::from),
            0xfd => self.array::<3>().map(|[low, middle, high]| u64::from(u32::from_le_bytes([low, middle, high, 0]))),
            0xfe => self.array().map(u64::from_le_bytes),
            0xfb | 0xff => None,
            byte => Some(u64::from(byte)),
        }
    }

    /// A length-encoded string.
    pub(crate) fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.length()?).ok()?;
        self.take(length)
    }

    /// A length-encoded string, or NULL.
    pub(crate) fn nullable_string(&mut self) -> Option<Option<&'a [u8]>> {
        if self.0.first() == Some(&0xfb) {
            self.take(1)?;
            return Some(None);
        }
        self.string().map(Some)
    }

    /// A string that a zero byte ends.
    pub(crate) fn terminated(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr(0, self.0)?;
        let text = self.take(end)?;
        self.take(1)?;
        Some(text)
    }
}

/// Appends a length-encoded string.
pub(crate) fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() {
        length @ 0..0xfb => out.push(length as u8),
        length @ 0xfb..0x1_0000 => {
            out.push(0xfc);
            out.extend_from_slice(&(length as u16).to_le_bytes());
        }
        length => {
            out.push(0xfe);
            out.extend_from_slice(&(length as u64).to_le_bytes());
        }
    }
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_encoded_strings_read_back_and_short_ones_are_refused() {
        for length in [0, 250, 251, 65_535, 65_536] {
            let mut bytes = Vec::new();
            put_string(&mut bytes, &vec![9; length]);
            assert_eq!(Fields(&bytes).string().map(<[u8]>::len), Some(length));
            assert_eq!(Fields(&bytes[..bytes.len() - 1]).string(), None);
        }
        assert_eq!(Fields(&[0xfb]).nullable_string(), Some(None));
        assert_eq!(Fields(&[0xfd, 1, 0, 0, 7]).string(), Some(&[7][..]));
    }
}
