//! Sorted streams of changes, the earlier in time first, merged into one with one change per key.
//!
//! It does no reading: [`Fold::wanting`] names the stream that has to go on, [`Fold::supply`] gives it its next frame. A step takes from
//! every stream what lies at or below the lowest last key of the frames at hand; behind that key no stream can have more of it, so the
//! changes of a key are always taken together, and memory holds one frame a stream.

use super::collapse::collapse;
use super::compare::Checker;
use super::frame::Frame;
use crate::lake::Result;

#[derive(Debug, Default)]
struct Stream {
    frame: Option<Frame>,
    cursor: usize,
    ended: bool,
}

/// The merge of sorted streams.
#[derive(Debug, Default)]
pub(crate) struct Fold {
    streams: Vec<Stream>,
}

impl Fold {
    /// As many streams, in the order of time, none read yet.
    pub(crate) fn new(streams: usize) -> Self {
        Self { streams: (0..streams).map(|_| Stream::default()).collect() }
    }

    /// Adds a stream that is this one sorted frame.
    pub(crate) fn with_frame(mut self, frame: Frame) -> Self {
        self.streams.push(Stream { frame: (frame.len() > 0).then_some(frame), cursor: 0, ended: true });
        self
    }

    /// A stream that needs its next frame before a step.
    pub(crate) fn wanting(&self) -> Option<usize> {
        self.streams.iter().position(|stream| stream.frame.is_none() && !stream.ended)
    }

    /// A stream's next frame; None when it has ended.
    pub(crate) fn supply(&mut self, index: usize, frame: Option<Frame>) {
        if let Some(stream) = self.streams.get_mut(index) {
            stream.ended = frame.is_none();
            stream.frame = frame.filter(|frame| frame.len() > 0);
            stream.cursor = 0;
        }
    }

    /// The next changes in the order of keys, one per key; None at the end. No stream may be wanting.
    ///
    /// # Errors
    /// [`crate::lake::Error::Divergence`] when a change does not fit the one before it.
    pub(crate) fn step(&mut self, checker: &Checker) -> Result<Option<Frame>> {
        let open = self.streams.iter().filter(|stream| !stream.ended);
        let bound = open.filter_map(|stream| stream.frame.as_ref()?.last_key()).min().map(<[u8]>::to_vec);
        let mut taken = Frame::default();
        for stream in &mut self.streams {
            let Some(frame) = stream.frame.take() else { continue };
            let count = frame.count(stream.cursor, |key| bound.as_deref().is_none_or(|bound| key <= bound));
            let end = stream.cursor + count;
            match (stream.cursor, end == frame.len(), taken.len()) {
                // The usual batch: one frame, taken whole as it is.
                (0, true, 0) if bound.is_none() => taken = frame,
                (_, whole, _) => {
                    if count > 0 {
                        taken.append(&frame, stream.cursor..end);
                    }
                    stream.cursor = end;
                    stream.frame = (!whole).then_some(frame);
                }
            }
        }
        if taken.len() == 0 {
            return Ok(None);
        }
        collapse(taken, checker).map(Some)
    }
}
