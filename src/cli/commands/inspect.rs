//! `landscape inspect`: the parameters of a network and how checkpoints fit them.

use std::fmt::Write as _;

use crate::checkpoint::tensor::Tensor;
use crate::checkpoint::{Checkpoint, Content, state_dict_beside};
use crate::cli::args::InspectArgs;
use crate::cli::terminal::{note, print};
use crate::error::Result;
use crate::evaluate::onnx::frozen_nodes;
use crate::experiment::inputs::open_origin;
use crate::graph::network::Network;
use crate::space::decode;
use crate::space::gram::Gram;
use crate::space::matching::{self, Aligned, Options, Verified};
use crate::space::pool::Role;
use crate::space::stored_tensor::StoredTensor;

/// Prints a table of tensors, or of parameters across an origin and its checkpoints.
pub fn run(arguments: &InspectArgs) -> Result<()> {
    let first = Checkpoint::open(&arguments.files[0])?;
    if let Content::Safetensors(tensors) = &first.content
        && arguments.files.len() == 1
    {
        tensors
            .iter()
            .for_each(|(name, tensor)| stored(name, tensor));
        return Ok(());
    }
    let (name, model) = open_origin(&arguments.files[0])?;
    let network = Network::of(&model);
    let checkpoints = arguments.files[1..]
        .iter()
        .map(|path| Checkpoint::open(path))
        .collect::<Result<Vec<_>>>()?;
    let found = state_dict_beside(&model.path);
    let weights = arguments.origin_weights.clone().or(found);
    let weights = weights.as_deref().map(Checkpoint::open).transpose()?;
    let options = Options {
        ignore: arguments.ignore.clone(),
    };
    let aligned = matching::pool(&network, &name, &checkpoints, weights.as_ref(), &options)?;
    table(&network, &aligned);
    for warning in &aligned.warnings {
        note(&format!("warning: {warning}"));
    }
    Ok(())
}

fn stored(name: &str, tensor: &Tensor) {
    let norm = if tensor.dtype.is_float() {
        let source = StoredTensor::nameless(tensor, false);
        let squares = decode::values(&source).into_iter().map(|x| x * x);
        format!("{:.6}", squares.sum::<f64>().sqrt())
    } else {
        "-".to_string()
    };
    let shape = format!("{:?}", tensor.shape);
    print(&format!(
        "{name:<44} {shape:<18} {:<5} {norm:>12}",
        tensor.dtype.name()
    ));
}

fn table(network: &Network<'_>, aligned: &Aligned) {
    let pool = &aligned.pool;
    let gram = Gram::of(pool);
    let mut header = format!(
        "{:<44} {:<18} {:<5} {:>12}",
        "parameter", "shape", "dtype", "‖θ0‖"
    );
    for member in &pool.members[1..] {
        let _ = write!(header, "  ‖δ {}‖ (found by)", member.name);
    }
    print(&header);
    for (index, parameter) in pool.parameters.iter().enumerate() {
        let shape = format!("{:?}", parameter.shape);
        let mut line = format!(
            "{:<44} {shape:<18} {:<5} {:>12.6}",
            parameter.name,
            parameter.dtype.name(),
            gram.squared_origin[index].sqrt()
        );
        for (k, method) in aligned.methods[index].iter().enumerate() {
            let source = &pool.members[k + 1].sources[index];
            let norm = gram.per_parameter[index][[k, k]].sqrt();
            let _ = write!(line, "  {norm:.6} ({}", method.name());
            if source.name != parameter.name {
                let _ = write!(line, " {}", source.name);
            }
            let turned = if source.transposed {
                ", transposed"
            } else {
                ""
            };
            let _ = write!(line, "{turned})");
        }
        if parameter.role == Role::Buffer {
            line.push_str("  running statistic: moves with the mix, counts in no norm");
        }
        if let Some(other) = parameter.tied_to {
            let _ = write!(line, "  tied to {}", pool.parameters[other].name);
        }
        if parameter.frozen && !aligned.methods[index].is_empty() {
            line.push_str("  frozen");
        }
        print(&line);
    }
    print(&format!("‖θ0‖ = {:.6}", gram.norm_origin()));
    if pool.members.len() > 1 {
        let (frozen, all) = frozen_nodes(network, aligned);
        print(&format!(
            "frozen: {} of {} parameters; {frozen} of {all} nodes depend on no other and can be run once",
            pool.parameters.iter().filter(|one| one.frozen).count(),
            pool.parameters.len()
        ));
    }
    for (k, member) in pool.members[1..].iter().enumerate() {
        let norm = gram.norm(k);
        print(&format!(
            "{}: ‖δ‖ = {norm:.6}, ‖δ‖/‖θ0‖ = {:.4}; verified {}",
            member.name,
            norm / gram.norm_origin(),
            match aligned.verified[k] {
                Verified::Value => "by value: θ0's state dict holds what the graph holds",
                Verified::Graph => "by its graph, which is the origin's node by node",
                Verified::Name => "by name alone",
            }
        ));
    }
    if !aligned.constants.is_empty() {
        print(&format!(
            "constants of the network: {}",
            aligned.constants.join(", ")
        ));
    }
    for (member, passed) in pool.members[1..].iter().zip(&aligned.passed_over) {
        if !passed.is_empty() {
            print(&format!(
                "{}: passed over: {}",
                member.name,
                passed.join(", ")
            ));
        }
    }
}
