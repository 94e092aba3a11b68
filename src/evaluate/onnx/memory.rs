//! Estimates, in bytes, how much memory an evaluation takes and how much it may take. Reserves
//! nothing.

use super::binding::Binding;
use super::context::Context;
use super::layout::Layout;
use super::options::EvaluationOptions;
use crate::base::human::size;
use crate::base::machine::Memory;
use crate::checkpoint::onnx::Model;
use crate::error::{Error, Result};

/// Bytes of data that may stay in a GPU's memory. A constant, since this program does not know how
/// much memory the GPU has.
pub const RESIDENT_BYTES: u64 = 4 << 30;

/// How many times a session of its own for each mix takes the bytes of the weights: as mixed, as
/// packed by ONNX Runtime, and in part once more while it is built.
const COPIES: usize = 3;

/// The memory budget, in bytes.
pub fn budget(context: &Context<'_>) -> u64 {
    allowed(&context.setup.options)
}

/// The memory that a run may take, in bytes: half of what is free, unless the options say.
fn allowed(options: &EvaluationOptions) -> u64 {
    // 1 GiB where the system does not tell.
    let usual = || Memory::of_this_machine().map_or(1 << 30, |memory| memory.available / 2);
    options.memory.unwrap_or_else(usual)
}

/// Checks that one session of a network fits into memory, from the sizes of its tensors alone, so
/// that a run that cannot begin is refused before its files are read.
///
/// # Errors
/// Fails when it does not fit; the message says how much is missing.
pub fn check_fits(model: &Model, options: &EvaluationOptions) -> Result<()> {
    let floats = model.tensors.values().filter(|it| it.dtype.is_float());
    let weights: usize = floats.map(|tensor| tensor.bytes.len()).sum();
    let (needed, allowed) = ((weights * COPIES) as u64, allowed(options));
    if needed <= allowed {
        return Ok(());
    }
    let problem = format!(
        "{} is too little: the weights of {} take {}, and a session about {}",
        size(allowed),
        model.path.display(),
        size(weights as u64),
        size(needed)
    );
    let cure = match options.memory {
        Some(_) => "give more, or use a machine with more memory",
        None => {
            "this is half of what is free now; --memory allows more, as far as the machine has it"
        }
    };
    Err(Error::flag("--memory", problem).help(cure))
}

/// Bytes of one sample in the first data set's shape, features included.
pub fn sample_bytes(context: &Context<'_>) -> u64 {
    let inputs = (0..context.setup.signature.inputs.len()).map(|k| {
        let data = &context.setup.datasets[0];
        data.sample_len(k) * data.dtype(k).size()
    });
    let features = context.features().iter();
    let features =
        features.map(|feature| feature.shape.iter().product::<usize>() * feature.dtype.size());
    inputs.chain(features).sum::<usize>() as u64 + 8
}

/// Bytes of all samples.
pub fn data_bytes(context: &Context<'_>) -> u64 {
    sample_bytes(context) * context.setup.samples() as u64
}

/// Bytes of all sessions. The mapped files of the checkpoints and constants in them do not count:
/// the system reads them again if it needs their memory. With in-graph mixing each session holds a
/// copy of every member.
pub fn session_bytes(context: &Context<'_>, layout: &Layout) -> u64 {
    let parameters = context.setup.pool.parameters.iter();
    let weights = parameters.map(|it| it.len() * it.dtype.size().unwrap_or(4));
    let copies = match layout.binding {
        Binding::InGraph => context.members() + 2,
        Binding::Baked | Binding::Inputs => COPIES,
    };
    // Statistics of a mix are re-estimated in a session beside the one that evaluates it.
    let beside = match context.statistics {
        Some(_) => COPIES,
        None => 0,
    };
    (weights.sum::<usize>() * (copies + beside) * layout.workers) as u64
}

/// Bytes of the training samples that batch norm's statistics are re-estimated from.
pub fn statistics_bytes(context: &Context<'_>) -> u64 {
    let samples = context.samples_of_mix() - context.setup.samples();
    samples as u64 * sample_bytes(context)
}

/// Bytes of what calibrates the models: the samples, beside those of a chunk, and each worker's logits
/// on them.
pub fn calibration_bytes(context: &Context<'_>, layout: &Layout) -> u64 {
    context.calibration.map_or(0, |of| {
        let logits = 4 * of.classes * layout.workers;
        of.samples as u64 * (sample_bytes(context) + logits as u64)
    })
}

/// Bytes that the budget leaves for samples.
///
/// # Errors
/// Fails when the sessions leave no room for a batch.
pub fn room(context: &Context<'_>, layout: &Layout) -> Result<u64> {
    let budget = budget(context);
    let sessions = session_bytes(context, layout)
        + statistics_bytes(context)
        + calibration_bytes(context, layout);
    let least = sample_bytes(context) * layout.batch as u64;
    if budget < sessions + least {
        return Err(Error::flag(
            "--memory",
            format!(
                "{} is too little: the sessions of {} workers take about {} and a batch {}",
                size(budget),
                layout.workers,
                size(sessions),
                size(least)
            ),
        )
        .help("use fewer --workers or a smaller --batch"));
    }
    Ok(budget - sessions)
}
