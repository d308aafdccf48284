//! A compressed transaction: one event that holds all events of the transaction behind its GTID.
//!
//! Its bytes may come in pieces and are decompressed as they come, into one inner event at a time; neither the compressed nor
//! the decompressed whole is ever held.

use zstd::stream::raw::{Decoder, Operation};

use crate::source::wire::fields::Fields;

use super::event::{HEADER_BYTES, Header, Malformed, OrMalformed};

/// Decompressed bytes asked for at once.
const OUTPUT_BYTES: usize = 128 * 1024;
/// An inner event is no larger than an event outside can be.
const EVENT_BYTES_MAX: usize = (1 << 30) + (1 << 20);
/// The fields before the payload are a few numbers.
const HEAD_BYTES_MAX: usize = 256;

enum Compression {
    None,
    Zstd(Decoder<'static>),
}

/// A payload that is being read.
pub(super) struct Payload {
    compression: Compression,
    /// Compressed bytes that are still to come.
    left: u64,
    output: Vec<u8>,
    /// The inner event at hand, as far as it is there.
    partial: Vec<u8>,
}

/// What goes wrong inside: the bytes, or what the caller does with an event.
pub(super) enum PayloadFault<E> {
    Malformed(Malformed),
    Taken(E),
}

impl<E> From<Malformed> for PayloadFault<E> {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl Payload {
    /// Reads the fields before the payload; what is left of `body` begins it. None when more bytes are needed.
    pub(super) fn begin(body: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        match read_head(body) {
            Some(Ok((compression, left, rest))) => {
                let payload = Self { compression, left, output: vec![0; OUTPUT_BYTES], partial: Vec::new() };
                Ok(Some((payload, body.len() - rest)))
            }
            Some(Err(malformed)) => Err(malformed),
            None if body.len() < HEAD_BYTES_MAX => Ok(None),
            None => Err(Malformed::new("a transaction payload without an end of its fields")),
        }
    }

    /// Takes more compressed bytes and hands every inner event that is whole to `take`.
    pub(super) fn push<E>(&mut self, bytes: &[u8], mut take: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), PayloadFault<E>> {
        self.left = self
            .left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| Malformed::new("a transaction payload is longer than it says"))?;
        let Self { compression, output, partial, .. } = self;
        let decoder = match compression {
            Compression::None => return split(partial, bytes, &mut take),
            Compression::Zstd(decoder) => decoder,
        };
        let mut input = bytes;
        loop {
            let status = decoder.run_on_buffers(input, output).map_err(|error| Malformed(format!("zstd: {error}")))?;
            input = input.get(status.bytes_read..).unwrap_or_default();
            split(partial, output.get(..status.bytes_written).unwrap_or_default(), &mut take)?;
            let is_stuck = status.bytes_read == 0 && status.bytes_written == 0;
            if input.is_empty() && status.bytes_written < OUTPUT_BYTES {
                return Ok(());
            }
            if is_stuck {
                return Err(Malformed::new("zstd makes no progress").into());
            }
        }
    }

    /// After the last byte: everything must have come out.
    pub(super) fn end(&self) -> Result<(), Malformed> {
        if self.left != 0 || !self.partial.is_empty() {
            return Err(Malformed::new("a transaction payload ends within an event"));
        }
        Ok(())
    }
}

type Head = (Compression, u64, usize);

/// Fields of type, length and value until type 0. None when they are not all there.
fn read_head(body: &[u8]) -> Option<Result<Head, Malformed>> {
    let mut fields = Fields(body);
    let (mut size, mut algorithm) = (None, None);
    loop {
        let tag = fields.length()?;
        if tag == 0 {
            break;
        }
        let mut value = Fields(fields.string()?);
        match tag {
            1 => size = value.length(),
            2 => algorithm = value.length(),
            _ => {}
        }
    }
    let compression = match algorithm {
        Some(0) => Decoder::new().map(Compression::Zstd).map_err(|error| Malformed(format!("zstd: {error}"))),
        Some(255) | None => Ok(Compression::None),
        Some(other) => Err(Malformed(format!("transaction payloads with compression {other} are not known"))),
    };
    let head = compression.and_then(|compression| Ok((compression, size.or_malformed("a transaction payload")?, fields.0.len())));
    Some(head)
}

/// Cuts `bytes`, which go on where `partial` ends, into events.
fn split<E>(partial: &mut Vec<u8>, bytes: &[u8], take: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), PayloadFault<E>> {
    let mut rest = bytes;
    if !partial.is_empty() {
        rest = complete(partial, rest)?;
        if event_size(partial)?.is_none_or(|size| partial.len() < size) {
            return Ok(());
        }
        take(partial).map_err(PayloadFault::Taken)?;
        partial.clear();
        partial.shrink_to(OUTPUT_BYTES);
    }
    while let Some(size) = event_size(rest)? {
        let Some((event, behind)) = rest.split_at_checked(size) else { break };
        take(event).map_err(PayloadFault::Taken)?;
        rest = behind;
    }
    partial.extend_from_slice(rest);
    Ok(())
}

/// Moves what the event in `partial` lacks from `bytes`; returns what is left.
fn complete<'a>(partial: &mut Vec<u8>, bytes: &'a [u8]) -> Result<&'a [u8], Malformed> {
    let mut rest = bytes;
    for _ in 0..2 {
        // First the header, then, once it says how much, the rest.
        let wanted = event_size(partial)?.unwrap_or(HEADER_BYTES);
        let (taken, behind) = rest.split_at(wanted.saturating_sub(partial.len()).min(rest.len()));
        partial.extend_from_slice(taken);
        rest = behind;
    }
    Ok(rest)
}

/// The size that an event's header says; None while the header is not there.
fn event_size(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    match Header::parse(bytes) {
        None => Ok(None),
        Some(header) if (HEADER_BYTES..=EVENT_BYTES_MAX).contains(&(header.size as usize)) => Ok(Some(header.size as usize)),
        Some(header) => Err(Malformed(format!("an inner event of {} bytes", header.size))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inner(size: usize, fill: u8) -> Vec<u8> {
        let mut bytes = vec![fill; size];
        bytes[9..13].copy_from_slice(&(size as u32).to_le_bytes());
        bytes
    }

    #[test]
    fn events_come_out_whole_however_the_bytes_arrive() {
        let events = [inner(19, 1), inner(400_000, 2), inner(20, 3), inner(19, 4)];
        let plain = events.concat();
        for (algorithm, bytes) in [(255u8, plain.clone()), (0, zstd::encode_all(&plain[..], 3).unwrap())] {
            let mut body = vec![2, 3, 0xfc, algorithm, 0, 1, 9, 0xfe];
            body.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            body.push(0);
            body.extend_from_slice(&bytes);
            for piece in [1, 7, 1000, usize::MAX] {
                let Some((mut payload, start)) = Payload::begin(&body).unwrap_or_else(|error| panic!("{error}")) else {
                    panic!()
                };
                let mut found: Vec<Vec<u8>> = Vec::new();
                for bytes in body[start..].chunks(piece.min(body.len())) {
                    let taken = payload.push::<()>(bytes, |event| {
                        found.push(event.to_vec());
                        Ok(())
                    });
                    assert!(taken.is_ok());
                }
                assert!(payload.end().is_ok());
                assert_eq!(found, events, "algorithm {algorithm}, pieces of {piece}");
            }
            assert!(Payload::begin(&body[..5]).is_ok_and(|begun| begun.is_none()));
        }
    }
}
