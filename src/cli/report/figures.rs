//! Figures of each result, written as PNG and SVG.

use std::path::{Path, PathBuf};

use crate::base::atomic;
use crate::error::Result;
use crate::figure;
use crate::figure::canvas::Drawing;
use crate::figure::plane::draw;
use crate::figure::scatter::Scatter;
use crate::result::line::Line;
use crate::result::pairs::Pairs;
use crate::result::panels::Panels;
use crate::result::plane::Plane;
use crate::result::provenance::Provenance;
use crate::result::soup::Soups;
use crate::result::spectrum::Spectrum;

/// Writes Figure 1 if there are a test set and shifts, and the coefficients if a soup was learned
/// by layer. Returns the paths of the PNGs.
pub fn soups(soups: &Soups, folder: &Path, name: &str) -> Result<Vec<PathBuf>> {
    let warnings = &soups.warnings;
    let mut drawn = scatter(
        figure::soup::scatter(soups),
        (warnings, &soups.provenance),
        folder,
        name,
    )?;
    let by_layer = format!("{name}-learned-by-layer");
    drawn.extend(heat(
        figure::learned::alpha(soups)?,
        warnings,
        folder,
        &by_layer,
    )?);
    Ok(drawn)
}

/// Writes Figures 3 and 4, and, if computed, Figure 5 and the angles by tensor. Returns the paths
/// of the PNGs.
pub fn pairs(pairs: &Pairs, folder: &Path, name: &str) -> Result<Vec<PathBuf>> {
    let mut drawn = Vec::new();
    let about = (pairs.warnings.as_slice(), &pairs.provenance);
    for (figure, ending) in [
        (figure::pairs::angle_advantage(pairs), "angle-advantage"),
        (figure::pairs::soup_ensemble(pairs), "soup-ensemble"),
        (figure::theory::theory(pairs), "theory"),
    ] {
        let name = format!("{name}-{ending}");
        drawn.extend(scatter(figure, about, folder, &name)?);
    }
    let layers = format!("{name}-layers");
    let figure = figure::layers::layers(pairs)?;
    drawn.extend(heat(figure, &pairs.warnings, folder, &layers)?);
    Ok(drawn)
}

/// Writes the figure of a spectrum if there is anything to draw. Returns the path of the PNG.
pub fn spectrum(spectrum: &Spectrum, folder: &Path, name: &str) -> Result<Vec<PathBuf>> {
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

/// Removes a figure that an earlier run drew and that this result does not have.
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
    (warnings, provenance): (&[String], &Provenance),
    folder: &Path,
    name: &str,
) -> Result<Vec<PathBuf>> {
    let Some(mut points) = points else {
        remove(folder, name);
        return Ok(Vec::new());
    };
    points.captions.extend(figure::captions::of(provenance));
    let drawing = figure::scatter::draw(&points)?.described(warnings);
    Ok(vec![write(&drawing, folder, name)?])
}

/// Writes the figures of a path. Returns the paths of the PNGs.
pub fn line(line: &Line, panels: Panels, folder: &Path, name: &str) -> Result<Vec<PathBuf>> {
    let warnings = &line.summary.warnings;
    let drawing = figure::line::draw(line, panels)?.described(warnings);
    let mut drawn = vec![write(&drawing, folder, name)?];
    let shift = figure::line::scatter(line);
    let name = format!("{name}-shift");
    drawn.extend(scatter(
        shift,
        (warnings, &line.summary.provenance),
        folder,
        &name,
    )?);
    Ok(drawn)
}

/// Writes `NAME.png` and `NAME.svg`. Returns the path of the PNG.
pub fn plane(plane: &Plane, panels: Panels, folder: &Path, name: &str) -> Result<Vec<PathBuf>> {
    let drawing = draw(plane, panels)?.described(&plane.summary.warnings);
    Ok(vec![write(&drawing, folder, name)?])
}

/// Writes a drawing as `NAME.png` and `NAME.svg`. Returns the path of the PNG.
fn write(drawing: &Drawing, folder: &Path, name: &str) -> Result<PathBuf> {
    let png = folder.join(format!("{name}.png"));
    atomic::write(&png, |out| out.write_all(&drawing.png))?;
    let svg = folder.join(format!("{name}.svg"));
    atomic::write(&svg, |out| out.write_all(drawing.svg.as_bytes()))?;
    Ok(png)
}
