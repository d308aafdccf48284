//! Where row groups go: files of bounded size, each the rows of one segment.

use super::{MergeContext, Segment};
use crate::lake::by_day::DayKey;
use crate::lake::columns::Shape;
use crate::lake::datafile::{EncodedRowGroup, FileEntry, FileUpload, StoredRowGroup};
use crate::lake::keys::to_hex;
use crate::lake::{Layout, Result};

/// How large files become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// A file that has reached it is closed.
    pub(super) enough: u64,
    /// A row group that would take a file beyond it begins the next.
    pub(super) most: u64,
}

impl Limits {
    /// For the growing end of a table in the order of insertion: files are filled and sealed.
    pub(super) fn sealing(context: &MergeContext<'_>) -> Self {
        match context.layout {
            Layout::Single => Self { enough: u64::MAX, most: u64::MAX },
            Layout::Segments => Self { enough: context.settings.file_bytes, most: context.settings.file_bytes },
        }
    }

    /// For a segment of about `bytes`: beyond the aim it splits into equal parts, so that no part is soon small again.
    pub(super) fn splitting(context: &MergeContext<'_>, bytes: u64) -> Self {
        let aim = context.settings.file_bytes.max(1);
        let most = aim.saturating_add(aim / 4);
        match context.layout {
            Layout::Single => Self { enough: u64::MAX, most: u64::MAX },
            Layout::Segments if bytes <= aim => Self { enough: most, most },
            Layout::Segments => Self { enough: bytes / bytes.div_ceil(aim), most },
        }
    }
}

/// Segments that are rewritten together: one file after the other.
struct Group {
    /// The lower bound of the next file; None when it is the file's own first key.
    lower: Option<String>,
    upload: Option<FileUpload>,
    /// The day of its rows, in a mirror that is cut by days.
    day: Option<DayKey>,
}

/// The segments of the outcome, in order.
#[derive(Default)]
pub(super) struct Output {
    segments: Vec<Segment>,
    group: Option<Group>,
    pub(super) added: Vec<FileEntry>,
    pub(super) bytes_written: u64,
}

impl Output {
    /// Whether segments are being rewritten.
    pub(super) fn is_open(&self) -> bool {
        self.group.is_some()
    }

    /// Bytes of the file that is being written.
    pub(super) fn open_bytes(&self) -> u64 {
        self.group.as_ref().and_then(|group| group.upload.as_ref()).map_or(0, FileUpload::bytes)
    }

    /// Rewritten rows from `lower` on follow, unless they already do.
    pub(super) fn open(&mut self, lower: &str) {
        if self.group.is_none() {
            self.group = Some(Group { lower: Some(lower.to_owned()), upload: None, day: None });
        }
    }

    /// A segment that stays as it is.
    pub(super) fn keep(&mut self, segment: Segment) {
        self.segments.push(segment);
    }

    /// The last segment, if it is one that was kept, of this day, and at most `bytes`, is to be rewritten after all.
    pub(super) fn reopen(&mut self, shape: &Shape, day: Option<DayKey>, bytes: u64) -> Option<Segment> {
        if self.is_open() {
            return None;
        }
        self.segments.pop_if(|last| last.day(shape) == day && last.file.as_ref().is_none_or(|file| file.bytes <= bytes))
    }

    pub(super) async fn append(&mut self, context: &mut MergeContext<'_>, limits: Limits, group: EncodedRowGroup) -> Result<()> {
        let upload = self.room(context, limits, group.bytes(), group.first_key()).await?;
        upload.append(group).await?;
        self.close_if_enough(limits).await
    }

    pub(super) async fn copy(&mut self, context: &mut MergeContext<'_>, limits: Limits, group: StoredRowGroup) -> Result<()> {
        let upload = self.room(context, limits, group.bytes(), group.first_key()).await?;
        upload.copy(group).await?;
        self.close_if_enough(limits).await
    }

    /// The file that has room for so many bytes more, a new one if need be.
    async fn room(
        &mut self,
        context: &mut MergeContext<'_>,
        limits: Limits,
        bytes: u64,
        first_key: &[u8],
    ) -> Result<&mut FileUpload> {
        let day = context.shape.day_of(first_key);
        let other_day = self.group.as_ref().is_some_and(|group| group.day != day);
        if self.open_bytes() > 0 && (other_day || self.open_bytes().saturating_add(bytes) > limits.most) {
            self.close_file().await?;
        }
        let group = self.group.get_or_insert(Group { lower: None, upload: None, day });
        group.day = day;
        let upload = match group.upload.take() {
            Some(upload) => upload,
            None => {
                group.lower.get_or_insert_with(|| to_hex(first_key));
                let directory = day.map(|day| day.directory(&context.shape)).transpose()?;
                let path = (context.next_path)(directory.as_deref());
                FileUpload::new(&context.store, &context.table_prefix, path, &context.shape, context.settings)?
            }
        };
        Ok(group.upload.insert(upload))
    }

    async fn close_if_enough(&mut self, limits: Limits) -> Result<()> {
        if self.open_bytes() >= limits.enough { self.close_file().await } else { Ok(()) }
    }

    async fn close_file(&mut self) -> Result<()> {
        let Some(group) = self.group.as_mut() else { return Ok(()) };
        let Some(upload) = group.upload.take() else { return Ok(()) };
        let entry = upload.finish().await?;
        self.bytes_written += entry.bytes;
        self.added.push(entry.clone());
        self.segments.push(Segment { lower: group.lower.take().unwrap_or_default(), upper: None, file: Some(entry) });
        Ok(())
    }

    /// What was rewritten ends here.
    pub(super) async fn close(&mut self) -> Result<()> {
        self.close_file().await?;
        self.group = None;
        Ok(())
    }

    /// The segments, over the whole key space: where one has no rows left, the one before it takes its place. The first of a day begins
    /// where the day does.
    pub(super) fn into_segments(mut self, shape: &Shape) -> Vec<Segment> {
        self.segments.retain(|segment| segment.file.is_some());
        let mut before = None;
        for segment in &mut self.segments {
            let day = segment.day(shape);
            if let Some(day) = day.filter(|_| day != before) {
                segment.lower = to_hex(&day.bytes());
            }
            before = day;
        }
        let lowers: Vec<String> = self.segments.iter().map(|segment| segment.lower.clone()).collect();
        for (index, segment) in self.segments.iter_mut().enumerate() {
            segment.upper = lowers.get(index + 1).cloned();
        }
        match self.segments.first_mut() {
            Some(first) => first.lower = String::new(),
            None => return Segment::empty_table(),
        }
        self.segments
    }
}
