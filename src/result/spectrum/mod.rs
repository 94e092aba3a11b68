//! The spectrum of a loss's Hessian at one mix.

pub mod file;

use serde::{Deserialize, Serialize};

use crate::result::provenance::Provenance;
use crate::result::score::DatasetInfo;
use crate::result::soup::Coefficient;

/// The contents of `NAME.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spectrum {
    /// The mix: a model's name, `soup`, or what it was asked for by.
    pub name: String,
    /// What it is made of; they sum to 1.
    pub coefficients: Vec<Coefficient>,
    /// The data set of the loss, with the samples that it is the mean over.
    pub dataset: DatasetInfo,
    /// Elements of θ that the Hessian is of.
    pub dimension: usize,
    /// Mean cross-entropy at the mix, in nats.
    #[serde(with = "crate::base::number")]
    pub loss: f64,
    /// Length of its gradient, Euclidean, in nats a unit of θ; near 0 the mix is at rest and
    /// negative eigenvalues tell of a saddle.
    #[serde(with = "crate::base::number")]
    pub gradient_norm: f64,
    /// The largest eigenvalues, descending, then the smallest, ascending.
    pub eigenvalues: Vec<Eigenvalue>,
    /// Their sum over the whole spectrum, where it was asked for.
    pub trace: Option<Trace>,
    /// Where eigenvalues lie, where it was asked for.
    pub density: Option<Density>,
    /// Products of the Hessian with a vector that it took.
    pub products: usize,
    /// How such a product is made: `graph`, `differences`, …
    pub method: String,
    /// Seed of the random vectors.
    pub seed: u64,
    /// Things the reader should know.
    pub warnings: Vec<String>,
    /// Where the numbers come from.
    pub provenance: Provenance,
}

/// An end of the spectrum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// The largest eigenvalues.
    Top,
    /// The smallest: the most negative.
    Bottom,
}

impl End {
    /// The name in CSV files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Top => "top",
            Self::Bottom => "bottom",
        }
    }
}

/// An eigenvalue λ with its eigenvector v, ‖v‖ = 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Eigenvalue {
    /// Its place counted from its end, from 1.
    pub rank: usize,
    /// Which end.
    pub end: End,
    /// λ, in nats a squared unit of θ.
    #[serde(with = "crate::base::number")]
    pub value: f64,
    /// ‖Hv − λv‖: there is an eigenvalue of H within this distance of λ.
    #[serde(with = "crate::base::number")]
    pub residual: f64,
    /// Whether the residual is small enough.
    pub converged: bool,
}

/// The sum of all eigenvalues.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// Its estimate.
    #[serde(with = "crate::base::number")]
    pub value: f64,
    /// Standard error of the estimate over its random vectors; 0 where it is exact, NaN where one
    /// vector alone was left for it.
    #[serde(with = "crate::base::number")]
    pub se: f64,
}

/// How the eigenvalues are spread, as a probability density: ∫ = 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Density {
    /// Eigenvalues, ascending and evenly spaced.
    #[serde(with = "crate::base::number")]
    pub grid: Vec<f64>,
    /// Density there.
    #[serde(with = "crate::base::number")]
    pub values: Vec<f64>,
    /// Standard deviation of the Gaussian that each node was smoothed by.
    #[serde(with = "crate::base::number")]
    pub width: f64,
    /// Nodes of the quadrature, ascending: what `values` are smoothed from.
    #[serde(with = "crate::base::number")]
    pub nodes: Vec<f64>,
    /// The share of the eigenvalues that each node stands for; they sum to 1.
    #[serde(with = "crate::base::number")]
    pub weights: Vec<f64>,
    /// Random vectors.
    pub probes: usize,
    /// Most Lanczos steps of each.
    pub steps: usize,
}
