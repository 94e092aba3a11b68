//! Colours and the font, which are the same in every figure.

use std::sync::OnceLock;

use plotters::prelude::*;

use crate::error::{Error, Result};

/// The bundled font's name among plotters' fonts.
pub const FONT: &str = "sans-serif";
/// Text and lines.
pub const INK: RGBColor = RGBColor(30, 30, 30);
/// Arrows.
pub const ARROW: RGBColor = RGBColor(110, 110, 110);
/// θ1: blue of the Okabe–Ito palette.
pub const FIRST: RGBColor = RGBColor(0, 114, 178);
/// θ2: orange of the Okabe–Ito palette.
pub const SECOND: RGBColor = RGBColor(230, 159, 0);
/// The soup: red-purple, distinct from both.
pub const SOUP: RGBColor = RGBColor(204, 60, 90);
/// Ensembles: bluish green of the Okabe–Ito palette.
pub const ENSEMBLE: RGBColor = RGBColor(0, 158, 115);
/// The area between a barrier and the line it rises above.
pub const SHADE: RGBColor = RGBColor(245, 222, 227);
/// The area under a density: the blue of its line, light.
pub const UNDER: RGBColor = RGBColor(205, 226, 240);
/// Lines of zeros and of equal values.
pub const GUIDE: RGBColor = RGBColor(190, 190, 190);
/// Cells that are not finite.
pub const HATCHED: RGBColor = RGBColor(215, 215, 215);

/// A single model among soups, as in Figure 1 of the paper.
pub const INDIVIDUAL: RGBColor = RGBColor(44, 160, 44);
/// θ0 among soups.
pub const SLATE: RGBColor = RGBColor(112, 128, 144);
/// The uniform soup.
pub const UNIFORM: RGBColor = RGBColor(31, 119, 180);
/// The greedy soup.
pub const GREEDY: RGBColor = RGBColor(128, 78, 180);
/// Greedy soups in random order.
pub const PALE: RGBColor = RGBColor(200, 176, 226);
/// Learned soups, which are not in the paper's figure: the next colour of its script.
pub const LEARNED: RGBColor = RGBColor(140, 86, 75);
/// Ensembles among soups.
pub const RED: RGBColor = RGBColor(214, 39, 40);
/// Groups of points, the largest first: the Okabe–Ito palette without black and yellow.
pub const GROUPS: [RGBColor; 6] = [
    FIRST,
    SECOND,
    ENSEMBLE,
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
];
/// Points that belong to no group.
pub const OTHER: RGBColor = RGBColor(150, 150, 150);

/// Registers the bundled font, once per process.
///
/// # Errors
/// Fails when the font cannot be parsed.
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

/// Blue below ½, white at ½, red above: ColorBrewer's RdBu, reversed, which colour-blind readers
/// can distinguish.
pub fn diverging(part: f64) -> RGBColor {
    const COLORS: [RGBColor; 9] = [
        RGBColor(33, 102, 172),
        RGBColor(67, 147, 195),
        RGBColor(146, 197, 222),
        RGBColor(209, 229, 240),
        RGBColor(255, 255, 255),
        RGBColor(253, 219, 199),
        RGBColor(244, 165, 130),
        RGBColor(214, 96, 77),
        RGBColor(178, 24, 43),
    ];
    let at = part.clamp(0.0, 1.0) * (COLORS.len() - 1) as f64;
    let low = (at as usize).min(COLORS.len() - 2);
    let between = |from: u8, to: u8| {
        let (from, to) = (f64::from(from), f64::from(to));
        (from + (at - low as f64) * (to - from)).round() as u8
    };
    let (from, to) = (COLORS[low], COLORS[low + 1]);
    RGBColor(
        between(from.0, to.0),
        between(from.1, to.1),
        between(from.2, to.2),
    )
}
