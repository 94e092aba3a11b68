//! Heat maps: named rows and columns, one cell per value, and a colour bar.

use plotters::prelude::*;

use super::canvas::{Anchor, Canvas, DrawResult, Drawable, Pixel};
use super::text::{SMALL, TEXT, TITLE, ends, width, word_width};
use super::theme;
use super::ticks::Ticks;

// Lengths are in layout pixels.
/// Total width of numbered columns.
const NUMBERED_WIDTH: f64 = 900.0;
/// Width of a named column, and limits of the total width.
const NAMED_COLUMN: f64 = 64.0;
const NARROWEST_NAMED: f64 = 560.0;
const WIDEST_NAMED: f64 = 1300.0;
/// Height of a row, and maximum total height; with many rows, not every name has room.
const ROW_HEIGHT: f64 = 38.0;
const TALLEST_CELLS: f64 = 1500.0;
const TOP_MARGIN: f64 = 72.0;
const BAR_WIDTH: f64 = 26.0;
/// Minimum space right of the cells, and the part of it left of the colour bar's numbers.
const RIGHT_MARGIN: f64 = 170.0;
const BAR_LABELS_LEFT: f64 = 70.0;
const EDGE: f64 = 24.0;
/// Space between the cells and the labels below them, and the heights of a line of labels and of
/// the columns' name.
const LABELS_GAP: f64 = 16.0;
const LABEL_LINE: f64 = 40.0;
const NAME_LINE: f64 = 56.0;
/// Maximum number of characters of a row's name.
const ROW_NAME_LETTERS: usize = 44;
/// Maximum number of numbers below the columns.
const COLUMN_NUMBERS: usize = 7;

/// A heat map.
pub struct Heat {
    /// The title above the cells.
    pub title: String,
    /// The names of the rows from the top, written unchanged, so that `_1` is not a subscript.
    pub rows: Vec<String>,
    /// The labels and the name of the columns.
    pub columns: Columns,
    /// `cells[row][column]`; a value that is not finite is grey.
    pub cells: Vec<Vec<f64>>,
    /// The colours.
    pub scale: ColorScale,
}

/// The text below the columns.
pub struct Columns {
    /// One label per column.
    pub labels: ColumnLabels,
    /// The name below the labels.
    pub name: String,
}

/// The labels of columns.
pub enum ColumnLabels {
    /// Ascending numbers, of which only a few are written.
    Numbers(Vec<String>),
    /// Names, written unchanged where there is room; long ones read upwards.
    Names(Vec<String>),
}

impl ColumnLabels {
    fn len(&self) -> usize {
        match self {
            Self::Numbers(labels) | Self::Names(labels) => labels.len(),
        }
    }

    /// The total width of the columns: numbered columns have the same width in every figure; named
    /// ones have a fixed width per column, but leave room for the title.
    fn width(&self) -> f64 {
        match self {
            Self::Numbers(_) => NUMBERED_WIDTH,
            Self::Names(labels) => {
                (NAMED_COLUMN * labels.len() as f64).clamp(NARROWEST_NAMED, WIDEST_NAMED)
            }
        }
    }

    /// Whether the names read upwards.
    fn turns(&self) -> bool {
        match self {
            Self::Numbers(_) => false,
            Self::Names(labels) => longest(labels) > 0.85 * self.width() / labels.len() as f64,
        }
    }

    /// The height of the labels.
    fn height(&self) -> f64 {
        match self {
            Self::Names(labels) if self.turns() => longest(labels) + 12.0,
            _ => LABEL_LINE,
        }
    }

    /// The indices of the columns whose labels are written.
    fn written(&self) -> Vec<usize> {
        let count = self.len();
        match self {
            Self::Numbers(_) => {
                let ticks = COLUMN_NUMBERS.min(count);
                let tick = |tick: usize| tick * (count - 1) / (ticks - 1).max(1);
                (0..ticks).map(tick).collect()
            }
            Self::Names(_) => {
                let every = (1.1 * SMALL * count as f64 / self.width()).ceil();
                (0..count).step_by((every as usize).max(1)).collect()
            }
        }
    }
}

/// The space for names; an SVG viewer may have a wider font.
fn longest(names: &[String]) -> f64 {
    let widths = names.iter().map(|name| word_width(name, SMALL));
    1.15 * widths.fold(0.0, f64::max)
}

/// The map from values to colours.
pub struct ColorScale {
    /// (value, position) pairs, ascending; positions on the scale are from 0 to 1, linear between
    /// two pairs.
    pub knots: Vec<(f64, f64)>,
    /// The colour of a position.
    pub color: fn(f64) -> RGBColor,
    /// Values that are written beside the bar.
    pub ticks: Ticks,
}

