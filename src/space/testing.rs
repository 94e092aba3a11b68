//! Small pools for tests.

use std::path::PathBuf;

use super::pool::{Member, Parameter, ParameterRole, Pool};
use super::stored_tensor::StoredTensor;
use crate::checkpoint::tensor::{Dtype, Tensor};

fn parameter(name: &str, shape: &[usize]) -> Parameter {
    Parameter {
        name: name.into(),
        shape: shape.to_vec(),
        dtype: Dtype::F32,
        role: ParameterRole::Trainable,
        tied_to: None,
        frozen: false,
    }
}

/// Stores f64 values given in the graph's order; transposed if asked.
pub fn source(values: &[f64], shape: &[usize], dtype: Dtype, transposed: bool) -> StoredTensor {
    let mut stored = values.to_vec();
    let mut stored_shape = shape.to_vec();
    if transposed {
        let (rows, columns) = (shape[0], shape[1]);
        stored = (0..columns)
            .flat_map(|c| (0..rows).map(move |r| r * columns + c))
            .map(|at| values[at])
            .collect();
        stored_shape.reverse();
    }
    let bytes: Vec<u8> = match dtype {
        Dtype::F64 => stored.iter().flat_map(|x| x.to_le_bytes()).collect(),
        _ => stored
            .iter()
            .flat_map(|&x| (x as f32).to_le_bytes())
            .collect(),
    };
    StoredTensor {
        name: "w".into(),
        tensor: Tensor {
            dtype,
            shape: stored_shape,
            bytes: bytes.into(),
        },
        transposed,
    }
}

fn member(index: usize, sources: Vec<StoredTensor>) -> Member {
    Member {
        name: format!("m{index}"),
        path: PathBuf::from(format!("m{index}.safetensors")),
        sources,
    }
}

/// A pool with one vector per member, stored as f64.
pub fn pool(members: &[&[f64]]) -> Pool {
    let shape = [members[0].len()];
    let make = |(index, values): (usize, &&[f64])| {
        member(index, vec![source(values, &shape, Dtype::F64, false)])
    };
    Pool {
        parameters: vec![parameter("w", &shape)],
        members: members.iter().enumerate().map(make).collect(),
    }
}

/// A pool with values from a simple generator; odd members hold matrices transposed.
pub fn random_pool(members: usize, shapes: &[Vec<usize>], seed: u64) -> Pool {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        f64::from(((state >> 33) as f32) / (1_u64 << 31) as f32 - 0.5)
    };
    let mut make = |index: usize| {
        let sources = shapes.iter().map(|shape| {
            let values: Vec<f64> = (0..shape.iter().product()).map(|_| next()).collect();
            source(
                &values,
                shape,
                Dtype::F32,
                index % 2 == 1 && shape.len() == 2,
            )
        });
        member(index, sources.collect())
    };
    Pool {
        parameters: shapes
            .iter()
            .enumerate()
            .map(|(index, shape)| parameter(&format!("p{index}"), shape))
            .collect(),
        members: (0..members).map(&mut make).collect(),
    }
}
