//! A heat map of the angles of pairs, tensor by tensor.

use std::collections::HashMap;

use super::canvas::{self, Drawing};
use super::heat::{ColorScale, ColumnLabels, Columns, Heat, shortened};
use super::theme;
use crate::error::Result;
use crate::result::pairs::{LayerAngle, Pairs};

/// Draws the angles. `None` if they were not computed.
///
/// # Errors
/// Fails when drawing fails.
pub fn layers(pairs: &Pairs) -> Result<Option<Drawing>> {
    let heat = Angles::of(pairs).map(Angles::heat);
    heat.as_ref().map(canvas::drawing).transpose()
}

/// Angles with one row per tensor and one column per pair.
struct Angles {
    /// Names in the order of the file.
    tensors: Vec<String>,
    /// Angles of the whole models in degrees, ascending, one per column.
    columns: Vec<f64>,
    /// `angles[row][column]` in degrees; NaN if there is none.
    angles: Vec<Vec<f64>>,
}

impl Angles {
    fn of(pairs: &Pairs) -> Option<Self> {
        let mut columns: Vec<(&str, &str, f64)> = Vec::new();
        let with: HashMap<(&str, &str), ()> =
            pairs.layers.iter().map(|of| (pair(of), ())).collect();
        for of in &pairs.pairs {
            if with.contains_key(&(of.a.as_str(), of.b.as_str())) {
                columns.push((&of.a, &of.b, of.angle_deg));
            }
        }
        // NaN of either sign comes last.
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

    /// The top of the scale: 90°, or the next multiple of ten if there are larger angles.
    fn top(&self) -> f64 {
        let all = self.angles.iter().flatten().copied();
        let largest = all.filter(|angle| angle.is_finite()).fold(90.0, f64::max);
        (10.0 * (largest / 10.0 - 1e-9).ceil()).min(180.0)
    }

    fn heat(self) -> Heat {
        let most = self.top();
        let last = Some(most as u32).filter(|most| most % 30 >= 15);
        let ticks = (0..=most as u32).step_by(30).chain(last);
        let label = |angle: &f64| match angle {
            angle if angle.is_finite() => format!("{angle:.0}"),
            _ => "–".to_string(),
        };
        Heat {
            title: "angle φ at θ_0 in each tensor".to_string(),
            rows: self.tensors,
            columns: Columns {
                labels: ColumnLabels::Numbers(self.columns.iter().map(label).collect()),
                name: match self.columns.len() {
                    1 => "one pair: its angle as a whole (degrees)".to_string(),
                    count => format!("{count} pairs by their angle as a whole (degrees)"),
                },
            },
            cells: self.angles,
            scale: ColorScale {
                knots: vec![(0.0, 0.0), (most, 1.0)],
                color: theme::shade,
                ticks: ticks
                    .map(|angle| (f64::from(angle), format!("{angle}°")))
                    .collect(),
            },
        }
    }
}

fn pair(of: &LayerAngle) -> (&str, &str) {
    (&of.a, &of.b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::fixtures;

    #[test]
    fn rows_are_tensors_in_their_order_and_columns_pairs_by_angle() {
        let pairs = fixtures::pairs();
        let heat = Angles::of(&pairs).unwrap();
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
        let mut pairs = fixtures::pairs();
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
}
