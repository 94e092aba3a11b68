//! Finds the values of the frozen part that belong to one sample each, so that they can be computed
//! once and reused in batches of any size. Runs the frozen part on a few samples.

use std::collections::HashMap;

use super::buffer::{Buffer, dtype_of};
use super::feature::Feature;
use super::light_model::LightModel;
use super::prefix::Prefix;
use super::setup::Setup;
use super::shard::Shard;
use crate::data::InputDtype;
use crate::error::Result;

/// The samples of each trial batch. Every sample appears at two places, in batches of different
/// sizes and beside different others; one of them also appears alone.
const TRIALS: [&[usize]; 3] = [&[0, 1, 2], &[2, 0], &[1]];

/// The output of a prefix for one batch.
struct Tried {
    /// The sample of each row.
    samples: Vec<usize>,
    /// The values whose first axis is the batch, with their elements; `None` for the others.
    values: Vec<Option<(Feature, Vec<f64>)>>,
}

/// Runs a prefix on small batches of data set 0 and reports, as `found[name]`, which of the values
/// in `names` can be kept per sample. Their first axis must be the batch, and each row may depend
/// on its own sample only: not on its place, the batch size or the other samples. `coarse` says
/// that they are computed with fewer digits than their type has.
///
/// # Errors
/// Fails when ONNX Runtime refuses the prefix, or the user stopped the run.
pub fn keepable(
    setup: &Setup<'_>,
    prefix: &LightModel,
    names: &[String],
    coarse: bool,
) -> Result<Vec<Option<Feature>>> {
    let mut prefix = Prefix::new(setup, prefix, setup.options.threads.unwrap_or(1), 0)?;
    let count = setup.datasets[0].len().max(1);
    let mut tried: Vec<Tried> = Vec::new();
    for trial in TRIALS {
        let samples: Vec<usize> = trial.iter().map(|sample| sample % count).collect();
        match attempt(setup, &mut prefix, names, &samples) {
            Ok(values) => tried.push(values),
            // Some networks do not accept a single sample, and none has to.
            Err(_) if samples.len() == 1 && tried.len() > 1 => setup.check_stop()?,
            Err(error) => return Err(error),
        }
    }
    Ok((0..names.len()).map(|k| kept(&tried, k, coarse)).collect())
}

/// Runs a prefix on a batch of these samples, padded with the first if the network fixes its batch
/// size. In that case an axis that has this length by chance makes a value doubtful.
fn attempt(
    setup: &Setup<'_>,
    prefix: &mut Prefix,
    names: &[String],
    samples: &[usize],
) -> Result<Tried> {
    let fixed = setup.signature.fixed_batch;
    let batch = fixed.unwrap_or(samples.len());
    let samples = &samples[..batch.min(samples.len())];
    let shard = Shard::gather(setup, 0, samples);
    let outputs = prefix.run(&shard, (0, samples.len()), batch)?;
    let value = |name: &String| -> Option<(Feature, Vec<f64>)> {
        let value = &outputs[name.as_str()];
        let dtype = dtype_of(value.dtype())?;
        let (first, rest) = value.dtype().tensor_shape()?.split_first()?;
        let shape: Vec<usize> = rest.iter().map(|&dim| dim as usize).collect();
        let is_doubtful = fixed.is_some_and(|batch| shape.contains(&batch));
        if *first != batch as i64 || shape.contains(&0) || is_doubtful {
            return None;
        }
        let mut elements = Buffer::new(dtype, 0);
        let whole = elements.append(value, batch, shape.iter().product()).ok()?;
        let name = name.clone();
        let feature = Feature { name, dtype, shape };
        whole.then(|| (feature, elements.numbers()))
    };
    let more = std::iter::repeat_n(samples[0], batch - samples.len());
    Ok(Tried {
        samples: samples.iter().copied().chain(more).collect(),
        values: names.iter().map(value).collect(),
    })
}

/// Value `k`, if it has one shape in all batches and is equal for a sample wherever it stood.
fn kept(tried: &[Tried], k: usize, coarse: bool) -> Option<Feature> {
    let all = tried.iter().map(|tried| tried.values[k].as_ref());
    let all = all.collect::<Option<Vec<_>>>()?;
    let (feature, _) = all.first()?;
    if all.iter().any(|(other, _)| other.shape != feature.shape) {
        return None;
    }
    let row: usize = feature.shape.iter().product();
    let rows = tried.iter().zip(&all).flat_map(|(tried, (_, elements))| {
        let rows = elements.chunks_exact(row);
        tried.samples.iter().zip(rows)
    });
    let near = Near::of(
        feature.dtype,
        coarse,
        all.iter().flat_map(|(_, elements)| elements),
    );
    let mut first: HashMap<usize, &[f64]> = HashMap::new();
    let mut same = rows.map(|(sample, row)| near.rows(first.entry(*sample).or_insert(row), row));
    same.all(|same| same).then(|| feature.clone())
}

/// Equality up to rounding: ONNX Runtime may add in another order in a batch of another size.
struct Near {
    /// Relative tolerance, as a fraction of the larger number.
    part: f64,
    /// The median size of the nonzero elements. Smaller elements are sums of numbers as large as
    /// this, and are rounded like them.
    usual: f64,
}

