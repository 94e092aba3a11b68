//! AdamW (Loshchilov and Hutter 2019), as PyTorch computes it with its defaults.

/// Decay rates of the two moments.
const DECAY: [f64; 2] = [0.9, 0.999];
/// Keeps the quotient of the moments finite.
const EPSILON: f64 = 1e-8;

/// The optimizer's state: moments of the gradient, and the step sizes.
pub struct AdamW {
    learning_rate: f64,
    weight_decay: f64,
    /// Running means of the gradient and of its square.
    moments: Vec<[f64; 2]>,
    steps: i32,
}

impl AdamW {
    /// An optimizer for this many parameters.
    pub fn new(learning_rate: f64, weight_decay: f64, parameters: usize) -> Self {
        Self {
            learning_rate,
            weight_decay,
            moments: vec![[0.0; 2]; parameters],
            steps: 0,
        }
    }

    /// Takes one step; parameters beyond the shorter of the two lists stay unchanged.
    ///
    /// p ← p − η·λ·p, then p ← p − η·m̂/(√v̂ + ε), where m̂ and v̂ are the moments over 1 − 0.9ᵗ
    /// and 1 − 0.999ᵗ: the decay is not part of the gradient.
    pub fn step(&mut self, parameters: &mut [f64], gradient: &[f64]) {
        self.steps += 1;
        let [bias, bias_square] = DECAY.map(|decay| 1.0 - decay.powi(self.steps));
        let all = parameters.iter_mut().zip(gradient).zip(&mut self.moments);
        for ((parameter, &slope), [mean, square]) in all {
            *parameter -= self.learning_rate * self.weight_decay * *parameter;
            *mean += (1.0 - DECAY[0]) * (slope - *mean);
            *square = DECAY[1] * *square + (1.0 - DECAY[1]) * slope * slope;
            let root = (*square / bias_square).sqrt();
            *parameter -= self.learning_rate * (*mean / bias) / (root + EPSILON);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of torch.optim.AdamW 2.15 in float64:
    /// `AdamW([p], lr=0.05, weight_decay=0.1)`, `p.grad = g; opt.step()` for each g below.
    #[test]
    fn steps_are_those_of_pytorch() {
        let gradients = [
            [0.5, -2.0],
            [-0.25, 3.0],
            [0.0, 1e-9],
            [1e3, 0.125],
            [0.5; 2],
        ];
        let expected = [
            [0.24850000099999997, -1.14400000025],
            [0.23394064934892317, -1.1506650910068843],
            [0.2224769812419895, -1.1544854766041568],
            [0.19230347561512626, -1.1575584379180375],
            [0.16676504351114493, -1.162926307925005],
        ];
        let mut parameters = [0.3, -1.2];
        let mut optimizer = AdamW::new(0.05, 0.1, 2);
        for (gradient, expected) in gradients.iter().zip(expected) {
            optimizer.step(&mut parameters, gradient);
            for (got, expected) in parameters.iter().zip(expected) {
                assert!((got - expected).abs() < 1e-12, "{got} {expected}");
            }
        }
    }

    #[test]
    fn a_first_step_goes_as_far_as_the_learning_rate_whatever_the_slope() {
        for slope in [1e-3, 1.0, -1e6] {
            let mut parameters = [2.0];
            AdamW::new(0.1, 0.0, 1).step(&mut parameters, &[slope]);
            // m̂ = g and √v̂ = |g|.
            let expected = 2.0 - 0.1 * slope / (slope.abs() + EPSILON);
            assert!((parameters[0] - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn decay_alone_is_exponential_and_no_slope_is_no_step() {
        let mut parameters = [3.0, 0.0];
        let mut optimizer = AdamW::new(0.1, 0.5, 2);
        for _ in 0..4 {
            optimizer.step(&mut parameters, &[0.0, 0.0]);
        }
        assert!((parameters[0] - 3.0 * 0.95_f64.powi(4)).abs() < 1e-12);
        assert_eq!(parameters[1], 0.0);
    }
}