impl ColorScale {
    /// The position of a value on the scale; values beyond the ends get the position of the end.
    fn part(&self, value: f64) -> f64 {
        let pairs = self.knots.windows(2);
        let mut pairs = pairs.map(|pair| (pair[0], pair[1]));
        let found = pairs.find(|(_, upper)| value <= upper.0);
        let Some(((low, from), (high, to))) = found else {
            return 1.0;
        };
        (from + (value - low) / (high - low) * (to - from)).max(0.0)
    }

    fn of(&self, value: f64) -> RGBColor {
        match value {
            value if value.is_finite() => (self.color)(self.part(value)),
            _ => theme::HATCHED,
        }
    }
}

impl Heat {
    fn row_height(&self) -> f64 {
        (TALLEST_CELLS / self.rows.len() as f64).min(ROW_HEIGHT)
    }

    /// The upper left and lower right corner of the cells.
    fn corners(&self) -> [Pixel; 2] {
        let left = EDGE + longest(&self.rows);
        let height = self.row_height() * self.rows.len() as f64;
        [
            (left, TOP_MARGIN),
            (left + self.columns.labels.width(), TOP_MARGIN + height),
        ]
    }

    /// The lower end of the colour bar, which is taller than a few rows are.
    fn lowest(&self) -> f64 {
        let [_, (_, bottom)] = self.corners();
        bottom.max(TOP_MARGIN + 4.0 * SMALL)
    }

    fn row_names<B: DrawingBackend>(&self, canvas: &Canvas<'_, B>) -> DrawResult<B> {
        let [(left, top), _] = self.corners();
        let high = self.row_height();
        let every = (1.1 * SMALL / high).ceil().max(1.0) as usize;
        for (row, name) in self.rows.iter().enumerate().step_by(every) {
            let y = top + (row as f64 + 0.5) * high;
            canvas.line(&[(left - 8.0, y), (left, y)], theme::INK, 2.0)?;
            canvas.word(name, (left - 14.0, y), SMALL, Anchor::Right)?;
        }
        Ok(())
    }

    /// Writes column labels below the cells.
    fn column_names<B: DrawingBackend>(&self, canvas: &Canvas<'_, B>) -> DrawResult<B> {
        let [(left, _), (right, bottom)] = self.corners();
        let labels = &self.columns.labels;
        for column in labels.written() {
            let x = left + (column as f64 + 0.5) / labels.len() as f64 * (right - left);
            canvas.line(&[(x, bottom), (x, bottom + 8.0)], theme::INK, 2.0)?;
            let below = (x, bottom + LABELS_GAP);
            match labels {
                ColumnLabels::Numbers(labels) => {
                    canvas.write(&labels[column], below, SMALL, Anchor::Top)?
                }
                ColumnLabels::Names(names) => {
                    let anchor = if labels.turns() {
                        Anchor::UpTo
                    } else {
                        Anchor::Top
                    };
                    canvas.word(&names[column], below, SMALL, anchor)?;
                }
            }
        }
        let middle = f64::midpoint(left, right);
        let below = (middle, bottom + LABELS_GAP + labels.height());
        canvas.write(&self.columns.name, below, TEXT, Anchor::Top)
    }

    /// Draws the colour bar.
    fn bar<B: DrawingBackend>(&self, canvas: &Canvas<'_, B>) -> DrawResult<B> {
        let [(_, top), (right, _)] = self.corners();
        let (left, bottom) = (right + 30.0, self.lowest());
        canvas.raster([(left, top), (left + BAR_WIDTH, bottom)], |across, down| {
            let color = |dy: &f64| (self.scale.color)(1.0 - dy / (bottom - top));
            let rows: Vec<RGBColor> = down.iter().map(color).collect();
            let rows = rows.into_iter();
            rows.flat_map(|color| across.iter().map(move |_| color))
                .collect()
        })?;
        canvas.outline([(left, top), (left + BAR_WIDTH, bottom)], 2.0)?;
        let right = left + BAR_WIDTH;
        for (value, label) in &self.scale.ticks {
            let y = bottom - self.scale.part(*value) * (bottom - top);
            canvas.line(&[(right, y), (right + 8.0, y)], theme::INK, 2.0)?;
            canvas.write(label, (right + 14.0, y), SMALL, Anchor::Left)?;
        }
        Ok(())
    }

    fn cells<B: DrawingBackend>(&self, canvas: &Canvas<'_, B>) -> DrawResult<B> {
        let corners = self.corners();
        let [(left, top), (right, bottom)] = corners;
        canvas.raster(corners, |across, down| {
            let part = |offset: f64, length: f64, count: usize| {
                ((offset / length * count as f64) as usize).min(count - 1)
            };
            // A cell covers many pixels, so its colour is computed once.
            let colors = |row: &Vec<f64>| row.iter().map(|value| self.scale.of(*value)).collect();
            let cells: Vec<Vec<RGBColor>> = self.cells.iter().map(colors).collect();
            let row = |dy: &f64| &cells[part(*dy, bottom - top, self.rows.len())];
            let column = |dx: &f64| part(*dx, right - left, self.columns.labels.len());
            let columns: Vec<usize> = across.iter().map(column).collect();
            let rows = down.iter().map(row);
            rows.flat_map(|row| columns.iter().map(|&column| row[column]))
                .collect()
        })?;
        canvas.outline(corners, 2.0)
    }
}

