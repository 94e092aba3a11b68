//! Tells of graphs that hold the factors of LoRA as tensors of their own: an adapter that was
//! exported without being merged.
//!
//! There the weight is W + s·B·A, and what is averaged are A and B. The product of two averages is
//! not the average of two products.

use std::collections::{BTreeMap, BTreeSet};

use super::aligned::Aligned;
use super::findings::some;

/// Names of tensors that are multiplied, or by whose norm a product is divided.
const FACTORS: [&str; 5] = [
    "lora_A",
    "lora_B",
    "lora_embedding_A",
    "lora_embedding_B",
    "lora_magnitude_vector",
];

/// Warns where several factors of one module differ between the members, and adds the caveat that
/// stands beside values between them.
pub(super) fn tell(aligned: &mut Aligned) {
    let modules = multiplied(aligned);
    if modules.is_empty() {
        return;
    }
    let caveat = "Between the models: averages of the factors A and B, not of the models' weights.";
    aligned.caveats.push(caveat.to_string());
    aligned.averages = Some(
        "an average of the factors A and B, not of the models' weights: see the warning"
            .to_string(),
    );
    aligned.warnings.push(format!(
        "values between the checkpoints are NOT those of averaged weights: the graph holds the \
         factors of LoRA as tensors of their own, and the product of averaged factors is not the \
         average of the products (of {}: {}); only values at the checkpoints themselves are right; \
         export the network without adapters and give the adapters themselves (adapter_model.safetensors \
         beside adapter_config.json), or merge them before the export: model.merge_and_unload()",
        modules.len(),
        some(modules)
    ));
}

/// The modules of which several factors differ.
fn multiplied(aligned: &Aligned) -> Vec<String> {
    let mut moving: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let parameters = aligned.pool.parameters.iter().enumerate();
    for (index, _) in parameters.filter(|(_, parameter)| !parameter.frozen) {
        // The origin has the graph's name; a checkpoint may have one where the graph's is made up.
        let own = aligned.pool.parameters[index].name.as_str();
        let names = [aligned.pool.members[0].sources[index].name.as_str(), own];
        let factor = names.into_iter().find_map(factor);
        if let Some((module, factor)) = factor {
            moving.entry(module).or_default().insert(factor);
        }
    }
    let several = moving.into_iter().filter(|(_, factors)| factors.len() > 1);
    several.map(|(module, _)| format!("`{module}`")).collect()
}

/// The module of a factor, and which factor it is.
fn factor(name: &str) -> Option<(&str, &str)> {
    let mut start = 0;
    for segment in name.split('.') {
        if let Some(factor) = FACTORS.iter().find(|it| **it == segment) {
            return Some((name[..start].trim_end_matches('.'), factor));
        }
        start += segment.len() + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::factor;

    #[test]
    fn factors_are_whole_parts_of_names() {
        let name = "base_model.model.body.lora_A.default.weight";
        assert_eq!(factor(name), Some(("base_model.model.body", "lora_A")));
        assert_eq!(
            factor("e.lora_embedding_B.x"),
            Some(("e", "lora_embedding_B"))
        );
        assert_eq!(factor("lora_B.weight"), Some(("", "lora_B")));
        assert_eq!(factor("explora_A.weight"), None);
        assert_eq!(factor("body.weight"), None);
    }
}
