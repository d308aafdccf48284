//! Cuts the bytes of a connection into packets: pure, so it can be tested without a network.
//!
//! All state of a packet that is half there lives in here, and bytes enter only by [`Inbox::filled`]: a read that is dropped
//! in the middle loses nothing. A packet that fits the buffer is handed out in place; a larger one (also one of several
//! frames) is put together aside.

use std::ops::Range;

/// Bytes asked from the socket at once.
const BUFFER_BYTES: usize = 256 * 1024;
/// The payload length that says: another frame of the same packet follows.
const FRAME_BYTES_MAX: usize = 0xff_ffff;
/// MySQL's own limit (`max_allowed_packet`) is 1 GiB, an event adds its header to it.
const PACKET_BYTES_MAX: usize = (1 << 30) + (1 << 20);
/// Memory kept between two large packets.
const LARGE_BYTES_KEPT: usize = 16 * 1024 * 1024;
const HEADER_BYTES: usize = 4;
/// So much of a large packet is worth handing out before the packet is whole.
const PIECE_BYTES: usize = 1 << 20;

/// What [`Inbox::advance`] came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// [`Inbox::packet`] is a whole packet.
    Packet,
    /// More bytes are needed.
    NeedMore,
}

/// Received bytes on their way to packets.
#[derive(Debug)]
pub(super) struct Inbox {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// A packet that does not fit the buffer.
    large: Vec<u8>,
    assembly: Option<Assembly>,
    /// What `large` holds was handed out as a piece, and makes room with the next step.
    is_piece: bool,
    /// The last packet: its place in `buffer`, or None when it is `large`.
    current: Option<Range<usize>>,
    /// The number the next frame must carry.
    sequence: u8,
}

