//! Figure 2 of "Model soups": train loss, test error and mean shift error on the plane.
//!
//! Panels, colours and levels are this program's choice; the paper's are not published.

use plotters::prelude::*;

use super::axes::{Axes, Xy};
use super::canvas::{self, Canvas, DrawResult, Drawable, Drawing, Pixel};
use super::captions;
use super::field;
use super::legend::{Key, Legend};
use super::marks::{self, Dot, DotShape, Mark};
use super::numbers::fixed;
use super::off_axes::FrameMark;
use super::panel::title;
use super::placed_labels::Obstacle;
use super::sheet::{COLUMNS, Margins, PanelGrid, Sheet};
use super::text::short;
use super::theme;
use crate::error::{Error, Result};
use crate::result::panels::{Panel, Panels, choose, lowest};
use crate::result::plane::{Plane, Projected};

/// Draws the plane.
///
/// # Errors
/// Fails when the grid has fewer than 2×2 points or drawing fails.
pub fn draw(plane: &Plane, panels: Panels) -> Result<Drawing> {
    if plane.grid.xs.len() < 2 || plane.grid.ys.len() < 2 {
        return Err(Error::flag(
            "figure",
            "a plane of at least 2×2 points is needed",
        ));
    }
    let figure = PlaneFigure {
        plane,
        panels: choose(plane.into(), panels),
    };
    canvas::drawing(&figure)
}

struct PlaneFigure<'a> {
    plane: &'a Plane,
    panels: Vec<Panel>,
}

// Lengths are in layout pixels.
const LONGER_SIDE: f64 = 510.0;
const LEFT_MARGIN: f64 = 118.0;
const BAR_LABELS_WIDTH: f64 = 96.0;
/// Minimum height of the colour bar, for very flat planes.
const LOWEST_BAR: f64 = 200.0;

impl Drawable for PlaneFigure<'_> {
    fn size(&self) -> (u32, u32) {
        self.sheet().size()
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<'_, B>) -> DrawResult<B> {
        let sheet = self.sheet();
        for (index, panel) in self.panels.iter().enumerate() {
            self.panel(canvas, panel, &self.axes(&sheet, index))?;
        }
        sheet.draw(canvas)
    }
}

