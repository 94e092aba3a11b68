//! How gradients and products with the Hessian are laid out on the machine. Nothing is measured.

use super::precision::Precision;
use crate::evaluate::onnx::binding::Binding;
use crate::evaluate::onnx::context::Context;
use crate::evaluate::onnx::layout::Layout;
use crate::evaluate::onnx::options::BindingChoice;

/// Samples a run, where nothing else is asked for: on the example's network 16 take 4 % less time a
/// sample than 32, and 8 no less than 16.
const BATCH: usize = 16;

/// After this many runs of a worker with unchanged weights, baking them into the session, so that ONNX
/// Runtime packs them, is cheaper than feeding them: on the example's network building takes as long
/// as two to three runs, and a run a quarter less.
const BAKE_AFTER_RUNS: usize = 12;

/// Weights of more bytes than this are held once for each device, not once for each worker.
const LARGE: u64 = 256 << 20;

/// Chooses a layout for gradients over `samples` samples, given that the weights are reused `times`
/// times: as many workers as there are cores and batches, but one a device where the weights are
/// large; weights are baked where that is going to pay.
pub fn gradient_layout(
    context: &Context<'_>,
    samples: usize,
    times: usize,
    precision: Precision,
) -> Layout {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let moving = context.moving.iter().map(|it| {
        let parameter = &context.setup.pool.parameters[it.parameter];
        (parameter.len() * parameter.dtype.size().unwrap_or(4)) as u64
    });
    let options = &context.setup.options;
    let devices = options.device.count();
    let most = if moving.sum::<u64>() > LARGE {
        devices
    } else {
        cores.max(devices)
    };
    let batch = context.setup.signature.fixed_batch.unwrap_or_else(|| {
        let batch = options.batch.unwrap_or(BATCH);
        batch.min(samples.div_ceil(most)).max(1)
    });
    let workers = options.workers.unwrap_or(most);
    let workers = workers.min(samples.div_ceil(batch)).max(1);
    let runs = samples.div_ceil(batch * workers).saturating_mul(times);
    let binding = match (options.binding, precision) {
        // Only the types of the network are stored in its graph.
        (BindingChoice::Inputs, _) | (_, Precision::Double) => Binding::Inputs,
        (BindingChoice::Baked, _) => Binding::Baked,
        _ if runs >= BAKE_AFTER_RUNS => Binding::Baked,
        _ => Binding::Inputs,
    };
    Layout {
        workers,
        threads: options.threads.unwrap_or((cores / workers).max(1)),
        batch,
        binding,
        chunks: 1,
    }
}
