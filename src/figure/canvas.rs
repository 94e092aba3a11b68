//! The canvas that figures are drawn on: a bitmap or an SVG. Lengths are in layout pixels.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontTransform, TextStyle};

use super::text::{shown, spaces, split, width};
use super::theme;
use crate::error::{Error, Result};

/// A position on the canvas in layout pixels, from the upper left corner.
pub type Pixel = (f64, f64);

/// Width and height in layout pixels.
pub type Size = (f64, f64);

/// The result of drawing, with the canvas's error type.
pub type DrawResult<B> =
    std::result::Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;

/// Layout pixels per inch of paper.
const DOTS_PER_INCH: f64 = 300.0;

/// SVG pixels per layout pixel: plotters draws at whole pixels.
const SVG_UNIT: u32 = 2;

/// The position of text relative to its anchor point.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// Centred on the point.
    Middle,
    /// Right of the point, centred vertically.
    Left,
    /// Left of the point, centred vertically.
    Right,
    /// Below the point, centred horizontally.
    Top,
    /// Reading upwards, centred on the point.
    Upwards,
    /// Reading upwards and ending at the point.
    UpTo,
}

impl Anchor {
    /// Whether the text reads upwards.
    fn turns(self) -> bool {
        matches!(self, Self::Upwards | Self::UpTo)
    }
}

/// A drawing area, and the number of its pixels per layout pixel.
pub struct Canvas<'a, B: DrawingBackend> {
    area: &'a DrawingArea<B, Shift>,
    unit: f64,
}

