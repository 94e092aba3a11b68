//! The spectrum of the Hessian of a loss at one mix.

pub mod file;

use serde::{Deserialize, Serialize};

use crate::result::provenance::Provenance;
use crate::result::score::DatasetInfo;
use crate::result::soup::Coefficient;

/// The contents of `NAME.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spectrum {
    /// Name of the mix: a model's name, `soup`, or the text by which it was requested.
    pub name: String,
    /// Coefficients of the mix; they sum to 1.
    pub coefficients: Vec<Coefficient>,
    /// The data set of the loss, with the number of samples averaged over.
    pub dataset: DatasetInfo,
    /// Number of other samples of the data set on which `held_out` was measured; 0 if there are none.
    #[serde(default)]
    pub held_out_samples: usize,
    /// Number of parameters: the Hessian is dimension × dimension.
    pub dimension: usize,
    /// Mean cross-entropy at the mix, in nats.
    #[serde(with = "crate::base::number")]
    pub loss: f64,
    /// Euclidean length of the gradient, in nats per unit of θ. Near 0 the mix is a stationary
    /// point, and negative eigenvalues mean a saddle.
    #[serde(with = "crate::base::number")]
    pub gradient_norm: f64,
    /// The largest eigenvalues, descending, then the smallest, ascending.
    pub eigenvalues: Vec<Eigenvalue>,
    /// Trace of the Hessian, if asked for.
    pub trace: Option<Trace>,
    /// Density of the eigenvalues, if asked for.
    pub density: Option<Density>,
    /// Number of Hessian-vector products used.
    pub products: usize,
    /// How the products are computed: `graph`, `differences`, …
    pub method: String,
    /// Seed of the random vectors.
    pub seed: u64,
    /// Warnings about the result.
    pub warnings: Vec<String>,
    /// Provenance of the numbers.
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
    /// The end's name in CSV files.
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
    /// Rank counted from its end, from 1.
    pub rank: usize,
    /// The end of the spectrum it belongs to.
    pub end: End,
    /// λ, in nats per squared unit of θ.
    #[serde(with = "crate::base::number")]
    pub value: f64,
    /// ‖Hv − λv‖: there is an eigenvalue of H within this distance of λ.
    #[serde(with = "crate::base::number")]
    pub residual: f64,
    /// Whether the residual is small enough.
    pub converged: bool,
    /// Standard error of λ over the samples of the loss, to first order: that of the mean of v·Hs·v
    /// over samples s. With many parameters it is too large if v is fitted to a few samples, or the
    /// next eigenvalue is closer than this. It is `None` if it is not known, as with a single sample.
    #[serde(default, with = "crate::base::number")]
    pub sampling_se: Option<f64>,
    /// v·H′·v on samples that v was not found on. The largest λ is biased upward and the smallest
    /// downward, because v is fitted to its samples; this is not. `None` without such samples.
    #[serde(default)]
    pub held_out: Option<Sampled>,
}

/// A mean over samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sampled {
    /// The mean.
    #[serde(with = "crate::base::number")]
    pub value: f64,
    /// Its standard error over the samples; `None` if it is not known.
    #[serde(default, with = "crate::base::number")]
    pub se: Option<f64>,
}

/// The trace: the sum of all eigenvalues.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// Estimate of the trace.
    #[serde(with = "crate::base::number")]
    pub value: f64,
    /// Standard error of the estimate over its random vectors; 0 if it is exact, NaN if only one
    /// vector was left for it.
    #[serde(with = "crate::base::number")]
    pub se: f64,
    /// Standard error over the samples of the loss, for these random vectors; `None` if it is not
    /// known. It adds to `se`, as the root of the sum of squares.
    #[serde(default, with = "crate::base::number")]
    pub sampling_se: Option<f64>,
}

/// The density of the eigenvalues, as a probability density: ∫ = 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Density {
    /// Positions on the eigenvalue axis, ascending and evenly spaced.
    #[serde(with = "crate::base::number")]
    pub grid: Vec<f64>,
    /// `values[grid index]`: density at each position.
    #[serde(with = "crate::base::number")]
    pub values: Vec<f64>,
    /// Standard deviation of the Gaussian that smooths each node.
    #[serde(with = "crate::base::number")]
    pub width: f64,
    /// Nodes of the quadrature, ascending; `values` is their smoothed density.
    #[serde(with = "crate::base::number")]
    pub nodes: Vec<f64>,
    /// `weights[node]`: fraction of the eigenvalues that the node represents; they sum to 1.
    #[serde(with = "crate::base::number")]
    pub weights: Vec<f64>,
    /// Number of random vectors.
    pub probes: usize,
    /// Maximum number of Lanczos steps per vector.
    pub steps: usize,
}
