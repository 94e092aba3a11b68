//! The panels of Figure 2 of "Model soups" (Wortsman et al. 2022): the surfaces of a plane, or the
//! curves of a path, that are shown.
//!
//! A figure draws them, and an adaptive grid is refined where their contours pass.

use super::contour_levels::ContourLevels;
use super::loss::LossKind;
use super::plane::{Minimum, Plane};
use super::score::{DatasetInfo, Role, Score};
use clap::ValueEnum;
use serde::Deserialize;

/// Which panels to show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Panels {
    /// Train loss, test error, mean error over the shifts
    #[default]
    Paper,
    /// These, validation error, and one panel per shift and per source
    All,
}

/// Scores from which panels are made.
#[derive(Debug, Clone, Copy)]
pub struct Scored<'a> {
    /// The data sets, in the order of `scores`.
    pub datasets: &'a [DatasetInfo],
    /// `scores[data set][point]`.
    pub scores: &'a [Vec<Score>],
    /// `measured[point]`: whether the point was evaluated rather than interpolated. Points beyond
    /// the end of this list count as measured.
    pub measured: &'a [bool],
    /// What the samples say of each data set's minima, in the order of `datasets`; empty where that is
    /// not known.
    pub minima: &'a [Minimum],
    /// What the losses are computed from.
    pub loss: LossKind,
}

impl<'a> From<&'a Plane> for Scored<'a> {
    fn from(plane: &'a Plane) -> Self {
        Self {
            datasets: &plane.datasets,
            scores: &plane.scores,
            measured: &plane.measured,
            loss: plane.summary.loss(),
            // A grid that was refined along its contours keeps the levels along which it was.
            minima: if plane.measured.iter().all(|measured| *measured) {
                plane.summary.minimum.as_slice()
            } else {
                &[]
            },
        }
    }
}

/// The quantity that a panel shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// Mean cross-entropy in nats.
    Loss,
    /// Error in percent.
    Error,
}

impl Quantity {
    /// The unit of the values.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Loss => "nats",
            Self::Error => "%",
        }
    }
}

/// One surface of a plane, or one curve of a path.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// The quantity shown.
    pub quantity: Quantity,
    /// What losses are computed from.
    pub loss: LossKind,
    /// Indices of its data sets; with several, the panel shows their unweighted mean.
    pub datasets: Vec<usize>,
    /// `values[point]`, in the unit of the quantity; NaN if the error was counted from logits that
    /// are NaN.
    pub values: Vec<f64>,
    /// `errors[point]`: standard errors of the values.
    pub errors: Vec<f64>,
    /// Standard error of the difference between the smallest value and its neighbours on the grid,
    /// or of the value itself where that is not known; 0 if no value is finite.
    pub noise: f64,
}

impl Panel {
    /// Makes the panel of the loss on a data set.
    fn loss(scored: Scored<'_>, dataset: usize) -> Self {
        let scores = &scored.scores[dataset];
        let values = scores.iter().map(|score| score.loss).collect();
        let errors = scores.iter().map(|score| score.loss_se).collect();
        Self::new(scored, Quantity::Loss, vec![dataset], values, errors)
    }

    /// Makes the panel of the unweighted mean error on `datasets`, in percent. Its standard error
    /// is √Σse²/k, since the sets hold different samples.
    fn error(scored: Scored<'_>, datasets: Vec<usize>) -> Self {
        let k = datasets.len() as f64;
        let at = |point: usize| datasets.iter().map(move |&set| &scored.scores[set][point]);
        // An error counted from NaN logits says nothing about the surface.
        let known = |score: &Score| {
            if score.nonfinite > 0 {
                f64::NAN
            } else {
                score.error
            }
        };
        let value = |point: usize| 100.0 * at(point).map(known).sum::<f64>() / k;
        let error = |point: usize| {
            let squares = at(point).map(|score| score.error_se.powi(2));
            100.0 * squares.sum::<f64>().sqrt() / k
        };
        let points = 0..scored.scores[0].len();
        let values = points.clone().map(value).collect();
        let errors = points.map(error).collect();
        Self::new(scored, Quantity::Error, datasets, values, errors)
    }

