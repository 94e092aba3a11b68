//! Colours and the font: the same in every figure.

use std::sync::OnceLock;

use plotters::prelude::*;

use crate::error::{Error, Result};

/// The bundled font's name among plotters' fonts.
pub const FONT: &str = "sans-serif";
/// Ink.
pub const INK: RGBColor = RGBColor(30, 30, 30);
/// Arrows.
pub const ARROW: RGBColor = RGBColor(110, 110, 110);
/// θ1: blue of the Okabe–Ito palette.
pub const FIRST: RGBColor = RGBColor(0, 114, 178);
/// θ2: orange of the Okabe–Ito palette.
pub const SECOND: RGBColor = RGBColor(230, 159, 0);
/// The soup: red-purple, apart from both.
pub const SOUP: RGBColor = RGBColor(204, 60, 90);
/// Ensembles: bluish green of the Okabe–Ito palette.
pub const ENSEMBLE: RGBColor = RGBColor(0, 158, 115);
/// What lies between a barrier and the line it rises above.
pub const SHADE: RGBColor = RGBColor(245, 222, 227);
/// Cells that are not finite.
pub const HATCHED: RGBColor = RGBColor(215, 215, 215);

/// Registers the bundled font, once a process.
///
/// # Errors
/// When the font cannot be parsed.
pub fn register_font() -> Result<()> {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    let registered = REGISTERED.get_or_init(|| {
        plotters::style::register_font(FONT, FontStyle::Normal, notosans::REGULAR_TTF).is_ok()
    });
    if *registered {
        Ok(())
    } else {
        Err(Error::runtime("figure", "the bundled font cannot be read"))
    }
}

/// Viridis, bright at 0 and dark at 1.
pub fn shade(part: f64) -> RGBColor {
    ViridisRGB.get_color(1.0 - part)
}
