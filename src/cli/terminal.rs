//! The only place that prints: lines, JSON and warnings.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::Mutex;

use serde::Serialize;

use crate::base::lock::lock;
use crate::error::{Error, Result, visible};

/// The first failure of [`print()`]; a command ends with it.
static UNPRINTED: Mutex<Option<io::Error>> = Mutex::new(None);

/// Prints a line to standard output; a line break in it is a name's, and shown. What does not get
/// there is told by [`finish`].
pub fn print(line: &str) {
    write(&visible(line));
}

/// Prints several lines.
pub fn print_lines(text: &str) {
    text.lines().for_each(print);
}

/// Prints a result as the one JSON object of `--json`.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn print_json(result: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string(result).map_err(|error| Error::runtime("--json", error))?;
    // Control characters stand only inside strings, where JSON has them written so.
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

/// Whether all that was printed got there; a reader that went away is no failure.
///
/// # Errors
/// When some of it did not, as on a full disk.
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

/// Prints a warning to standard error, once: what is known before a long run is said before it, and
/// stands in the results' list, too.
pub fn warn(text: &str) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut said = lock(&SAID);
    if said.insert(text.to_string()) {
        note(&format!("warning: {text}"));
    }
}

/// Prints a line for the person at the terminal to standard error.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{}", visible(text));
}
