//! Random numbers of known distributions.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};

pub struct Random(Xoshiro256PlusPlus);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed ^ 0x00c0_ffee))
    }

    /// Uniform in (0, 1].
    pub fn uniform(&mut self) -> f64 {
        ((self.0.next_u64() >> 11) + 1) as f64 / 9_007_199_254_740_992.0
    }

    /// Normal with mean 0 and variance 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Skewed with mean 1 and variance 2, as losses are: most small, some large (a normal number squared).
    pub fn loss(&mut self) -> f64 {
        self.normal().powi(2)
    }
}

/// 1 if something is so.
pub fn so(held: bool) -> f64 {
    f64::from(u8::from(held))
}
