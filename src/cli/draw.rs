//! `landscape draw`: a figure from files alone.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::args::{DrawArgs, PanelsArg};
use super::print;
use crate::error::Result;
use crate::figure;
use crate::figure::canvas::Drawing;
use crate::figure::plane::draw;
use crate::figure::scatter::Scatter;
use crate::files;
use crate::result::line::Line;
use crate::result::pairs::Pairs;
use crate::result::panels::Panels;
use crate::result::plane::Plane;
use crate::result::soup::Soups;
use crate::result::spectrum::Spectrum;
use crate::result::{atomic, line, pairs_file, plane_file, soup_file, spectrum_file};

/// Reads the plane and draws it.
pub fn run(arguments: &DrawArgs) -> Result<()> {
    let folder = arguments
        .out
        .clone()
        .unwrap_or_else(|| plots_of(&arguments.csv));
    let name = arguments.csv.file_stem().unwrap_or_default();
    let (name, panels) = (name.to_string_lossy(), arguments.panels);
    let csv = &arguments.csv;
    let drawn = match kind(csv) {
        Kind::Line => line_figures(&line::read(csv)?, panels, &folder, &name)?,
        Kind::Soup => soup_figures(&soup_file::read(csv)?, &folder, &name)?,
        Kind::Pairs => pair_figures(&pairs_file::read(csv)?, &folder, &name)?,
        Kind::Spectrum => spectrum_figures(&spectrum_file::read(csv)?, &folder, &name)?,
        Kind::Plane => vec![figures(&plane_file::read(csv)?, panels, &folder, &name)?],
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

/// Writes Figure 1, where there are a test set and shifts, and the coefficients of a soup learned by
/// layer; returns the PNGs' paths.
pub fn soup_figures(soups: &Soups, folder: &Path, name: &str) -> Result<Vec<PathBuf>> {
    let warnings = &soups.warnings;
    let mut drawn = scatter(figure::soup::scatter(soups), warnings, folder, name)?;
    let by_layer = format!("{name}-learned-by-layer");
    drawn.extend(heat(
        figure::learned::alpha(soups)?,
        warnings,
        folder,
        &by_layer,
    )?);
    Ok(drawn)
}

/// Writes Figures 3 and 4, and Figure 5 and the angles by tensor where there are such; returns the
/// PNGs' paths.
pub fn pair_figures(pairs: &Pairs, folder: &Path, name: &str) -> Result<Vec<PathBuf>> {
    let mut drawn = Vec::new();
    for (figure, ending) in [
        (figure::pairs::angle_advantage(pairs), "angle-advantage"),
        (figure::pairs::soup_ensemble(pairs), "soup-ensemble"),
        (figure::theory::theory(pairs), "theory"),
    ] {
        let name = format!("{name}-{ending}");
        drawn.extend(scatter(figure, &pairs.warnings, folder, &name)?);
    }
    let layers = format!("{name}-layers");
    let figure = figure::layers::layers(pairs)?;
    drawn.extend(heat(figure, &pairs.warnings, folder, &layers)?);
    Ok(drawn)
}

/// Writes the figure of a spectrum, where there is anything to draw; returns the PNG's path.
pub fn spectrum_figures(spectrum: &Spectrum, folder: &Path, name: &str) -> Result<Vec<PathBuf>> {
    match figure::spectrum::draw(spectrum)? {
        Some(drawing) => {
            let drawing = drawing.described(&spectrum.warnings);
            Ok(vec![write(&drawing, folder, name)?])
        }
        None => {
            remove(folder, name);
            Ok(Vec::new())
        }
    }
}

/// Removes a figure that an earlier run drew of what is not there now.
fn remove(folder: &Path, name: &str) {
    for ending in ["png", "svg"] {
        let _ = std::fs::remove_file(folder.join(format!("{name}.{ending}")));
    }
}

fn heat(
    drawing: Option<Drawing>,
    warnings: &[String],
    folder: &Path,
    name: &str,
) -> Result<Option<PathBuf>> {
    if drawing.is_none() {
        remove(folder, name);
    }
    drawing
        .map(|drawing| write(&drawing.described(warnings), folder, name))
        .transpose()
}

fn scatter(
    points: Option<Scatter>,
    warnings: &[String],
    folder: &Path,
    name: &str,
) -> Result<Vec<PathBuf>> {
    let Some(points) = points else {
        remove(folder, name);
        return Ok(Vec::new());
    };
    let drawing = figure::scatter::draw(&points)?.described(warnings);
    Ok(vec![write(&drawing, folder, name)?])
}

/// Writes the figures of a path; returns the PNGs' paths.
pub fn line_figures(
    line: &Line,
    panels: PanelsArg,
    folder: &Path,
    name: &str,
) -> Result<Vec<PathBuf>> {
    let warnings = &line.summary.warnings;
    let drawing = figure::line::draw(line, panels.into())?.described(warnings);
    let mut drawn = vec![write(&drawing, folder, name)?];
    let shift = figure::line::scatter(line);
    let name = format!("{name}-shift");
    drawn.extend(scatter(shift, warnings, folder, &name)?);
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
    let drawing = draw(plane, panels.into())?.described(&plane.summary.warnings);
    write(&drawing, folder, name)
}

/// Writes a drawing as `NAME.png` and `NAME.svg`; returns the PNG's path.
fn write(drawing: &Drawing, folder: &Path, name: &str) -> Result<PathBuf> {
    let png = folder.join(format!("{name}.png"));
    atomic::write(&png, |out| out.write_all(&drawing.png))?;
    let svg = folder.join(format!("{name}.svg"));
    atomic::write(&svg, |out| out.write_all(drawing.svg.as_bytes()))?;
    Ok(png)
}
