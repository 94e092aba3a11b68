//! What the name of an adapter's tensor says.

use crate::error::{Error, Result};

/// The role of a tensor in an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The first factor, A: [rank, in, …].
    A,
    /// The second factor, B: [out, rank, …].
    B,
    /// The bias of B, one element for each output.
    FactorBias,
    /// The first factor of an embedding: [rank, rows].
    EmbeddingA,
    /// The second factor of an embedding: [columns, rank].
    EmbeddingB,
    /// The trained norm of each output (DoRA).
    Magnitude,
}

/// A tensor's name, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub enum Named {
    /// A part of the update of a module.
    Part {
        /// Path of the module in the base.
        module: String,
        /// Role of the tensor.
        part: Part,
        /// Name of the adapter; PEFT's files of one adapter have none.
        adapter: Option<String>,
    },
    /// A whole tensor of the model, by its name in the base.
    Whole {
        /// Name in the base.
        name: String,
        /// Name of the adapter, as above.
        adapter: Option<String>,
    },
    /// A part of the update of a layer within another that is updated: `nn.MultiheadAttention`, or
    /// several parameters of one module.
    Nested {
        /// Path of the inner layer in the base.
        module: String,
    },
    /// A copy that PEFT keeps of a tensor it replaces.
    Replaced,
    /// A tensor of a method that is not computed here.
    Unknown,
}

/// Path of the model within PEFT's own.
const WRAPPER: &str = "base_model.model.";

/// Whether a name is that of a factor: only adapters have such.
pub fn is_factor(name: &str) -> bool {
    name.split('.')
        .any(|it| part(it).is_some() || it.starts_with("lora_"))
}

/// Takes a name apart.
pub fn read(name: &str) -> Named {
    let inner = name.strip_prefix(WRAPPER).unwrap_or(name);
    let segments: Vec<&str> = inner.split('.').collect();
    let Some(at) = segments.iter().position(|it| it.starts_with("lora_")) else {
        return whole(&segments);
    };
    let module = without_wrappers(&segments[..at]);
    if segments[..at].contains(&"base_layer") {
        return Named::Nested { module };
    }
    let rest = &segments[at + 1..];
    let named = |part: Part, adapter: Option<&&str>| Named::Part {
        module: module.clone(),
        part,
        adapter: adapter.map(ToString::to_string),
    };
    match (part(segments[at]), rest) {
        (Some(part @ (Part::A | Part::B)), ["weight"]) => named(part, None),
        (Some(part @ (Part::A | Part::B)), [adapter, "weight"]) => named(part, Some(adapter)),
        (Some(Part::B), ["bias"]) => named(Part::FactorBias, None),
        (Some(Part::B), [adapter, "bias"]) => named(Part::FactorBias, Some(adapter)),
        (Some(part @ (Part::EmbeddingA | Part::EmbeddingB)), []) => named(part, None),
        (Some(part @ (Part::EmbeddingA | Part::EmbeddingB)), [adapter]) => {
            named(part, Some(adapter))
        }
        (Some(Part::Magnitude), [] | ["weight"]) => named(Part::Magnitude, None),
        (Some(Part::Magnitude), [adapter] | [adapter, "weight"]) => {
            named(Part::Magnitude, Some(adapter))
        }
        _ => Named::Unknown,
    }
}

fn part(segment: &str) -> Option<Part> {
    match segment {
        "lora_A" => Some(Part::A),
        "lora_B" => Some(Part::B),
        "lora_embedding_A" => Some(Part::EmbeddingA),
        "lora_embedding_B" => Some(Part::EmbeddingB),
        "lora_magnitude_vector" => Some(Part::Magnitude),
        _ => None,
    }
}

