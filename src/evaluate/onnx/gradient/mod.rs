//! Loss and gradient of mixes, by graphs that differentiate the network
//! ([`crate::graph::gradient`]).
//!
//! Samples are taken in batches of one size; workers take them in turn, each sums its own in the type
//! of the network, and the sums are added in the workers' order. So the last digits of a gradient
//! depend on the batch size and on the number of workers, which by default is that of the cores:
//! unlike scores, learned soups, arrows and spectra are the same to the last bit only with the same
//! `--workers`, `--threads`, `--batch` and `--binding`. A sum that does not depend on the workers would
//! take a buffer of all weights for each batch that waits for its turn. Weights are mixed once for all workers. A gradient in the coefficients of a mix follows
//! from that in the weights by inner products with the mapped checkpoints, so that memory does not
//! grow with their number.

mod curvature;
mod gradient_buffer;
mod gradient_graph;
mod gradient_layout;
mod loss_batch;
mod runner;
pub mod value_probe;
mod weights;

use std::time::{Duration, Instant};

pub use self::curvature::Curvature;
pub use self::gradient_buffer::GradientBuffer;
pub use self::gradient_graph::{Precision, lacks_derivative};
use self::gradient_layout::gradient_layout;
use self::runner::{Runner, sample_batches};
use self::weights::Weights;
use super::binding::Binding;
use super::context::Context;
use super::engine::Engine;
use super::layout::Layout;
use super::tuning::forward_rate;
use crate::checkpoint::tensor::Dtype;
use crate::error::Result;
use crate::evaluate::differentiable_loss::{CoefficientGradient, DifferentiableLoss, Fit};
use crate::evaluate::metrics::{Outcome, Tally};
use crate::graph::gradient;
use crate::result::score::DatasetInfo;
use crate::space::mix::Mix;
use crate::space::slope::inner_products;

/// Loss and gradient over many samples.
#[derive(Debug, Clone)]
pub struct Gradient {
    /// Mean loss of β·logits, in nats.
    pub loss: f64,
    /// Samples whose largest logit is another class's.
    pub wrong: usize,
    /// ∂L/∂β.
    pub beta: f64,
    /// ∂L/∂W, `weights[moving tensor]`, each in the graph's order of elements.
    pub weights: Vec<GradientBuffer>,
}

/// Differentiates the network on one data set.
pub struct Gradients<'e> {
    runner: Runner<'e>,
    precision: Precision,
}

impl Engine<'_> {
    /// The network differentiated for a data set; about `samples` of it are going to be asked for at
    /// a time.
    ///
    /// # Errors
    /// When an operator between the moving tensors and the logits has no derivative, or the network
    /// cannot be run.
    pub fn gradients(
        &self,
        dataset: usize,
        samples: usize,
        precision: Precision,
    ) -> Result<Gradients<'_>> {
        let precision = self.precision(precision);
        let layout = gradient_layout(&self.context, samples, 1, precision);
        self.gradients_laid_out(dataset, layout, precision)
    }

    /// Whether [`Engine::gradients`] can be had: to be asked before anything long runs.
    ///
    /// # Errors
    /// As of [`Engine::gradients`].
    pub fn check_gradients(
        &self,
        dataset: usize,
        samples: usize,
        precision: Precision,
    ) -> Result<()> {
        let precision = self.precision(precision);
        let layout = gradient_layout(&self.context, samples, 1, precision);
        write_gradient(&self.context, dataset, &layout, precision).map(|_| ())
    }

    /// In what gradients are computed when this is asked for: where the network computes in 16 bits,
    /// in doubles. Gradients leave the range of a float16, and ONNX Runtime has few of the operators
    /// that they take in these types.
    pub fn precision(&self, asked: Precision) -> Precision {
        let context = &self.context;
        let parameters = &context.setup.pool.parameters;
        let mut moving = context
            .moving
            .iter()
            .map(|it| parameters[it.parameter].dtype);
        let is_half = moving.any(|dtype| matches!(dtype, Dtype::F16 | Dtype::Bf16));
        if is_half || gradient::is_half(context.graphs.plain()) {
            Precision::Double
        } else {
            asked
        }
    }

    /// By what fraction of a loss rounding may move it from one graph or batch to another: float32 has
    /// seven digits, of which a deep network leaves about five; formats of 16 bits have two or three.
    pub fn rounding(&self) -> f64 {
        match self.precision(Precision::Own) {
            Precision::Own if !self.context.setup.options.tf32 => 1e-3,
            _ => 0.1,
        }
    }

    fn gradients_laid_out(
        &self,
        dataset: usize,
        layout: Layout,
        precision: Precision,
    ) -> Result<Gradients<'_>> {
        let graph = write_gradient(&self.context, dataset, &layout, precision)?;
        let with = (&self.context, &self.counters);
        Ok(Gradients {
            runner: Runner::new(with, dataset, layout, graph)?,
            precision,
        })
    }

    /// How fast gradients are, and products with the Hessian, beside the forward pass with constant
    /// weights in batches of the same size: what, how it is laid out, and samples a second on the
    /// first data set at weights that stay.
    ///
    /// # Errors
    /// When an operator has no derivative, or the network cannot be run.
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

