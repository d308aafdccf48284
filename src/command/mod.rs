//! The commands. Each gets the assembled rooms and answers with an exit code: 0 good, 1 failed, 2 usage.

use std::process::ExitCode;

use crate::arguments::{Arguments, Command, LogFormat, RebuildFrom};

pub(crate) mod allocator;
mod assemble;
mod check;
mod discover;
mod explain;
mod files;
mod limits;
mod lines;
mod log;
mod other_log;
mod progress;
mod publication;
mod request;
mod run;
mod serve;
mod status;
mod writing;

use binlake::metadata::RequestKind;

use self::lines::Seldom;

/// Runs one command.
pub(crate) async fn dispatch(arguments: Arguments) -> ExitCode {
    let Arguments { log, command } = arguments;
    let outcome = match command {
        Command::Check { file, offline, strict, json, print_config } => {
            start_log(log, "warn");
            check::run(&file.config, &check::Options { offline, strict, json, print_config }).await
        }
        Command::Run { file, until_caught_up, take_over } => {
            run::run(&file.config, &run::Options { until_caught_up, take_over }, log).await
        }
        Command::Status { file, json } => {
            start_log(log, "warn");
            status::run(&file.config, json).await
        }
        Command::Files { file, table, day: Some(day), json, .. } => {
            start_log(log, "warn");
            files::of_day(&file.config, &table, &day, json).await
        }
        Command::Files { file, table, changelog, day: None, json } => {
            start_log(log, "warn");
            files::run(&file.config, &table, changelog, json).await
        }
        Command::Explain { file, table, json } => {
            start_log(log, "warn");
            explain::run(&file.config, &table, json).await
        }
        Command::Rebuild { tables, from } => {
            start_log(log, "warn");
            match from {
                RebuildFrom::Snapshot => request::run(&tables, RequestKind::Rebuild).await,
                RebuildFrom::Changelog => request::refuse_changelog(&tables).await,
            }
        }
        Command::Pause(tables) => {
            start_log(log, "warn");
            request::run(&tables, RequestKind::Pause).await
        }
        Command::Resume(tables) => {
            start_log(log, "warn");
            request::run(&tables, RequestKind::Resume).await
        }
        Command::Discover { url, name } => {
            start_log(log, "warn");
            discover::run(&url, &name).await
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("binlake: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What a command could not do: the message with its remedy, ready to print.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Failed(pub(crate) String);

impl Failed {
    /// A room's error with its causes and what the operator does about it.
    pub(crate) fn from_failure<E: binlake::change::Failure>(error: &E) -> Self {
        use binlake::change::Remedy;
        let mut text = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            source = cause.source();
        }
        match error.remedy() {
            Remedy::Park(remedy) | Remedy::Stop(remedy) => Self(format!("{text}\n  remedy: {remedy}")),
            Remedy::Retry | Remedy::Fenced => Self(text),
        }
    }
}

/// What a command returns: whether all was well.
pub(crate) type Outcome = Result<bool, Failed>;

/// Log lines go to standard error; `RUST_LOG` overrides the level.
pub(crate) fn start_log(format: LogFormat, level: &str) {
    use std::io::IsTerminal;
    let filter =
        tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    let lines = tracing_subscriber::fmt::format().with_target(false);
    let done = match format {
        LogFormat::Json => {
            let lines = Seldom::new(lines.json().flatten_event(true), true);
            // Their fields, too, have to be JSON.
            let builder = builder.fmt_fields(tracing_subscriber::fmt::format::JsonFields::new());
            builder.event_format(lines).with_writer(std::io::stderr).try_init()
        }
        LogFormat::Text => {
            let ansi = std::io::stderr().is_terminal();
            let lines = Seldom::new(lines.with_ansi(ansi), false);
            builder.with_ansi(ansi).event_format(lines).with_writer(progress::LogWriter).try_init()
        }
    };
    if let Err(error) = done {
        eprintln!("binlake: the log could not be started: {error}");
    }
}

/// Prints to standard output; a reader that went away (`| head`) is no error.
pub(crate) fn print(text: &str) -> Result<(), Failed> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failed(format!("standard output: {error}"))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use binlake::config::store_options;
    use binlake::lake::StoreOptions;

    #[test]
    fn every_option_that_the_configuration_takes_is_one_of_the_store() {
        for scheme in ["s3", "gs", "az"] {
            let unknown: Vec<_> = store_options(scheme).into_iter().filter(|name| !StoreOptions::knows(scheme, name)).collect();
            assert!(store_options(scheme).len() > 20 && unknown.is_empty(), "{scheme}: {unknown:?}");
        }
    }
}