impl Drawable for Heat {
    fn size(&self) -> (u32, u32) {
        let [_, (right, _)] = self.corners();
        let labels = self.scale.ticks.iter().map(|tick| width(&tick.1, SMALL));
        let labels = BAR_LABELS_LEFT + 1.15 * labels.fold(0.0, f64::max) + EDGE;
        let below = LABELS_GAP + self.columns.labels.height() + NAME_LINE;
        (
            (right + labels.max(RIGHT_MARGIN)).ceil() as u32,
            (self.lowest() + below).ceil() as u32,
        )
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<'_, B>) -> DrawResult<B> {
        self.cells(canvas)?;
        let [(left, top), (right, _)] = self.corners();
        let middle = (f64::midpoint(left, right), top - 30.0);
        canvas.write(&self.title, middle, TITLE, Anchor::Middle)?;
        self.row_names(canvas)?;
        self.column_names(canvas)?;
        self.bar(canvas)
    }
}

/// Removes the prefix that all names share, up to a dot or a slash, but keeps the word before a
/// block number. Long names are shortened to their ends.
pub fn shortened(names: &[String]) -> Vec<String> {
    let Some(first) = names.first().filter(|_| names.len() > 1) else {
        return names
            .iter()
            .map(|name| ends(name, ROW_NAME_LETTERS))
            .collect();
    };
    let counts = |head: &str| {
        let mut rests = names.iter().map(|name| &name[head.len()..]);
        rests.any(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    };
    let parts = first.match_indices(['.', '/']).map(|(at, _)| &first[..=at]);
    let shared = parts.take_while(|head| names.iter().all(|name| name.starts_with(head)));
    let shared = shared.filter(|head| !counts(head)).last();
    let shared = shared.map_or(0, str::len);
    let shown = names
        .iter()
        .map(|name| ends(&name[shared..], ROW_NAME_LETTERS));
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn very_many_rows_stay_on_a_page() {
        let heat = Heat {
            title: String::new(),
            rows: (0..2000).map(|k| format!("t{k}")).collect(),
            columns: Columns {
                labels: ColumnLabels::Numbers(vec!["40".to_string()]),
                name: String::new(),
            },
            cells: vec![vec![50.0]; 2000],
            scale: ColorScale {
                knots: vec![(0.0, 0.0), (90.0, 1.0)],
                color: theme::shade,
                ticks: Vec::new(),
            },
        };
        assert!(heat.size().1 < 2500);
    }

    #[test]
    fn names_of_columns_stand_upwards_where_they_would_touch() {
        let names = |count: usize, name: &str| ColumnLabels::Names(vec![name.to_string(); count]);
        let few = names(4, "ft1");
        assert!(!few.turns() && few.written().len() == 4 && few.width() == NARROWEST_NAMED);
        let long = names(4, "a-name-of-many-letters");
        assert!(long.turns() && long.height() > 300.0 && long.written().len() == 4);
        let many = names(72, "ft1");
        assert!(many.turns() && many.width() == WIDEST_NAMED);
        assert_eq!(many.written(), (0..72).step_by(2).collect::<Vec<_>>());
    }

    #[test]
    fn a_scale_is_linear_between_its_knots_and_ends_at_the_last() {
        let scale = ColorScale {
            knots: vec![(-1.0, 0.0), (0.25, 0.5), (0.75, 1.0)],
            color: theme::shade,
            ticks: Vec::new(),
        };
        for (value, part) in [
            (-2.0, 0.0),
            (-1.0, 0.0),
            (-0.375, 0.25),
            (0.25, 0.5),
            (0.5, 0.75),
            (0.75, 1.0),
            (9.0, 1.0),
        ] {
            assert_eq!(scale.part(value), part, "{value}");
        }
        assert_eq!(scale.of(f64::NAN), theme::HATCHED);
    }

    #[test]
    fn what_all_names_share_is_left_out() {
        let of = |names: [&str; 2]| shortened(&names.map(String::from));
        assert_eq!(of(["a.b.c", "a.b.d"]), ["c", "d"]);
        assert_eq!(of(["a.b", "a.b.c"]), ["b", "b.c"]);
        assert_eq!(of(["weight", "bias"]), ["weight", "bias"]);
        assert_eq!(of(["m.b.0", "m.b.11"]), ["b.0", "b.11"]);
        assert_eq!(of(["m.b.0.w", "m.b.0.v"]), ["w", "v"]);
    }
}
