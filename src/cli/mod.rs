//! The command line: what was typed becomes a checked plan; the only code that prints.

pub mod args;
mod check;
pub mod config;
mod course;
mod doctor;
mod doubts;
mod draw;
mod inspect;
mod job;
mod learn;
mod line;
mod lineup;
mod methods;
mod models;
mod pairs;
mod plan;
mod plane;
mod prepare;
mod progress;
mod save;
mod selection;
pub mod signals;
mod soup;
mod spectrum;
mod stage;
mod statistics;
mod table;
mod theory;
mod units;
mod window;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use self::args::{Arguments, Command};
use crate::checkpoint::onnx::Model;
use crate::checkpoint::{Checkpoint, Content};
use crate::error::{Error, Result, visible};

/// Set when the user asks the run to end.
pub static STOP: AtomicBool = AtomicBool::new(false);

/// Runs a command; returns its exit status when that is not plain success.
///
/// # Errors
/// Whatever stopped the command; nothing has been printed about it.
pub fn run(arguments: &Arguments) -> Result<u8> {
    signals::handle()?;
    let status = command(arguments)?;
    printed()?;
    Ok(status)
}

fn command(arguments: &Arguments) -> Result<u8> {
    match &arguments.command {
        Command::Plane(arguments) => plane::run(arguments, false).map(|()| 0),
        Command::Line(arguments) => line::run(arguments).map(|()| 0),
        Command::Soup(arguments) => soup::run(arguments).map(|()| 0),
        Command::Pairs(arguments) => pairs::run(arguments).map(|()| 0),
        Command::Spectrum(arguments) => spectrum::run(arguments).map(|()| 0),
        Command::Bench(arguments) => plane::run(arguments, true).map(|()| 0),
        Command::Draw(arguments) => draw::run(arguments).map(|()| 0),
        Command::Inspect(arguments) => inspect::run(arguments).map(|()| 0),
        Command::Doctor(arguments) => Ok(doctor::run(arguments)),
    }
}

/// Opens the origin, which must be a network.
fn open_origin(path: &Path) -> Result<(String, Model)> {
    let checkpoint = Checkpoint::open(path)?;
    match checkpoint.content {
        Content::Onnx(model) => Ok((checkpoint.name, *model)),
        Content::Safetensors(_) => Err(Error::flag(
            "--origin",
            format!(
                "{} holds tensors but no network; an .onnx file is needed",
                checkpoint.path.display()
            ),
        )
        .help("torch.onnx.export(model.eval(), args, \"zs.onnx\", dynamo=True, optimize=False)")),
    }
}

/// The first failure of [`print()`]; a command ends with it.
static UNPRINTED: Mutex<Option<io::Error>> = Mutex::new(None);

/// Prints a line to standard output; a line break in it is a name's, and shown. What does not get
/// there is told by [`printed`].
fn print(line: &str) {
    write(&visible(line));
}

/// Prints several lines.
fn print_lines(text: &str) {
    text.lines().for_each(print);
}

fn write(text: &str) {
    if let Err(error) = writeln!(io::stdout(), "{text}") {
        let mut first = UNPRINTED.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(error);
    }
}

/// Whether all that was printed got there; a reader that went away is no failure.
///
/// # Errors
/// When some of it did not, as on a full disk.
fn printed() -> Result<()> {
    let flushed = io::stdout().flush();
    let mut first = UNPRINTED.lock().unwrap_or_else(PoisonError::into_inner);
    match first.take().or(flushed.err()) {
        Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::write("standard output", &error))
        }
        _ => Ok(()),
    }
}

/// Prints a result as the one JSON object of `--json`.
fn print_json(result: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string(result).map_err(|error| Error::runtime("--json", error))?;
    // Control characters stand only inside strings, where JSON has them written so.
    let hidden = |c: char| match c.is_control() {
        true => format!("\\u{:04x}", u32::from(c)),
        false => c.to_string(),
    };
    write(&text.chars().map(hidden).collect::<String>());
    Ok(())
}

/// Prints a warning, once: what is known before a long run is said before it, and stands in the
/// results' list, too.
fn warn(text: &str) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if said.insert(text.to_string()) {
        note(&format!("warning: {text}"));
    }
}

/// Prints a line for the person at the terminal.
fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{}", visible(text));
}
