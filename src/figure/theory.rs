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
use crate::result::pairs::{Pairs, TheoryPoint};

/// Width and height of a panel's axes in layout pixels.
const AXES_SIZE: Size = (500.0, 500.0);
/// Maximum number of values of α in the legend.
const MOST_LISTED: usize = 9;

/// Plots the approximation: the first row has the logits at the β that calibrates the soup, the
/// second has the logits unchanged. `None` if the comparison was not made.
pub fn theory(pairs: &Pairs) -> Option<Scatter> {
    let mut panels = Vec::new();
    for (calibrated, beta) in [(true, "calibrated β"), (false, "β = 1")] {
        let row = pairs.theory.iter();
        let row: Vec<&TheoryPoint> = row.filter(|of| of.calibrated == calibrated).collect();
        if row.is_empty() {
            continue;
        }
        let loss = |of: &TheoryPoint| of.loss_soup - of.loss_ensemble;
        let error = |of: &TheoryPoint| 100.0 * (of.error_soup - of.error_ensemble);
        let sides: [(&str, &str, PointValue, PointValue); 3] = [
            (
                "Δf",
                "loss difference (nats)",
                &|of| of.approximation,
                &loss,
            ),
            (
                "∂f/∂α",
                "loss difference (nats)",
                &|of| of.approximation_path,
                &loss,
            ),
            (
                "Δf",
                "error difference (points)",
                &|of| of.approximation,
                &error,
            ),
        ];
        for (index, (slope, name, approximation, truth)) in sides.into_iter().enumerate() {
            panels.push(Plot {
                title: format!("{beta}, with {slope}"),
                names: ["approximation (nats)".to_string(), name.to_string()],
                diagonal: index < 2,
                zero: [true; 2],
                window: window(&row, approximation)
                    .zip(window(&row, truth))
                    .map(|(x, y)| [x, y]),
                series: series(&row, approximation, truth),
                ..Plot::default()
            });
        }
    }
    (!panels.is_empty()).then(|| Scatter {
        panels,
        columns: 3,
        size: AXES_SIZE,
        captions: vec!["Differences: soup − ensemble. Grey: zeros, and equality.".to_string()],
    })
}

/// Selects one number of a point.
type PointValue<'a> = &'a dyn Fn(&TheoryPoint) -> f64;

/// The points of one row, one series per α.
fn series(row: &[&TheoryPoint], x: PointValue<'_>, y: PointValue<'_>) -> Vec<Series> {
    let mut alphas: Vec<f64> = row.iter().map(|of| of.alpha).collect();
    alphas.sort_by(f64::total_cmp);
    alphas.dedup();
    let every = alphas.len().div_ceil(MOST_LISTED).max(1);
    let size = if row.len() > 300 { 5.0 } else { 7.0 };
    let one = |(index, alpha): (usize, &f64)| {
        let points = row.iter().filter(|of| of.alpha == *alpha);
        let places = points.map(|of| (x(of), y(of)));
        let finite = places.filter(|(x, y)| x.is_finite() && y.is_finite());
        Series {
            name: match index % every {
                0 => format!("α = {alpha}"),
                _ => String::new(),
            },
            // The brightest colours are hard to see on white.
            mark: Mark::Dot(Dot::new(
                DotShape::Circle,
                theme::shade(0.1 + 0.9 * alpha),
                size,
            )),
            points: finite.map(Point::from).collect(),
        }
    };
    alphas.iter().enumerate().map(one).collect()
}

/// The range of the values without a few that are far from the others: if models lie in different
/// basins, losses differ a thousand times as much as elsewhere.
fn window(row: &[&TheoryPoint], of: PointValue<'_>) -> Option<Interval> {
    let values = row.iter().map(|point| of(point));
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
