//! The command line: arguments, configuration, rooms, one command, exit code.

use std::process::ExitCode;

mod arguments;
mod command;

fn main() -> ExitCode {
    let arguments = match arguments::parse() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    if matches!(arguments.command, arguments::Command::Run { .. }) {
        command::allocator::keep_small();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("binlake: the runtime could not be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(command::dispatch(arguments));
    // A worker that hangs in a system call must not keep the process: what it did is either durable or will be done again.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    code
}
