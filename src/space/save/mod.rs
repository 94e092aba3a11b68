//! Saves a mix as a checkpoint file.
//!
//! A `.safetensors` file is one of the checkpoints with other values, so that any code that loads
//! that checkpoint can load it. An `.onnx` file is the origin's network with the mixed tensors
//! inside. Both contain a [`RecipeMetadata`]. Running statistics are mixed like weights.

mod named;
mod network;
mod recipe;

use std::path::{Path, PathBuf};

use prost::Message;

pub use self::network::embedded;
pub use self::recipe::{RecipeMetadata, left_out, recipe};
use super::matching::Aligned;
use super::mix::Mix;
use crate::base::atomic;
use crate::base::dtype::Dtype;
use crate::checkpoint::{Checkpoint, ending};
use crate::error::{Error, Result};
use crate::graph::network::Network;

/// File format of a saved mix.
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

/// Checks that a mix can be saved under this name.
///
/// # Errors
/// When the name ends neither in `.safetensors` nor in `.onnx`.
pub fn check(path: &Path) -> Result<()> {
    Format::of(path).map(|_| ())
}

/// Checks that a file of this name can have element types of its own.
///
/// # Errors
/// When it is an `.onnx` file, whose types are the network's.
pub fn check_types(path: &Path, types: SaveType) -> Result<()> {
    match Format::of(path)? {
        Format::Onnx if types != SaveType::Graph => Err(Error::input(
            path,
            "is an .onnx file, whose element types are those of the network",
        )
        .help("--save-dtype is for .safetensors files")),
        _ => Ok(()),
    }
}

/// The files that saving a mix under this name writes.
///
/// # Errors
/// When [`check`] fails.
pub fn files(path: &Path, aligned: &Aligned, network: &Network<'_>) -> Result<Vec<PathBuf>> {
    let mut files = vec![path.to_path_buf()];
    if matches!(Format::of(path)?, Format::Onnx) && network::has_data_file(network, aligned) {
        files.push(network::data_file(path));
    }
    Ok(files)
}

/// Checks that a file of this name can hold the evaluated model, whichever checkpoint it is written
/// like and whatever was left out of it; call it before a long run.
///
/// # Errors
/// When a `.safetensors` file would need an unknown tensor, or one of a type that is not written.
pub fn check_content(path: &Path, aligned: &Aligned, checkpoints: &[Checkpoint]) -> Result<()> {
    match Format::of(path)? {
        Format::Safetensors => named::check_content(path, aligned, checkpoints),
        Format::Onnx => Ok(()),
    }
}

/// The element types of the mixed tensors in a `.safetensors` file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SaveType {
    /// Those of the network, in which the mix is evaluated.
    #[default]
    Graph,
    /// Those of the checkpoint that the file is like.
    Like,
    /// One for all.
    Of(Dtype),
}

/// Saves a mix of the pool's members as a checkpoint, atomically.
///
/// `.safetensors`: names, shapes, orientation and order are those of the first
/// `.safetensors` checkpoint with a nonzero coefficient (of the first at all if none has one).
/// The element types are `types`. Tensors that are not parameters of the network (integers) are copied from it. Tensors left out
/// with --ignore are θ0's, as in the evaluated model. If all checkpoints are ONNX, the parameters
/// have names and orientation as in the graph of the first with a nonzero coefficient.
///
/// `.onnx`: the origin's names and metadata of tensors are kept. Tensors that its exporter merged
/// but that differ in the checkpoints get the checkpoints' names. If the origin has external data, or
/// the file would exceed 2 GiB, large tensors are written to `NAME.onnx.data` beside it.
///
/// Each element is summed in f64 and rounded once. `checkpoints` are those that were aligned.
///
/// # Errors
/// When the extension is unknown, the file cannot hold the mix (two parameters that differ have one
/// name), or it cannot be written. Then no file is written.
pub fn save(
    path: &Path,
    mix: &Mix,
    aligned: &Aligned,
    network: &Network<'_>,
    (checkpoints, types): (&[Checkpoint], SaveType),
    recipe: &RecipeMetadata,
) -> Result<()> {
    match Format::of(path)? {
        Format::Safetensors => named::write(path, mix, aligned, (checkpoints, types), recipe),
        Format::Onnx => {
            if network::has_data_file(network, aligned) {
                network::write_two_files(path, network, aligned, mix, recipe)
            } else {
                let model = embedded(network, aligned, mix, recipe).encode_to_vec();
                atomic::write(path, |out| out.write_all(&model))
            }
        }
    }
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
