//! The signature of the network: its inputs and the output that holds the logits, according to its
//! file. Reads the graph; runs nothing.

use crate::checkpoint::onnx::proto::{DataType, DimensionValue, TypeValue, ValueInfoProto};
use crate::data::{InputDtype, InputSpec};
use crate::error::{Error, Result};
use crate::graph::network::Network;

/// The network's inputs, and the output that holds the logits.
#[derive(Debug, Clone)]
pub struct Signature {
    /// The inputs, in order.
    pub inputs: Vec<InputSpec>,
    /// Index of the logits among the outputs.
    pub output: usize,
    /// Name of the logits.
    pub output_name: String,
    /// The batch size that the graph fixes, if it does.
    pub fixed_batch: Option<usize>,
}

impl Signature {
    /// Reads the signature; `output` names the logits when the graph has several outputs.
    ///
    /// # Errors
    /// Fails when an input has a type that no data can feed, when inputs fix different batch sizes,
    /// or when it is unclear which output holds the logits.
    pub fn of(network: &Network<'_>, output: Option<&str>) -> Result<Self> {
        let inputs = inputs(network)?;
        let batches: Vec<usize> = inputs
            .iter()
            .filter_map(|input| input.shape.first().copied().flatten())
            .collect();
        if batches.windows(2).any(|pair| pair[0] != pair[1]) || batches.contains(&0) {
            return Err(Error::input(
                &network.model.path,
                format!("its inputs fix batch sizes {batches:?}, which do not fit together"),
            ));
        }
        let (output, output_name) = logits(network, output)?;
        Ok(Self {
            inputs,
            output,
            output_name,
            fixed_batch: batches.first().copied(),
        })
    }
}

/// The inputs that need data.
///
/// # Errors
/// Fails when an input has a type that no data can feed.
pub fn inputs(network: &Network<'_>) -> Result<Vec<InputSpec>> {
    let names = network.inputs();
    let inputs = network.model.graph().input.iter();
    inputs
        .filter(|input| names.contains(&input.name()))
        .map(|input| spec(network, input))
        .collect()
}

fn logits(network: &Network<'_>, wanted: Option<&str>) -> Result<(usize, String)> {
    let outputs: Vec<&str> = network
        .model
        .graph()
        .output
        .iter()
        .map(ValueInfoProto::name)
        .collect();
    let list = outputs.join("`, `");
    let found = match (wanted, outputs.as_slice()) {
        (Some(wanted), _) => outputs
            .iter()
            .position(|name| *name == wanted)
            .ok_or_else(|| {
                Error::flag(
                    "--output",
                    format!("the network has no output `{wanted}`; it has `{list}`"),
                )
            })?,
        (None, [_]) => 0,
        (None, _) => outputs
            .iter()
            .position(|name| *name == "logits")
            .ok_or_else(|| {
                Error::input(
                    &network.model.path,
                    format!("has {} outputs, `{list}`", outputs.len()),
                )
                .help("say which one holds the logits: --output NAME")
            })?,
    };
    Ok((found, outputs[found].to_string()))
}

fn spec(network: &Network<'_>, input: &ValueInfoProto) -> Result<InputSpec> {
    let fault = |problem: &str| {
        Error::input(
            &network.model.path,
            format!("input `{}` {problem}", input.name()),
        )
    };
    let Some(TypeValue::Tensor(tensor)) = input.r#type.as_ref().and_then(|t| t.value.as_ref())
    else {
        return Err(fault("is no tensor"));
    };
    let dtype = match DataType::try_from(tensor.elem_type()) {
        Ok(DataType::Float) => InputDtype::F32,
        Ok(DataType::Float16) => InputDtype::F16,
        Ok(DataType::Bfloat16) => InputDtype::Bf16,
        Ok(DataType::Double) => InputDtype::F64,
        Ok(DataType::Int64) => InputDtype::I64,
        Ok(DataType::Int32) => InputDtype::I32,
        Ok(DataType::Uint8) => InputDtype::U8,
        Ok(DataType::Bool) => InputDtype::Bool,
        _ => return Err(fault("is of an element type that no data set can feed")),
    };
    let dims = tensor.shape.as_ref().map_or(&[][..], |shape| &shape.dim);
    let size = |value: &Option<DimensionValue>| match value {
        Some(DimensionValue::DimValue(size)) => usize::try_from(*size).ok(),
        _ => None,
    };
    if dims.is_empty() {
        return Err(fault("has no axis for the batch"));
    }
    Ok(InputSpec {
        name: input.name().to_string(),
        dtype,
        shape: dims.iter().map(|dim| size(&dim.value)).collect(),
    })
}
