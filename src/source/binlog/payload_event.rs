//! A transaction payload event whose bytes come in pieces: its header, its checksum, and the transaction that comes out.

use super::assembler::{Ended, Trouble};
use super::event::{Checksum, HEADER_BYTES, Header, Malformed, OrMalformed};
use super::payload::{Payload, PayloadFault};

/// A transaction payload, decompressed as it comes.
pub(super) struct PayloadEvent {
    header: Header,
    sum: crc32fast::Hasher,
    /// Bytes before the checksum that are to come.
    left: usize,
    /// The checksum, as far as it is there.
    checksum: Vec<u8>,
    /// The fields before the payload, until they are whole.
    head: Vec<u8>,
    payload: Option<Payload>,
    ended: Option<Ended>,
}

impl PayloadEvent {
    /// Reads the header; the first piece holds it.
    pub(super) fn begin(piece: &[u8], checksum: Checksum) -> Result<Self, Malformed> {
        let header = Header::parse(piece).or_malformed("a transaction payload")?;
        let sum_bytes = if checksum == Checksum::Crc32 { 4 } else { 0 };
        let left = (header.size as usize).checked_sub(sum_bytes).filter(|left| *left >= HEADER_BYTES);
        Ok(Self {
            header,
            sum: crc32fast::Hasher::new(),
            left: left.or_malformed("a transaction payload")?,
            checksum: Vec::with_capacity(sum_bytes),
            head: Vec::new(),
            payload: None,
            ended: None,
        })
    }

    /// Takes a piece and hands every inner event that is whole to `take`, with the place for the transaction's end.
    pub(super) fn push(
        &mut self,
        piece: &[u8],
        mut take: impl FnMut(&mut Option<Ended>, &[u8]) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let (content, behind) = piece.split_at(self.left.min(piece.len()));
        self.checksum.extend_from_slice(behind);
        if self.checksum.len() > 4 {
            return Err(Malformed::new("a transaction payload is longer than its header says").into());
        }
        self.sum.update(content);
        self.left -= content.len();
        let mut bytes = content;
        let gathered;
        if self.payload.is_none() {
            self.head.extend_from_slice(content);
            let Some(body) = self.head.get(HEADER_BYTES..) else { return Ok(()) };
            let Some((payload, start)) = Payload::begin(body)? else { return Ok(()) };
            self.payload = Some(payload);
            gathered = std::mem::take(&mut self.head);
            bytes = gathered.get(HEADER_BYTES + start..).unwrap_or_default();
        }
        let (payload, ended) = (&mut self.payload, &mut self.ended);
        let Some(payload) = payload else { return Ok(()) };
        payload.push(bytes, |event| take(ended, event)).map_err(|fault| match fault {
            PayloadFault::Malformed(malformed) => malformed.into(),
            PayloadFault::Taken(trouble) => trouble,
        })
    }

    /// After the last piece: the header, and the transaction.
    pub(super) fn end(self: Box<Self>) -> Result<(Header, Ended), Trouble> {
        if self.left > 0 {
            return Err(Malformed::new("a transaction payload is shorter than its header says").into());
        }
        let sum = self.sum.finalize();
        if self.checksum.first_chunk().is_some_and(|sent| u32::from_le_bytes(*sent) != sum) {
            return Err(Malformed::new("the checksum of a transaction payload is wrong").into());
        }
        self.payload.or_malformed("a transaction payload")?.end()?;
        let ended = self.ended.ok_or_else(|| Malformed::new("a transaction payload without the end of its transaction"))?;
        Ok((self.header, ended))
    }
}
