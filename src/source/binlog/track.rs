//! Where in the binlog an event stands: file and offset, carried along from event to event.
//!
//! Offsets are counted here and checked against what the server says of each event, since its headers hold 32 bits only. Events
//! that the server makes up for the connection move nothing but, when they announce a file, the place itself.

use std::sync::Arc;

use crate::change::BinlogPosition;

use super::event::{
    Checksum, Description, Event, Header, Malformed, end_offset, file_number, kind, parse_heartbeat, parse_rotate,
};

/// The place behind the last event.
#[derive(Debug, Clone)]
pub(super) struct Track {
    epoch: u32,
    file_name: Arc<str>,
    file: u64,
    offset: u64,
    checksum: Checksum,
    is_described: bool,
    /// The server may leave events out: it was asked by GTIDs.
    has_gaps: bool,
}

/// An event with its place.
#[derive(Debug)]
pub(super) struct Placed<'a> {
    pub(super) event: Event<'a>,
    /// Where it starts.
    pub(super) start: BinlogPosition,
    /// It is the description of a file that the server began when it started.
    pub(super) server_started: bool,
}

impl Track {
    /// A dump that was asked to begin here; an empty name where the server chooses.
    pub(super) fn new(epoch: u32, file_name: &str, offset: u64) -> Self {
        // The server speaks with the checksum that the session asked for until it describes the file.
        let file = file_number(file_name).unwrap_or_default();
        Self {
            epoch,
            file_name: file_name.into(),
            file,
            offset,
            checksum: Checksum::Crc32,
            is_described: false,
            has_gaps: file_name.is_empty(),
        }
    }

    /// The place as a position.
    pub(super) fn position(&self) -> BinlogPosition {
        BinlogPosition { epoch: self.epoch, file: self.file, offset: self.offset }
    }

    /// The file's full name; empty before the server has named it.
    pub(super) fn file_name(&self) -> &Arc<str> {
        &self.file_name
    }

    /// Moves behind an event that stands in the file, and says where it starts.
    pub(super) fn pass(&mut self, header: &Header) -> Result<BinlogPosition, Malformed> {
        if header.lacks_its_place() {
            let start = self.position();
            self.offset += u64::from(header.size);
            return Ok(start);
        }
        let end = end_offset(self.offset, header.size, header.end);
        let start = end - u64::from(header.size);
        if start != self.offset && !self.has_gaps {
            return Err(Malformed(format!(
                "the event that ends at {end} starts at {start} where {} was due: the server left something out",
                self.offset
            )));
        }
        self.offset = end;
        Ok(BinlogPosition { offset: start, ..self.position() })
    }

    /// Whether the server has described the file: the dump has begun.
    pub(super) fn is_described(&self) -> bool {
        self.is_described
    }

    /// The checksum of the file at hand.
    pub(super) fn checksum(&self) -> Checksum {
        self.checksum
    }

    /// Reads the event of a packet and moves behind it.
    pub(super) fn read<'a>(&mut self, packet: &'a [u8]) -> Result<Placed<'a>, Malformed> {
        let event = Event::parse(packet, self.checksum)?;
        let header = event.header;
        let mut start = self.position();
        let mut server_started = false;
        match header.kind {
            kind::HEARTBEAT | kind::HEARTBEAT_V2 => {
                self.heartbeat(&event)?;
                return Ok(Placed { event, start, server_started });
            }
            kind::FORMAT_DESCRIPTION => {
                let description = Description::parse(event.body)?;
                self.checksum = description.checksum;
                self.is_described = true;
                server_started = description.server_started;
            }
            _ => {}
        }
        if !header.is_artificial() {
            start = self.pass(&header)?;
        }
        if header.kind == kind::ROTATE {
            let (name, offset) = parse_rotate(event.body)?;
            self.enter(name, offset)?;
        }
        Ok(Placed { event, start, server_started })
    }

    /// A heartbeat moves over events that the server leaves out.
    fn heartbeat(&mut self, event: &Event<'_>) -> Result<(), Malformed> {
        let (name, offset) = parse_heartbeat(event)?;
        if *name != *self.file_name {
            return self.enter(name, offset);
        }
        // The older kind has the low 32 bits only.
        let is_low = event.header.kind == kind::HEARTBEAT && event.header.end != 0;
        let offset = if is_low { (self.offset & !u64::from(u32::MAX)) | offset } else { offset };
        if offset > self.offset && !self.has_gaps {
            return Err(Malformed(format!("the server is at {offset} and sent nothing behind {}", self.offset)));
        }
        self.offset = self.offset.max(offset);
        Ok(())
    }

    fn enter(&mut self, name: String, offset: u64) -> Result<(), Malformed> {
        let file = file_number(&name).ok_or_else(|| Malformed(format!("the binlog file {name:?} has no number")))?;
        if (file, offset) < (self.file, self.offset) && !self.file_name.is_empty() {
            return Err(Malformed(format!("the server went back from {}:{} to {name}:{offset}", self.file_name, self.offset)));
        }
        if *name != *self.file_name {
            self.file_name = name.into();
        }
        (self.file, self.offset) = (file, offset);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A rotate event that the server makes up.
    fn rotate(name: &str, offset: u64) -> Vec<u8> {
        let mut bytes = vec![0, 0, 0, 0, kind::ROTATE, 1, 0, 0, 0];
        bytes.extend_from_slice(&((19 + 8 + name.len() + 4) as u32).to_le_bytes());
        bytes.extend_from_slice(&[0, 0, 0, 0, 0x20, 0]);
        bytes.extend_from_slice(&offset.to_le_bytes());
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    #[test]
    fn the_server_names_the_file_and_cannot_go_back() {
        let mut track = Track::new(2, "", 4);
        track.read(&rotate("b.999999", 4)).unwrap();
        assert_eq!(track.position().to_string(), "2:999999:4");
        track.read(&rotate("b.1000000", 4)).unwrap();
        assert_eq!(track.position().file, 1_000_000);
        assert!(track.read(&rotate("b.999999", 900)).is_err());
    }
}
