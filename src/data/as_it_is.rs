//! Checks floating-point data if preprocessing is configured. Preprocessing applies only to `u8`;
//! floating-point data is taken as it is, which is right only if it was normalized before storage.

use std::path::Path;

use super::fill::{BatchMut, Column};
use super::preprocess::Preprocess;
use super::spec::InputDtype;

/// Number of samples to check.
pub(super) const SAMPLES: usize = 256;

/// How far values may lie outside the range of preprocessed data, as a fraction of that range:
/// data may have been augmented, resized or rounded before it was stored.
const MARGIN: f64 = 0.05;

/// Statistics of an array's values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Seen {
    low: f64,
    high: f64,
    /// Whether all values are whole numbers.
    whole: bool,
    /// Number of samples checked.
    samples: usize,
}

/// A message about the values, with its severity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// The values are unlike preprocessed ones.
    Warning(String),
    /// The values may be preprocessed.
    Note(String),
}

impl Seen {
    /// Checks some samples of an input; `None` if no value is finite.
    pub(super) fn of(column: &Column, samples: &[usize]) -> Option<Self> {
        let mut seen = Self {
            low: f64::INFINITY,
            high: f64::NEG_INFINITY,
            whole: true,
            samples: samples.len(),
        };
        let (mut wide, mut narrow) = (Vec::new(), Vec::new());
        match column.dtype {
            InputDtype::F64 => wide.resize(column.row_len, 0.0),
            _ => narrow.resize(column.row_len, 0.0),
        }
        for &sample in samples {
            // The stored values count, not their rounding to a narrower graph type: f32 suffices.
            match column.dtype {
                InputDtype::F64 => column.fill(sample, 1, BatchMut::F64(&mut wide)),
                _ => column.fill(sample, 1, BatchMut::F32(&mut narrow)),
            }
            let narrow = narrow.iter().map(|&value: &f32| f64::from(value));
            for value in narrow
                .chain(wide.iter().copied())
                .filter(|it| it.is_finite())
            {
                seen.low = seen.low.min(value);
                seen.high = seen.high.max(value);
                seen.whole &= value.fract() == 0.0;
            }
        }
        (seen.low <= seen.high).then_some(seen)
    }

    /// Makes the message about array `name` of a file.
    pub(super) fn told(&self, name: &str, path: &Path, preprocess: &Preprocess) -> Told {
        let Self { low, high, .. } = *self;
        let (least, most) = preprocess.range();
        let margin = MARGIN * (most - least);
        let fits = least - margin <= low && high <= most + margin;
        let place = format!("{}: array `{name}`", path.display());
        let range = format!(
            "from {} to {} on {} samples",
            short(low),
            short(high),
            self.samples
        );
        let cure = "store images as u8, or normalize them before they are stored";
        // With the mean subtracted, an image has both signs, even if its values fit the range.
        let is_raw = least < 0.0 && low >= 0.0;
        if self.whole && high > 1.0 && high <= 255.0 && low >= 0.0 && (is_raw || !fits) {
            return Told::Warning(format!(
                "{place} holds whole numbers {range}, as images do before preprocessing, but they \
                 are floating-point numbers and taken as they are: [preprocess] is for u8 alone, \
                 and the network was probably not trained on such values. Store them as u8"
            ));
        }
        if is_raw && high <= 1.0 {
            return Told::Warning(format!(
                "{place} is floating-point, {range}, as images are before a mean is taken off, and \
                 taken as it is: [preprocess] is for u8 alone; {cure}"
            ));
        }
        if !fits {
            return Told::Warning(format!(
                "{place} is floating-point, {range}, and taken as it is: [preprocess] is for u8 \
                 alone, of which it would make {} to {}; {cure}",
                short(least),
                short(most)
            ));
        }
        Told::Note(format!(
            "{place} is floating-point, {range}, and taken as it is: [preprocess] is for u8 alone"
        ))
    }
}

/// Formats a number with up to four significant digits.
fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    match text {
        "-0" => "0".to_string(),
        text => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(low: f64, high: f64, whole: bool, mean: f64, std: f64) -> Told {
        let preprocess = Preprocess::new(1.0 / 255.0, vec![mean], vec![std], 1).unwrap();
        let seen = Seen {
            low,
            high,
            whole,
            samples: 9,
        };
        seen.told("x", Path::new("t.npz"), &preprocess)
    }

    fn warning(told: Told) -> String {
        match told {
            Told::Warning(text) => text,
            Told::Note(text) => panic!("a note: {text}"),
        }
    }

    #[test]
    fn images_that_were_not_normalized_are_told_by_their_range() {
        let text = warning(told(0.0, 255.0, true, 0.45, 0.22));
        assert!(
            text.contains("whole numbers from 0 to 255 on 9 samples"),
            "{text}"
        );
        // Also if only a scale is configured.
        let text = warning(told(0.0, 255.0, true, 0.0, 1.0));
        assert!(text.contains("Store them as u8"), "{text}");
        let text = warning(told(0.0, 1.0, false, 0.45, 0.22));
        assert!(text.contains("before a mean is taken off"), "{text}");
        let text = warning(told(-127.5, 127.5, false, 0.45, 0.22));
        assert!(text.contains("it would make -2.045 to 2.5"), "{text}");
    }

    #[test]
    fn images_that_look_normalized_are_a_note() {
        let note = |told: Told| matches!(told, Told::Note(_));
        assert!(note(told(-2.04, 2.5, false, 0.45, 0.22)));
        assert!(note(told(0.0, 1.0, false, 0.0, 1.0)));
    }
}
