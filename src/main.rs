//! The `landscape` program: parse, run, exit code.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use clap::Parser;
use landscape::cli::{self, args::Arguments};
use landscape::evaluate::runtime;

fn main() -> ExitCode {
    // SAFETY: the program has just begun and has this thread alone.
    unsafe { runtime::disable_telemetry() };
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(message) => return explain(&message),
    };
    match cli::run(&arguments) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(error.exit_status())
        }
    }
}

/// Prints what clap says to the arguments: that they mean nothing, or the help that they ask for.
fn explain(message: &clap::Error) -> ExitCode {
    let asked_for = !message.use_stderr();
    match message.print().and_then(|()| std::io::stdout().flush()) {
        Err(error) if asked_for && error.kind() != ErrorKind::BrokenPipe => {
            let what = "error: standard output: cannot be written";
            let _ = writeln!(std::io::stderr(), "{what}: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::from(u8::try_from(message.exit_code()).unwrap_or(1)),
    }
}