/// Samples that a comparison runs on.
const COMPARED: usize = 512;

/// How long each thing is timed.
const SECOND: Duration = Duration::from_secs(1);

/// Samples a second of work on so many, once everything is ready.
fn timed(samples: usize, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    work()?;
    let (start, mut runs) = (Instant::now(), 0);
    while runs < 3 || start.elapsed() < SECOND {
        work()?;
        runs += 1;
    }
    Ok((runs * samples) as f64 / start.elapsed().as_secs_f64())
}

/// The graph of the gradient for batches of a data set.
fn write_gradient(
    context: &Context<'_>,
    dataset: usize,
    layout: &Layout,
    precision: Precision,
) -> Result<gradient_graph::GradientGraph> {
    let mix = Mix::unit(0, context.members());
    let weights = Weights::of_mix(context, &mix, Precision::Own)?;
    let batches = sample_batches(context, dataset, layout, &weights)?;
    gradient_graph::gradient(context, &batches, layout.binding, precision)
}

impl Gradients<'_> {
    /// The data set.
    pub fn dataset(&self) -> DatasetInfo {
        self.runner.context.setup.datasets[self.runner.dataset].info()
    }

    /// Loss and gradient at a mix, over the samples at these places of the data set's order.
    ///
    /// # Errors
    /// When the network cannot be run, or the user stopped the run.
    pub fn loss_and_gradient(&self, mix: &Mix, beta: f64, samples: &[usize]) -> Result<Gradient> {
        let weights = Weights::of_mix(self.runner.context, mix, self.precision)?;
        self.at(&weights, beta, samples)
    }

    /// The same with weights that are mixed already.
    fn at(&self, weights: &Weights, beta: f64, samples: &[usize]) -> Result<Gradient> {
        let sums = self.runner.sums(weights, beta, samples)?;
        Ok(Gradient {
            loss: sums.loss,
            wrong: sums.wrong,
            beta: sums.beta,
            weights: sums.tensors,
        })
    }
}

impl DifferentiableLoss for Gradients<'_> {
    fn parameters(&self) -> Vec<(usize, String)> {
        let parameters = &self.runner.context.setup.pool.parameters;
        let moving = self.runner.context.moving.iter().map(|it| it.parameter);
        let named = moving.map(|index| (index, parameters[index].name.clone()));
        named.collect()
    }

    fn samples(&self) -> usize {
        self.runner.context.setup.datasets[self.runner.dataset].len()
    }

    fn coefficient_gradient(
        &self,
        mix: &Mix,
        beta: f64,
        samples: &[usize],
    ) -> Result<CoefficientGradient> {
        let gradient = self.loss_and_gradient(mix, beta, samples)?;
        let context = self.runner.context;
        let pool = context.setup.pool;
        let mut rows = vec![vec![0.0; pool.members.len()]; pool.parameters.len()];
        for (tensor, weights) in context.moving.iter().zip(&gradient.weights) {
            let index = tensor.parameter;
            rows[index] = inner_products(pool, index, |start, out| weights.read(start, out));
        }
        Ok(CoefficientGradient {
            fit: Fit {
                loss: gradient.loss,
                error: gradient.wrong as f64 / samples.len().max(1) as f64,
            },
            rows,
            beta: gradient.beta,
        })
    }

    fn fit(&self, mix: &Mix, beta: f64, samples: &[usize]) -> Result<Fit> {
        let outcomes = self.runner.share(samples, |own, batches| {
            let mut outcomes = Vec::new();
            for places in batches {
                self.runner.context.setup.check_stop()?;
                let shard = self.runner.shard(own, places)?;
                let model = own.forward.model_again(mix, outcomes.is_empty())?;
                let mut batch = Vec::with_capacity(places.len());
                model.logits(
                    self.runner.context,
                    Some(mix),
                    &shard,
                    (0, places.len()),
                    |row, logits| {
                        let logits: Vec<f64> =
                            logits.iter().map(|&z| beta * f64::from(z)).collect();
                        batch.push(Outcome::of(&logits, shard.labels[row]));
                    },
                )?;
                outcomes.push(batch);
            }
            Ok(outcomes)
        })?;
        // In the order of the samples, whoever had them.
        let mut tally = Tally::default();
        let most = outcomes.iter().map(Vec::len).max().unwrap_or(0);
        for turn in 0..most {
            let batches = outcomes.iter().filter_map(|own| own.get(turn));
            batches.flatten().for_each(|outcome| tally.add(*outcome));
        }
        let score = tally.score();
        Ok(Fit {
            loss: score.loss,
            error: score.error,
        })
    }
}
