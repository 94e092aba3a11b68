//! Means over samples with their standard errors.

/// A mean over samples and its standard error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Sample standard deviation / √n; NaN for a single sample.
    pub se: f64,
}

/// The estimates of several quantities of the samples.
pub(super) fn estimates<T, const N: usize>(
    samples: &[T],
    quantities: [&dyn Fn(&T) -> f64; N],
) -> [Estimate; N] {
    let n = samples.len() as f64;
    quantities.map(|of| {
        let mean = samples.iter().map(of).sum::<f64>() / n;
        let squares = samples.iter().map(|sample| (of(sample) - mean).powi(2));
        let se = (squares.sum::<f64>() / (n - 1.0) / n).sqrt();
        Estimate { mean, se }
    })
}