impl Near {
    /// A tolerance of half the type's digits; integers are compared exactly.
    fn of<'v>(dtype: InputDtype, coarse: bool, values: impl Iterator<Item = &'v f64>) -> Self {
        let epsilon: f64 = match dtype {
            InputDtype::F32 | InputDtype::F16 | InputDtype::F64 if coarse => {
                half::bf16::EPSILON.into()
            }
            InputDtype::F32 => f32::EPSILON.into(),
            InputDtype::F16 => half::f16::EPSILON.into(),
            InputDtype::Bf16 => half::bf16::EPSILON.into(),
            InputDtype::F64 => f64::EPSILON,
            InputDtype::I64 | InputDtype::I32 | InputDtype::U8 | InputDtype::Bool => 0.0,
        };
        let sizes = values.map(|value| value.abs());
        let mut sizes: Vec<f64> = sizes
            .filter(|size| size.is_finite() && *size > 0.0)
            .collect();
        let middle = sizes.len() / 2;
        let usual = if sizes.is_empty() {
            0.0
        } else {
            *sizes.select_nth_unstable_by(middle, f64::total_cmp).1
        };
        Self {
            part: epsilon.sqrt(),
            usual,
        }
    }

    fn rows(&self, a: &[f64], b: &[f64]) -> bool {
        let same = |(a, b): (&f64, &f64)| {
            let size = a.abs().max(b.abs()).max(self.usual);
            let is_near = (a - b).abs() <= self.part * size && size.is_finite();
            a == b || is_near || (a.is_nan() && b.is_nan())
        };
        a.iter().zip(b).all(same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(dtype: InputDtype, a: &[f64], b: &[f64]) -> bool {
        Near::of(dtype, false, a.iter().chain(b)).rows(a, b)
    }

    #[test]
    fn rounding_is_the_same_and_a_place_is_not() {
        // The small element is a difference of numbers as large as the others.
        assert!(near(
            InputDtype::F32,
            &[1.0, 2.0, 1e-7],
            &[1.000_001, 2.0, -1e-7]
        ));
        assert!(!near(InputDtype::F32, &[1.0, 2.0, 0.0], &[1.0, 2.0, 1.0]));
        assert!(!near(InputDtype::F32, &[1.0, 2.0], &[1.0, 2.01]));
        assert!(near(InputDtype::F16, &[1.0, 2.0], &[1.0, 2.01]));
        assert!(near(InputDtype::I64, &[1e15, 0.0], &[1e15, 0.0]));
        assert!(!near(InputDtype::I64, &[1e15, 0.0], &[1e15 + 1.0, 0.0]));
    }

    #[test]
    fn what_is_not_finite_is_the_same_as_itself_alone() {
        let (nan, least) = (f64::NAN, f64::NEG_INFINITY);
        assert!(near(
            InputDtype::F32,
            &[nan, least, 1.0],
            &[nan, least, 1.0]
        ));
        for (a, b) in [(nan, 1.0), (least, -1e38), (least, f64::INFINITY)] {
            assert!(!near(InputDtype::F32, &[a, 1.0], &[b, 1.0]), "{a} {b}");
        }
        // The huge numbers of a mask must not set the scale for the others.
        let mask = f64::from(f32::MIN);
        assert!(!near(
            InputDtype::F32,
            &[mask, 0.5, 0.25],
            &[mask, 0.5, 0.5]
        ));
    }

    fn tried(samples: &[usize], shape: &[usize], elements: &[f64]) -> Tried {
        let feature = Feature {
            name: "v".to_string(),
            dtype: InputDtype::F32,
            shape: shape.to_vec(),
        };
        Tried {
            samples: samples.to_vec(),
            values: vec![Some((feature, elements.to_vec()))],
        }
    }

    #[test]
    fn a_value_is_kept_where_each_sample_has_it_wherever_it_stands() {
        let whole = || tried(&[0, 1, 2], &[2], &[0.0, 0.5, 1.0, 1.5, 2.0, 2.5]);
        let turned = || tried(&[2, 0], &[2], &[2.0, 2.5, 0.0, 0.5]);
        let alone = || tried(&[1], &[2], &[1.0, 1.5]);
        assert!(kept(&[whole(), turned(), alone()], 0, false).is_some());
        // Place, batch size, a mean over the batch, and another shape.
        let by_place = tried(&[2, 0], &[2], &[0.0, 0.5, 1.0, 1.5]);
        let by_size = tried(&[1], &[2], &[1.0, 1.0]);
        let shorter = tried(&[1], &[1], &[1.0]);
        assert!(kept(&[whole(), by_place], 0, false).is_none());
        assert!(kept(&[whole(), turned(), by_size], 0, false).is_none());
        assert!(kept(&[whole(), turned(), shorter], 0, false).is_none());
        let nothing = Tried {
            samples: vec![1],
            values: vec![None],
        };
        assert!(kept(&[whole(), nothing], 0, false).is_none());
        // A batch padded with the first sample: all rows of a sample count.
        let filled = tried(&[0, 1, 0], &[1], &[3.0, 4.0, 5.0]);
        assert!(kept(&[filled], 0, false).is_none());
    }
}
