//! Writing a mix as a checkpoint file.
//!
//! A `.safetensors` file is one of the checkpoints with other values, so that whatever loads that
//! checkpoint loads it. An `.onnx` file is the origin's network with the mixed tensors inside.
//! Both carry a [`Recipe`]. Running statistics are mixed as weights are.

mod named;
mod network;
mod recipe;

use std::path::Path;

pub use self::network::embedded;
pub use self::recipe::{Recipe, left_out, recipe};
use super::matching::Aligned;
use super::mix::Mix;
use crate::base::atomic;
use crate::checkpoint::{Checkpoint, ending};
use crate::error::{Error, Result};
use crate::graph::network::Network;

/// How a mix is written.
enum Format {
    Safetensors,
    Onnx,
}

impl Format {
    fn of(path: &Path) -> Result<Self> {
        match ending(path).as_deref() {
            Some("safetensors") => Ok(Self::Safetensors),
            Some("onnx") => Ok(Self::Onnx),
            _ => Err(Error::input(
                path,
                "ends neither in .safetensors nor in .onnx, as a model that is written must",
            )),
        }
    }
}

/// Whether a mix can be written under this name.
///
/// # Errors
/// When it ends neither in `.safetensors` nor in `.onnx`.
pub fn check(path: &Path) -> Result<()> {
    Format::of(path).map(|_| ())
}

/// Whether a file of this name can hold the network; to be asked before a long run.
///
/// # Errors
/// As [`check`], and when it is an `.onnx` file and the network takes more than 2 GiB.
pub fn check_size(path: &Path, aligned: &Aligned, network: &Network<'_>) -> Result<()> {
    match Format::of(path)? {
        Format::Safetensors => Ok(()),
        Format::Onnx => network::check_size(network, aligned).map_err(recommend_safetensors),
    }
}

/// Whether a file of this name can hold the model that is judged, whatever was left out of it.
///
/// # Errors
/// When a `.safetensors` file would need a tensor that is not known.
pub fn check_left_out(path: &Path, aligned: &Aligned, checkpoints: &[Checkpoint]) -> Result<()> {
    match Format::of(path)? {
        Format::Safetensors => named::check_left_out(path, aligned, checkpoints),
        Format::Onnx => Ok(()),
    }
}

/// Writes a mix of the pool's members as a checkpoint, atomically.
///
/// `.safetensors`: names, shapes, orientation, element types and order are those of the first
/// `.safetensors` checkpoint with a part in the mix (of the first at all where none has); what
/// is no parameter of the network (integers) is copied from it, and what was left out with --ignore
/// is θ0's, as in the model that was judged. Where all
/// checkpoints are ONNX the parameters have names and orientation as in the graph of the first
/// with a part.
///
/// `.onnx`: names and metadata that the origin's graph has for its tensors stay; what its
/// exporter merged and the checkpoints tell apart gets their names.
///
/// Each element is summed in f64 and rounded once. `checkpoints` are those that were aligned.
///
/// # Errors
/// When the name's ending is unknown, the file cannot hold the mix (see [`check_size`]; two
/// parameters that differ, under one name), or it cannot be written; then nothing is.
pub fn save(
    path: &Path,
    mix: &Mix,
    aligned: &Aligned,
    network: &Network<'_>,
    checkpoints: &[Checkpoint],
    recipe: &Recipe,
) -> Result<()> {
    match Format::of(path)? {
        Format::Safetensors => named::write(path, mix, aligned, checkpoints, recipe),
        Format::Onnx => {
            let model = embedded(network, aligned, mix, recipe).map_err(recommend_safetensors)?;
            atomic::write(path, |out| out.write_all(&model))
        }
    }
}

fn recommend_safetensors(error: Error) -> Error {
    error.help("a .safetensors file has no such limit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_in_one_of_two_ways() {
        assert!(check(Path::new("a/soup.safetensors")).is_ok());
        assert!(check(Path::new("soup.ONNX")).is_ok());
        for name in ["soup", "soup.pt", "onnx"] {
            let message = check(Path::new(name)).unwrap_err().to_string();
            assert!(message.starts_with(&format!("{name}: ")), "{message}");
            assert!(message.contains(".safetensors") && message.contains(".onnx"));
        }
    }
}
