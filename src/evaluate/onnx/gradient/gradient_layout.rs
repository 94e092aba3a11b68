//! Chooses layouts for gradients and Hessian-vector products. Measures nothing.

use super::precision::Precision;
use crate::evaluate::onnx::binding::Binding;
use crate::evaluate::onnx::context::Context;
use crate::evaluate::onnx::layout::Layout;
use crate::evaluate::onnx::options::BindingChoice;

/// Default batch size: on the example's network 16 takes 4 % less time per sample than 32, and 8
/// takes no less than 16.
const BATCH: usize = 16;

/// After this many runs of a worker with unchanged weights, baking them into the session, so that
/// ONNX Runtime packs them, is cheaper than feeding them: on the example's network building takes
/// as long as two to three runs, and a run then takes a quarter less time.
const BAKE_AFTER_RUNS: usize = 12;

/// Weights larger than this, in bytes, are held once per device, not once per worker.
const LARGE: u64 = 256 << 20;

/// Chooses a layout for gradients over `samples` samples, given that the weights are reused `times`
/// times. It has as many workers as there are cores and batches, but only one per device if the
/// weights are large. Weights are baked if that will pay.
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
        // The network's graph can store weights only in the network's own types.
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
