//! Figure 5 of "Model soups": the difference between the losses of soup and ensemble, and its
//! approximation.
//!
//! The paper's left and centre panels both show the loss; how they differ is not known. Here the
//! approximation uses Δf on the left, as in the paper's equation, and ∂f/∂α in the centre.

use super::axes::extent;
use super::canvas::Size;
use super::marks::{Dot, DotShape, Mark};
use super::plot::{Plot, Point, Series};
use super::scatter::Scatter;
use super::theme;
use super::ticks::Interval;
use crate::result::pairs::{Pairs, TheoryAgreement, TheoryPoint};

/// Width and height of a panel's axes in layout pixels.
const AXES_SIZE: Size = (500.0, 500.0);
/// Maximum number of values of α in the legend.
const MOST_LISTED: usize = 9;

/// Plots the approximation of the first step: the first row has the logits at the β that calibrates
/// the soup, the second has the logits unchanged. Pairs behind a barrier are hollow, and no range is
/// made for them. Bars are standard errors. `None` if the comparison was not made.
pub fn theory(pairs: &Pairs) -> Option<Scatter> {
    let step = pairs.theory.first()?.step;
    let mut panels = Vec::new();
    let mut captions = vec![format!(
        "Differences: soup − ensemble, ± standard error. Grey: zeros, and equality. Step h = {step}."
    )];
    for (calibrated, beta) in [(true, "calibrated β"), (false, "β = 1")] {
        let row = pairs.theory.iter();
        let row = row.filter(|of| of.calibrated == calibrated && of.step == step);
        let row: Vec<&TheoryPoint> = row.collect();
        if row.is_empty() {
            continue;
        }
        panels.extend(SIDES.map(|side| side.plot(beta, &row)));
        let mut agreements = pairs.theory_agreement.iter();
        let near =
            |of: &&TheoryAgreement| of.calibrated == calibrated && of.step == step && !of.barrier;
        captions.extend(agreements.find(near).map(|of| agreement(beta, of)));
    }
    Some(Scatter {
        panels,
        columns: SIDES.len(),
        size: AXES_SIZE,
        captions,
    })
}

fn agreement(beta: &str, of: &TheoryAgreement) -> String {
    format!(
        "{beta}, {} points without a barrier: rank correlation {:.2} with Δf, {:.2} with ∂f/∂α; sign right \
         in {} and {} of the {} that are two errors from 0.",
        of.points, of.rank.value, of.rank_path.value, of.same_sign, of.same_sign_path, of.signs
    )
}

/// A value of a point and its standard error.
type PointValue = fn(&TheoryPoint) -> (f64, f64);

/// One kind of panel.
#[derive(Clone, Copy)]
struct Side {
    slope: &'static str,
    truth: &'static str,
    x: PointValue,
    y: PointValue,
    diagonal: bool,
}

const LOSS: PointValue = |of| (of.loss_difference(), of.loss_difference_se);
const DELTA: PointValue = |of| (of.approximation, of.approximation_se);

const SIDES: [Side; 3] = [
    Side {
        slope: "Δf",
        truth: "loss difference (nats)",
        x: DELTA,
        y: LOSS,
        diagonal: true,
    },
    Side {
        slope: "∂f/∂α",
        truth: "loss difference (nats)",
        x: |of| (of.approximation_path, of.approximation_path_se),
        y: LOSS,
        diagonal: true,
    },
    Side {
        slope: "Δf",
        truth: "error difference (points)",
        x: DELTA,
        y: |of| {
            let error = of.error_soup - of.error_ensemble;
            (100.0 * error, 100.0 * of.error_difference_se)
        },
        diagonal: false,
    },
];

impl Side {
    fn plot(&self, beta: &str, row: &[&TheoryPoint]) -> Plot {
        let near: Vec<&TheoryPoint> = row.iter().filter(|of| !of.barrier).copied().collect();
        let shown = if near.is_empty() {
            row
        } else {
            near.as_slice()
        };
        Plot {
            title: format!("{beta}, with {}", self.slope),
            names: ["approximation (nats)".to_string(), self.truth.to_string()],
            diagonal: self.diagonal,
            zero: [true; 2],
            window: window(shown, self.x)
                .zip(window(shown, self.y))
                .map(|(x, y)| [x, y]),
            series: self.series(row),
            ..Plot::default()
        }
    }

