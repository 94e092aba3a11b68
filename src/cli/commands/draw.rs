//! `landscape draw`: draws a figure from files alone.

use std::path::{Path, PathBuf};

use crate::cli::args::DrawArgs;
use crate::cli::report::figures;
use crate::cli::terminal::print;
use crate::error::Result;
use crate::result::kind::ResultKind;
use crate::result::{line, pairs, plane, soup, spectrum};

/// Reads a result and draws it.
pub fn run(arguments: &DrawArgs) -> Result<()> {
    let (csv, panels) = (&arguments.csv, arguments.panels);
    let folder = arguments.out.clone().unwrap_or_else(|| plots_of(csv));
    let name = csv.file_stem().unwrap_or_default().to_string_lossy();
    let drawn = match ResultKind::of(csv) {
        ResultKind::Line => figures::line(&line::file::read(csv)?, panels, &folder, &name)?,
        ResultKind::Soup => figures::soups(&soup::file::read(csv)?, &folder, &name)?,
        ResultKind::Pairs => figures::pairs(&pairs::file::read(csv)?, &folder, &name)?,
        ResultKind::Spectrum => figures::spectrum(&spectrum::file::read(csv)?, &folder, &name)?,
        ResultKind::Plane => figures::plane(&plane::file::read(csv)?, panels, &folder, &name)?,
    };
    for png in drawn {
        print(&png.display().to_string());
    }
    Ok(())
}

/// `DIR/plots` for `DIR/notebooks-data/NAME.csv`; otherwise the CSV's own folder.
fn plots_of(csv: &Path) -> PathBuf {
    let folder = csv.parent().unwrap_or(Path::new(""));
    if folder.ends_with("notebooks-data") {
        folder.with_file_name("plots")
    } else {
        folder.to_path_buf()
    }
}
