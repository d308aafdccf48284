//! Log lines as they are written: a warning that comes again and again is one line a minute, with how many were left out.
//!
//! What is the same is told by the place in the code and by the texts, but for the numbers in them: offsets, ports and waits differ each time.
//! Of names (a table's, a source's) every digit counts. What changes a phase is always written, and so is all below a warning.

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The same is written once in so long.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// So many different ones are remembered.
const KNOWN_MAX: usize = 4096;
/// Fields that say whom it is about.
const NAMES: [&str; 5] = ["table", "source", "topic", "database", "client"];
/// The field of what changes a phase.
const PHASE: &str = "phase";

/// Writes lines as another format does, the same ones seldom.
pub(super) struct Seldom<F> {
    format: F,
    json: bool,
    repeats: Repeats,
}

impl<F> Seldom<F> {
    /// Of this format, which may be JSON.
    pub(super) fn new(format: F, json: bool) -> Self {
        Self { format, json, repeats: Repeats::default() }
    }
}

impl<S, N, F> FormatEvent<S, N> for Seldom<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let left_out = match likeness(event) {
            // Nothing is written for nothing.
            Some(likeness) => match self.repeats.left_out(likeness, Instant::now()) {
                Some(left_out) => left_out,
                None => return Ok(()),
            },
            None => 0,
        };
        if left_out == 0 {
            return self.format.format_event(context, writer, event);
        }
        let mut line = String::new();
        self.format.format_event(context, Writer::new(&mut line), event)?;
        let line = line.trim_end();
        match line.strip_suffix('}').filter(|_| self.json) {
            Some(open) => writeln!(writer, "{open},\"left_out\":{left_out}}}"),
            None => writeln!(writer, "{line} left_out={left_out}"),
        }
    }
}

/// What events that say the same have in common; None for one that is written in any case.
fn likeness(event: &Event<'_>) -> Option<u64> {
    if *event.metadata().level() > Level::WARN || event.metadata().fields().field(PHASE).is_some() {
        return None;
    }
    let mut texts = Texts(DefaultHasher::new());
    event.metadata().callsite().hash(&mut texts.0);
    event.record(&mut texts);
    Some(texts.0.finish())
}

/// Takes in the texts of an event. Numbers are not looked at.
struct Texts(DefaultHasher);

impl Texts {
    fn take(&mut self, field: &Field, text: &str) {
        if NAMES.contains(&field.name()) {
            text.hash(&mut self.0);
        } else {
            text.bytes().filter(|byte| !byte.is_ascii_digit()).for_each(|byte| self.0.write_u8(byte));
        }
    }
}

impl Visit for Texts {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, &format!("{value:?}"));
    }

    fn record_u64(&mut self, _: &Field, _: u64) {}
    fn record_i64(&mut self, _: &Field, _: i64) {}
    fn record_u128(&mut self, _: &Field, _: u128) {}
    fn record_i128(&mut self, _: &Field, _: i128) {}
    fn record_f64(&mut self, _: &Field, _: f64) {}
    fn record_bool(&mut self, _: &Field, _: bool) {}
}

/// When each was last written, and how many were left out since.
#[derive(Default)]
struct Repeats(Mutex<HashMap<u64, (Instant, u64)>>);

impl Repeats {
    /// How many were left out since it was last written, if it is to be written now.
    fn left_out(&self, likeness: u64, now: Instant) -> Option<u64> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((written, left_out)) = known.get_mut(&likeness)
            && now.duration_since(*written) < AGAIN_AFTER
        {
            *left_out += 1;
            return None;
        }
        if known.len() >= KNOWN_MAX {
            known.retain(|_, (written, _)| now.duration_since(*written) < AGAIN_AFTER);
        }
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        Some(known.insert(likeness, (now, 0)).map_or(0, |(_, left_out)| left_out))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::fmt::format::Format;

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Page {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    /// The lines that are written of what `speak` says.
    fn lines(speak: impl FnOnce()) -> Vec<String> {
        let page = Page::default();
        let format = Seldom::new(Format::default().with_ansi(false).without_time(), false);
        let subscriber = tracing_subscriber::fmt().event_format(format).with_writer(page.clone()).finish();
        tracing::subscriber::with_default(subscriber, speak);
        let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_trouble_that_repeats_is_one_line_and_each_table_has_its_own() {
        let fails = |table: &str, port: u32| {
            tracing::warn!(table, reason = format!("connection to 127.0.0.1:{port} refused"), wait_ms = port, "again");
        };
        let written = lines(|| (0..1000).for_each(|round| fails(&format!("shop.orders_{}", round % 3), 4000 + round)));
        assert_eq!(written.len(), 3, "{written:#?}");
        assert!(written[2].contains("orders_2") && written[2].contains("4002"), "{written:?}");
        let others = lines(|| ["refused", "timed out"].iter().for_each(|reason| tracing::warn!(table = "a", reason, "again")));
        assert_eq!(others.len(), 2, "another reason is another trouble");
    }

    #[test]
    fn what_happens_is_always_written() {
        let written = lines(|| {
            for generation in 0..5 {
                tracing::info!(table = "shop.orders", generation, "captured");
                tracing::error!(table = "shop.orders", reason = "a divergence", phase = "parked", "phase");
            }
        });
        assert_eq!(written.len(), 10, "{written:#?}");
    }

    #[test]
    fn what_was_left_out_is_counted_and_said_with_the_next() {
        let (repeats, start) = (Repeats::default(), Instant::now());
        assert_eq!(repeats.left_out(7, start), Some(0));
        for second in 1..60 {
            assert_eq!(repeats.left_out(7, start + Duration::from_secs(second)), None);
        }
        assert_eq!(repeats.left_out(7, start + AGAIN_AFTER), Some(59));
        assert_eq!(repeats.left_out(7, start + 3 * AGAIN_AFTER), Some(0));
        for likeness in 0..3 * KNOWN_MAX as u64 {
            repeats.left_out(likeness, start);
        }
        assert!(repeats.0.lock().unwrap().len() <= KNOWN_MAX, "what is remembered is bounded");
    }
}