impl<B: DrawingBackend> Canvas<'_, B> {
    fn at(&self, (x, y): Pixel) -> (i32, i32) {
        (
            (x * self.unit).round() as i32,
            (y * self.unit).round() as i32,
        )
    }

    fn path(&self, places: &[Pixel]) -> Vec<(i32, i32)> {
        places.iter().map(|place| self.at(*place)).collect()
    }

    fn stroke(&self, color: RGBColor, width: f64) -> ShapeStyle {
        color.stroke_width((width * self.unit).round().max(1.0) as u32)
    }

    /// Fills a polygon.
    pub fn polygon(&self, ring: &[Pixel], color: RGBColor) -> DrawResult<B> {
        self.area
            .draw(&Polygon::new(self.path(ring), color.filled()))
    }

    /// Fills a circle.
    pub fn disc(&self, at: Pixel, radius: f64, color: RGBColor) -> DrawResult<B> {
        let radius = (radius * self.unit).round().max(1.0) as i32;
        self.area
            .draw(&Circle::new(self.at(at), radius, color.filled()))
    }

    /// Fills a rectangle with the colours that `paint` returns for its rows of canvas pixels.
    /// `paint` receives the offsets of the pixel centres from the upper left corner, in layout
    /// pixels, horizontally and vertically.
    pub fn raster(
        &self,
        corners: [Pixel; 2],
        paint: impl FnOnce(&[f64], &[f64]) -> Vec<RGBColor>,
    ) -> DrawResult<B> {
        let [from, to] = corners.map(|corner| self.at(corner));
        let size = ((to.0 - from.0).max(1) as u32, (to.1 - from.1).max(1) as u32);
        let centres = |count: u32| -> Vec<f64> {
            (0..count)
                .map(|k| (f64::from(k) + 0.5) / self.unit)
                .collect()
        };
        let colors = paint(&centres(size.0), &centres(size.1));
        let bytes = colors.iter().flat_map(|color| [color.0, color.1, color.2]);
        match BitMapElement::with_owned_buffer(from, size, bytes.collect()) {
            Some(image) => self.area.draw(&image),
            None => Ok(()),
        }
    }

    /// Draws an open line.
    pub fn line(&self, places: &[Pixel], color: RGBColor, width: f64) -> DrawResult<B> {
        let style = self.stroke(color, width);
        self.area.draw(&PathElement::new(self.path(places), style))
    }

    /// Fills a rectangle.
    pub fn fill(&self, corners: [Pixel; 2], color: impl Color) -> DrawResult<B> {
        let corners = corners.map(|corner| self.at(corner));
        self.area
            .draw(&Rectangle::new(corners, color.to_rgba().filled()))
    }

    /// Draws the outline of a rectangle.
    pub fn outline(&self, [from, to]: [Pixel; 2], width: f64) -> DrawResult<B> {
        // Uses lines: plotters gives rectangles of an SVG no line width, and a path that overlaps
        // itself leaves a gap there. Each line is extended by half its width to fill the corners.
        let half = width / 2.0;
        for y in [from.1, to.1] {
            self.line(&[(from.0 - half, y), (to.0 + half, y)], theme::INK, width)?;
        }
        for x in [from.0, to.0] {
            self.line(&[(x, from.1 - half), (x, to.1 + half)], theme::INK, width)?;
        }
        Ok(())
    }

    /// Writes text. `_` makes the next digit a subscript: `θ_0`, `distance along u_1`. The bundled
    /// font has no subscript digits of its own.
    pub fn write(&self, text: &str, place: Pixel, size: f64, anchor: Anchor) -> DrawResult<B> {
        let Some((head, digit, tail)) = split(text) else {
            return self.word(text, place, size, anchor);
        };
        let (low, head_width) = (0.7 * size, width(head, size));
        let tail_at = width(digit, low) + 0.04 * size + spaces(tail, size);
        let whole = head_width + tail_at + width(tail.trim_start(), size);
        // The digit's left edge. Each piece is anchored at an edge that it shares with its
        // neighbour, so that the pieces stay together if an SVG viewer uses another font.
        let ahead = match anchor {
            Anchor::Left => head_width,
            Anchor::Right | Anchor::UpTo => head_width - whole,
            Anchor::Middle | Anchor::Top | Anchor::Upwards => head_width - whole / 2.0,
        };
        let along = |distance: f64, down: f64| match anchor {
            Anchor::Upwards | Anchor::UpTo => (place.0 + down, place.1 - distance),
            Anchor::Top => (place.0 + distance, place.1 + 0.5 * size + down),
            _ => (place.0 + distance, place.1 + down),
        };
        let pieces = [
            (head, along(ahead, 0.0), size, HPos::Right),
            (digit, along(ahead, 0.22 * size), low, HPos::Left),
            (
                tail.trim_start(),
                along(ahead + tail_at, 0.0),
                size,
                HPos::Left,
            ),
        ];
        for (piece, place, size, side) in pieces {
            let style = style(size * self.unit, anchor.turns(), side, VPos::Center);
            self.area
                .draw(&Text::new(shown(piece), self.at(place), style))?;
        }
        Ok(())
    }

    /// Writes text unchanged: in names, `_1` is not a subscript.
    pub fn word(&self, text: &str, place: Pixel, size: f64, anchor: Anchor) -> DrawResult<B> {
        let (side, height) = match anchor {
            Anchor::Middle | Anchor::Upwards => (HPos::Center, VPos::Center),
            Anchor::Left => (HPos::Left, VPos::Center),
            Anchor::Right | Anchor::UpTo => (HPos::Right, VPos::Center),
            Anchor::Top => (HPos::Center, VPos::Top),
        };
        let style = style(size * self.unit, anchor.turns(), side, height);
        self.area
            .draw(&Text::new(shown(text), self.at(place), style))
    }
}

fn style(size: f64, upwards: bool, side: HPos, height: VPos) -> TextStyle<'static> {
    let font = (theme::FONT, size).into_font();
    let font = if upwards {
        font.transform(FontTransform::Rotate270)
    } else {
        font
    };
    TextStyle::from(font)
        .color(&theme::INK)
        .pos(Pos::new(side, height))
}

/// A figure that can be drawn on either kind of canvas.
pub trait Drawable {
    /// Width and height in layout pixels.
    fn size(&self) -> (u32, u32);

    /// Draws everything on a white canvas.
    ///
    /// # Errors
    /// Fails when the canvas fails.
    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<'_, B>) -> DrawResult<B>;
}

/// A figure in both formats.
pub struct Drawing {
    /// PNG, 300 dots per inch.
    pub png: Vec<u8>,
    /// SVG of the same layout.
    pub svg: String,
}

impl Drawing {
    /// Adds warnings for the reader to the SVG's description, which viewers show and search, so
    /// that they travel with the figure.
    #[must_use]
    pub fn described(mut self, warnings: &[String]) -> Self {
        let escaped = |text: &String| {
            let text = text
                .replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;");
            // XML allows no other control characters.
            text.replace(|it: char| it.is_control() && it != '\n', "\u{fffd}")
        };
        let lines: Vec<String> = warnings.iter().map(escaped).collect();
        if let (false, Some(end)) = (lines.is_empty(), self.svg.find('>')) {
            let description = format!("\n<desc>Warning: {}</desc>", lines.join("\nWarning: "));
            self.svg.insert_str(end + 1, &description);
        }
        self
    }
}

