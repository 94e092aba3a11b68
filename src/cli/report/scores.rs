//! Loss and error of models on every data set, as text.

use super::columns::aligned;
use crate::result::loss::LossKind;
use crate::result::score::Score;

/// A model and its scores, one per data set.
pub struct Row<'r> {
    /// Its name.
    pub name: String,
    /// Its scores.
    pub scores: Vec<&'r Score>,
}

/// Formats one table of losses and one of errors: a row per data set, a column per model.
pub fn tables(datasets: &[String], models: &[Row<'_>], loss: LossKind) -> Vec<String> {
    let losses = table(title(loss), datasets, models, |it| {
        format!("{:.4}", it.loss)
    });
    let errors = table(ERROR.to_string(), datasets, models, |it| {
        format!("{:.2}", 100.0 * it.error)
    });
    [losses, errors].concat()
}

/// The title of a column of errors.
pub const ERROR: &str = "error (%)";

/// The title of a column of losses.
pub fn title(loss: LossKind) -> String {
    format!("{} (nats)", loss.words())
}

fn table(
    title: String,
    datasets: &[String],
    models: &[Row<'_>],
    text: impl Fn(&Score) -> String,
) -> Vec<String> {
    let names = models.iter().map(|model| model.name.clone());
    let mut rows: Vec<Vec<String>> = vec![std::iter::once(title).chain(names).collect()];
    rows.extend(datasets.iter().enumerate().map(|(set, name)| {
        let values = models.iter().map(|model| text(model.scores[set]));
        std::iter::once(name.clone()).chain(values).collect()
    }));
    aligned(&rows, &[0], "  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_model_is_a_column() {
        let score = |loss, error| Score {
            loss,
            loss_se: 0.0,
            error,
            error_se: 0.0,
            nonfinite: 0,
        };
        let [a, b] = [score(0.5, 0.25), score(f64::NAN, 1.0)];
        let models = [("zs", &a), ("ft1", &b)].map(|(name, score)| Row {
            name: name.to_string(),
            scores: vec![score],
        });
        let lines = tables(&["test".to_string()], &models, LossKind::Calibrated);
        let expected = [
            "calibrated loss (nats)      zs  ft1",
            "test                    0.5000  NaN",
            "error (%)     zs     ft1",
            "test       25.00  100.00",
        ];
        assert_eq!(lines, expected);
    }
}
