//! Scores: the loss and error of one model on one data set.

use serde::{Deserialize, Serialize};

/// The purpose of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Data that the checkpoints were trained on.
    Train,
    /// Held-out data used for choices.
    Val,
    /// Held-out data that is only reported.
    Test,
    /// Data from another distribution.
    Shift,
    /// Data from θ0's own domain, on which it was pretrained: shows what fine-tuning forgets. It is
    /// reported by itself and in no mean.
    Source,
}

impl Role {
    /// The role's name in CSV files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
            Self::Shift => "shift",
            Self::Source => "source",
        }
    }
}

/// Names of the unweighted means over several data sets, with the roles that they are over.
pub const MEANS: [(&str, &[Role]); 2] =
    [(SHIFTS, &[Role::Shift]), (ALL, &[Role::Test, Role::Shift])];

/// The mean over the shift sets.
pub const SHIFTS: &str = "shifts";

/// The mean over the test set and the shift sets.
pub const ALL: &str = "all";

/// Of what is known of each data set, `all[data set]`, the part on data sets with one of these roles.
pub fn in_roles<'a, T>(datasets: &[DatasetInfo], all: &'a [T], roles: &[Role]) -> Vec<&'a T> {
    let sets = datasets.iter().zip(all);
    let sets = sets.filter(|(dataset, _)| roles.contains(&dataset.role));
    sets.map(|(_, of)| of).collect()
}

/// Description of a data set in a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetInfo {
    /// `train`, `val`, `test`, or the name given to a shift or source set.
    pub name: String,
    /// Purpose of the data set.
    pub role: Role,
    /// Number of samples evaluated.
    pub samples: usize,
}

impl DatasetInfo {
    /// The accuracy if a fraction `error` of the samples is wrong: the f64 nearest to the quotient
    /// of counts, which 1 − error often is not.
    pub fn accuracy(&self, error: f64) -> f64 {
        let samples = self.samples as f64;
        ((1.0 - error) * samples).round() / samples
    }
}

/// Loss and error of one model on one data set, with standard errors.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Mean cross-entropy in nats; NaN or infinite if the loss of a sample is.
    #[serde(with = "crate::base::number")]
    pub loss: f64,
    /// Standard error of `loss`: sample standard deviation / √n; NaN for n < 2.
    #[serde(with = "crate::base::number")]
    pub loss_se: f64,
    /// Fraction of samples whose arg max is not the label, in [0, 1].
    #[serde(with = "crate::base::number")]
    pub error: f64,
    /// Standard error of `error`, by the same formula.
    #[serde(with = "crate::base::number")]
    pub error_se: f64,
    /// Number of samples whose loss is NaN or infinite.
    pub nonfinite: usize,
}

/// A standard error of a share that is never 0: √(p̃(1−p̃)/(n+4)) with p̃ = (x+2)/(n+4), for x of n
/// samples: with two more on either side (Agresti and Coull, "Approximate is better than 'exact'",
/// The American Statistician 52, 1998).
pub fn cautious_se(count: usize, samples: usize) -> f64 {
    let n = samples as f64 + 4.0;
    let share = (count as f64 + 2.0) / n;
    (share * (1.0 - share) / n).sqrt()
}

/// A score with the data set it belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NamedScore {
    /// Name of the data set.
    pub dataset: String,
    /// Role of the data set.
    pub role: Role,
    /// Number of samples evaluated.
    pub samples: usize,
    /// Loss and error.
    #[serde(flatten)]
    pub score: Score,
}

impl NamedScore {
    /// Names a model's scores, `scores[data set]`.
    pub fn all(datasets: &[DatasetInfo], scores: &[Score]) -> Vec<Self> {
        let pairs = datasets.iter().zip(scores);
        pairs
            .map(|(dataset, score)| Self {
                dataset: dataset.name.clone(),
                role: dataset.role,
                samples: dataset.samples,
                score: *score,
            })
            .collect()
    }
}
