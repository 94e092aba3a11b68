//! Times gradients and Hessian-vector products, for `landscape bench`.

use std::time::{Duration, Instant};

use super::gradient_layout::gradient_layout;
use super::precision::Precision;
use super::weights::Weights;
use crate::error::Result;
use crate::evaluate::onnx::binding::Binding;
use crate::evaluate::onnx::engine::Engine;
use crate::evaluate::onnx::layout::Layout;
use crate::evaluate::onnx::tuning::forward_rate;
use crate::space::mix::Mix;

/// Number of samples that a comparison runs on.
const COMPARED: usize = 512;

/// How long each item is timed.
const SECOND: Duration = Duration::from_secs(1);

/// Samples per second of `work`, which processes `samples` samples per call. The first call is not
/// timed.
fn timed(samples: usize, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    work()?;
    let (start, mut runs) = (Instant::now(), 0);
    while runs < 3 || start.elapsed() < SECOND {
        work()?;
        runs += 1;
    }
    Ok((runs * samples) as f64 / start.elapsed().as_secs_f64())
}

impl Engine<'_> {
    /// Times the forward pass with constant weights, gradients, and Hessian-vector products, all in
    /// batches of the same size and with unchanged weights. Returns the name, the layout and the
    /// samples per second of each, on the first data set.
    ///
    /// # Errors
    /// Fails when an operator has no derivative, or the network cannot be run.
    pub fn compare_gradients(&self) -> Result<Vec<(&'static str, Layout, f64)>> {
        let context = &self.context;
        let count = context.setup.datasets[0].len().min(COMPARED);
        let samples: Vec<usize> = (0..count).collect();
        let mix = Mix::unit(context.members() - 1, context.members());
        let own = self.precision(Precision::Own);
        let bindings: &[Binding] = match own {
            Precision::Own => &[Binding::Inputs, Binding::Baked],
            Precision::Double => &[Binding::Inputs],
        };
        let laid_out = |binding| Layout {
            binding,
            ..gradient_layout(context, count, 1, own)
        };
        let baked = laid_out(Binding::Baked);
        let forward = || {
            let rate = forward_rate(context, &baked, count, SECOND)?;
            Ok(("forward", baked, rate))
        };
        let mut rates = vec![forward()?];
        for &binding in bindings {
            let gradients = self.gradients_laid_out(0, laid_out(binding), own)?;
            let weights = Weights::of_mix(context, &mix, own)?;
            let rate = timed(count, || gradients.at(&weights, 1.0, &samples).map(|_| ()))?;
            rates.push(("gradient", laid_out(binding), rate));
        }
        let curvature = self.curvature(0, &mix, samples, own)?;
        let v: Vec<f64> = (0..curvature.dim()).map(|k| (k as f64).sin()).collect();
        let rate = timed(count, || curvature.product(&v).map(|_| ()))?;
        rates.push(("Hessian product", baked, rate));
        rates.push(forward()?);
        Ok(rates)
    }
}
