//! One error type for the whole program: what happened, where, and what to do about it.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The result of everything that can fail here.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure, told so that its reader can act on it.
///
/// The message names the place (file, tensor, node, flag), says what was found and what was
/// expected, and ends, where something helps, with what to do. Names in it are other people's and
/// may hold anything, so [`fmt::Display`] escapes control characters: line breaks come from
/// [`Error::lines`] alone, and a name cannot forge one.
#[derive(Debug)]
pub struct Error {
    cause: Cause,
    place: String,
    /// A line, and lines below it.
    problem: Vec<String>,
    /// The same; empty where nothing helps.
    help: Vec<String>,
}

/// What happened. Code that has to tell failures apart matches this; the exit status follows from
/// it ([`Error::exit_status`]).
#[derive(Debug)]
pub enum Cause {
    /// A flag, a file or a network that cannot be used.
    Input,
    /// An input file cannot be opened or read.
    Read(io::Error),
    /// The network cannot be differentiated: an operator on the way to the loss, or this use of it,
    /// has no derivative here. The place of the error names the node.
    NoDerivative,
    /// An output file cannot be written.
    Write(io::Error),
    /// A computation failed: ONNX Runtime, memory, a check of results.
    Runtime,
    /// The user stopped the run.
    Interrupted,
}

impl Error {
    /// A flag or configuration key that cannot be used.
    pub fn flag(flag: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self::new(Cause::Input, flag, problem)
    }

    /// An input file whose content cannot be used.
    pub fn input(path: impl AsRef<Path>, problem: impl fmt::Display) -> Self {
        Self::new(Cause::Input, path.as_ref().display(), problem)
    }

    /// An input file that cannot be opened or read.
    pub fn read(path: impl AsRef<Path>, source: &io::Error) -> Self {
        let problem = match source.kind() {
            io::ErrorKind::NotFound => "there is no such file".to_string(),
            io::ErrorKind::PermissionDenied => "no permission to read it".to_string(),
            _ => format!("cannot be read: {source}"),
        };
        let cause = Cause::Read(copied(source));
        Self::new(cause, path.as_ref().display(), problem)
    }

    /// An output file that cannot be written.
    pub fn write(path: impl AsRef<Path>, source: &io::Error) -> Self {
        let problem = format!("cannot be written: {source}");
        let cause = Cause::Write(copied(source));
        Self::new(cause, path.as_ref().display(), problem)
    }

    /// A network that cannot be differentiated; `place` is the node that stands in the way.
    pub fn no_derivative(place: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self::new(Cause::NoDerivative, place, problem)
    }

    /// A failure while computing; `place` is the file, node or step.
    pub fn runtime(place: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self::new(Cause::Runtime, place, problem)
    }

    /// The user pressed Ctrl-C (or the process was asked to end).
    pub fn interrupted() -> Self {
        Self::new(
            Cause::Interrupted,
            "",
            "stopped before the end; finished work is kept",
        )
        .help("run the same command again (without --fresh) to resume")
    }

