//! What a person at a terminal sees while `run` works: a bar per loading table, log lines above them.

use std::io::IsTerminal;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use binlake::pipeline::board::SharedBoard;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

/// All bars of this process: log lines must be printed around them.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Writes log lines without tearing the bars.
#[derive(Clone, Copy)]
pub(crate) struct LogWriter;

impl std::io::Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        BARS.suspend(|| std::io::stderr().lock().write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().lock().flush()
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for LogWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}

/// Draws the bars until cancelled; nothing where standard error is no terminal.
pub(crate) async fn draw(boards: Vec<SharedBoard>, cancel: CancellationToken) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    let style = ProgressStyle::with_template("{prefix:24} [{bar:30}] {pos}/{len} rows, {per_sec}, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let mut bars: Vec<(String, Arc<ProgressBar>)> = Vec::new();
    while !cancel.is_cancelled() {
        let running: Vec<_> = boards.iter().flat_map(|board| board.progress()).collect();
        for (table, progress) in &running {
            let bar = match bars.iter().find(|(name, _)| name == table) {
                Some((_, bar)) => Arc::clone(bar),
                None => {
                    let bar = Arc::new(BARS.add(ProgressBar::new(progress.rows_estimated).with_prefix(table.clone())));
                    bar.set_style(style.clone());
                    bars.push((table.clone(), Arc::clone(&bar)));
                    bar
                }
            };
            bar.set_length(progress.rows_estimated.max(progress.rows));
            bar.set_position(progress.rows);
        }
        bars.retain(|(table, bar)| {
            let runs = running.iter().any(|(name, _)| name == table);
            if !runs {
                bar.finish_and_clear();
            }
            runs
        });
        tokio::select! {
            () = cancel.cancelled() => {}
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
    }
    for (_, bar) in bars {
        bar.finish_and_clear();
    }
}
