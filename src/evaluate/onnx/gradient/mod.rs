//! Loss and gradient of mixes, from graphs that differentiate the network
//! ([`crate::graph::gradient`]).
//!
//! Samples are taken in batches of one size, which workers take in turn. Each worker sums its own
//! gradients in the type of the network, and the sums are added in the workers' order. So the last
//! digits of a gradient depend on the batch size and on the number of workers, by default the
//! number of cores. Unlike scores, learned soups, arrows and spectra are the same to the last bit
//! only with the same `--workers`, `--threads`, `--batch` and `--binding`. Sums independent of the
//! workers would need a buffer of all weights for each batch that waits for its turn.
//!
//! Weights are mixed once for all workers. The gradient in the coefficients of a mix follows from
//! the gradient in the weights by inner products with the mapped checkpoints, so that memory does
//! not grow with their number.

mod compare;
mod curvature;
mod differences;
mod gradient_buffer;
mod gradient_graph;
mod gradient_layout;
mod gradients;
mod half_check;
mod loss_batch;
mod precision;
mod runner;
pub mod value_probe;
mod weights;

pub use self::curvature::Curvature;
pub use self::differences::{AGREEMENT, Sides};
pub use self::gradient_buffer::GradientBuffer;
pub use self::gradient_graph::lacks_derivative;
pub use self::gradients::{Gradient, Gradients};
pub use self::precision::Precision;
