//! Angles of pairs tensor by tensor: a heat map.

use std::collections::HashMap;

use plotters::prelude::*;

use super::legend::ends;
use super::page::{self, Anchor, Drawing, Drawn, Outcome, Page, Place, word_width};
use super::theme;
use super::view::{SMALL, TEXT, TITLE};
use crate::error::Result;
use crate::result::pairs::{LayerAngle, Pairs};

/// Draws the angles. `None` where they were not computed.
///
/// # Errors
/// When drawing fails.
pub fn layers(pairs: &Pairs) -> Result<Option<Drawing>> {
    Heat::of(pairs).as_ref().map(page::drawing).transpose()
}

// Lengths in pixels of the layout.
const WIDTH: f64 = 900.0;
/// Height of a row, and of all of them; with many, not every name finds room.
const ROW: f64 = 38.0;
const TALLEST: f64 = 1500.0;
const TOP: f64 = 72.0;
const BOTTOM: f64 = 112.0;
const BAR: f64 = 26.0;
const RIGHT: f64 = 170.0;
const MARGIN: f64 = 24.0;
/// Letters of a name.
const NAME: usize = 44;
/// Numbers below the columns.
const TICKS: usize = 7;

/// Rows of tensors, columns of pairs.
struct Heat {
    /// In the order of the file.
    tensors: Vec<String>,
    /// Angles of the whole models in degrees, ascending; one a column.
    columns: Vec<f64>,
    /// `angles[row][column]` in degrees; NaN where there is none.
    angles: Vec<Vec<f64>>,
}

impl Heat {
    fn of(pairs: &Pairs) -> Option<Self> {
        let mut columns: Vec<(&str, &str, f64)> = Vec::new();
        let with: HashMap<(&str, &str), ()> =
            pairs.layers.iter().map(|of| (pair(of), ())).collect();
        for of in &pairs.pairs {
            if with.contains_key(&(of.a.as_str(), of.b.as_str())) {
                columns.push((&of.a, &of.b, of.angle_deg));
            }
        }
        // NaN of either sign last.
        columns.sort_by(|a, b| a.2.is_nan().cmp(&b.2.is_nan()).then(a.2.total_cmp(&b.2)));
        let at: HashMap<(&str, &str), usize> = columns
            .iter()
            .enumerate()
            .map(|(k, of)| ((of.0, of.1), k))
            .collect();
        let mut rows: HashMap<&str, usize> = HashMap::new();
        let mut tensors = Vec::new();
        let mut angles: Vec<Vec<f64>> = Vec::new();
        for of in &pairs.layers {
            let Some(column) = at.get(&pair(of)) else {
                continue;
            };
            let row = *rows.entry(&of.tensor).or_insert_with(|| {
                tensors.push(of.tensor.clone());
                angles.push(vec![f64::NAN; columns.len()]);
                tensors.len() - 1
            });
            angles[row][*column] = of.angle_deg;
        }
        (!tensors.is_empty()).then(|| Self {
            tensors: shortened(&tensors),
            columns: columns.into_iter().map(|of| of.2).collect(),
            angles,
        })
    }

    /// The largest angle of the scale: a right one, or as many tens as there are above.
    fn top(&self) -> f64 {
        let all = self.angles.iter().flatten().copied();
        let largest = all.filter(|angle| angle.is_finite()).fold(90.0, f64::max);
        (10.0 * (largest / 10.0 - 1e-9).ceil()).min(180.0)
    }

    fn row_height(&self) -> f64 {
        (TALLEST / self.tensors.len() as f64).min(ROW)
    }

    /// Upper left and lower right corner of the cells.
    fn corners(&self) -> [Place; 2] {
        let widths = self.tensors.iter().map(|name| word_width(name, SMALL));
        // A reader of the SVG may have a wider font.
        let left = MARGIN + 1.15 * widths.fold(0.0, f64::max);
        let height = self.row_height() * self.tensors.len() as f64;
        [(left, TOP), (left + WIDTH, TOP + height)]
    }

