//! Writing a mix as a checkpoint file.
//!
//! A `.safetensors` file is one of the checkpoints with other values, so that whatever loads that
//! checkpoint loads it. An `.onnx` file is the origin's network with the mixed tensors inside.
//! Both carry a [`Recipe`]. Running statistics are mixed as weights are.

mod named;
mod network;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

pub use self::network::embedded;
use super::matching::Aligned;
use super::mix::Mix;
use super::pool::Pool;
use crate::checkpoint::{Checkpoint, ending};
use crate::error::{Error, Result};
use crate::graph::network::Network;
use crate::result::atomic;

/// What a file says of how it was made, by keys that begin with `landscape.`.
pub type Recipe = BTreeMap<String, String>;

/// What every key of a recipe begins with.
const PREFIX: &str = "landscape.";

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

/// Writes a mix of the pool's members as a checkpoint, atomically.
///
/// `.safetensors`: names, shapes, orientation, element types and order are those of the first
/// `.safetensors` checkpoint with a part in the mix (of the first at all where none has); what
/// is no parameter of the network (integers, ignored tensors) is copied from it. Where all
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

/// The recipe of a mix: this program's version, the method (`greedy`, …), and the members with a
/// part in it, each with its name, coefficient and the SHA-256 of its file.
///
/// `files` are the hashes by path.
pub fn recipe(method: &str, mix: &Mix, pool: &Pool, files: &[(String, String)]) -> Recipe {
    #[derive(Serialize)]
    struct Part<'a> {
        name: &'a str,
        coefficient: f64,
        #[serde(skip_serializing_if = "Option::is_none")]
        sha256: Option<&'a str>,
    }
    let members = mix.mean().into_iter().zip(&pool.members).enumerate();
    let members =
        members
            .filter(|(index, _)| mix.has_part(*index))
            .map(|(_, (coefficient, member))| {
                let path = member.path.display().to_string();
                let mut files = files.iter();
                Part {
                    name: &member.name,
                    coefficient,
                    sha256: files
                        .find(|file| file.0 == path)
                        .map(|file| file.1.as_str()),
                }
            });
    let members: Vec<Part<'_>> = members.collect();
    let entry = |key: &str, value: String| (format!("{PREFIX}{key}"), value);
    Recipe::from([
        entry("version", env!("CARGO_PKG_VERSION").to_string()),
        entry("method", method.to_string()),
        // Strings and finite numbers: there is always a JSON text for them.
        entry(
            "members",
            serde_json::to_string(&members).unwrap_or_default(),
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::testing::pool;

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

    #[test]
    fn a_recipe_names_those_that_have_a_part() {
        let pool = pool(&[&[0.0], &[1.0], &[2.0]]);
        let files = [("m2.safetensors".to_string(), "ab".to_string())];
        let mix = Mix::new(vec![0.25, 0.0, 0.75]);
        let recipe = recipe("greedy", &mix, &pool, &files);
        let expected =
            r#"[{"name":"m0","coefficient":0.25},{"name":"m2","coefficient":0.75,"sha256":"ab"}]"#;
        assert_eq!(recipe["landscape.members"], expected);
        assert_eq!(recipe["landscape.method"], "greedy");
        assert_eq!(recipe["landscape.version"], env!("CARGO_PKG_VERSION"));
    }
}
