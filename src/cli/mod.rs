//! The command line: turns arguments into settings, and results into text, files and figures.
//!
//! ```text
//! args: what was typed  →  settings  →  experiment::x::run  →  report: presents the result
//! ```

pub mod args;
mod commands;
mod progress;
mod report;
pub mod signals;
mod terminal;

use self::args::{Arguments, Command};
use self::commands::{bench, doctor, draw, inspect, line, pairs, plane, soup, spectrum};
use crate::error::Result;

/// Runs a command. Returns its exit status, which is 0 on plain success.
///
/// # Errors
/// When the command fails; the error has not been printed yet.
pub fn run(arguments: &Arguments) -> Result<u8> {
    signals::handle()?;
    let mut status = 0;
    match &arguments.command {
        Command::Plane(arguments) => plane::run(arguments)?,
        Command::Line(arguments) => line::run(arguments)?,
        Command::Soup(arguments) => soup::run(arguments)?,
        Command::Pairs(arguments) => pairs::run(arguments)?,
        Command::Spectrum(arguments) => spectrum::run(arguments)?,
        Command::Bench(arguments) => bench::run(arguments)?,
        Command::Draw(arguments) => draw::run(arguments)?,
        Command::Inspect(arguments) => inspect::run(arguments)?,
        Command::Doctor(arguments) => status = doctor::run(arguments),
    }
    terminal::finish()?;
    Ok(status)
}
