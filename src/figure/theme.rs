//! Colours, fonts and how text is set: the same in every figure.

use std::sync::OnceLock;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontTransform, TextStyle};

use crate::error::{Error, Result};

/// Ink.
pub const INK: RGBColor = RGBColor(30, 30, 30);
/// Arrows.
pub const ARROW: RGBColor = RGBColor(110, 110, 110);
/// θ1: blue of the Okabe–Ito palette.
pub const FIRST: RGBColor = RGBColor(0, 114, 178);
/// θ2: orange of the Okabe–Ito palette.
pub const SECOND: RGBColor = RGBColor(230, 159, 0);
/// The soup: red-purple of the Okabe–Ito palette.
pub const SOUP: RGBColor = RGBColor(204, 60, 90);
/// Cells that are not finite.
pub const HATCHED: RGBColor = RGBColor(215, 215, 215);

/// Registers the bundled font, once a process.
///
/// # Errors
/// When the font cannot be parsed.
pub fn register_font() -> Result<()> {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    let registered = REGISTERED.get_or_init(|| {
        plotters::style::register_font("sans-serif", FontStyle::Normal, notosans::REGULAR_TTF)
            .is_ok()
    });
    if *registered {
        Ok(())
    } else {
        Err(Error::runtime("figure", "the bundled font cannot be read"))
    }
}

/// Colour of band `index` of `count`: viridis, bright where the value is low.
pub fn band(index: usize, count: usize) -> RGBColor {
    let part = index as f64 / (count.max(2) - 1) as f64;
    ViridisRGB.get_color(1.0 - part)
}

/// Where text stands relative to its point.
#[derive(Clone, Copy)]
pub enum Anchor {
    /// Centred on it.
    Middle,
    /// To the right of it, centred in height.
    Left,
    /// To the left of it, centred in height.
    Right,
    /// Below it, centred.
    Top,
    /// Reading upwards, centred on it.
    Upwards,
}

/// A text style.
pub fn text(size: f64, anchor: Anchor) -> TextStyle<'static> {
    let font = ("sans-serif", size).into_font();
    let (font, horizontal, vertical) = match anchor {
        Anchor::Middle => (font, HPos::Center, VPos::Center),
        Anchor::Left => (font, HPos::Left, VPos::Center),
        Anchor::Right => (font, HPos::Right, VPos::Center),
        Anchor::Top => (font, HPos::Center, VPos::Top),
        Anchor::Upwards => (
            font.transform(FontTransform::Rotate270),
            HPos::Center,
            VPos::Center,
        ),
    };
    TextStyle::from(font)
        .color(&INK)
        .pos(Pos::new(horizontal, vertical))
}