    fn names<B: DrawingBackend>(&self, page: &Page<'_, B>) -> Outcome<B> {
        let [(left, top), _] = self.corners();
        let high = self.row_height();
        let every = (1.1 * SMALL / high).ceil().max(1.0) as usize;
        for (row, name) in self.tensors.iter().enumerate().step_by(every) {
            let y = top + (row as f64 + 0.5) * high;
            page.line(&[(left - 8.0, y), (left, y)], theme::INK, 2.0)?;
            page.word(name, (left - 14.0, y), SMALL, Anchor::Right)?;
        }
        Ok(())
    }

    /// The angles of some of the columns below them.
    fn angles<B: DrawingBackend>(&self, page: &Page<'_, B>) -> Outcome<B> {
        let [(left, _), (right, bottom)] = self.corners();
        let count = self.columns.len();
        let ticks = TICKS.min(count);
        for tick in 0..ticks {
            let column = tick * (count - 1) / (ticks - 1).max(1);
            let x = left + (column as f64 + 0.5) / count as f64 * (right - left);
            page.line(&[(x, bottom), (x, bottom + 8.0)], theme::INK, 2.0)?;
            let label = match self.columns[column] {
                angle if angle.is_finite() => format!("{angle:.0}"),
                _ => "–".to_string(),
            };
            page.write(&label, (x, bottom + 16.0), SMALL, Anchor::Top)?;
        }
        let name = match count {
            1 => "one pair: its angle as a whole (degrees)".to_string(),
            _ => format!("{count} pairs by their angle as a whole (degrees)"),
        };
        let below = (f64::midpoint(left, right), bottom + 56.0);
        page.write(&name, below, TEXT, Anchor::Top)
    }

    /// The scale of colours.
    fn bar<B: DrawingBackend>(&self, page: &Page<'_, B>) -> Outcome<B> {
        let [(_, top), (right, bottom)] = self.corners();
        let (left, bottom) = (right + 30.0, bottom.max(top + 4.0 * SMALL));
        page.raster([(left, top), (left + BAR, bottom)], |across, down| {
            let shade = |dy: &f64| theme::shade(1.0 - dy / (bottom - top));
            let rows: Vec<RGBColor> = down.iter().map(shade).collect();
            let rows = rows.into_iter();
            rows.flat_map(|color| across.iter().map(move |_| color))
                .collect()
        })?;
        page.outline([(left, top), (left + BAR, bottom)], 2.0)?;
        let right = left + BAR;
        let most = self.top();
        let last = Some(most as u32).filter(|most| most % 30 >= 15);
        for angle in (0..=most as u32).step_by(30).chain(last) {
            let y = bottom - f64::from(angle) / most * (bottom - top);
            page.line(&[(right, y), (right + 8.0, y)], theme::INK, 2.0)?;
            page.write(&format!("{angle}°"), (right + 14.0, y), SMALL, Anchor::Left)?;
        }
        Ok(())
    }
}

impl Drawn for Heat {
    fn size(&self) -> (u32, u32) {
        let [_, (right, bottom)] = self.corners();
        (
            (right + RIGHT).ceil() as u32,
            (bottom.max(TOP + 4.0 * SMALL) + BOTTOM).ceil() as u32,
        )
    }

