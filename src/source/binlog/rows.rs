//! Row events: the head that names the table and the columns, then the images one behind another.

use std::sync::Arc;

use crate::change::{Image, Operation, RowSink};
use crate::source::wire::fields::Fields;

use super::cells::{CellFault, KEPT_BYTES, Scratch, drive_json_text};
use super::event::{Malformed, OrMalformed, kind};
use super::json;
use super::plan::{Meaning, Plan};

/// The head of a row event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RowsHead {
    pub(super) table_id: u64,
    /// Columns of the images.
    pub(super) width: usize,
    /// Which columns are there, the same ones in every image.
    pub(super) present: Present,
    /// Where the images start in the body.
    pub(super) images_at: usize,
}

/// The columns of an event's images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Present {
    All,
    /// A bit for each column.
    Some(Box<[u8]>),
    /// The image after lacks other columns than the one before.
    Differing,
}

impl Present {
    fn parse(fields: &mut Fields<'_>, width: usize, images: usize) -> Option<Self> {
        let first = fields.take(width.div_ceil(8))?;
        let mut are_alike = true;
        for _ in 1..images {
            let other = fields.take(width.div_ceil(8))?;
            are_alike &= (0..width).all(|index| bit(first, index) == bit(other, index));
        }
        Some(match are_alike {
            false => Self::Differing,
            true if (0..width).all(|index| bit(first, index)) => Self::All,
            true => Self::Some(first.into()),
        })
    }

    /// How the images are read; None where what is captured is not all there.
    pub(super) fn plan(&self, whole: &Arc<Plan>) -> Option<Arc<Plan>> {
        match self {
            Self::All => Some(Arc::clone(whole)),
            Self::Some(bits) => whole.of_present(|index| bit(bits, index)).map(Arc::new),
            Self::Differing => None,
        }
    }
}

/// A row event that carries nothing but the end of its statement names this table.
pub(super) const NO_TABLE: u64 = 0xff_ffff;

/// Whether an event carries rows.
pub(super) fn is_rows(event_kind: u8) -> bool {
    operation(event_kind).is_some()
}

/// What a row event does.
pub(super) fn operation(event_kind: u8) -> Option<Operation> {
    match event_kind {
        kind::WRITE_ROWS_V1 | kind::WRITE_ROWS => Some(Operation::Create),
        kind::UPDATE_ROWS_V1 | kind::UPDATE_ROWS | kind::PARTIAL_UPDATE_ROWS => Some(Operation::Update),
        kind::DELETE_ROWS_V1 | kind::DELETE_ROWS => Some(Operation::Delete),
        _ => None,
    }
}

impl RowsHead {
    /// Reads the head of a row event's body.
    pub(super) fn parse(event_kind: u8, body: &[u8]) -> Result<Self, Malformed> {
        const WHAT: &str = "a row event";
        let table_id = super::table_map::table_id(body)?;
        let mut fields = Fields(body);
        fields.take(8).or_malformed(WHAT)?;
        if !matches!(event_kind, kind::WRITE_ROWS_V1 | kind::UPDATE_ROWS_V1 | kind::DELETE_ROWS_V1) {
            // Extra data; its length counts itself.
            let extra = fields.u16().and_then(|length| usize::from(length).checked_sub(2)).or_malformed(WHAT)?;
            fields.take(extra).or_malformed(WHAT)?;
        }
        let width = fields.length().filter(|width| *width <= 4096).map(|width| width as usize).or_malformed(WHAT)?;
        let images = if operation(event_kind) == Some(Operation::Update) { 2 } else { 1 };
        let present = Present::parse(&mut fields, width, images).or_malformed(WHAT)?;
        Ok(Self { table_id, width, present, images_at: body.len() - fields.0.len() })
    }
}

fn bit(bits: &[u8], index: usize) -> bool {
    bits.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1)
}

/// Why a row was not read to its end.
#[derive(Debug)]
pub(super) struct RowFault {
    /// The column, where one is to blame.
    pub(super) column: Option<String>,
    pub(super) reason: String,
}

impl From<Malformed> for RowFault {
    fn from(malformed: Malformed) -> Self {
        Self { column: None, reason: malformed.0 }
    }
}

/// Reads the images of row events that share a plan.
#[derive(Debug, Default)]
pub(super) struct RowReader {
    scratch: Scratch,
    /// The before image's documents of the row at hand, by cell: where they stand in the event.
    documents: Vec<Option<(usize, usize)>>,
    merged: String,
}