#[derive(Debug, Clone, Copy)]
struct Assembly {
    /// Bytes of the frame that have not been taken yet.
    left: usize,
    /// Another frame follows this one.
    continued: bool,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self {
            buffer: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
            large: Vec::new(),
            assembly: None,
            is_piece: false,
            current: Some(0..0),
            sequence: 0,
        }
    }

    /// The number that a packet sent now must carry, counting on.
    pub(super) fn take_sequence(&mut self) -> u8 {
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        sequence
    }

    /// A new command starts to count from 0.
    pub(super) fn reset_sequence(&mut self) {
        self.sequence = 0;
    }

    /// Whether nothing waits that was received and not handed out.
    pub(super) fn is_drained(&self) -> bool {
        self.start == self.end && self.assembly.is_none()
    }

    /// Whether the next packet was received whole already. A large one says no until it is put together.
    pub(super) fn is_packet_ready(&self) -> bool {
        let Some([low, middle, high, _, rest @ ..]) = self.buffer.get(self.start..self.end) else { return false };
        let length = usize::from(*low) | usize::from(*middle) << 8 | usize::from(*high) << 16;
        self.assembly.is_none() && rest.len() >= length
    }

    /// Room for received bytes; never empty after a [`Step::NeedMore`].
    pub(super) fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.buffer.len() - self.end < BUFFER_BYTES / 4 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    /// `count` bytes were put into [`Inbox::space`].
    pub(super) fn filled(&mut self, count: usize) {
        self.end = self.buffer.len().min(self.end + count);
    }

    /// Goes to the next packet.
    ///
    /// # Errors
    /// A frame out of order or a packet beyond MySQL's limit, as a sentence.
    pub(super) fn advance(&mut self) -> Result<Step, String> {
        if std::mem::take(&mut self.is_piece) {
            self.large.clear();
        }
        if self.assembly.is_none() {
            let Some(length) = self.peek_frame()? else { return Ok(Step::NeedMore) };
            if length < FRAME_BYTES_MAX && length + HEADER_BYTES <= BUFFER_BYTES {
                let payload = self.start + HEADER_BYTES;
                if self.end < payload + length {
                    return Ok(Step::NeedMore);
                }
                self.start = payload + length;
                self.sequence = self.sequence.wrapping_add(1);
                self.current = Some(payload..payload + length);
                return Ok(Step::Packet);
            }
            self.large.clear();
            self.large.shrink_to(LARGE_BYTES_KEPT);
            self.begin_frame(length);
        }
        self.assemble()
    }

    /// Hands out what has come of a large packet, if it is worth it: [`Inbox::packet`] is then a piece, and more follow.
    pub(super) fn take_piece(&mut self) -> bool {
        self.is_piece = self.assembly.is_some() && self.large.len() >= PIECE_BYTES;
        if self.is_piece {
            self.current = None;
        }
        self.is_piece
    }

    /// Whether the last thing handed out was a piece of a packet that goes on.
    pub(super) fn is_within_packet(&self) -> bool {
        self.is_piece
    }

    /// The packet that the last [`Step::Packet`] announced.
    pub(super) fn packet(&self) -> &[u8] {
        match &self.current {
            Some(range) => self.buffer.get(range.clone()).unwrap_or_default(),
            None => &self.large,
        }
    }

    /// The payload length of the next frame, once its header is there and in order.
    fn peek_frame(&mut self) -> Result<Option<usize>, String> {
        let Some([low, middle, high, sequence, rest @ ..]) = self.buffer.get(self.start..self.end) else { return Ok(None) };
        let length = usize::from(*low) | usize::from(*middle) << 8 | usize::from(*high) << 16;
        if *sequence != self.sequence {
            // A server that ends a connection says so out of turn.
            match rest.first() {
                Some(0xff) => self.sequence = *sequence,
                None if length > 0 => return Ok(None),
                _ => return Err(format!("packet number {sequence} where {} was due: the stream is out of step", self.sequence)),
            }
        }
        Ok(Some(length))
    }

    fn begin_frame(&mut self, length: usize) {
        self.start += HEADER_BYTES;
        self.sequence = self.sequence.wrapping_add(1);
        self.assembly = Some(Assembly { left: length, continued: length == FRAME_BYTES_MAX });
    }

    fn assemble(&mut self) -> Result<Step, String> {
        while let Some(assembly) = &mut self.assembly {
            let taken = assembly.left.min(self.end - self.start);
            self.large.extend_from_slice(self.buffer.get(self.start..self.start + taken).unwrap_or_default());
            self.start += taken;
            assembly.left -= taken;
            if self.large.len() > PACKET_BYTES_MAX {
                return Err(format!("a packet of more than {PACKET_BYTES_MAX} bytes"));
            }
            if assembly.left > 0 {
                return Ok(Step::NeedMore);
            }
            if !assembly.continued {
                self.assembly = None;
                break;
            }
            let Some(length) = self.peek_frame()? else { return Ok(Step::NeedMore) };
            self.begin_frame(length);
        }
        self.current = None;
        Ok(Step::Packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(sequence: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = (payload.len() as u32).to_le_bytes()[..3].to_vec();
        bytes.push(sequence);
        bytes.extend_from_slice(payload);
        bytes
    }

    /// Feeds `bytes` in pieces of `piece` and returns all packets.
    fn packets(bytes: &[u8], piece: usize) -> Result<Vec<Vec<u8>>, String> {
        let mut inbox = Inbox::new();
        let mut packets = Vec::new();
        let mut rest = bytes;
        loop {
            while inbox.advance()? == Step::Packet {
                packets.push(inbox.packet().to_vec());
            }
            if rest.is_empty() {
                assert!(inbox.is_drained(), "bytes are left over");
                return Ok(packets);
            }
            let space = inbox.space();
            let count = piece.min(rest.len()).min(space.len());
            assert!(count > 0);
            space[..count].copy_from_slice(&rest[..count]);
            inbox.filled(count);
            rest = &rest[count..];
        }
    }

    #[test]
    fn packets_come_out_whole_however_the_bytes_arrive() {
        let payloads: Vec<Vec<u8>> =
            vec![vec![1], vec![], vec![2; 300], vec![3; BUFFER_BYTES - 4], vec![4; BUFFER_BYTES], vec![5]];
        let bytes: Vec<u8> = payloads.iter().enumerate().flat_map(|(index, payload)| frame(index as u8, payload)).collect();
        for piece in [1, 3, 4096, usize::MAX] {
            assert_eq!(packets(&bytes, piece).unwrap(), payloads, "piece {piece}");
        }
    }

    #[test]
    fn frames_of_16_mib_are_joined_and_one_of_exactly_that_length_ends_with_an_empty_frame() {
        let full = vec![7; FRAME_BYTES_MAX];
        let mut bytes = frame(0, &full);
        bytes.extend(frame(1, &full));
        bytes.extend(frame(2, b"end"));
        bytes.extend(frame(3, &full));
        bytes.extend(frame(4, b""));
        bytes.extend(frame(5, b"after"));
        let packets = packets(&bytes, 1 << 20).unwrap();
        let lengths: Vec<usize> = packets.iter().map(Vec::len).collect();
        assert_eq!(lengths, [2 * FRAME_BYTES_MAX + 3, FRAME_BYTES_MAX, 5]);
        assert!(packets[0].ends_with(b"\x07end"));
    }

    #[test]
    fn a_large_packet_can_be_had_in_pieces() {
        let payload: Vec<u8> = (0..FRAME_BYTES_MAX + 3_000_000).map(|index| (index % 251) as u8).collect();
        let (first, second) = payload.split_at(FRAME_BYTES_MAX);
        let bytes = [frame(0, first), frame(1, second), frame(2, b"after")].concat();
        let mut inbox = Inbox::new();
        let (mut rest, mut joined, mut pieces) = (&bytes[..], Vec::new(), 0);
        loop {
            match inbox.advance().unwrap() {
                Step::Packet if inbox.packet() == b"after" => break,
                Step::Packet => joined.extend_from_slice(inbox.packet()),
                Step::NeedMore if inbox.take_piece() => {
                    pieces += 1;
                    assert!(inbox.packet().len() <= PIECE_BYTES + BUFFER_BYTES);
                    joined.extend_from_slice(inbox.packet());
                }
                Step::NeedMore => {
                    let space = inbox.space();
                    let count = rest.len().min(space.len());
                    space[..count].copy_from_slice(&rest[..count]);
                    inbox.filled(count);
                    rest = &rest[count..];
                }
            }
        }
        assert!(pieces > 10);
        assert!(joined == payload);
    }

    #[test]
    fn a_missing_frame_is_an_error_unless_the_server_says_good_bye() {
        let mut bytes = frame(0, b"a");
        bytes.extend(frame(2, b"b"));
        assert!(packets(&bytes, usize::MAX).unwrap_err().contains("out of step"));
        let mut bytes = frame(0, b"a");
        bytes.extend(frame(9, b"\xffbye"));
        assert_eq!(packets(&bytes, 1).unwrap().len(), 2);
    }
}