impl PlaneFigure<'_> {
    fn sheet(&self) -> Sheet {
        let grid = PanelGrid {
            panels: self.panels.len(),
            columns: COLUMNS,
            axes: (LONGER_SIDE, self.plot_height()),
            margins: Margins {
                left: LEFT_MARGIN,
                right: field::BAR_GAP + field::BAR_WIDTH + BAR_LABELS_WIDTH,
                ..Margins::default()
            },
        };
        let summary = &self.plane.summary;
        let captions = captions::with(summary.calibration.as_ref(), &summary.provenance);
        Sheet::new(grid, self.legend(grid.text_width())).captioned(&captions)
    }

    fn plot_height(&self) -> f64 {
        let axes = Axes::of(&self.plane.grid, (0.0, 0.0), LONGER_SIDE);
        axes.bottom().max(LOWEST_BAR)
    }

    fn axes(&self, sheet: &Sheet, index: usize) -> Axes {
        Axes::of(&self.plane.grid, sheet.corner(index), LONGER_SIDE)
    }

    fn panel<B: DrawingBackend>(
        &self,
        canvas: &Canvas<'_, B>,
        panel: &Panel,
        axes: &Axes,
    ) -> DrawResult<B> {
        let grid = &self.plane.grid;
        match panel.levels() {
            Some(levels) => {
                let free = self.obstacles(panel, axes);
                field::draw(canvas, grid, &panel.values, &levels, axes, free)?;
                let bar = (axes.right() + field::BAR_GAP, axes.top);
                // The title says what the losses are; the bar has no room for it.
                let unit = panel.quantity.unit();
                field::color_bar(canvas, &levels, unit, bar, self.plot_height())?;
            }
            None => field::hatch(canvas, grid, &panel.values, axes)?,
        }
        let names = ["distance along u_1", "distance along u_2"];
        let title = title(panel, &self.plane.datasets);
        axes.frame(canvas, &title, names)?;
        for (place, along) in self.darts(panel, axes) {
            marks::dart(canvas, place, along)?;
        }
        let [origin, targets @ ..] = &self.models()[..] else {
            return Ok(());
        };
        for target in targets.iter().take(2) {
            if let Some([from, to]) = axes.clip([*origin, *target]) {
                marks::arrow(canvas, axes.place(from), axes.place(to))?;
            }
        }
        let (inside, beyond) = self.marks(panel, axes);
        for mark in &beyond {
            mark.draw(canvas)?;
        }
        for (mark, point) in inside {
            mark.draw(canvas, axes.place(point))?;
        }
        Ok(())
    }

    /// Arrows in the direction in which the loss of the panel's data sets falls: centre and vector
    /// of each, on the canvas. The length is proportional to the square root of the gradient's
    /// norm, which spans decades; the steepest arrow is as long as the spacing allows.
    fn darts(&self, panel: &Panel, axes: &Axes) -> Vec<(Pixel, Pixel)> {
        let names = panel.datasets.iter();
        let names: Vec<&str> = names
            .map(|&set| self.plane.datasets[set].name.as_str())
            .collect();
        let arrows = self.plane.summary.arrows.iter();
        let mut sums: Vec<(Xy, Xy)> = Vec::new();
        for arrow in arrows.filter(|arrow| names.contains(&arrow.dataset.as_str())) {
            let (at, fall) = ((arrow.x, arrow.y), (-arrow.dloss_dx, -arrow.dloss_dy));
            match sums.iter_mut().find(|(other, _)| *other == at) {
                Some((_, sum)) => *sum = (sum.0 + fall.0, sum.1 + fall.1),
                None => sums.push((at, fall)),
            }
        }
        sums.retain(|(at, fall)| axes.holds(*at) && fall.0.is_finite() && fall.1.is_finite());
        let places: Vec<Pixel> = sums.iter().map(|(at, _)| axes.place(*at)).collect();
        let apart = places
            .iter()
            .enumerate()
            .flat_map(|(k, a)| places[..k].iter().map(|b| (a.0 - b.0).hypot(a.1 - b.1)));
        let room = apart.fold(LONGER_SIDE / 4.0, f64::min) * 0.8;
        let steepest = sums
            .iter()
            .map(|(_, fall)| fall.0.hypot(fall.1))
            .fold(0.0, f64::max);
        let darts = places.into_iter().zip(&sums);
        darts
            .map(|(place, (_, fall))| {
                let slope = fall.0.hypot(fall.1);
                let length = room * (slope / steepest).sqrt();
                // Up along u2 is up on the page, where y decreases.
                let along = (length * fall.0 / slope, -length * fall.1 / slope);
                (place, if slope > 0.0 { along } else { (0.0, 0.0) })
            })
            .collect()
    }

    /// θ0, θ1, θ2 and the soup on the plane.
    fn models(&self) -> Vec<Xy> {
        let models = self.plane.summary.checkpoints.iter();
        models.map(|model| (model.x, model.y)).collect()
    }

    /// The markers of a panel: those within its axes with their points, and frame markers for
    /// models beyond. A range set by hand may exclude any model.
    fn marks(&self, panel: &Panel, axes: &Axes) -> (Vec<(Mark, Xy)>, Vec<FrameMark>) {
        let marks = [Mark::Origin, Mark::First, Mark::Second, Mark::Soup];
        let minimum =
            lowest(self.plane.into(), &panel.values).map(|index| self.plane.grid.point(index));
        let models = marks.into_iter().zip(self.models());
        let others = self.others().into_iter();
        let all = models
            .chain(others.map(|(mark, model)| (mark, (model.x, model.y))))
            .chain(minimum.map(|point| (Mark::Minimum, point)));
        let finite = all.filter(|(_, (x, y))| x.is_finite() && y.is_finite());
        let (inside, beyond): (Vec<_>, Vec<_>) = finite.partition(|(_, at)| axes.holds(*at));
        let mut taken: Vec<Pixel> = inside.iter().map(|(_, at)| axes.place(*at)).collect();
        let at_frame = |(mark, point): (Mark, Xy)| {
            let mark = FrameMark::new(mark, point, axes, &taken);
            taken.push(mark.at());
            mark
        };
        let beyond = beyond.into_iter().map(at_frame).collect();
        (inside, beyond)
    }

    /// Boxes in which labels would cover a marker or an arrow.
    fn obstacles(&self, panel: &Panel, axes: &Axes) -> Vec<Obstacle> {
        let square = |at: Pixel, half: f64| Obstacle {
            at,
            half: (half, half),
        };
        let (inside, beyond) = self.marks(panel, axes);
        let inside = inside.into_iter().map(|(_, point)| axes.place(point));
        let beyond = beyond.iter().map(FrameMark::at);
        let marks = inside.chain(beyond).map(|at| square(at, 1.6 * marks::SIZE));
        let darts = self.darts(panel, axes).into_iter();
        let darts = darts.map(|(at, (dx, dy))| Obstacle {
            at,
            half: (dx.abs() / 2.0 + 4.0, dy.abs() / 2.0 + 4.0),
        });
        let targets = self.models().into_iter().skip(1).take(2);
        let arrows = targets.flat_map(|(x, y)| {
            let part = |k: i32| f64::from(k) / 24.0;
            (1..24).map(move |k| (x * part(k), y * part(k)))
        });
        marks
            .chain(darts)
            .chain(arrows.map(|point| square(axes.place(point), 2.0)))
            .collect()
    }

    fn legend(&self, width: f64) -> Legend {
        let models = &self.plane.summary.checkpoints;
        let name = |index: usize| short(models.get(index).map_or("", |model| &model.name));
        let models = [
            (Mark::Origin, format!("θ_0 {}", name(0))),
            (Mark::First, format!("θ_1 {}", name(1))),
            (Mark::Second, format!("θ_2 {}", name(2))),
            (Mark::Soup, "two-model soup".to_string()),
            (Mark::Minimum, "smallest on the grid".to_string()),
        ];
        let models = models.map(|(mark, label)| (Key::Mark(mark), label));
        let others = self.others().into_iter();
        let others = others.map(|(mark, model)| (Key::Mark(mark), self.label(model)));
        let mut rows = vec![models.to_vec()];
        if !self.plane.summary.arrows.is_empty() {
            let label = "where the loss falls (length: square root of its slope)";
            rows.push(vec![(Key::Dart, label.to_string())]);
        }
        rows.extend(Legend::wrapped(others.collect(), width).rows);
        Legend { rows }
    }

    /// The label of a projected model: its name, its distance from the plane and, if it lies
    /// outside the grid, its position.
    fn label(&self, model: &Projected) -> String {
        // Within a thousandth of its distance from θ0, a model is visually on the plane.
        let is_near = model.distance <= 1e-3 * model.x.hypot(model.y);
        let distance = (!is_near).then(|| format!("{:.2} off the plane", model.distance));
        let axes = Axes::of(&self.plane.grid, (0.0, 0.0), LONGER_SIDE);
        let is_beyond = !axes.holds((model.x, model.y));
        let beyond = is_beyond.then(|| {
            format!(
                "beyond the axes at {}, {}",
                fixed(model.x, 2),
                fixed(model.y, 2)
            )
        });
        let notes: Vec<String> = distance.into_iter().chain(beyond).collect();
        match notes.as_slice() {
            [] => short(&model.name),
            notes => format!("{} ({})", short(&model.name), notes.join(", ")),
        }
    }

    /// The projected models with their markers.
    fn others(&self) -> Vec<(Mark, &Projected)> {
        let shapes = [
            DotShape::Diamond,
            DotShape::Up,
            DotShape::Hexagon,
            DotShape::Down,
        ];
        let colors = theme::GROUPS.iter().rev();
        let looks = shapes.iter().cycle().zip(colors.cycle());
        let marks =
            looks.map(|(&shape, &color)| Mark::Dot(Dot::new(shape, color, 1.2 * marks::SIZE)));
        marks.zip(&self.plane.summary.marks).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::fixtures::{bowl, plane};

    #[test]
    fn the_paper_s_panels_carry_their_titles_axes_and_names() {
        let drawing = draw(&plane(21, 16, bowl), Panels::Paper).unwrap();
        let svg = &drawing.svg;
        for words in [
            "train loss (nats)",
            "test error (%)",
            "mean error over 2 shifts (%)",
            ">\nzs\n<",
            ">\nft1\n<",
            "two-model soup",
            "smallest on the grid",
        ] {
            assert_eq!(svg.matches(words).count(), 1, "{words}");
        }
        assert_eq!(svg.matches("distance along u").count(), 6);
        assert!(svg.len() < 1_500_000);
        assert!(drawing.png.starts_with(b"\x89PNG"));
    }

    #[test]
    fn all_panels_add_one_a_shift_set() {
        let svg = draw(&plane(9, 7, bowl), Panels::All).unwrap().svg;
        assert_eq!(svg.matches("distance along u").count(), 10);
        assert!(svg.contains("sketch error (%)") && svg.contains("rendition error (%)"));
    }

    #[test]
    fn one_scale_serves_both_axes_and_markers_lie_inside() {
        let plane = plane(21, 16, bowl);
        let figure = PlaneFigure {
            panels: choose((&plane).into(), Panels::Paper),
            plane: &plane,
        };
        let axes = figure.axes(&figure.sheet(), 1);
        let (origin, across, up) = (
            axes.place((0.0, 0.0)),
            axes.place((1.0, 0.0)),
            axes.place((0.0, 1.0)),
        );
        assert!((across.0 - origin.0 - (origin.1 - up.1)).abs() < 1e-9);
        for point in &plane.summary.checkpoints {
            let (px, py) = axes.place((point.x, point.y));
            assert!(px > axes.left && px < axes.right() && py > axes.top && py < axes.bottom());
        }
    }

    #[test]
    fn a_model_beyond_the_grid_stands_at_the_frame_and_is_told() {
        let mut plane = plane(21, 16, bowl);
        plane.summary.marks = [(3.0, 2.0), (-40.0, 1.0), (-40.0, 1.2)]
            .map(|(x, y)| Projected {
                beta: None,
                name: format!("m{x}"),
                x,
                y,
                distance: 0.0,
                scores: Vec::new(),
            })
            .to_vec();
        let figure = PlaneFigure {
            panels: choose((&plane).into(), Panels::Paper),
            plane: &plane,
        };
        let axes = figure.axes(&figure.sheet(), 0);
        let (inside, beyond) = figure.marks(&figure.panels[0], &axes);
        assert_eq!((inside.len(), beyond.len()), (6, 2));
        let [(left, top), (right, bottom)] = axes.corners();
        for mark in &beyond {
            let (x, y) = mark.at();
            assert!((left..=right).contains(&x) && (top..=bottom).contains(&y));
        }
        assert_ne!(beyond[0].at(), beyond[1].at());
        let svg = draw(&plane, Panels::Paper).unwrap().svg;
        assert_eq!(
            svg.matches("m-40 (beyond the axes at −40.00, 1.20)")
                .count(),
            1
        );
        assert_eq!(svg.matches("\nm3\n").count(), 1);
    }

    #[test]
    fn cells_that_are_not_finite_are_hatched() {
        let hatched = |svg: &str| svg.to_lowercase().matches("#d7d7d7").count();
        assert_eq!(
            hatched(&draw(&plane(9, 7, bowl), Panels::Paper).unwrap().svg),
            0
        );
        let corner = |x: f64, y: f64| {
            if x > 6.0 && y > 4.0 {
                f64::NAN
            } else {
                bowl(x, y)
            }
        };
        // One grid point covers one cell in each panel.
        assert_eq!(
            hatched(&draw(&plane(9, 7, corner), Panels::Paper).unwrap().svg),
            3
        );
    }

    #[test]
    fn odd_surfaces_are_drawn_without_panic() {
        let surfaces: [fn(f64, f64) -> f64; 5] = [
            |_, _| 2.0,
            |_, _| f64::NAN,
            |x, _| if x > 5.0 { f64::INFINITY } else { 1e-9 * x },
            |x, y| 1e12 * (x * x + y * y),
            |x, y| (x * y).sin(),
        ];
        for surface in surfaces {
            for (nx, ny) in [(2, 2), (7, 5)] {
                draw(&plane(nx, ny, surface), Panels::Paper).unwrap();
            }
        }
        assert!(draw(&plane(1, 5, bowl), Panels::Paper).is_err());
    }
}
