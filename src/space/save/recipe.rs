//! The recipe in a saved file: how it was made.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use serde::Serialize;

use crate::space::matching::{Aligned, LeftOut};
use crate::space::mix::Mix;
use crate::space::pool::Pool;

/// Metadata that describes how a file was made; its keys begin with `landscape.`.
pub type RecipeMetadata = BTreeMap<String, String>;

/// Prefix of all keys of a recipe.
pub(super) const PREFIX: &str = "landscape.";

/// Makes the recipe of a mix: this program's version, the method (`greedy`, …), and the members
/// with nonzero coefficients, each with its name, coefficient and the SHA-256 of its file.
///
/// If each tensor has its own coefficients, `members` has their means over the tensors that differ
/// between models, and `coefficients` maps the names of these tensors to theirs, in the order of
/// `members`. `beta` is the factor of a learned soup's logits; it is not part of the weights.
///
/// `files` holds the hashes by path.
pub fn recipe(
    method: &str,
    mix: &Mix,
    beta: Option<f64>,
    pool: &Pool,
    files: &[(String, String)],
) -> RecipeMetadata {
    #[derive(Serialize)]
    struct RecipeMember<'a> {
        name: &'a str,
        coefficient: f64,
        #[serde(skip_serializing_if = "Option::is_none")]
        sha256: Option<&'a str>,
    }
    let own = own(mix, pool);
    let mean = |member: usize| match own.len() {
        0 => mix.row(0)[member],
        count => own.values().map(|row| row[member]).sum::<f64>() / count as f64,
    };
    let has_part = |index: &usize| mix.has_part(*index);
    let indices: Vec<usize> = (0..pool.members.len()).filter(has_part).collect();
    let members = indices.iter().map(|&index| {
        let member = &pool.members[index];
        let path = member.path.display().to_string();
        let mut files = files.iter();
        RecipeMember {
            name: &member.name,
            coefficient: mean(index),
            sha256: files
                .find(|file| file.0 == path)
                .map(|file| file.1.as_str()),
        }
    });
    let members: Vec<RecipeMember<'_>> = members.collect();
    let entry = |key: &str, value: String| (format!("{PREFIX}{key}"), value);
    // Strings and finite numbers always have a JSON text.
    let mut recipe = RecipeMetadata::from([
        entry("version", env!("CARGO_PKG_VERSION").to_string()),
        entry("method", method.to_string()),
        entry(
            "members",
            serde_json::to_string(&members).unwrap_or_default(),
        ),
    ]);
    recipe.extend(beta.map(|beta| entry("beta", beta.to_string())));
    if !own.is_empty() {
        let row = |row: &[f64]| indices.iter().map(|&index| row[index]).collect();
        let rows = own.into_iter().map(|(name, of)| (name, row(of)));
        let rows: IndexMap<&str, Vec<f64>> = rows.collect();
        let text = serde_json::to_string(&rows).unwrap_or_default();
        recipe.extend([entry("coefficients", text)]);
    }
    recipe
}

/// Whether a name is among the fixed tensors.
fn is_in(fixed: &BTreeMap<&String, &String>, name: &str) -> bool {
    fixed.keys().any(|fixed| *fixed == name)
}

/// The entries about tensors that were left out: names of ignored tensors and what replaces them,
/// and names of fixed tensors with their models.
pub fn left_out(aligned: &Aligned) -> RecipeMetadata {
    let fixed = aligned.left_out.iter().flat_map(|left| &left.fixed);
    let fixed: BTreeMap<&String, &String> = fixed.collect();
    let names = aligned.left_out.iter().flat_map(LeftOut::names);
    let names: BTreeSet<&str> = names.filter(|name| !is_in(&fixed, name)).collect();
    let mut recipe = RecipeMetadata::new();
    if !fixed.is_empty() {
        let text = serde_json::to_string(&fixed).unwrap_or_default();
        recipe.insert(format!("{PREFIX}fixed"), text);
    }
    if !names.is_empty() {
        let text = serde_json::to_string(&names).unwrap_or_default();
        let origin = aligned.pool.members[0].name.clone();
        recipe.insert(format!("{PREFIX}left_out"), text);
        recipe.insert(format!("{PREFIX}left_out_from"), origin);
    }
    recipe
}

/// `own[tensor name][member]`: the coefficients of tensors that differ between members, if each
/// tensor has its own.
fn own<'a>(mix: &'a Mix, pool: &'a Pool) -> IndexMap<&'a str, &'a [f64]> {
    if mix.shared().is_some() {
        return IndexMap::new();
    }
    let parameters = pool.parameters.iter().enumerate();
    let moving = parameters.filter(|(_, parameter)| !parameter.frozen);
    moving
        .map(|(index, parameter)| (parameter.name.as_str(), mix.row(index)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::testing::{pool, random_pool};

    #[test]
    fn a_recipe_names_those_that_have_a_part() {
        let pool = pool(&[&[0.0], &[1.0], &[2.0]]);
        let files = [("m2.safetensors".to_string(), "ab".to_string())];
        let mix = Mix::new(vec![0.25, 0.0, 0.75]);
        let recipe = recipe("greedy", &mix, None, &pool, &files);
        let expected =
            r#"[{"name":"m0","coefficient":0.25},{"name":"m2","coefficient":0.75,"sha256":"ab"}]"#;
        assert_eq!(recipe["landscape.members"], expected);
        assert_eq!(recipe["landscape.method"], "greedy");
        assert_eq!(recipe["landscape.version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(recipe.len(), 3);
    }

    #[test]
    fn a_recipe_by_layer_has_the_coefficients_of_what_moves() {
        let mut pool = random_pool(3, &[vec![1], vec![1], vec![1]], 0);
        pool.parameters[1].frozen = true;
        let rows = [[0.0, 0.25, 0.75], [0.0, 0.5, 0.5], [0.0, 0.75, 0.25]];
        let mix = Mix::by_parameter(rows.map(|row| row.to_vec()).to_vec());
        let recipe = recipe("learned-by-layer", &mix, Some(1.25), &pool, &[]);
        assert_eq!(recipe["landscape.beta"], "1.25");
        assert_eq!(
            recipe["landscape.coefficients"],
            r#"{"p0":[0.25,0.75],"p2":[0.75,0.25]}"#
        );
        assert_eq!(
            recipe["landscape.members"],
            r#"[{"name":"m1","coefficient":0.5},{"name":"m2","coefficient":0.5}]"#
        );
    }
}
