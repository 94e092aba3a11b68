//! A heat map of α: the coefficients of each model in a soup learned by layer.

use super::axes::extent;
use super::canvas::{self, Drawing};
use super::heat::{ColorScale, ColumnLabels, Columns, Heat, shortened};
use super::text::ends;
use super::theme;
use super::ticks::{Interval, Ticks, ticks};
use crate::base::human::nice_at_most;
use crate::error::Result;
use crate::result::learned::{Layers, Learning};
use crate::result::method::Method;
use crate::result::models::Individual;
use crate::result::soup::Soups;

/// Maximum number of characters of a model's name.
const MODEL_NAME_LETTERS: usize = 22;

/// Draws α of the soup by layer. `None` without such a soup, or with a single model.
///
/// # Errors
/// Fails when drawing fails.
pub fn alpha(soups: &Soups) -> Result<Option<Drawing>> {
    let mut learned = soups.learned.iter();
    let by_layer = learned.find(|of| of.method == Method::LearnedByLayer);
    let heat = by_layer.and_then(|learning| heat(learning, &soups.models));
    heat.as_ref().map(canvas::drawing).transpose()
}

/// A heat map with one row per tensor or block and one column per model. `None` if the numbers do
/// not match these, as in a file that was edited by hand.
fn heat(learning: &Learning, models: &[Individual]) -> Option<Heat> {
    let alpha = &learning.kept()?.alpha;
    let fits = alpha.len() == learning.rows.len() && !alpha.is_empty();
    let fits = fits && alpha.iter().all(|row| row.len() == models.len());
    if !fits || models.len() < 2 {
        return None;
    }
    let rows: Vec<String> = learning.rows.iter().map(|row| row.name.clone()).collect();
    let names = models
        .iter()
        .map(|model| ends(&model.name, MODEL_NAME_LETTERS));
    let what = match learning.settings.layers {
        Layers::Block => "block",
        Layers::All | Layers::Tensor => "tensor",
    };
    let count = models.len();
    Some(Heat {
        title: format!("coefficients α by {what}; white: 1/{count}"),
        rows: shortened(&rows),
        columns: Columns {
            labels: ColumnLabels::Names(names.collect()),
            name: "models".to_string(),
        },
        scale: scale(alpha.iter().flatten().copied(), count),
        cells: alpha.clone(),
    })
}

/// The colour scale: white is the coefficient in the uniform soup. The scale ranges from 0, or the
/// smallest value if it is negative, to the largest, but at least to twice the uniform coefficient,
/// so that soups close to the uniform one are pale.
fn scale(values: impl Iterator<Item = f64>, models: usize) -> ColorScale {
    let uniform = 1.0 / models as f64;
    let (least, most) = extent(values).unwrap_or_default();
    let low = if least < -1e-9 { -above(-least) } else { 0.0 };
    let high = above(most).max(2.0 * uniform);
    let half = |range: Interval| {
        // Leaves out ticks close to the middle one.
        let far = move |value: f64| (value - uniform).abs() >= 0.2 * (range.1 - range.0);
        let ticks = ticks(range).into_iter();
        ticks.filter(move |(value, _)| far(*value))
    };
    let middle = (uniform, format!("1/{models}"));
    let below: Ticks = if low < 0.0 {
        half((low, uniform)).collect()
    } else {
        // Below 1/k, round values would have many digits.
        vec![
            (0.0, "0".to_string()),
            (uniform / 2.0, format!("1/{}", 2 * models)),
        ]
    };
    ColorScale {
        knots: vec![(low, 0.0), (uniform, 0.5), (high, 1.0)],
        color: theme::diverging,
        ticks: below
            .into_iter()
            .chain([middle])
            .chain(half((uniform, high)))
            .collect(),
    }
}

/// The next larger value that has about two digits.
fn above(value: f64) -> f64 {
    let step = nice_at_most(value.max(1e-6) / 8.0);
    (value / step - 1e-9).ceil() * step
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::fixtures;

    fn soups(layers: Layers, rows: usize, models: usize) -> Soups {
        let model = |k: usize| fixtures::individual(&format!("ft{k}"), 97.0, 80.0);
        Soups {
            models: (0..models).map(model).collect(),
            learned: vec![fixtures::learning(layers, rows, models)],
            ..fixtures::soups()
        }
    }

    #[test]
    fn rows_are_tensors_in_their_order_and_columns_models() {
        let soups = soups(Layers::Tensor, 10, 16);
        let heat = heat(&soups.learned[0], &soups.models).unwrap();
        assert_eq!(heat.rows[5], "blocks.1.attn.proj.bias");
        assert_eq!((heat.cells.len(), heat.cells[9].len()), (10, 16));
        let svg = alpha(&soups).unwrap().unwrap().svg;
        assert!(svg.contains("by tensor; white: 1/16") && svg.contains("\nft15\n"));
    }

    #[test]
    fn the_uniform_soup_is_white_and_no_value_is_beyond_the_scale() {
        for (values, low, high) in [
            (vec![0.25; 4], 0.0, 0.5),
            (vec![0.0, 0.02, 0.31, 0.67], 0.0, 0.7),
            (vec![-0.41, 0.2, 0.31, 0.9], -0.45, 0.9),
            (vec![f64::NAN; 4], 0.0, 0.5),
        ] {
            let scale = scale(values.into_iter(), 4);
            let [first, middle, last] = scale.knots[..] else {
                panic!()
            };
            assert_eq!(middle, (0.25, 0.5));
            assert!(
                (first.0 - low).abs() < 1e-9 && (last.0 - high).abs() < 1e-9,
                "{first:?} {last:?}"
            );
            assert!((3..12).contains(&scale.ticks.len()), "{:?}", scale.ticks);
        }
        assert_eq!(theme::diverging(0.5), plotters::style::WHITE);
    }

    #[test]
    fn what_does_not_fit_is_not_drawn() {
        let mut soups = soups(Layers::Block, 3, 4);
        soups.learned[0].best = 7;
        assert!(alpha(&soups).unwrap().is_none());
        soups.learned[0].best = 1;
        soups.models.pop();
        assert!(alpha(&soups).unwrap().is_none());
        soups.learned[0].method = Method::Learned;
        assert!(alpha(&soups).unwrap().is_none());
        soups.learned.clear();
        assert!(alpha(&soups).unwrap().is_none());
    }
}