    fn draw<B: DrawingBackend>(&self, page: &Page<'_, B>) -> Outcome<B> {
        let corners = self.corners();
        let [(left, top), (right, bottom)] = corners;
        let most = self.top();
        page.raster(corners, |across, down| {
            let part = |offset: f64, length: f64, count: usize| {
                ((offset / length * count as f64) as usize).min(count - 1)
            };
            // A cell is many pixels.
            let cells = self.angles.iter().map(|row| {
                let colors = row.iter().map(|angle| match angle {
                    angle if angle.is_finite() => theme::shade(angle / most),
                    _ => theme::HATCHED,
                });
                colors.collect()
            });
            let cells: Vec<Vec<RGBColor>> = cells.collect();
            let row = |dy: &f64| &cells[part(*dy, bottom - top, self.tensors.len())];
            let column = |dx: &f64| part(*dx, right - left, self.columns.len());
            let columns: Vec<usize> = across.iter().map(column).collect();
            let rows = down.iter().map(row);
            rows.flat_map(|row| columns.iter().map(|&column| row[column]))
                .collect()
        })?;
        page.outline(corners, 2.0)?;
        let middle = (f64::midpoint(left, right), top - 30.0);
        page.write(
            "angle φ at θ_0 in each tensor",
            middle,
            TITLE,
            Anchor::Middle,
        )?;
        self.names(page)?;
        self.angles(page)?;
        self.bar(page)
    }
}

fn pair(of: &LayerAngle) -> (&str, &str) {
    (&of.a, &of.b)
}

/// Names without the beginning that all share, up to a dot or a slash; long ones by their ends.
fn shortened(names: &[String]) -> Vec<String> {
    let Some(first) = names.first().filter(|_| names.len() > 1) else {
        return names.iter().map(|name| ends(name, NAME)).collect();
    };
    let parts = first.match_indices(['.', '/']).map(|(at, _)| &first[..=at]);
    let shared = parts.take_while(|head| names.iter().all(|name| name.starts_with(head)));
    let shared = shared.last().map_or(0, str::len);
    let shown = names.iter().map(|name| ends(&name[shared..], NAME));
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::samples;

    #[test]
    fn rows_are_tensors_in_their_order_and_columns_pairs_by_angle() {
        let pairs = samples::pairs();
        let heat = Heat::of(&pairs).unwrap();
        assert_eq!((heat.angles.len(), heat.angles[0].len()), (25, 120));
        assert_eq!(heat.tensors[0], "blocks_0.attn.in_proj.weight");
        assert_eq!(heat.tensors[24], "head");
        assert!(heat.columns.is_sorted());
        let narrow = pairs
            .pairs
            .iter()
            .min_by(|a, b| a.angle_deg.total_cmp(&b.angle_deg));
        let narrow = narrow.unwrap();
        let of = pairs
            .layers
            .iter()
            .find(|of| of.a == narrow.a && of.b == narrow.b);
        assert_eq!(heat.angles[0][0], of.unwrap().angle_deg);
        assert!(heat.top() >= 100.0 && heat.top() <= 180.0);
    }

    #[test]
    fn odd_angles_are_drawn() {
        let mut pairs = samples::pairs();
        for of in &mut pairs.layers {
            of.angle_deg = f64::NAN;
            of.tensor = "z".repeat(400);
        }
        for pair in &mut pairs.pairs {
            pair.angle_deg = f64::NAN;
        }
        assert!(layers(&pairs).unwrap().unwrap().svg.contains("<svg"));
        pairs.layers.truncate(1);
        assert!(layers(&pairs).unwrap().unwrap().svg.contains("one pair"));
        pairs.pairs.clear();
        assert!(layers(&pairs).unwrap().is_none());
    }

    #[test]
    fn very_many_tensors_stay_on_a_page() {
        let heat = Heat {
            tensors: (0..2000).map(|k| format!("t{k}")).collect(),
            columns: vec![40.0],
            angles: vec![vec![50.0]; 2000],
        };
        assert!(heat.size().1 < 2500);
    }

    #[test]
    fn what_all_names_share_is_left_out() {
        let of = |names: [&str; 2]| shortened(&names.map(String::from));
        assert_eq!(of(["a.b.c", "a.b.d"]), ["c", "d"]);
        assert_eq!(of(["a.b", "a.b.c"]), ["b", "b.c"]);
        assert_eq!(of(["weight", "bias"]), ["weight", "bias"]);
    }
}