/// Draws a figure in both formats.
///
/// # Errors
/// Fails when drawing or encoding fails.
pub fn drawing(figure: &impl Drawable) -> Result<Drawing> {
    Ok(Drawing {
        png: png(figure)?,
        svg: svg(figure)?,
    })
}

/// Maximum number of layout pixels: a bitmap of that size takes 1.6 GB while it is drawn.
const MOST_PIXELS: u64 = 1 << 27;

/// The size of a figure; an error if it is too large to draw.
fn size(figure: &impl Drawable) -> Result<(u32, u32)> {
    let (width, height) = figure.size();
    if u64::from(width) * u64::from(height) <= MOST_PIXELS {
        return Ok((width, height));
    }
    Err(Error::runtime(
        "figure",
        format!("would have {width}×{height} pixels; at most {MOST_PIXELS} can be drawn"),
    ))
}

/// Draws the figure as an SVG.
///
/// # Errors
/// Fails when drawing fails.
pub fn svg(figure: &impl Drawable) -> Result<String> {
    // Must happen before any text is measured.
    theme::register_font()?;
    let (width, height) = size(figure)?;
    let (wide, tall) = (width * SVG_UNIT, height * SVG_UNIT);
    let mut svg = String::new();
    paint(
        SVGBackend::with_string(&mut svg, (wide, tall)),
        figure,
        SVG_UNIT,
    )?;
    let inches = |pixels: u32| f64::from(pixels) / DOTS_PER_INCH;
    Ok(svg
        .replacen(
            &format!(r#"width="{wide}" height="{tall}""#),
            &format!(
                r#"width="{}in" height="{}in""#,
                inches(width),
                inches(height)
            ),
            1,
        )
        .replace(
            &format!(r#"font-family="{}""#, theme::FONT),
            r#"font-family="Noto Sans, sans-serif""#,
        )
        .replace("data:png;", "data:image/png;"))
}

/// Draws the figure as a PNG, 300 dots per inch.
///
/// # Errors
/// Fails when drawing or encoding fails.
pub fn png(figure: &impl Drawable) -> Result<Vec<u8>> {
    theme::register_font()?;
    let (width, height) = size(figure)?;
    // Draws at twice the size and averages, because the bitmap backend has no antialiasing.
    let mut pixels = vec![0; width as usize * height as usize * 4 * 3];
    paint(
        BitMapBackend::with_buffer(&mut pixels, (2 * width, 2 * height)),
        figure,
        2,
    )?;
    let pixels = halved(&pixels, width as usize, height as usize);
    encode(&pixels, width, height).map_err(|error| Error::runtime("figure", error))
}

fn paint<B: DrawingBackend>(backend: B, figure: &impl Drawable, unit: u32) -> Result<()> {
    let area = backend.into_drawing_area();
    let canvas = Canvas {
        area: &area,
        unit: f64::from(unit),
    };
    let drawn = area
        .fill(&WHITE)
        .and_then(|()| figure.draw(&canvas))
        .and_then(|()| area.present());
    drawn.map_err(|error| Error::runtime("figure", error))
}

/// Averages squares of 2×2 RGB pixels.
fn halved(pixels: &[u8], width: usize, height: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(width * height * 3);
    let at = |x: usize, y: usize, c: usize| u16::from(pixels[(y * 2 * width + x) * 3 + c]);
    for y in 0..height {
        for x in 0..width {
            for c in 0..3 {
                let (x, y) = (2 * x, 2 * y);
                let sum = at(x, y, c) + at(x + 1, y, c) + at(x, y + 1, c) + at(x + 1, y + 1, c);
                out.push((sum / 4) as u8);
            }
        }
    }
    out
}

fn encode(
    pixels: &[u8],
    width: u32,
    height: u32,
) -> std::result::Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let per_meter = (DOTS_PER_INCH / 0.0254).round() as u32;
    encoder.set_pixel_dims(Some(png::PixelDimensions {
        xppu: per_meter,
        yppu: per_meter,
        unit: png::Unit::Meter,
    }));
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    drop(writer);
    Ok(bytes)
}
