//! The density of a spectrum as a line.

use super::super::axes::{Xy, extent};
use super::super::signed_scale::SignedScale;
use super::super::ticks::Interval;
use crate::result::spectrum::Density;

/// Margin at the ends of the x axis, as a fraction of its length.
const END_ROOM: f64 = 0.04;
/// Number of points of a density that is smoothed here.
const SMOOTHED_POINTS: usize = 1001;
/// Standard deviation of the Gaussian that smooths it, as a fraction of the nodes' range.
const SMOOTHING: f64 = 1.0 / 150.0;
/// Minimum and maximum number of decades shown of a density.
const SHOWN_DECADES: Interval = (1.5, 12.0);

/// A density as it is drawn.
pub struct Curve {
    /// Positions on the x axis, and decimal logarithms of the density.
    pub points: Vec<Xy>,
    /// Ends of the y axis, as decimal logarithms.
    pub y: Interval,
}

impl Curve {
    /// The curve of the density of a Hessian with `dimension` eigenvalues; `None` without points.
    /// On a scale that is not linear, the density is smoothed anew from its nodes, as a density of
    /// positions.
    pub fn of(density: &Density, dimension: usize, scale: SignedScale) -> Option<Self> {
        let (points, width) = match scale {
            SignedScale::Linear => {
                let values = density.values.iter().copied();
                let points = density.grid.iter().copied().zip(values);
                (points.collect(), density.width)
            }
            SignedScale::Symlog(_) => smoothed(density, scale)?,
        };
        let logarithm = |(x, value): Xy| (x, value.log10());
        let points: Vec<Xy> = points.into_iter().map(logarithm).collect();
        let (_, highest) = extent(points.iter().map(|point| point.1))?;
        // Half a decade below the peak of a single eigenvalue.
        let single = -(dimension as f64 * width * std::f64::consts::TAU.sqrt()).log10();
        let decades = (highest - single + 0.5).clamp(SHOWN_DECADES.0, SHOWN_DECADES.1);
        let y = (highest - decades, highest + 0.05 * decades);
        Some(Self { points, y })
    }

    /// The parts of the curve above the axis, cut where they cross it.
    pub fn pieces(&self) -> Vec<Vec<Xy>> {
        let low = self.y.0;
        let mut pieces: Vec<Vec<Xy>> = Vec::new();
        let mut before: Option<Xy> = None;
        for &point in &self.points {
            let inside = before.is_some_and(|before| before.1 > low);
            // Beyond the reach of every Gaussian the value is −∞, which cannot be interpolated:
            // takes the midpoint.
            let crossing = before.map(|from| {
                let finite = from.1.is_finite() && point.1.is_finite();
                let t = (low - from.1) / (point.1 - from.1);
                let t = if finite { t } else { 0.5 };
                (from.0 + t * (point.0 - from.0), low)
            });
            match (inside, point.1 > low) {
                (false, true) => pieces.push(crossing.into_iter().chain([point]).collect()),
                (true, above) => {
                    let next = if above { Some(point) } else { crossing };
                    if let Some(piece) = pieces.last_mut() {
                        piece.extend(next);
                    }
                }
                (false, false) => {}
            }
            before = Some(point);
        }
        pieces
    }
}

/// A density of positions, and the width of its Gaussian.
fn smoothed(density: &Density, scale: SignedScale) -> Option<(Vec<Xy>, f64)> {
    let pairs = density.nodes.iter().zip(&density.weights);
    let nodes: Vec<Xy> = pairs.map(|(node, w)| (scale.at(*node), *w)).collect();
    let (low, high) = extent(nodes.iter().map(|node| node.0))?;
    let width = SMOOTHING * (high - low).max(1.0);
    let (from, to) = around((low - 6.0 * width, high + 6.0 * width));
    let at = |k: usize| {
        let x = from + (to - from) * k as f64 / (SMOOTHED_POINTS - 1) as f64;
        let terms = nodes
            .iter()
            .map(|(node, weight)| weight * (-0.5 * ((x - node) / width).powi(2)).exp());
        (
            x,
            terms.sum::<f64>() / (width * std::f64::consts::TAU.sqrt()),
        )
    };
    Some(((0..SMOOTHED_POINTS).map(at).collect(), width))
}

/// A range with margins at its ends, and always with a length that numbers can represent.
pub fn around((min, max): Interval) -> Interval {
    let largest = min.abs().max(max.abs());
    let least = if largest == 0.0 { 0.05 } else { 1e-3 * largest };
    let room = (END_ROOM * (max - min)).max(least);
    (min - room, max + room)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(values: &[f64]) -> Curve {
        let points = values
            .iter()
            .enumerate()
            .map(|(k, value)| (k as f64, *value));
        Curve {
            points: points.collect(),
            y: (0.0, 9.0),
        }
    }

    #[test]
    fn a_line_is_cut_where_it_crosses_the_axis() {
        let pieces = curve(&[-1.0, 1.0, 3.0, -1.0, -2.0, 2.0]).pieces();
        let expected = [
            vec![(0.5, 0.0), (1.0, 1.0), (2.0, 3.0), (2.75, 0.0)],
            vec![(4.5, 0.0), (5.0, 2.0)],
        ];
        assert_eq!(pieces, expected);
    }

    #[test]
    fn nothing_is_left_of_what_lies_below_and_of_infinities() {
        assert!(curve(&[-1.0, f64::NEG_INFINITY, 0.0]).pieces().is_empty());
        assert!(curve(&[]).pieces().is_empty());
        let pieces = curve(&[f64::NEG_INFINITY, 1.0, f64::NEG_INFINITY]).pieces();
        assert_eq!(pieces, [vec![(0.5, 0.0), (1.0, 1.0), (1.5, 0.0)]]);
        assert_eq!(curve(&[1.0, 2.0]).pieces(), [vec![(0.0, 1.0), (1.0, 2.0)]]);
    }

    #[test]
    fn the_axis_ends_below_a_single_eigenvalue() {
        let width = 0.1;
        let height = 1.0 / (width * std::f64::consts::TAU.sqrt());
        let density = Density {
            grid: vec![0.0, 5.0],
            values: vec![height, 1e-4 * height],
            width,
            nodes: vec![0.0, 5.0],
            weights: vec![0.9999, 1e-4],
            probes: 1,
            steps: 2,
        };
        let curve = Curve::of(&density, 10_000, SignedScale::Linear).unwrap();
        assert!((curve.y.0 - (1e-4 * height).log10() + 0.5).abs() < 1e-12);
        let few = Curve::of(&density, 1, SignedScale::Linear).unwrap();
        assert!((few.y.0 - height.log10() + 1.5).abs() < 1e-12);
        let logarithmic = Curve::of(&density, 10_000, SignedScale::Symlog(0.1)).unwrap();
        let step = logarithmic.points[1].0 - logarithmic.points[0].0;
        let mass = logarithmic
            .points
            .iter()
            .map(|(_, y)| step * 10_f64.powf(*y));
        assert!((mass.sum::<f64>() - 1.0).abs() < 1e-6);
    }
}