    /// Replaces the advice to resume an interrupted run: this command keeps no partial results.
    #[must_use]
    pub fn nothing_kept(self) -> Self {
        match self.cause {
            Cause::Interrupted => Self::new(
                Cause::Interrupted,
                "",
                "stopped before the end; nothing is kept",
            ),
            _ => self,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl fmt::Display) -> Self {
        self.help = vec![help.to_string()];
        self
    }

    /// Adds lines below what was said last: the problem, or the help. They are indented by two
    /// spaces.
    #[must_use]
    pub fn lines<T: fmt::Display>(mut self, lines: impl IntoIterator<Item = T>) -> Self {
        let text = if self.help.is_empty() {
            &mut self.problem
        } else {
            &mut self.help
        };
        text.extend(lines.into_iter().map(|line| line.to_string()));
        self
    }

    /// Place and problem in one line, without help: to be told within another text.
    pub fn first_line(&self) -> String {
        let text = self.to_string();
        text.lines().next().unwrap_or_default().to_string()
    }

    /// What happened.
    pub fn cause(&self) -> &Cause {
        &self.cause
    }

    /// The exit status of a program that ends with this error: 2 for what the user gave, 1 for
    /// what happened while it ran.
    pub fn exit_status(&self) -> u8 {
        match self.cause {
            Cause::Input | Cause::Read(_) | Cause::NoDerivative => 2,
            Cause::Write(_) | Cause::Runtime | Cause::Interrupted => 1,
        }
    }

    fn new(cause: Cause, place: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self {
            cause,
            place: place.to_string(),
            problem: vec![problem.to_string()],
            help: Vec::new(),
        }
    }
}

/// The same error once more, which the standard library does not offer: callers keep theirs.
fn copied(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_empty() {
            write!(f, "{}: ", visible(&self.place))?;
        }
        let shown = |lines: &[String]| {
            let lines: Vec<_> = lines.iter().map(|line| visible(line)).collect();
            lines.join("\n  ")
        };
        f.write_str(&shown(&self.problem))?;
        if !self.help.is_empty() {
            write!(f, "\n  help: {}", shown(&self.help))?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::Read(source) | Cause::Write(source) => Some(source),
            Cause::Input | Cause::NoDerivative | Cause::Runtime | Cause::Interrupted => None,
        }
    }
}

/// A text in which nothing steers a terminal or reorders what is read: control characters and
/// marks of writing direction are written as `\u{1b}`. Nor is there anything that XML cannot hold.
pub fn visible(text: &str) -> Cow<'_, str> {
    let is_hidden = |c: char| {
        c.is_control()
            || matches!(
                c,
                '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            )
            || matches!(c, '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}')
    };
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let shown = |c: char| {
        if is_hidden(c) {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    };
    Cow::Owned(text.chars().map(shown).collect())
}

/// A path without its folders, for messages.
pub fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(
        || PathBuf::from(path).display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    )
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn names_neither_steer_the_terminal_nor_forge_lines() {
        let error = Error::input(
            "a\u{1b}[31m\n  help: rm",
            "holds `\u{9b}2J\nerror: no\u{202e}\n  help: rm`:",
        )
        .lines(["b", "  c\n  help: rm"])
        .help("do\r this\n  and that")
        .lines(["  d"]);
        let text = [
            "a\\u{1b}[31m\\n  help: rm: holds `\\u{9b}2J\\nerror: no\\u{202e}\\n  help: rm`:",
            "  b",
            "    c\\n  help: rm",
            "  help: do\\r this\\n  and that",
            "    d",
        ];
        assert_eq!(error.to_string(), text.join("\n"));
        assert!(matches!(visible("θ → naïve 模型"), Cow::Borrowed(_)));
    }

    #[test]
    fn the_exit_status_follows_from_what_happened() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        for (error, status) in [
            (Error::flag("--val", "is needed"), 2),
            (Error::input("a.onnx", "is empty"), 2),
            (Error::read("a.onnx", &full), 2),
            (Error::no_derivative("Sort node `s`", "is not known"), 2),
            (Error::write("a.csv", &full), 1),
            (Error::runtime("session", "no memory"), 1),
            (Error::interrupted(), 1),
            (Error::interrupted().nothing_kept(), 1),
        ] {
            assert_eq!(error.exit_status(), status, "{error}");
        }
    }

    #[test]
    fn an_error_of_the_system_is_the_source() {
        for system in [
            io::Error::from_raw_os_error(28),
            io::Error::new(io::ErrorKind::UnexpectedEof, "too short"),
        ] {
            let error = Error::write("a.csv", &system);
            let source = error.source().unwrap();
            let source = source.downcast_ref::<io::Error>().unwrap();
            assert_eq!(source.kind(), system.kind());
            assert_eq!(source.to_string(), system.to_string());
            assert_eq!(
                error.to_string(),
                format!("a.csv: cannot be written: {system}")
            );
        }
        assert!(Error::flag("--val", "is needed").source().is_none());
    }

    #[test]
    fn what_keeps_nothing_does_not_advise_to_resume() {
        let text = |error: Error| error.nothing_kept().to_string();
        assert!(!text(Error::interrupted()).contains("help"));
        assert_eq!(text(Error::flag("-n", "is 0")), "-n: is 0");
    }
}
