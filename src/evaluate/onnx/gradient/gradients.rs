//! Loss and gradient of mixes on a data set, in the weights and in the coefficients.

use super::gradient_buffer::GradientBuffer;
use super::gradient_graph::{self, GradientGraph};
use super::gradient_layout::gradient_layout;
use super::precision::Precision;
use super::runner::{Runner, Sums, sample_batches};
use super::weights::Weights;
use crate::checkpoint::tensor::Dtype;
use crate::error::Result;
use crate::evaluate::differentiable_loss::{CoefficientGradient, DifferentiableLoss, Fit};
use crate::evaluate::metrics::Outcome;
use crate::evaluate::onnx::context::Context;
use crate::evaluate::onnx::engine::Engine;
use crate::evaluate::onnx::layout::Layout;
use crate::graph::gradient;
use crate::result::score::DatasetInfo;
use crate::space::mix::Mix;
use crate::space::slope::inner_products;

/// Loss and gradient over many samples.
#[derive(Debug, Clone)]
pub struct Gradient {
    /// Mean loss of β·logits, in nats.
    pub loss: f64,
    /// Number of samples that are classified wrongly.
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
    /// Prepares the gradient on a data set. `samples` is the approximate number of samples per
    /// call, which determines the layout.
    ///
    /// # Errors
    /// Fails when an operator between the moving tensors and the logits has no derivative, or the
    /// network cannot be run.
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

    /// Checks, before any long computation, that [`Engine::gradients`] will work.
    ///
    /// # Errors
    /// Fails as [`Engine::gradients`] does.
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

    /// The precision that gradients are computed in when `asked` is requested: doubles if the
    /// network computes in 16 bits. Gradients exceed the range of a float16, and ONNX Runtime
    /// supports few of the necessary operators in these types.
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

    /// The fraction by which rounding may change a loss from one graph or batch to another: float32
    /// has seven digits, of which about five remain in a deep network; 16-bit formats have two or
    /// three.
    pub fn rounding(&self) -> f64 {
        match self.precision(Precision::Own) {
            Precision::Own if !self.context.setup.options.tf32 => 1e-3,
            _ => 0.1,
        }
    }

    pub(super) fn gradients_laid_out(
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
}

/// Writes the graph of the gradient for batches of a data set.
fn write_gradient(
    context: &Context<'_>,
    dataset: usize,
    layout: &Layout,
    precision: Precision,
) -> Result<GradientGraph> {
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
    /// Fails when the network cannot be run, or the user stopped the run.
    pub fn loss_and_gradient(&self, mix: &Mix, beta: f64, samples: &[usize]) -> Result<Gradient> {
        let weights = Weights::of_mix(self.runner.context, mix, self.precision)?;
        self.at(&weights, beta, samples)
    }

    /// Loss and gradient at weights that are already mixed.
    pub(super) fn at(&self, weights: &Weights, beta: f64, samples: &[usize]) -> Result<Gradient> {
        let sums = self.runner.sums(weights, beta, samples)?;
        Ok(Gradient {
            loss: sums.loss,
            wrong: sums.wrong,
            beta: sums.beta,
            weights: sums.tensors,
        })
    }

    /// Sums over groups of samples; see [`Runner::by_group`].
    pub(super) fn by_group<T: Send>(
        &self,
        weights: &Weights,
        groups: &[&[usize]],
        of: impl Fn(&Sums) -> T + Sync,
    ) -> Result<Vec<T>> {
        self.runner.by_group(weights, groups, of)
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
            rows[index] = inner_products(pool, index, mix, |start, out| weights.read(start, out));
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

    fn outcomes(&self, mix: &Mix, beta: f64, samples: &[usize]) -> Result<Vec<Outcome>> {
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
        // In the order of the samples, whichever worker had them.
        let most = outcomes.iter().map(Vec::len).max().unwrap_or(0);
        let turns = (0..most).flat_map(|turn| outcomes.iter().filter_map(move |own| own.get(turn)));
        Ok(turns.flatten().copied().collect())
    }
}
