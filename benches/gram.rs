//! How fast the Gram matrix of 16 checkpoints of 100 MB is, against a plain sum over the same
//! mapped files: `cargo bench --bench gram`.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use landscape::base::map;
use landscape::checkpoint::tensor::{Dtype, Tensor};
use landscape::space::gram::Gram;
use landscape::space::pool::{Member, Parameter, ParameterRole, Pool};
use landscape::space::stored_tensor::StoredTensor;
use rayon::prelude::*;

/// Fine-tunes; the origin comes on top.
const CHECKPOINTS: usize = 16;
const TENSORS: usize = 8;
const ELEMENTS: usize = 100_000_000 / 4 / TENSORS;
const TIMES: usize = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let files = (0..=CHECKPOINTS).map(|member| write(folder.path(), member));
    let files = files.collect::<std::io::Result<Vec<PathBuf>>>()?;
    let pool = pool(&files)?;
    let bytes = (files.len() * TENSORS * ELEMENTS * 4) as f64;
    let (mut sums, mut grams) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        sums.push(bytes / seconds(|| plain_sum(&pool)) / 1e9);
        grams.push(bytes / seconds(|| Gram::of(&pool).total[[0, 0]]) / 1e9);
    }
    let (sum, gram) = (median(sums), median(grams));
    println!(
        "plain sum {sum:.2} GB/s, Gram matrix {gram:.2} GB/s, ratio {:.3}",
        gram / sum
    );
    Ok(())
}

fn write(folder: &Path, member: usize) -> std::io::Result<PathBuf> {
    let path = folder.join(format!("{member}.bin"));
    let mut out = BufWriter::new(std::fs::File::create(&path)?);
    let mut state = member as u32 + 1;
    for _ in 0..TENSORS * ELEMENTS {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let value = (state >> 8) as f32 / (1 << 24) as f32 - 0.5;
        out.write_all(&value.to_le_bytes())?;
    }
    out.flush()?;
    Ok(path)
}

fn pool(files: &[PathBuf]) -> Result<Pool, landscape::error::Error> {
    let name = |tensor: usize| format!("t{tensor}");
    let member = |path: &PathBuf| -> Result<Member, landscape::error::Error> {
        let bytes = map::map_file(path)?;
        let size = ELEMENTS * 4;
        let source = |tensor: usize| StoredTensor {
            name: name(tensor),
            tensor: Tensor {
                dtype: Dtype::F32,
                shape: vec![ELEMENTS],
                bytes: bytes.slice(tensor * size..(tensor + 1) * size),
            },
            transposed: false,
        };
        Ok(Member {
            name: path.display().to_string(),
            path: path.clone(),
            sources: (0..TENSORS).map(source).collect(),
        })
    };
    let parameter = |tensor: usize| Parameter {
        name: name(tensor),
        shape: vec![ELEMENTS],
        dtype: Dtype::F32,
        role: ParameterRole::Trainable,
        tied_to: None,
        frozen: false,
    };
    Ok(Pool {
        parameters: (0..TENSORS).map(parameter).collect(),
        members: files.iter().map(member).collect::<Result<_, _>>()?,
    })
}

/// The sum of all values: what memory alone allows.
fn plain_sum(pool: &Pool) -> f64 {
    let tensors = pool.members.par_iter().flat_map(|member| &member.sources);
    let sums = tensors.map(|source| {
        let (values, _) = source.tensor.bytes.as_chunks::<4>();
        // Eight sums, so that additions need not wait for each other.
        let mut sums = [0.0_f32; 8];
        let (eights, _) = values.as_chunks::<8>();
        for eight in eights {
            for (sum, value) in sums.iter_mut().zip(eight) {
                *sum += f32::from_le_bytes(*value);
            }
        }
        f64::from(sums.iter().sum::<f32>())
    });
    sums.sum()
}

fn seconds(work: impl Fn() -> f64) -> f64 {
    let start = Instant::now();
    std::hint::black_box(work());
    start.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
