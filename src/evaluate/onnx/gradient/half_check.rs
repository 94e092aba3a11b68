//! Compares a network that computes in 16 bits with the same network in doubles. A value that
//! exceeds the range of a float16 (65,504) may hide behind finite logits: an infinite score becomes
//! a probability of 1, and an infinite variance a normalized value of 0.

use super::gradient_graph::{forward, probe};
use super::loss_batch::LossBatch;
use super::precision::Precision;
use super::value_probe::expose_values;
use super::weights::Weights;
use crate::checkpoint::onnx::proto::ModelProto;
use crate::error::{Cause, Error, Result};
use crate::evaluate::onnx::binding::Binding;
use crate::evaluate::onnx::buffer::to_f32;
use crate::evaluate::onnx::context::Context;
use crate::evaluate::onnx::engine::Engine;
use crate::evaluate::onnx::feed::Feeds;
use crate::evaluate::onnx::light_model::LightSession;
use crate::evaluate::onnx::memory;
use crate::evaluate::onnx::origin_check::{difference, rounding};
use crate::evaluate::onnx::setup::failed;
use crate::evaluate::onnx::shard::Shard;
use crate::graph::gradient::loss;
use crate::graph::gradient::widen::widened;
use crate::graph::gradient::{giving, is_half};
use crate::space::mix::Mix;

/// Number of samples that are compared.
const SAMPLES: usize = 8;

/// Most members of the pool that are compared.
const MEMBERS: usize = 8;

/// How many times the rounding that is usual for a network of this type a difference must be to be
/// reported: 5 % of the logits' range in float16.
const UNUSUAL: f64 = 5.0;

impl Engine<'_> {
    /// Compares a network that computes in 16 bits with the same network in doubles, at θ0 and the
    /// first checkpoints, on a few samples. Warns if the logits differ by more than rounding
    /// explains, or if they could not be compared.
    ///
    /// # Errors
    /// Fails when the user stopped the run.
    pub fn compare_with_doubles(mut self) -> Result<Self> {
        let context = &self.context;
        if !is_half(context.graphs.plain()) {
            return Ok(self);
        }
        let warning = match compared(context) {
            Ok(found) => found.map(|found| found.warning(context)),
            Err(error) if matches!(error.cause(), Cause::Interrupted) => return Err(error),
            Err(error) => Some(format!(
                "the network computes in 16 bits and could not be compared with itself in doubles, \
                 so that an overflow behind finite values would not be seen: {}",
                error.first_line()
            )),
        };
        self.warn(warning);
        Ok(self)
    }
}

/// A difference that rounding does not explain.
struct Found {
    member: usize,
    /// The largest difference of two logits, as a fraction of their range.
    part: f64,
}

impl Found {
    fn warning(&self, context: &Context<'_>) -> String {
        format!(
            "{}: in 16 bits its logits differ from those of the same network in doubles by up to \
             {:.0} % of their range, on {SAMPLES} samples of {}: values may exceed the range of the \
             type inside the network; an export in float32 gives the right ones",
            context.setup.pool.members[self.member].name,
            100.0 * self.part,
            context.setup.datasets[0].path().display()
        )
    }
}

/// The largest unusual difference among the members.
fn compared(context: &Context<'_>) -> Result<Option<Found>> {
    // Four times as many bytes a weight, as fed, packed and while the session is built.
    let parameters = context.setup.pool.parameters.iter();
    let weights: usize = parameters.map(|it| it.len()).sum();
    if 3 * 8 * weights as u64 > memory::budget(context) {
        return Err(Error::runtime(
            "--memory",
            "its weights take too much memory",
        ));
    }
    let mut pair = Pair::new(context)?;
    let mut worst: Option<Found> = None;
    for member in 0..context.members().min(MEMBERS) {
        context.setup.check_stop()?;
        let mix = Mix::unit(member, context.members());
        let narrow = pair.narrow.logits(context, &mix, Precision::Own)?;
        let wide = pair.wide.logits(context, &mix, Precision::Double)?;
        let part = difference(&wide, &narrow).map_or(0.0, |(most, range)| most / range);
        if part > UNUSUAL * rounding(context) && worst.as_ref().is_none_or(|it| part > it.part) {
            worst = Some(Found { member, part });
        }
    }
    Ok(worst)
}

/// The network in its own types and in doubles. Weights are inputs.
struct Pair {
    narrow: Run,
    wide: Run,
}

struct Run {
    session: LightSession,
    feeds: Feeds,
}

impl Pair {
    fn new(context: &Context<'_>) -> Result<Self> {
        let setup = &context.setup;
        let mix = Mix::unit(0, context.members());
        let weights = Weights::of_mix(context, &mix, Precision::Own)?;
        let batch = batch(context, &weights)?;
        let model = forward(context, &batch, Binding::Inputs)?;
        let exposed = setup.light(expose_values(model.clone()));
        let mut session = setup.session(&exposed, 1, 0)?;
        let feeds = Feeds::by_name(&session, &context.input_names())?;
        let seen = probe(&mut session, &feeds, &batch)?;
        let values = loss::values(&model, seen);
        let model = giving(model, std::slice::from_ref(&setup.signature.output_name));
        let moving = context.moving.iter().map(|it| it.name.clone());
        let wide = widened(model.clone(), &values, &moving.collect())?;
        Ok(Self {
            narrow: Run::new(context, model)?,
            wide: Run::new(context, wide)?,
        })
    }
}

impl Run {
    fn new(context: &Context<'_>, model: ModelProto) -> Result<Self> {
        let setup = &context.setup;
        let session = setup.session(&setup.light(model), 1, 0)?;
        let feeds = Feeds::by_name(&session, &context.input_names())?;
        Ok(Self { session, feeds })
    }

    fn logits(
        &mut self,
        context: &Context<'_>,
        mix: &Mix,
        precision: Precision,
    ) -> Result<Vec<f32>> {
        let weights = Weights::of_mix(context, mix, precision)?;
        let batch = batch(context, &weights)?;
        let output = context.setup.signature.output_name.as_str();
        let values = self.feeds.values(|feed| batch.value(feed));
        let logits = values.and_then(|values| {
            let outputs = self.session.run(values)?;
            let (_, logits) = to_f32(&outputs[output])?;
            Ok(logits.to_vec())
        });
        logits.map_err(|error| failed("comparing the network with doubles", &error))
    }
}

/// The first samples of the first data set.
fn batch<'w>(context: &Context<'_>, weights: &'w Weights) -> Result<LossBatch<'w>> {
    let setup = &context.setup;
    let rows = setup.signature.fixed_batch.unwrap_or(SAMPLES);
    let (shard, _): (Shard, _) = context.shard(0, 0..rows.min(setup.datasets[0].len()), rows)?;
    Ok(LossBatch::new(shard, rows, weights))
}
