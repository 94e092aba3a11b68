//! Scales `u8` data for floating-point inputs.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Preprocessing of `u8` values: `(value · scale − mean[c]) / std[c]` for channel c.
///
/// Made by [`Preprocess::new`] or read from `[preprocess]` of the configuration file, where
/// `scale` is required, as a number or a fraction such as `"1/255"`; `mean` (default 0), `std` (1)
/// and `channel_axis` (1) are optional.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Keys")]
pub struct Preprocess {
    scale: f64,
    mean: Vec<f64>,
    std: Vec<f64>,
    channel_axis: usize,
}

/// The keys of `[preprocess]` in the configuration file.
#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with scale, mean, std, channel_axis"
)]
struct Keys {
    scale: Scale,
    mean: Option<Vec<f64>>,
    std: Option<Vec<f64>>,
    channel_axis: Option<usize>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a number, or a fraction such as \"1/255\"")]
enum Scale {
    Number(f64),
    Fraction(String),
}

impl Preprocess {
    /// Checks the parameters: `mean` and `std` hold one value for all channels or one per channel;
    /// `channel_axis` counts the batch axis as 0.
    ///
    /// # Errors
    /// When a value is not finite, scale or std is 0, a list is empty, the channel axis is 0, or
    /// both lists have more than one value but differ in length.
    pub fn new(scale: f64, mean: Vec<f64>, std: Vec<f64>, channel_axis: usize) -> Result<Self> {
        let made = Self {
            scale,
            mean,
            std,
            channel_axis,
        };
        match made.problem() {
            Some(problem) => Err(Error::flag("[preprocess]", problem)),
            None => Ok(made),
        }
    }

    /// The smallest and largest result for `u8` values, over all channels.
    pub fn range(&self) -> (f64, f64) {
        let count = self.mean.len().max(self.std.len());
        let of = |values: &[f64], channel: usize| values[channel.min(values.len() - 1)];
        let ends = (0..count).flat_map(|c| {
            let made = |v: f64| (v * self.scale - of(&self.mean, c)) / of(&self.std, c);
            [made(0.0), made(255.0)]
        });
        ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        })
    }

    fn problem(&self) -> Option<String> {
        let Self { mean, std, .. } = self;
        if !self.scale.is_finite() || self.scale == 0.0 {
            return Some(format!(
                "scale is {}; expected a finite number other than 0",
                self.scale
            ));
        }
        if mean.is_empty() || std.is_empty() {
            return Some("mean and std need one value, or one a channel".to_string());
        }
        if let Some(value) = mean.iter().find(|value| !value.is_finite()) {
            return Some(format!("mean holds {value}; expected finite numbers"));
        }
        if let Some(value) = std
            .iter()
            .find(|value| !value.is_finite() || **value <= 0.0)
        {
            return Some(format!("std holds {value}; expected numbers above 0"));
        }
        if mean.len() != std.len() && mean.len() > 1 && std.len() > 1 {
            return Some(format!(
                "mean has {} values and std {}; expected one, or one a channel",
                mean.len(),
                std.len()
            ));
        }
        if self.channel_axis == 0 {
            return Some("channel_axis is 0, which is the batch; expected 1 or more".to_string());
        }
        None
    }
}

impl TryFrom<Keys> for Preprocess {
    type Error = String;

    fn try_from(keys: Keys) -> std::result::Result<Self, String> {
        let made = Self {
            scale: keys.scale.value()?,
            mean: keys.mean.unwrap_or_else(|| vec![0.0]),
            std: keys.std.unwrap_or_else(|| vec![1.0]),
            channel_axis: keys.channel_axis.unwrap_or(1),
        };
        match made.problem() {
            Some(problem) => Err(problem),
            None => Ok(made),
        }
    }
}

impl Scale {
    fn value(self) -> std::result::Result<f64, String> {
        match self {
            Self::Number(value) => Ok(value),
            Self::Fraction(text) => {
                let parts = text.split_once('/').and_then(|(over, under)| {
                    let over: f64 = over.trim().parse().ok()?;
                    let under: f64 = under.trim().parse().ok()?;
                    Some(over / under)
                });
                parts.ok_or_else(|| {
                    format!("scale is {text:?}; expected a number, or a fraction such as \"1/255\"")
                })
            }
        }
    }
}

impl fmt::Display for Preprocess {
    /// Formats all parameters in one line, for provenance.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "scale={} mean={:?} std={:?} channel_axis={}",
            self.scale, self.mean, self.std, self.channel_axis
        )
    }
}

/// The results for all 256 values of each channel, and the position of the channels in a sample.
#[derive(Debug, Clone)]
pub(super) struct Table {
    /// `values[channel]`, or a single table for all channels.
    values: Vec<[f64; 256]>,
    /// Number of elements between one channel and the next.
    inner: usize,
}

