//! Mixed tensors as values of ONNX Runtime.

use half::{bf16, f16};
use ort::value::{DynValue, Tensor};

use crate::checkpoint::tensor::Dtype;
use crate::space::mix::{Mix, MixOut, Scratch, mix_into};
use crate::space::pool::Pool;

/// Writes a mixed parameter into a tensor of the parameter's type.
///
/// # Errors
/// Fails when the tensor has another type.
pub fn upload(
    pool: &Pool,
    index: usize,
    mix: &Mix,
    value: &mut DynValue,
    scratch: &mut Scratch,
) -> ort::Result<()> {
    let out = match pool.parameters[index].dtype {
        Dtype::F64 => MixOut::F64(value.try_extract_tensor_mut::<f64>()?.1),
        Dtype::F16 => MixOut::F16(value.try_extract_tensor_mut::<f16>()?.1),
        Dtype::Bf16 => MixOut::Bf16(value.try_extract_tensor_mut::<bf16>()?.1),
        _ => MixOut::F32(value.try_extract_tensor_mut::<f32>()?.1),
    };
    mix_into(pool, index, mix, out, scratch);
    Ok(())
}

/// A tensor of zeros.
///
/// # Errors
/// Fails when ONNX Runtime has no memory.
pub fn empty(dtype: Dtype, shape: &[usize]) -> ort::Result<DynValue> {
    let (shape, len) = (shape.to_vec(), shape.iter().product());
    Ok(match dtype {
        Dtype::F64 => Tensor::from_array((shape, vec![0.0_f64; len]))?.into_dyn(),
        Dtype::F16 => Tensor::from_array((shape, vec![f16::ZERO; len]))?.into_dyn(),
        Dtype::Bf16 => Tensor::from_array((shape, vec![bf16::ZERO; len]))?.into_dyn(),
        _ => Tensor::from_array((shape, vec![0.0_f32; len]))?.into_dyn(),
    })
}