    /// The points of one row, one series per α; those behind a barrier in series of their own, below.
    fn series(&self, row: &[&TheoryPoint]) -> Vec<Series> {
        let mut alphas: Vec<f64> = row.iter().map(|of| of.alpha).collect();
        alphas.sort_by(f64::total_cmp);
        alphas.dedup();
        let every = alphas.len().div_ceil(MOST_LISTED).max(1);
        let size = if row.len() > 300 { 5.0 } else { 7.0 };
        let kinds = [true, false].into_iter();
        let kinds =
            kinds.flat_map(|barrier| alphas.iter().enumerate().map(move |it| (barrier, it)));
        let one = |(barrier, (index, alpha)): (bool, (usize, &f64))| {
            let alike = row
                .iter()
                .filter(|of| of.alpha == *alpha && of.barrier == barrier);
            let points = alike.map(|of| self.point(of));
            let points: Vec<Point> = points
                .filter(|Point { at: (x, y), .. }| x.is_finite() && y.is_finite())
                .collect();
            Series {
                name: match (barrier, index % every) {
                    (true, _) if points.is_empty() => String::new(),
                    (true, _) => "behind a barrier".to_string(),
                    (false, 0) => format!("α = {alpha}"),
                    (false, _) => String::new(),
                },
                mark: Mark::Dot(Dot {
                    open: barrier,
                    // The brightest colours are hard to see on white.
                    ..Dot::new(DotShape::Circle, theme::shade(0.1 + 0.9 * alpha), size)
                }),
                points,
            }
        };
        kinds.map(one).collect()
    }

    fn point(&self, of: &TheoryPoint) -> Point {
        let (x, y) = ((self.x)(of), (self.y)(of));
        Point {
            errors: (x.1, y.1),
            ..Point::from((x.0, y.0))
        }
    }
}

/// The range of the values without a few that are far from the others: if models lie in different
/// basins, losses differ a thousand times as much as elsewhere.
fn window(row: &[&TheoryPoint], of: PointValue) -> Option<Interval> {
    let values = row.iter().map(|point| of(point).0);
    let mut sorted: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let (first, third) = (sorted[last / 4], sorted[last - last / 4]);
    let fence = 3.0 * (third - first);
    let within = |value: &f64| (first - fence..=third + fence).contains(value);
    let whole = (sorted[0], sorted[last]);
    let near = extent(sorted.into_iter().filter(within))?;
    // Points are put beyond the axes only if that gains much room.
    let stretched = whole.1 - whole.0 > 3.0 * (near.1 - near.0);
    Some(if stretched && near.0 < near.1 {
        near
    } else {
        whole
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::fixtures;
    use crate::figure::scatter::draw;

    #[test]
    fn rows_by_beta_and_what_lies_beyond_is_counted() {
        let pairs = fixtures::pairs();
        let figure = theory(&pairs).unwrap();
        assert_eq!(figure.panels.len(), 6);
        let points = figure.panels[0].series.iter().map(|one| one.points.len());
        assert_eq!(points.sum::<usize>(), 360);
        let svg = draw(&figure).unwrap().svg;
        assert_eq!(svg.matches("calibrated β, with Δf").count(), 2);
        assert_eq!(svg.matches("β = 1, with ∂f/∂α").count(), 1);
        assert_eq!(svg.matches("α = 0.25").count(), 1);
        assert_eq!(svg.matches("triangles at the frame").count(), 1);
        // With a barrier, losses differ a hundred times as much as elsewhere.
        let [x, _] = figure.panels[0].window.unwrap();
        assert!(x.1 - x.0 < 0.1, "{x:?}");
    }

    #[test]
    fn one_row_without_calibration_and_none_without_points() {
        let mut pairs = fixtures::pairs();
        pairs.theory.retain(|of| !of.calibrated);
        assert_eq!(theory(&pairs).unwrap().panels.len(), 3);
        pairs.theory.clear();
        assert!(theory(&pairs).is_none());
    }

    #[test]
    fn one_step_is_drawn_with_errors_and_barriers_apart() {
        let mut pairs = fixtures::pairs();
        let one = theory(&pairs).unwrap();
        let others = pairs.theory.clone();
        pairs
            .theory
            .extend(others.into_iter().map(|of| TheoryPoint { step: 0.5, ..of }));
        let figure = theory(&pairs).unwrap();
        let count = |figure: &Scatter| {
            let series = figure.panels[0].series.iter();
            series.map(|one| one.points.len()).sum::<usize>()
        };
        assert_eq!(count(&figure), count(&one));
        let behind = |one: &&Series| one.name == "behind a barrier";
        let series = &figure.panels[0].series;
        assert_eq!(series.iter().filter(behind).count(), 3);
        assert!(
            series
                .iter()
                .flat_map(|one| &one.points)
                .all(|of| of.errors == (0.003, 0.001))
        );
        let svg = draw(&figure).unwrap().svg;
        assert_eq!(svg.matches("behind a barrier").count(), 1);
    }

    #[test]
    fn odd_points_are_drawn() {
        let mut pairs = fixtures::pairs();
        pairs.theory.truncate(40);
        for (k, of) in pairs.theory.iter_mut().enumerate() {
            of.alpha = k as f64 / 40.0;
            of.approximation = [f64::NAN, f64::INFINITY, 1e12, 0.0][k % 4];
            of.approximation_path = f64::NAN;
            of.loss_soup = of.loss_ensemble;
        }
        let figure = theory(&pairs).unwrap();
        draw(&figure).unwrap();
        let named = figure.panels[0]
            .series
            .iter()
            .filter(|one| !one.name.is_empty());
        assert!(named.count() <= MOST_LISTED);
    }
}