impl Table {
    /// Tabulates the preprocessing for an array of `shape`, with the samples along axis 0.
    ///
    /// # Errors
    /// When the array has no such channel axis, the number of channels differs from that of the
    /// means or standard deviations, or a result is beyond the range of f32.
    pub(super) fn new(
        preprocess: &Preprocess,
        path: &Path,
        name: &str,
        shape: &[usize],
    ) -> Result<Self> {
        let Preprocess {
            scale, mean, std, ..
        } = preprocess;
        let axis = preprocess.channel_axis;
        let count = mean.len().max(std.len());
        let refuse = |problem: String| {
            Error::input(path, problem).help("see mean, std and channel_axis in [preprocess]")
        };
        if count > 1 && shape.get(axis) != Some(&count) {
            let found = shape.get(axis).map_or_else(
                || format!("no axis {axis}"),
                |size| format!("{size} channels along axis {axis}"),
            );
            return Err(refuse(format!(
                "array `{name}` of shape {shape:?} has {found}, but [preprocess] has {count}"
            )));
        }
        let of = |values: &[f64], channel: usize| values[channel.min(values.len() - 1)];
        let values: Vec<[f64; 256]> = (0..count)
            .map(|c| std::array::from_fn(|v| (v as f64 * scale - of(mean, c)) / of(std, c)))
            .collect();
        if let Some(value) = values.iter().flatten().find(|v| !(**v as f32).is_finite()) {
            return Err(refuse(format!(
                "array `{name}` is preprocessed to {value:e}, beyond the range of f32"
            )));
        }
        let inner = shape.iter().skip(axis + 1).product();
        Ok(Self { values, inner })
    }

    /// Converts whole samples: u8 values `data` into as many elements of `out`.
    pub(super) fn apply<U>(&self, data: &[u8], out: &mut [U], to: impl Fn(f64) -> U) {
        if let [values] = self.values.as_slice() {
            for (out, &value) in out.iter_mut().zip(data) {
                *out = to(values[usize::from(value)]);
            }
            return;
        }
        let runs = data
            .chunks_exact(self.inner)
            .zip(out.chunks_exact_mut(self.inner));
        // Samples hold whole cycles of channels, so the cycle never needs a restart.
        for ((data, out), values) in runs.zip(self.values.iter().cycle()) {
            for (out, &value) in out.iter_mut().zip(data) {
                *out = to(values[usize::from(value)]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(preprocess: &Preprocess, shape: &[usize], data: &[u8]) -> Vec<f32> {
        let table = Table::new(preprocess, Path::new("t.npz"), "x", shape).unwrap();
        let mut out = vec![0.0; data.len()];
        table.apply(data, &mut out, |value| value as f32);
        out
    }

    #[test]
    fn one_value_serves_all_channels() {
        let one = Preprocess::new(1.0 / 255.0, vec![0.1307], vec![0.3081], 1).unwrap();
        let expected = [0.0_f64, 1.0].map(|v| ((v - 0.1307) / 0.3081) as f32);
        assert_eq!(apply(&one, &[1, 2], &[0, 255]), expected);
    }

    #[test]
    fn channels_are_found_first_and_last() {
        let (mean, std) = (vec![1.0, 10.0], vec![1.0, 2.0]);
        let first = Preprocess::new(1.0, mean.clone(), std.clone(), 1).unwrap();
        let found = apply(&first, &[2, 2, 2], &[1, 2, 10, 12, 3, 4, 14, 16]);
        assert_eq!(found, [0.0, 1.0, 0.0, 1.0, 2.0, 3.0, 2.0, 3.0]);
        let last = Preprocess::new(1.0, mean, std, 2).unwrap();
        let found = apply(&last, &[2, 2, 2], &[1, 10, 2, 12, 3, 14, 4, 16]);
        assert_eq!(found, [0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0]);
    }

    #[test]
    fn one_mean_may_stand_beside_many_deviations() {
        let mixed = Preprocess::new(1.0, vec![1.0], vec![1.0, 2.0], 1).unwrap();
        assert_eq!(apply(&mixed, &[1, 2], &[3, 3]), [2.0, 1.0]);
    }

    #[test]
    fn parameters_that_make_no_sense_are_refused() {
        let new = |scale, mean: &[f64], std: &[f64], axis| {
            let error = Preprocess::new(scale, mean.to_vec(), std.to_vec(), axis);
            error.unwrap_err().to_string()
        };
        assert!(new(0.0, &[0.0], &[1.0], 1).contains("scale is 0"));
        assert!(new(f64::NAN, &[0.0], &[1.0], 1).contains("scale is NaN"));
        assert!(new(1.0, &[f64::INFINITY], &[1.0], 1).contains("mean holds inf"));
        assert!(new(1.0, &[0.0], &[0.0], 1).contains("std holds 0"));
        assert!(new(1.0, &[0.0], &[], 1).contains("need one value"));
        assert!(new(1.0, &[0.0], &[1.0], 0).contains("channel_axis is 0"));
        let error = new(1.0, &[0.0; 3], &[1.0; 2], 1);
        assert!(error.contains("mean has 3 values and std 2"), "{error}");
    }

    #[test]
    fn channels_of_another_number_are_refused() {
        let three = Preprocess::new(1.0, vec![0.0; 3], vec![1.0], 1).unwrap();
        let refuse = |shape: &[usize]| {
            let table = Table::new(&three, Path::new("t.npz"), "x", shape);
            table.unwrap_err().to_string()
        };
        let error = refuse(&[5, 1, 28, 28]);
        assert!(error.contains("has 1 channels along axis 1"), "{error}");
        assert!(error.contains("[preprocess] has 3"), "{error}");
        assert!(refuse(&[5]).contains("no axis 1"));
    }

    #[test]
    fn values_beyond_f32_are_refused() {
        let huge = Preprocess::new(1e300, vec![0.0], vec![1.0], 1).unwrap();
        let error = Table::new(&huge, Path::new("t.npz"), "x", &[1, 1]).unwrap_err();
        assert!(error.to_string().contains("beyond the range of f32"));
    }
}