/// A name without a part of an update: a whole tensor, such as those of `modules_to_save`.
fn whole(segments: &[&str]) -> Named {
    if segments.contains(&"original_module") {
        return Named::Replaced;
    }
    if segments.contains(&"token_adapter") {
        return Named::Unknown;
    }
    let saved = segments.iter().position(|it| *it == "modules_to_save");
    let Some(at) = saved else {
        return Named::Whole {
            name: without_wrappers(segments),
            adapter: None,
        };
    };
    let (before, after) = (&segments[..at], &segments[at + 1..]);
    match after.split_first() {
        Some((adapter, inner)) if !inner.is_empty() => Named::Whole {
            name: without_wrappers(&[before, inner].concat()),
            adapter: Some((*adapter).to_string()),
        },
        _ => Named::Unknown,
    }
}

/// Leaves out the names of PEFT's layers that hold the base's.
fn without_wrappers(segments: &[&str]) -> String {
    let own = segments.iter().filter(|it| **it != "base_layer");
    own.copied().collect::<Vec<_>>().join(".")
}

/// Checks that all tensors belong to one adapter: a file of several does not say which is meant.
///
/// # Errors
/// What `refuse` makes of the names, when there are several.
pub fn one_adapter(named: &[Named], refuse: impl Fn(String) -> Error) -> Result<()> {
    let mut names: Vec<&str> = named
        .iter()
        .filter_map(|it| match it {
            Named::Part { adapter, .. } | Named::Whole { adapter, .. } => adapter.as_deref(),
            Named::Nested { .. } | Named::Replaced | Named::Unknown => None,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    match names.len() {
        0 | 1 => Ok(()),
        _ => Err(refuse(format!("`{}`", names.join("`, `")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part_of(module: &str, part: Part, adapter: Option<&str>) -> Named {
        Named::Part {
            module: module.to_string(),
            part,
            adapter: adapter.map(String::from),
        }
    }

    fn whole_of(name: &str, adapter: Option<&str>) -> Named {
        Named::Whole {
            name: name.to_string(),
            adapter: adapter.map(String::from),
        }
    }

    #[test]
    fn names_as_peft_saves_them() {
        for (name, expected) in [
            (
                "base_model.model.h.0.q.lora_A.weight",
                part_of("h.0.q", Part::A, None),
            ),
            (
                "h.q.lora_B.default.weight",
                part_of("h.q", Part::B, Some("default")),
            ),
            ("q.lora_B.bias", part_of("q", Part::FactorBias, None)),
            (
                "base_model.model.wte.lora_embedding_A",
                part_of("wte", Part::EmbeddingA, None),
            ),
            (
                "wte.lora_embedding_B.x",
                part_of("wte", Part::EmbeddingB, Some("x")),
            ),
            (
                "q.lora_magnitude_vector",
                part_of("q", Part::Magnitude, None),
            ),
            (
                "q.lora_magnitude_vector.weight",
                part_of("q", Part::Magnitude, None),
            ),
            (
                "q.lora_magnitude_vector.x.weight",
                part_of("q", Part::Magnitude, Some("x")),
            ),
            (
                "attn.base_layer.out_proj.lora_A.weight",
                Named::Nested {
                    module: "attn.out_proj".to_string(),
                },
            ),
            (
                "base_model.model.classifier.weight",
                whole_of("classifier.weight", None),
            ),
            (
                "base_model.model.q.base_layer.bias",
                whole_of("q.bias", None),
            ),
            (
                "fc.modules_to_save.default.0.bias",
                whole_of("fc.0.bias", Some("default")),
            ),
            ("fc.original_module.weight", Named::Replaced),
            ("e.token_adapter.trainable_tokens_delta", Named::Unknown),
            ("q.lora_diag.default", Named::Unknown),
            ("q.lora_A.x.y.weight", Named::Unknown),
            ("fc.modules_to_save.default", Named::Unknown),
        ] {
            assert_eq!(read(name), expected, "{name}");
        }
    }

    #[test]
    fn factors_tell_an_adapter_from_a_model() {
        assert!(is_factor("a.lora_A.weight") && is_factor("a.lora_E"));
        assert!(!is_factor("explora_A.weight") && !is_factor("base_model.model.fc.weight"));
    }
}