    fn new(
        scored: Scored<'_>,
        quantity: Quantity,
        datasets: Vec<usize>,
        values: Vec<f64>,
        errors: Vec<f64>,
    ) -> Self {
        let of_height = || lowest(scored, &values).map_or(0.0, |point| errors[point]);
        Self {
            quantity,
            loss: scored.loss,
            noise: of_shape(scored.minima, quantity, &datasets).unwrap_or_else(of_height),
            datasets,
            values,
            errors,
        }
    }

    /// The name of the quantity.
    pub fn words(&self) -> &'static str {
        match self.quantity {
            Quantity::Loss => self.loss.words(),
            Quantity::Error => "error",
        }
    }

    /// The name of an axis of the values: their unit, and of calibrated losses what they are.
    pub fn axis(&self) -> String {
        match (self.quantity, self.loss) {
            (Quantity::Loss, LossKind::Calibrated) => "calibrated loss (nats)".to_string(),
            _ => self.quantity.unit().to_string(),
        }
    }

    /// The levels of the panel's contours; `None` if no value is finite.
    pub fn levels(&self) -> Option<ContourLevels> {
        ContourLevels::new(&self.values, self.noise)
    }
}

/// Standard error of the differences between a panel's smallest value and its neighbours, in the unit
/// of the quantity; `None` unless it is known of each data set.
fn of_shape(minima: &[Minimum], quantity: Quantity, datasets: &[usize]) -> Option<f64> {
    let of = |set: &usize| match (quantity, minima.get(*set)?) {
        (Quantity::Loss, minimum) => minimum.neighbor_loss_se,
        (Quantity::Error, minimum) => minimum.neighbor_error_se.map(|se| 100.0 * se),
    };
    let squares = datasets.iter().map(|set| of(set).map(|se| se.powi(2)));
    let sum: f64 = squares.sum::<Option<f64>>()?;
    Some(sum.sqrt() / datasets.len() as f64)
}

/// Makes the panels, in the order of the paper.
pub fn choose(scored: Scored<'_>, panels: Panels) -> Vec<Panel> {
    let first_of = |role: Role| scored.datasets.iter().position(|set| set.role == role);
    let [train, test, val] = [Role::Train, Role::Test, Role::Val].map(first_of);
    let all_of = |role: Role| -> Vec<usize> {
        let sets = 0..scored.datasets.len();
        sets.filter(|&set| scored.datasets[set].role == role)
            .collect()
    };
    let (shifts, sources) = (all_of(Role::Shift), all_of(Role::Source));
    let only_shift = Some(&shifts).filter(|shifts| shifts.len() == 1);
    let only_shift = only_shift.map(|shifts| shifts[0]);
    // A source is never mixed with others: without any other set, the first stands alone.
    let source = sources.first().copied().filter(|_| shifts.is_empty());
    let of_loss = train.or(test).or(val).or(only_shift).or(source);
    let of_error = test.or(val).or(train).or(source);
    let mut sets: Vec<Vec<usize>> = of_error.into_iter().map(|set| vec![set]).collect();
    if !shifts.is_empty() {
        sets.push(shifts.clone());
    }
    if panels == Panels::All {
        let val = val.filter(|val| of_error != Some(*val));
        let several = if shifts.len() > 1 { shifts } else { Vec::new() };
        let sources = sources.into_iter().filter(|&set| of_error != Some(set));
        let single = val.into_iter().chain(several).chain(sources);
        sets.extend(single.map(|set| vec![set]));
    }
    let loss = of_loss.map(|set| Panel::loss(scored, set));
    let errors = sets.into_iter().map(|sets| Panel::error(scored, sets));
    loss.into_iter().chain(errors).collect()
}

