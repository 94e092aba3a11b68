//! The panels of Figure 2: which surfaces of a plane are shown.

use super::levels::Levels;
use super::text::short;
use crate::result::plane::Plane;
use crate::result::score::{DatasetInfo, Role, Score};

/// Which panels are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Panels {
    /// Train loss, test error, mean shift error.
    Paper,
    /// These, validation error, and one a shift set.
    All,
}

/// Scores to choose panels from.
#[derive(Debug, Clone, Copy)]
pub struct Scored<'a> {
    /// The data sets.
    pub datasets: &'a [DatasetInfo],
    /// `scores[data set][point]`.
    pub scores: &'a [Vec<Score>],
    /// Which points were measured; all where it is shorter.
    pub measured: &'a [bool],
}

impl<'a> From<&'a Plane> for Scored<'a> {
    fn from(plane: &'a Plane) -> Self {
        Self {
            datasets: &plane.datasets,
            scores: &plane.scores,
            measured: &plane.measured,
        }
    }
}

/// One surface of the figure.
pub struct Panel {
    /// What is shown, with its unit.
    pub title: String,
    /// The unit alone.
    pub unit: &'static str,
    /// Grid values in the order of the grid's points.
    pub values: Vec<f64>,
    /// Their standard errors.
    pub errors: Vec<f64>,
    /// Standard error at the smallest value.
    pub noise: f64,
    /// The data sets that it shows, or shows the mean of.
    pub datasets: Vec<usize>,
}

/// The surfaces that a figure of a plane shows, each with the levels of its contours.
pub fn contours(plane: &Plane, panels: Panels) -> Vec<(Vec<f64>, Vec<f64>)> {
    let chosen = choose(plane.into(), panels).into_iter().map(|panel| {
        let levels = Levels::new(&panel.values, panel.noise);
        let levels = levels.map_or(Vec::new(), |levels| levels.values);
        (panel.values, levels)
    });
    chosen.collect()
}

/// The panels, in the order of the paper.
pub fn choose(scored: Scored<'_>, panels: Panels) -> Vec<Panel> {
    let of = |role: Role| {
        scored
            .datasets
            .iter()
            .position(|dataset| dataset.role == role)
    };
    let name = |index: usize| short(&scored.datasets[index].name);
    let shifts: Vec<usize> = (0..scored.datasets.len())
        .filter(|&index| scored.datasets[index].role == Role::Shift)
        .collect();
    let mut chosen = Vec::new();
    let (train, test) = (of(Role::Train), of(Role::Test));
    let first = train.or(test).or(of(Role::Val));
    match first {
        Some(first) => chosen.push(loss(scored, first, format!("{} loss (nats)", name(first)))),
        None if shifts.len() == 1 => {
            chosen.push(loss(
                scored,
                shifts[0],
                format!("{} loss (nats)", name(shifts[0])),
            ));
        }
        None => {}
    }
    let second = test.or(of(Role::Val)).or(train);
    if let Some(second) = second {
        chosen.push(error(
            scored,
            &[second],
            format!("{} error (%)", name(second)),
        ));
    }
    match shifts.as_slice() {
        [] => {}
        [one] => chosen.push(error(scored, &[*one], format!("{} error (%)", name(*one)))),
        many => {
            let title = format!("mean error over {} shifts (%)", many.len());
            chosen.push(error(scored, many, title));
        }
    }
    if panels == Panels::All {
        let val = of(Role::Val).filter(|val| second != Some(*val));
        let several = if shifts.len() > 1 { shifts } else { Vec::new() };
        for index in val.into_iter().chain(several) {
            chosen.push(error(
                scored,
                &[index],
                format!("{} error (%)", name(index)),
            ));
        }
    }
    chosen
}

fn loss(scored: Scored<'_>, dataset: usize, title: String) -> Panel {
    let scores = &scored.scores[dataset];
    let values: Vec<f64> = scores.iter().map(|score| score.loss).collect();
    let errors: Vec<f64> = scores.iter().map(|score| score.loss_se).collect();
    Panel {
        title,
        unit: "nats",
        noise: lowest(scored, &values).map_or(0.0, |index| errors[index]),
        values,
        errors,
        datasets: vec![dataset],
    }
}

/// Unweighted mean over data sets, in percent; its standard error is √Σse²/k.
fn error(scored: Scored<'_>, datasets: &[usize], title: String) -> Panel {
    let k = datasets.len() as f64;
    let at = |index: usize| datasets.iter().map(move |&set| &scored.scores[set][index]);
    let values: Vec<f64> = (0..scored.scores[0].len())
        .map(|index| {
            // An error counted from logits that are NaN says nothing of the surface.
            let value = |score: &Score| {
                if score.nonfinite > 0 {
                    f64::NAN
                } else {
                    score.error
                }
            };
            100.0 * at(index).map(value).sum::<f64>() / k
        })
        .collect();
    let error = |index: usize| {
        let squares = at(index).map(|score| score.error_se.powi(2));
        100.0 * squares.sum::<f64>().sqrt() / k
    };
    let errors: Vec<f64> = (0..values.len()).map(error).collect();
    Panel {
        title,
        unit: "%",
        noise: lowest(scored, &values).map_or(0.0, |index| errors[index]),
        values,
        errors,
        datasets: datasets.to_vec(),
    }
}

/// Index of the smallest finite value that was measured.
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
