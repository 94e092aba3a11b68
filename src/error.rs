//! One error type for the whole program: what is wrong, where, and what to do about it.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

/// The result of everything that can fail here.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure, told so that its reader can act on it.
///
/// The message names the place (file, tensor, node, flag), says what was found and what was
/// expected, and ends, where something helps, with what to do.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    place: String,
    problem: String,
    help: Option<String>,
}

/// What a failure means for the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Arguments or inputs that cannot be used: exit status 2.
    Input,
    /// A failure at run time (ONNX Runtime, writing files, memory): exit status 1.
    Runtime,
    /// The user stopped the run: exit status 1.
    Interrupted,
}

impl Error {
    /// A flag or configuration key that cannot be used.
    pub fn flag(flag: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self::new(Kind::Input, flag, problem)
    }

    /// An input file whose content cannot be used.
    pub fn input(path: impl AsRef<Path>, problem: impl fmt::Display) -> Self {
        Self::new(Kind::Input, path.as_ref().display(), problem)
    }

    /// An input file that cannot be opened or read.
    pub fn read(path: impl AsRef<Path>, source: &std::io::Error) -> Self {
        let problem = match source.kind() {
            std::io::ErrorKind::NotFound => "there is no such file".to_string(),
            std::io::ErrorKind::PermissionDenied => "no permission to read it".to_string(),
            _ => format!("cannot be read: {source}"),
        };
        Self::input(path, problem)
    }

    /// An output file that cannot be written.
    pub fn write(path: impl AsRef<Path>, source: &std::io::Error) -> Self {
        let place = path.as_ref().display();
        Self::new(Kind::Runtime, place, format!("cannot be written: {source}"))
    }

    /// A failure while computing; `place` is the file, node or step.
    pub fn runtime(place: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self::new(Kind::Runtime, place, problem)
    }

    /// The user pressed Ctrl-C (or the process was asked to end).
    pub fn interrupted() -> Self {
        Self::new(
            Kind::Interrupted,
            "",
            "stopped before the end; what is finished is kept",
        )
        .help("the same command (without --fresh) goes on where it was")
    }

    /// The same of a run that keeps nothing: where the user stopped it, it does not go on.
    #[must_use]
    pub fn nothing_kept(self) -> Self {
        match self.kind {
            Kind::Interrupted => Self::new(
                Kind::Interrupted,
                "",
                "stopped before the end; nothing is kept",
            ),
            _ => self,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl fmt::Display) -> Self {
        self.help = Some(help.to_string());
        self
    }

    /// What the failure means for the exit status.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    fn new(kind: Kind, place: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self {
            kind,
            place: place.to_string(),
            problem: problem.to_string(),
            help: None,
        }
    }
}

/// Names in it are others' and may hold anything: control characters are shown, not sent to the
/// terminal. Lines of our own begin two spaces in; a line break before anything else is a name's.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_empty() {
            write!(f, "{}: ", visible(&self.place))?;
        }
        f.write_str(&lines(&self.problem))?;
        if let Some(help) = &self.help {
            write!(f, "\n  help: {}", lines(help))?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// [`visible`], but for line breaks with two spaces behind them.
fn lines(text: &str) -> String {
    let lines: Vec<_> = text.split("\n  ").map(visible).collect();
    lines.join("\n  ")
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
    let shown = |c: char| match is_hidden(c) {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    Cow::Owned(text.chars().map(shown).collect())
}

/// Where a file name goes when a path has to be spoken of without its folders.
pub fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(
        || PathBuf::from(path).display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_neither_steer_the_terminal_nor_forge_lines() {
        let error = Error::input(
            "a\u{1b}[31m",
            "holds `\u{9b}2J\nerror: no\u{202e}`:\n  b\n    c",
        )
        .help("do\r this");
        assert_eq!(
            error.to_string(),
            "a\\u{1b}[31m: holds `\\u{9b}2J\\nerror: no\\u{202e}`:\n  b\n    c\n  help: do\\r this"
        );
        assert!(matches!(visible("θ → naïve 模型"), Cow::Borrowed(_)));
    }
}