/// Index of the smallest finite measured value.
pub fn lowest(scored: Scored<'_>, values: &[f64]) -> Option<usize> {
    let measured = values
        .iter()
        .enumerate()
        .filter(|(k, _)| scored.measured.get(*k) != Some(&false));
    let finite = measured.filter(|(_, value)| value.is_finite());
    finite
        .min_by(|a, b| a.1.total_cmp(b.1))
        .map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(roles: &[Role], panels: Panels) -> Vec<(Quantity, Vec<usize>)> {
        let info = |role: &Role| DatasetInfo {
            name: role.name().to_string(),
            role: *role,
            samples: 100,
        };
        let datasets: Vec<DatasetInfo> = roles.iter().map(info).collect();
        let score = Score {
            loss: 1.0,
            loss_se: 0.1,
            error: 0.2,
            error_se: 0.03,
            nonfinite: 0,
        };
        let scored = Scored {
            datasets: &datasets,
            scores: &vec![vec![score; 2]; roles.len()],
            measured: &[],
            minima: &[],
            loss: LossKind::Plain,
        };
        let chosen = choose(scored, panels).into_iter();
        chosen
            .map(|panel| (panel.quantity, panel.datasets))
            .collect()
    }

    #[test]
    fn panels_are_the_paper_s_where_there_are_its_data_sets() {
        use Quantity::{Error, Loss};
        use Role::{Shift, Source, Test, Train, Val};
        let all = [Train, Val, Test, Shift, Shift];
        let paper = vec![(Loss, vec![0]), (Error, vec![2]), (Error, vec![3, 4])];
        assert_eq!(chosen(&all, Panels::Paper), paper);
        let further = [(Error, vec![1]), (Error, vec![3]), (Error, vec![4])];
        assert_eq!(
            chosen(&all, Panels::All),
            [paper, further.to_vec()].concat()
        );
        let one = vec![(Loss, vec![0]), (Error, vec![0])];
        assert_eq!(chosen(&[Val], Panels::All), one);
        assert_eq!(chosen(&[Shift], Panels::All), one);
        assert_eq!(chosen(&[Shift; 2], Panels::Paper), [(Error, vec![0, 1])]);
        assert_eq!(chosen(&[], Panels::All), []);
        // θ0's own domain has panels of its own, and is in no mean.
        let sourced = [Test, Shift, Source, Source];
        let paper = vec![(Loss, vec![0]), (Error, vec![0]), (Error, vec![1])];
        assert_eq!(chosen(&sourced, Panels::Paper), paper);
        let sources = vec![(Error, vec![2]), (Error, vec![3])];
        assert_eq!(chosen(&sourced, Panels::All), [paper, sources].concat());
        assert_eq!(chosen(&[Source], Panels::All), one);
        let mixed = [Shift, Source];
        assert_eq!(chosen(&mixed, Panels::Paper), one);
    }

    #[test]
    fn the_mean_of_sets_has_the_standard_error_of_a_mean() {
        let score = |error: f64, error_se: f64, nonfinite: usize| Score {
            loss: 0.0,
            loss_se: 0.0,
            error,
            error_se,
            nonfinite,
        };
        let info = |name: &str| DatasetInfo {
            name: name.to_string(),
            role: Role::Shift,
            samples: 100,
        };
        let scored = Scored {
            datasets: &[info("a"), info("b")],
            scores: &[
                vec![score(0.1, 0.03, 0), score(0.2, 0.02, 1)],
                vec![score(0.3, 0.04, 0), score(0.4, 0.02, 0)],
            ],
            measured: &[],
            minima: &[],
            loss: LossKind::Plain,
        };
        let panel = Panel::error(scored, vec![0, 1]);
        assert!((panel.values[0] - 20.0).abs() < 1e-12 && panel.values[1].is_nan());
        assert!((panel.errors[0] - 2.5).abs() < 1e-12);
        assert_eq!(panel.noise, panel.errors[0]);
        // With what the samples say of the minima, the noise is that of the shape.
        let minimum = |se: Option<f64>| Minimum {
            dataset: String::new(),
            loss: None,
            error: None,
            lowest_loss: None,
            lowest_error: None,
            neighbor_loss_se: None,
            neighbor_error_se: se,
        };
        let minima = [minimum(Some(0.006)), minimum(Some(0.008))];
        let minima = Scored {
            minima: &minima,
            ..scored
        };
        assert!((Panel::error(minima, vec![0, 1]).noise - 0.5).abs() < 1e-12);
        let half = [minimum(Some(0.006)), minimum(None)];
        let half = Scored {
            minima: &half,
            ..scored
        };
        assert_eq!(Panel::error(half, vec![0, 1]).noise, panel.errors[0]);
    }
}
