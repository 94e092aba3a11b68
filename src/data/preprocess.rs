//! From `u8` pixels to the numbers a network was trained on.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// (value · scale − mean) / std, per channel; for `u8` data only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// Factor applied first: 1/255 takes pixels to [0, 1].
    pub scale: f64,
    /// Mean of each channel, after scaling; one value serves all.
    #[serde(default = "zero")]
    pub mean: Vec<f64>,
    /// Standard deviation of each channel, after scaling; one value serves all.
    #[serde(default = "one")]
    pub std: Vec<f64>,
    /// Axis of the channels in the array (axis 0 is the sample).
    #[serde(default = "channels_first")]
    pub channel_axis: usize,
}

fn zero() -> Vec<f64> {
    vec![0.0]
}

fn one() -> Vec<f64> {
    vec![1.0]
}

fn channels_first() -> usize {
    1
}

/// What each pixel value becomes, channel by channel.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    /// 256 values a channel.
    values: Vec<[f32; 256]>,
    /// Elements of one channel that lie side by side.
    inner: usize,
}

impl Table {
    /// The table for samples of this shape (axis 0 is the sample).
    pub(super) fn new(preprocess: &Preprocess, shape: &[usize]) -> Result<Self> {
        let fault = |problem: String| Err(Error::flag("[preprocess]", problem));
        let Preprocess {
            scale,
            mean,
            std,
            channel_axis,
        } = preprocess;
        if !scale.is_finite() || *scale == 0.0 {
            return fault(format!(
                "scale is {scale}; it must be a finite number, not 0"
            ));
        }
        if mean.iter().chain(std).any(|value| !value.is_finite()) || std.contains(&0.0) {
            return fault("mean and std must be finite, and std not 0".to_string());
        }
        let lengths = [mean.len(), std.len()];
        let wanted = lengths.into_iter().max().unwrap_or(1);
        if lengths.iter().any(|&len| len != 1 && len != wanted) || lengths.contains(&0) {
            return fault(format!(
                "mean has {} values and std {}; they must agree, or be 1",
                mean.len(),
                std.len()
            ));
        }
        let per_channel = wanted > 1;
        if per_channel && shape.get(*channel_axis) != Some(&wanted) {
            return fault(format!(
                "has {wanted} channels, but axis {channel_axis} of the data {shape:?} is another size; \
                 set channel_axis"
            ));
        }
        let at = |values: &[f64], channel: usize| values[channel % values.len()];
        let table = |channel: usize| {
            let (mean, std) = (at(mean, channel), at(std, channel));
            std::array::from_fn(|pixel| ((pixel as f64 * scale - mean) / std) as f32)
        };
        let inner = if per_channel {
            shape[channel_axis + 1..].iter().product()
        } else {
            1
        };
        Ok(Self {
            values: (0..wanted).map(table).collect(),
            inner,
        })
    }

    /// Converts whole samples.
    pub(super) fn apply<T>(&self, pixels: &[u8], out: &mut [T], convert: impl Fn(f32) -> T) {
        if let [table] = self.values.as_slice() {
            for (out, &pixel) in out.iter_mut().zip(pixels) {
                *out = convert(table[usize::from(pixel)]);
            }
            return;
        }
        let runs = pixels.chunks(self.inner).zip(out.chunks_mut(self.inner));
        for ((pixels, out), table) in runs.zip(self.values.iter().cycle()) {
            for (out, &pixel) in out.iter_mut().zip(pixels) {
                *out = convert(table[usize::from(pixel)]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_have_their_own_mean_and_std_on_either_axis() {
        let mut preprocess = Preprocess {
            scale: 0.1,
            mean: vec![1.0, 2.0],
            std: vec![2.0, 4.0],
            channel_axis: 1,
        };
        let mut out = [0.0_f32; 4];
        let table = Table::new(&preprocess, &[9, 2, 2]).unwrap();
        table.apply(&[10, 30, 20, 100], &mut out, |x| x);
        assert_eq!(out, [0.0, 1.0, 0.0, 2.0]);
        preprocess.channel_axis = 2;
        let table = Table::new(&preprocess, &[9, 2, 2]).unwrap();
        table.apply(&[10, 20, 30, 100], &mut out, |x| x);
        assert_eq!(out, [0.0, 0.0, 1.0, 2.0]);
    }

    #[test]
    fn unusable_settings_are_refused() {
        let message = |scale, mean: &[f64], std: &[f64]| {
            let preprocess = Preprocess {
                scale,
                mean: mean.to_vec(),
                std: std.to_vec(),
                channel_axis: 1,
            };
            Table::new(&preprocess, &[5, 3, 4, 4])
                .unwrap_err()
                .to_string()
        };
        assert!(message(f64::NAN, &[0.0], &[1.0]).contains("scale is NaN"));
        assert!(message(1.0, &[0.0], &[0.0]).contains("std not 0"));
        assert!(message(1.0, &[0.0; 3], &[1.0; 2]).contains("must agree"));
        assert!(message(1.0, &[0.0; 2], &[1.0; 2]).contains("2 channels"));
    }
}
