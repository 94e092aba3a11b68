//! Inference: how sure a comparison is. Pure functions of what each sample of a data set said.
//!
//! All models are evaluated on the same samples, so what is compared is the *difference on each
//! sample*; its spread, not that of the two losses, decides (a paired comparison).
//!
//! | question | where |
//! |---|---|
//! | is A better than B, or a soup better than its ends? | [`paired`] |
//! | … on the mean of several data sets? | [`means`] |
//! | … among many such questions at once? | [`multiple`] |
//! | which of several models may be the best? | [`highest`] |
//! | how far may a whole curve or plane be off? | [`band`] |
//! | is there a barrier, and how high? | [`barrier`] |
//! | where is the best point, how good is it, and which others are as good? | [`extremum`] |
//! | how sure is an error of x of n samples? | [`proportion`] |
//! | what if the samples are a part of a finite set? | [`finite`] |
//! | do two quantities of pairs of models go together? | [`mantel`] |
//! | is a quantity of pairs positive, given that pairs share models? | [`dyadic`] |
//! | what is the standard error of any quantity of pairs? | [`jackknife`] |
//!
//! # Conventions
//!
//! - A *value* is any quantity of one sample: its loss in nats, or 1 and 0 for a wrong and a correct
//!   answer. Results have the unit of the values; shares are in 0..1, not in percent.
//! - Intervals hold the truth with probability [`LEVEL`].
//! - Standard errors are over samples (`paired` to `finite`) or over models (`mantel`, `dyadic`, `jackknife`),
//!   *given these checkpoints*: they say nothing of another training run.
//! - Samples are taken as independent. If several come from one source (a writer, a patient), the
//!   standard errors are too small.
//! - A NaN or an infinity is never left out silently: the result is NaN, and counts it.
//! - All that is random follows from a seed and does not depend on the number of threads.

pub mod band;
pub mod barrier;
pub mod dyadic;
pub mod extremum;
pub mod finite;
pub mod highest;
pub mod jackknife;
pub mod mantel;
mod matrix;
pub mod means;
pub mod multiple;
pub mod paired;
pub mod points;
pub mod proportion;

use statrs::distribution::{ContinuousCDF as _, Normal, StudentsT};

/// The probability with which an interval of this module holds the truth.
pub const LEVEL: f64 = 0.95;

/// An estimate with its standard error, both in the unit of the values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The estimate. NaN if a sample is unusable or there is none.
    pub value: f64,
    /// Its standard error. NaN where the value is, and for a single sample.
    pub se: f64,
    /// Number of samples, the unusable ones included.
    pub samples: usize,
    /// Number of samples whose value is NaN or infinite.
    pub unusable: usize,
}

impl Estimate {
    /// value ∓ 1.96 SE, by the normal approximation of the mean of many samples.
    pub fn interval(&self) -> Interval {
        let half = normal_quantile() * self.se;
        Interval {
            low: self.value - half,
            high: self.value + half,
        }
    }

    /// value/SE; NaN for 0 without a spread.
    pub fn z(&self) -> f64 {
        self.value / self.se
    }

    /// The estimate as one of the mean of a finite set of `total` samples, of which these were drawn
    /// without replacement: the standard error times [`finite::factor`].
    pub fn within(self, total: usize) -> Self {
        Self {
            se: self.se * finite::factor(self.samples, total),
            ..self
        }
    }
}

/// An interval; NaN at both ends where there is none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// No interval.
    pub const NONE: Self = Self {
        low: f64::NAN,
        high: f64::NAN,
    };

    /// Whether a value lies in it, ends included; false if there is no interval.
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

/// How many draws of a bootstrap, or how many permutations, and from which seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draws {
    /// Number of draws.
    pub count: usize,
    /// Their seed.
    pub seed: u64,
}

impl Draws {
    /// 2000 draws: the quantile of a band then varies by about 1 % with the seed, and a p value of 0.05
    /// by 0.005.
    pub fn new(seed: u64) -> Self {
        Self { count: 2000, seed }
    }
}

/// Φ⁻¹ of ½ + [`LEVEL`]/2: 1.959964 for 95 %.
pub(crate) fn normal_quantile() -> f64 {
    Normal::standard().inverse_cdf(f64::midpoint(1.0, LEVEL))
}

/// The quantile of Student's t for the mean of this many samples, like [`normal_quantile`]: how many
/// estimated standard errors hold it. NaN for fewer than two.
pub(crate) fn t_quantile(samples: usize) -> f64 {
    let degrees = samples.saturating_sub(1) as f64;
    let students = StudentsT::new(0.0, 1.0, degrees);
    students.map_or(f64::NAN, |it| it.inverse_cdf(f64::midpoint(1.0, LEVEL)))
}

/// The two-sided p value of a normal estimate with its standard error, for the hypothesis that its
/// truth is 0. 1 for an estimate of 0 without spread, NaN where one of the two is NaN.
pub fn normal_p(value: f64, se: f64) -> f64 {
    if value == 0.0 && se == 0.0 {
        return 1.0;
    }
    2.0 * Normal::standard().sf((value / se).abs())
}

/// Mean and standard error sd/√n (n−1 in the variance) of values in one pass (Welford 1962,
/// "Note on a method for calculating corrected sums of squares and products", Technometrics 4(3)).
/// The mean is the sum over n, so that equal counts of errors have exactly equal means.
pub(crate) fn mean(values: impl IntoIterator<Item = f64>) -> Estimate {
    let (mut sum, mut running, mut squares) = (0.0, 0.0, 0.0);
    let (mut samples, mut unusable) = (0, 0);
    for value in values {
        samples += 1;
        if !value.is_finite() {
            unusable += 1;
            continue;
        }
        sum += value;
        let delta = value - running;
        running += delta / (samples - unusable) as f64;
        squares += delta * (value - running);
    }
    let n = samples as f64;
    let usable = |value: f64, fewest| {
        if unusable == 0 && samples >= fewest {
            value
        } else {
            f64::NAN
        }
    };
    Estimate {
        value: usable(sum / n, 1),
        se: usable((squares / (n * (n - 1.0))).sqrt(), 2),
        samples,
        unusable,
    }
}
