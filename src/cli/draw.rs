//! `landscape draw`: a figure from files alone.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::args::{DrawArgs, PanelsArg};
use super::print;
use crate::error::Result;
use crate::figure;
use crate::figure::page::Drawing;
use crate::figure::panel::Panels;
use crate::figure::plane::draw;
use crate::result::line::Line;
use crate::result::plane::Plane;
use crate::result::{atomic, line, plane_file};

/// Reads the plane and draws it.
pub fn run(arguments: &DrawArgs) -> Result<()> {
    let folder = arguments
        .out
        .clone()
        .unwrap_or_else(|| plots_of(&arguments.csv));
    let name = arguments.csv.file_stem().unwrap_or_default();
    let (name, panels) = (name.to_string_lossy(), arguments.panels);
    let drawn = if is_line(&arguments.csv) {
        line_figures(&line::read(&arguments.csv)?, panels, &folder, &name)?
    } else {
        let plane = plane_file::read(&arguments.csv)?;
        vec![figures(&plane, panels, &folder, &name)?]
    };
    for png in drawn {
        print(&png.display().to_string());
    }
    Ok(())
}

/// Whether a CSV begins as that of a path does; any other is told what a plane's lacks.
fn is_line(csv: &Path) -> bool {
    let mut start = [0; 6];
    let read = File::open(csv).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && start == *b"alpha,"
}

/// Writes the figures of a path; returns the PNGs' paths.
pub fn line_figures(
    line: &Line,
    panels: PanelsArg,
    folder: &Path,
    name: &str,
) -> Result<Vec<PathBuf>> {
    let drawing = figure::line::draw(line, panels.into())?;
    let mut drawn = vec![write(&drawing, folder, name)?];
    if let Some(points) = figure::line::scatter(line) {
        let drawing = figure::scatter::draw(&points)?;
        drawn.push(write(&drawing, folder, &format!("{name}-shift"))?);
    }
    Ok(drawn)
}

impl From<PanelsArg> for Panels {
    fn from(panels: PanelsArg) -> Self {
        match panels {
            PanelsArg::Paper => Self::Paper,
            PanelsArg::All => Self::All,
        }
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

/// Writes `NAME.png` and `NAME.svg`; returns the PNG's path.
pub fn figures(plane: &Plane, panels: PanelsArg, folder: &Path, name: &str) -> Result<PathBuf> {
    write(&draw(plane, panels.into())?, folder, name)
}

/// Writes a drawing as `NAME.png` and `NAME.svg`; returns the PNG's path.
pub fn write(drawing: &Drawing, folder: &Path, name: &str) -> Result<PathBuf> {
    let png = folder.join(format!("{name}.png"));
    atomic::write(&png, |out| out.write_all(&drawing.png))?;
    let svg = folder.join(format!("{name}.svg"));
    atomic::write(&svg, |out| out.write_all(drawing.svg.as_bytes()))?;
    Ok(png)
}
