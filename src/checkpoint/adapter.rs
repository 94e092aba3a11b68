//! Adapters: what fine-tuning of a few added parameters saves, without the model.

use std::collections::BTreeMap;
use std::path::Path;

use super::tensor::Tensor;
use crate::error::{Error, Result};

/// Refuses an adapter: it holds factors of a difference from its base and is no model by itself.
///
/// # Errors
/// When the tensors are those of an adapter.
pub fn refuse(path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    let is_factor = |name: &&String| name.contains("lora_A") || name.contains("lora_B");
    let is_named = path.file_stem().is_some_and(|stem| stem == "adapter_model");
    let configured = is_named && path.with_file_name("adapter_config.json").is_file();
    let holds = match tensors.keys().find(is_factor) {
        Some(factor) => format!("holds a LoRA adapter (`{factor}`)"),
        None if configured => "holds an adapter (adapter_config.json is beside it)".to_string(),
        None => return Ok(()),
    };
    Err(
        Error::input(path, format!("{holds}, not the weights of a model")).help(
            "merge it into its base in Python, and name the merged model: \
             model.merge_and_unload().save_pretrained(\"merged\")",
        ),
    )
}
