//! Loss and correctness of a model on every sample of a data set: what comparisons of models on the
//! same samples are computed from.

use fixedbitset::FixedBitSet;

use super::metrics::Outcome;

/// Identifies a model by its content: 128 bits of a hash.
pub type ModelKey = u128;

/// The outcomes of one model on the samples of one data set, in the order of evaluation, which is
/// the same for all models.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcomes {
    losses: Vec<f32>,
    correct: FixedBitSet,
}

impl Outcomes {
    /// The number of samples.
    pub fn len(&self) -> usize {
        self.losses.len()
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.losses.is_empty()
    }

    /// Cross-entropy of each sample in nats, rounded to f32 (by 6e-8 of itself at most, far below
    /// the spread over samples); NaN or infinite where the model's is.
    pub fn losses(&self) -> &[f32] {
        &self.losses
    }

    /// The losses as [`losses`](Self::losses) has them, for sums.
    pub fn losses_f64(&self) -> Vec<f64> {
        self.losses.iter().copied().map(f64::from).collect()
    }

    /// 1 for each sample that is wrong and 0 for each that is right: its mean is the error.
    pub fn errors(&self) -> Vec<f64> {
        let wrong = self.correctness().map(|right| !right);
        wrong.map(|wrong| f64::from(u8::from(wrong))).collect()
    }

    /// The samples whose largest logit belongs to the label.
    pub fn correct(&self) -> &FixedBitSet {
        &self.correct
    }

    /// Whether the largest logit of each sample belongs to its label.
    pub fn correctness(&self) -> impl Iterator<Item = bool> {
        (0..self.len()).map(|sample| self.correct.contains(sample))
    }

    /// The number of samples that one of two models has right and the other wrong, among those that
    /// both have.
    pub fn differing(&self, other: &Self) -> usize {
        let both = self.len().min(other.len());
        let mut differing = self.correct.clone();
        differing.symmetric_difference_with(&other.correct);
        differing.count_ones(..both)
    }

    /// Makes outcomes of their parts; bits beyond the samples are dropped.
    pub fn new(losses: Vec<f32>, mut correct: FixedBitSet) -> Self {
        correct.grow(losses.len());
        correct.remove_range(losses.len()..);
        Self { losses, correct }
    }
}

impl Extend<Outcome> for Outcomes {
    fn extend<I: IntoIterator<Item = Outcome>>(&mut self, outcomes: I) {
        for Outcome { loss, correct } in outcomes {
            let sample = self.losses.len();
            self.losses.push(loss as f32);
            self.correct.grow(self.losses.len());
            self.correct.set(sample, correct);
        }
    }
}

impl FromIterator<Outcome> for Outcomes {
    fn from_iter<I: IntoIterator<Item = Outcome>>(outcomes: I) -> Self {
        let mut all = Self::default();
        all.extend(outcomes);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_that_one_of_two_has_right_are_counted_one_by_one() {
        let of = |right: &[bool]| -> Outcomes {
            let outcomes = right.iter();
            outcomes
                .map(|&correct| Outcome { loss: 0.0, correct })
                .collect()
        };
        // As many wrong in both, and none in common.
        let (a, b) = (
            of(&[true, false, true, false]),
            of(&[false, true, false, true]),
        );
        assert_eq!((a.differing(&b), a.differing(&a)), (4, 0));
        assert_eq!(a.differing(&of(&[true])), 0);
    }
}
