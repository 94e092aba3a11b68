//! Decides which tensors share a row of α.

use std::collections::HashMap;

use crate::result::learned::{Layers, Row};
use crate::space::pool::Pool;

/// Separators between the parts of a name.
const PARTS: [char; 2] = ['.', '/'];

/// The rows of α, and the row of each parameter of the pool; `None` for a parameter that differs in
/// no model.
///
/// `moving` are the parameters that differ between models, with their names. A tensor that is used
/// at two places (tied weights) has one row.
pub fn rows(
    layers: Layers,
    pool: &Pool,
    moving: &[(usize, String)],
) -> (Vec<Row>, Vec<Option<usize>>) {
    let names: Vec<&str> = moving.iter().map(|(_, name)| name.as_str()).collect();
    let labels: Vec<String> = match layers {
        Layers::All => vec![String::new(); names.len()],
        Layers::Tensor => names.iter().map(|name| (*name).to_string()).collect(),
        Layers::Block => blocks(&names).into_iter().map(String::from).collect(),
    };
    // For rows by tensor, two tensors with one name must still have a row each.
    let key = |at: usize| match layers {
        Layers::Tensor => (moving[at].0, ""),
        _ => (0, labels[at].as_str()),
    };
    let mut known: HashMap<(usize, &str), usize> = HashMap::new();
    let mut rows: Vec<Row> = Vec::new();
    let mut row_of = vec![None; pool.parameters.len()];
    for (at, (parameter, name)) in moving.iter().enumerate() {
        let tied = pool.parameters[*parameter].tied_to;
        let first = tied.and_then(|first| row_of[first]);
        let row = first.unwrap_or_else(|| {
            *known.entry(key(at)).or_insert_with(|| {
                rows.push(Row {
                    name: labels[at].clone(),
                    tensors: Vec::new(),
                });
                rows.len() - 1
            })
        });
        row_of[*parameter] = Some(row);
        rows[row].tensors.push(name.clone());
    }
    (rows, row_of)
}

/// The block of each tensor: its name up to the first part that is a number (`layer1.0`,
/// `visual.transformer.resblocks.11`, `bert.encoder.layer.3`). A tensor without a number belongs to
/// the shortest prefix of its name that leads to no such block: the first part (`conv1`) or, if
/// blocks share that part, more of the name (`bert.embeddings`).
fn blocks<'n>(names: &[&'n str]) -> Vec<&'n str> {
    let all: Vec<&str> = names.iter().filter_map(|name| numbered(name)).collect();
    let leads = |head: &str| {
        let mut rests = all.iter().filter_map(|block| block.strip_prefix(head));
        rests.any(|rest| rest.starts_with(PARTS))
    };
    let block = |name: &&'n str| {
        let other = || beginnings(name).find(|head| !leads(head));
        numbered(name).or_else(other).unwrap_or(name)
    };
    names.iter().map(block).collect()
}

/// The name up to its first part that is a number.
fn numbered(name: &str) -> Option<&str> {
    beginnings(name).find(|head| {
        let last = head.rsplit(PARTS).next().unwrap_or_default();
        !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// The prefixes of a name that consist of whole parts, the shortest first.
fn beginnings(name: &str) -> impl Iterator<Item = &str> {
    let ends = name.match_indices(PARTS).map(|(end, _)| end);
    let ends = ends.chain([name.len()]).filter(|end| *end > 0);
    ends.map(|end| &name[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::testing::random_pool;

    #[test]
    fn blocks_of_vision_transformers() {
        let names = [
            "visual.class_embedding",
            "visual.conv1.weight",
            "visual.transformer.resblocks.0.attn.in_proj_weight",
            "visual.transformer.resblocks.0.mlp.c_fc.bias",
            "visual.transformer.resblocks.11.ln_1.weight",
            "visual.ln_post.bias",
            "head.weight",
            "b.0.qkv.weight",
            "blocks.11.mlp.0.weight",
        ];
        let expected = [
            "visual.class_embedding",
            "visual.conv1",
            "visual.transformer.resblocks.0",
            "visual.transformer.resblocks.0",
            "visual.transformer.resblocks.11",
            "visual.ln_post",
            "head",
            "b.0",
            "blocks.11",
        ];
        assert_eq!(blocks(&names), expected);
    }

    #[test]
    fn blocks_of_residual_networks() {
        let names = [
            "conv1.weight",
            "bn1.weight",
            "bn1.running_mean",
            "layer1.0.conv1.weight",
            "layer1.0.downsample.0.weight",
            "layer1.1.bn2.bias",
            "layer4.1.conv2.weight",
            "fc.bias",
        ];
        let expected = [
            "conv1", "bn1", "bn1", "layer1.0", "layer1.0", "layer1.1", "layer4.1", "fc",
        ];
        assert_eq!(blocks(&names), expected);
    }

    #[test]
    fn blocks_of_language_models() {
        let names = [
            "bert.embeddings.word_embeddings.weight",
            "bert.embeddings.LayerNorm.bias",
            "bert.encoder.layer.3.attention.self.query.weight",
            "bert.encoder.layer.3.output.dense.bias",
            "bert.pooler.dense.weight",
            "classifier.weight",
            "encoder.layers.2.norm1.weight",
        ];
        let expected = [
            "bert.embeddings",
            "bert.embeddings",
            "bert.encoder.layer.3",
            "bert.encoder.layer.3",
            "bert.pooler",
            "classifier",
            "encoder.layers.2",
        ];
        assert_eq!(blocks(&names), expected);
    }

    #[test]
    fn odd_names_have_a_block() {
        assert_eq!(blocks(&["0.weight", "2.bias", "2"]), ["0", "2", "2"]);
        assert_eq!(blocks(&["", "w", ".x", "a//b"]), ["", "w", ".x", "a"]);
        // An exporter's paths; a digit inside a part is not a number.
        let names = [
            "/b.0/qkv/MatMul",
            "/b.0/fc/MatMul",
            "onnx::MatMul_583",
            "a1.b",
        ];
        assert_eq!(blocks(&names), ["/b.0", "/b.0", "onnx::MatMul_583", "a1"]);
        // A name that leads to a block has no other prefix.
        assert_eq!(blocks(&["b.0.w", "b"]), ["b.0", "b"]);
    }

    #[test]
    fn tied_tensors_share_a_row_and_what_does_not_move_has_none() {
        let mut pool = random_pool(3, &vec![vec![2]; 4], 0);
        pool.parameters[3].tied_to = Some(0);
        let moving = [(0, "embed.weight"), (2, "x"), (3, "decoder.weight")];
        let moving = moving.map(|(index, name)| (index, name.to_string()));
        let (rows, row_of) = rows(Layers::Tensor, &pool, &moving);
        assert_eq!(row_of, [Some(0), None, Some(1), Some(0)]);
        assert_eq!(rows[0].tensors, ["embed.weight", "decoder.weight"]);
        assert_eq!(rows[1].name, "x");
    }
}
