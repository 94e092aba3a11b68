//! The only module that prints: lines, JSON and warnings.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::Mutex;

use serde::Serialize;

use crate::base::lock::lock;
use crate::error::{Error, Result, visible};

/// The first write error of [`print()`]; [`finish`] reports it.
static UNPRINTED: Mutex<Option<io::Error>> = Mutex::new(None);

/// Prints a line to standard output. A line break inside it comes from a name and is escaped.
/// Write errors are reported by [`finish`].
pub fn print(line: &str) {
    write(&visible(line));
}

/// Prints several lines.
pub fn print_lines(text: &str) {
    text.lines().for_each(print);
}

/// Prints a result as the single JSON object of `--json`.
///
/// # Errors
/// When the result cannot be serialized.
pub fn print_json(result: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string(result).map_err(|error| Error::runtime("--json", error))?;
    // Control characters occur only inside strings, where JSON allows them to be escaped.
    let hidden = |c: char| {
        if c.is_control() {
            format!("\\u{:04x}", u32::from(c))
        } else {
            c.to_string()
        }
    };
    write(&text.chars().map(hidden).collect::<String>());
    Ok(())
}

fn write(text: &str) {
    if let Err(error) = writeln!(io::stdout(), "{text}") {
        let mut first = lock(&UNPRINTED);
        first.get_or_insert(error);
    }
}

/// Checks that everything printed was written. A reader that closed the pipe is not an error.
///
/// # Errors
/// When standard output could not be written, e.g. on a full disk.
pub fn finish() -> Result<()> {
    let flushed = io::stdout().flush();
    let mut first = lock(&UNPRINTED);
    match first.take().or(flushed.err()) {
        Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::write("standard output", &error))
        }
        _ => Ok(()),
    }
}

/// Prints a warning to standard error, once. A warning that is known before a long run is printed
/// before it, and is in the result's list as well.
pub fn warn(text: &str) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut said = lock(&SAID);
    if said.insert(text.to_string()) {
        note(&format!("warning: {text}"));
    }
}

/// Prints a line for the user to standard error.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{}", visible(text));
}
