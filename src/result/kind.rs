//! Which kind of result a CSV holds.

use std::io::Read;
use std::path::Path;

use crate::base::files;

/// The kinds of result that are written and read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultKind {
    /// Values on a grid.
    Plane,
    /// Values on a path.
    Line,
    /// Soups and ensembles.
    Soup,
    /// Pairs of models.
    Pairs,
    /// Eigenvalues.
    Spectrum,
}

impl ResultKind {
    /// Detects the kind of a CSV by its first columns. Any other file counts as a plane's; reading
    /// it then reports what is missing.
    pub fn of(csv: &Path) -> Self {
        let mut start = [0; 12];
        // Reading the file later reports why it cannot be opened.
        let opened = files::open(csv).ok();
        let read = opened.and_then(|mut file| file.read_exact(&mut start).ok());
        match (read, &start) {
            (Some(()), start) if start.starts_with(b"alpha,") => Self::Line,
            (Some(()), start) if start.starts_with(b"method,") => Self::Soup,
            (Some(()), start) if start.starts_with(b"a,b,angle") => Self::Pairs,
            (Some(()), start) if start.starts_with(b"rank,end,") => Self::Spectrum,
            _ => Self::Plane,
        }
    }
}
