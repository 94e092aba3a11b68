//! Reading checkpoints: the tensors of `.onnx` and `.safetensors` files, memory-mapped.

pub mod tensor;
