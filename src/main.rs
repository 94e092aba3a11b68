//! The `landscape` program: parse, run, exit code.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use landscape::cli::{self, args::Arguments};
use landscape::error::Kind;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match cli::run(&arguments) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(match error.kind() {
                Kind::Input => 2,
                Kind::Runtime | Kind::Interrupted => 1,
            })
        }
    }
}