impl RowReader {
    /// Drives the row at the head of `rows`, and cuts it off. `event` is the event's whole body, which `rows` is the end of.
    pub(super) fn read(
        &mut self,
        plan: &Plan,
        event_kind: u8,
        rows: &mut Fields<'_>,
        sink: &mut dyn RowSink,
    ) -> Result<(), RowFault> {
        let partial = event_kind == kind::PARTIAL_UPDATE_ROWS;
        let read = match operation(event_kind) {
            Some(Operation::Create) => self.image(plan, Image::After, rows, sink),
            Some(Operation::Delete) => self.image(plan, Image::Before, rows, sink),
            _ if partial => self.partial_update(plan, rows, sink),
            _ => self.image(plan, Image::Before, rows, sink).and_then(|()| self.image(plan, Image::After, rows, sink)),
        };
        self.scratch.shrink();
        self.merged.clear();
        self.merged.shrink_to(KEPT_BYTES);
        read
    }

    fn image(&mut self, plan: &Plan, image: Image, rows: &mut Fields<'_>, sink: &mut dyn RowSink) -> Result<(), RowFault> {
        sink.image(image).map_err(|refused| fault(plan, None, CellFault::Refused(refused)))?;
        let nulls = rows.take(plan.cells.len().div_ceil(8)).or_malformed("a row")?;
        for (index, cell) in plan.cells.iter().enumerate() {
            let null = bit(nulls, index);
            let bytes = if null { &[] } else { cell.take(rows).map_err(|short| fault(plan, cell.captured, short.into()))? };
            let Some(captured) = cell.captured else { continue };
            let driven = if null { sink.null().map_err(CellFault::Refused) } else { cell.drive(bytes, sink, &mut self.scratch) };
            driven.map_err(|cause| fault(plan, Some(captured), cause))?;
        }
        Ok(())
    }

    /// An update whose after image may have, in place of a document, the changes to the one before.
    fn partial_update(&mut self, plan: &Plan, rows: &mut Fields<'_>, sink: &mut dyn RowSink) -> Result<(), RowFault> {
        const PARTIAL_JSON: u64 = 1;
        let event = rows.0;
        self.note_documents(plan, rows)?;
        let mut before = Fields(event);
        self.image(plan, Image::Before, &mut before, sink)?;
        let options = rows.length().or_malformed("a partial row")?;
        if options & PARTIAL_JSON == 0 {
            return self.image(plan, Image::After, rows, sink);
        }
        let documents = plan.cells.iter().filter(|cell| matches!(cell.meaning, Meaning::Json)).count();
        let changed = rows.take(documents.div_ceil(8)).or_malformed("a partial row")?;
        let nulls = rows.take(plan.cells.len().div_ceil(8)).or_malformed("a partial row")?;
        sink.image(Image::After).map_err(|refused| fault(plan, None, CellFault::Refused(refused)))?;
        let mut document = 0;
        for (index, cell) in plan.cells.iter().enumerate() {
            let is_changes = matches!(cell.meaning, Meaning::Json) && {
                document += 1;
                bit(changed, document - 1)
            };
            let null = bit(nulls, index);
            let bytes = if null { &[] } else { cell.take(rows).map_err(|short| fault(plan, cell.captured, short.into()))? };
            let Some(captured) = cell.captured else { continue };
            let driven = if null {
                sink.null().map_err(CellFault::Refused)
            } else if is_changes {
                self.changed_document(index, event, bytes, sink)
            } else {
                cell.drive(bytes, sink, &mut self.scratch)
            };
            driven.map_err(|cause| fault(plan, Some(captured), cause))?;
        }
        Ok(())
    }

    /// Walks over the before image and keeps where its documents stand.
    fn note_documents(&mut self, plan: &Plan, rows: &mut Fields<'_>) -> Result<(), RowFault> {
        self.documents.clear();
        let whole = rows.0.len();
        let nulls = rows.take(plan.cells.len().div_ceil(8)).or_malformed("a row")?;
        for (index, cell) in plan.cells.iter().enumerate() {
            let mut place = None;
            if !bit(nulls, index) {
                let bytes = cell.take(rows).map_err(|short| fault(plan, cell.captured, short.into()))?;
                let end = whole - rows.0.len();
                place = Some((end - bytes.len(), end));
            }
            self.documents.push(place);
        }
        Ok(())
    }

    fn changed_document(&mut self, index: usize, event: &[u8], changes: &[u8], sink: &mut dyn RowSink) -> Result<(), CellFault> {
        let place = self.documents.get(index).copied().flatten();
        let before = place.and_then(|(start, end)| event.get(start..end));
        let before = before.ok_or_else(|| Malformed::new("changes to a JSON document that is NULL in the before image"))?;
        self.merged.clear();
        json::apply(before, changes, &mut self.merged)?;
        drive_json_text(&self.merged, sink)
    }
}

fn fault(plan: &Plan, captured: Option<usize>, cause: CellFault) -> RowFault {
    let column = captured.and_then(|captured| plan.column(captured)).map(|column| column.name.clone());
    match cause {
        CellFault::Malformed(malformed) => RowFault { column, reason: malformed.0 },
        CellFault::Refused(refused) => {
            RowFault { column: column.or(Some(refused.column).filter(|name| !name.is_empty())), reason: refused.reason }
        }
    }
}
