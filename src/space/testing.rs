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

/// Normally distributed values (Box and Muller 1958) from a simple generator.
pub fn normal(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut uniform = || {
        // splitmix64 (Steele et al. 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut one = || {
        let (radius, angle) = (1.0 - uniform(), std::f64::consts::TAU * uniform());
        (-2.0 * radius.ln()).sqrt() * angle.cos()
    };
    (0..count).map(|_| one()).collect()
}

/// A pool with one vector per member, each stored in a type of its own.
pub fn halves(members: &[(&[f64], Dtype)]) -> Pool {
    let shape = [members[0].0.len()];
    let bytes = |values: &[f64], dtype: Dtype| -> Vec<u8> {
        let all = values.iter();
        match dtype {
            Dtype::Bf16 => all
                .flat_map(|x| half::bf16::from_f64(*x).to_le_bytes())
                .collect(),
            Dtype::F16 => all
                .flat_map(|x| half::f16::from_f64(*x).to_le_bytes())
                .collect(),
            _ => all.flat_map(|x| (*x as f32).to_le_bytes()).collect(),
        }
    };
    let make = |(index, (values, dtype)): (usize, &(&[f64], Dtype))| {
        let stored = StoredTensor {
            name: "w".into(),
            tensor: Tensor {
                dtype: *dtype,
                shape: shape.to_vec(),
                bytes: bytes(values, *dtype).into(),
            },
            transposed: false,
        };
        member(index, vec![stored])
    };
    Pool {
        parameters: vec![parameter("w", &shape)],
        members: members.iter().enumerate().map(make).collect(),
    }
}
