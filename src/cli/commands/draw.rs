//! `landscape draw`: a figure from files alone.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::base::files;
use crate::cli::args::DrawArgs;
use crate::cli::report::figures;
use crate::cli::terminal::print;
use crate::error::Result;
use crate::result::{line, pairs, plane, soup, spectrum};

/// Reads the result and draws it.
pub fn run(arguments: &DrawArgs) -> Result<()> {
    let (csv, panels) = (&arguments.csv, arguments.panels);
    let folder = arguments.out.clone().unwrap_or_else(|| plots_of(csv));
    let name = csv.file_stem().unwrap_or_default().to_string_lossy();
    let drawn = match kind(csv) {
        Kind::Line => figures::line(&line::file::read(csv)?, panels, &folder, &name)?,
        Kind::Soup => figures::soups(&soup::file::read(csv)?, &folder, &name)?,
        Kind::Pairs => figures::pairs(&pairs::file::read(csv)?, &folder, &name)?,
        Kind::Spectrum => figures::spectrum(&spectrum::file::read(csv)?, &folder, &name)?,
        Kind::Plane => figures::plane(&plane::file::read(csv)?, panels, &folder, &name)?,
    };
    for png in drawn {
        print(&png.display().to_string());
    }
    Ok(())
}

/// What a CSV is of.
enum Kind {
    Plane,
    Line,
    Soup,
    Pairs,
    Spectrum,
}

/// What a CSV is of, by its first columns; any other is told what a plane's lacks.
fn kind(csv: &Path) -> Kind {
    let mut start = [0; 12];
    // What cannot be opened is told by whoever reads it.
    let opened = files::open(csv).ok();
    let read = opened.and_then(|mut file| file.read_exact(&mut start).ok());
    match (read, &start) {
        (Some(()), start) if start.starts_with(b"alpha,") => Kind::Line,
        (Some(()), start) if start.starts_with(b"method,") => Kind::Soup,
        (Some(()), start) if start.starts_with(b"a,b,angle") => Kind::Pairs,
        (Some(()), start) if start.starts_with(b"rank,end,") => Kind::Spectrum,
        _ => Kind::Plane,
    }
}

/// `DIR/plots` for `DIR/notebooks-data/NAME.csv`, else the CSV's own folder.
fn plots_of(csv: &Path) -> PathBuf {
    let folder = csv.parent().unwrap_or(Path::new(""));
    if folder.ends_with("notebooks-data") {
        folder.with_file_name("plots")
    } else {
        folder.to_path_buf()
    }
}
