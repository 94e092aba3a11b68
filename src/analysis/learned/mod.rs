//! Learned soups (Wortsman et al. 2022, appendix I): coefficients α and an inverse temperature β
//! by gradient descent,
//!
//! argmin over α, β of Σⱼ ℓ(β·f(xⱼ; Σᵢ αᵢθᵢ), yⱼ),
//!
//! where ℓ is cross-entropy and j runs over the validation set; by layer, each tensor or block of
//! layers has its own α. The models are the checkpoints; θ0 is not included.
//!
//! Training starts at the uniform soup with β = 1. The start and the end of every epoch are judged
//! on held-out samples, or on the whole validation set if none are held out, and the best one is
//! kept: on these samples a learned soup is never worse than the uniform one.

mod adamw;
mod coefficients;
mod layers;
mod start;
#[cfg(test)]
mod tests;

use clap::ValueEnum;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;
use serde::Deserialize;

use self::adamw::AdamW;
use self::coefficients::Coefficients;
pub use self::start::hold;
use crate::error::Result;
use crate::evaluate::differentiable_loss::{DifferentiableLoss, Fit};
use crate::result::learned::{Ended, Epoch, Layers, Learning, LearningSettings, Step};
use crate::result::method::Method;
use crate::space::mix::Mix;
use crate::space::pool::Pool;

/// The source of the default settings.
//
// The paper's settings are quoted from memory (its appendix was not at hand); its batch size and
// weight decay are unknown. The released code is `learned_bylayer.py`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// 3 epochs, learning rate 0.1; the rest, which the paper does not say, from the released code
    Paper,
    /// 5 epochs, learning rate 0.05, no weight decay, batches of 256, as in the paper's released code
    Released,
}

impl Preset {
    /// The preset's settings, with a softmax, a learned β, and no held-out samples.
    pub fn settings(self) -> LearningSettings {
        let (epochs, learning_rate) = match self {
            Self::Paper => (3, 0.1),
            Self::Released => (5, 0.05),
        };
        LearningSettings {
            layers: Layers::All,
            epochs,
            learning_rate,
            weight_decay: 0.0,
            batch: 256,
            softmax: true,
            learns_beta: true,
            holdout: None,
            patience: 2,
            seed: 0,
        }
    }
}

/// A step of the optimizer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainingStep {
    /// The step's number, from 1.
    pub step: usize,
    /// Number of steps in all epochs.
    pub steps: usize,
    /// Loss on the mini-batch, in nats.
    pub loss: f64,
    /// Error on the mini-batch, a fraction.
    pub error: f64,
}

/// A learned soup.
#[derive(Debug, Clone, PartialEq)]
pub struct Learned {
    /// The soup.
    pub mix: Mix,
    /// The factor of its logits (inverse temperature).
    pub beta: f64,
    /// Loss of β·logits and error on the whole validation set.
    pub fit: Fit,
    /// How it was trained.
    pub learning: Learning,
}

/// Learns a soup of the checkpoints of a pool, which has at least one, on the data set of `loss`;
/// `tell` is called after every step.
///
/// AdamW at a constant rate takes mini-batches of the samples, reshuffled each epoch. Training ends
/// early if the held-out samples show no gain or if a loss or a derivative is not finite; the best
/// soup until then is kept. A single sample is never held out.
///
/// # Errors
/// Returns the errors of `loss`.
pub fn learn(
    loss: &dyn DifferentiableLoss,
    pool: &Pool,
    settings: &LearningSettings,
    tell: &dyn Fn(TrainingStep),
) -> Result<Learned> {
    let mut run = Run::new(loss, pool, settings);
    run.judge(0)?;
    run.learning.ended = run.epochs(tell)?;
    run.finish()
}

struct Run<'a> {
    loss: &'a dyn DifferentiableLoss,
    settings: &'a LearningSettings,
    coefficients: Coefficients,
    /// The optimizer's variables: those of the coefficients, then β.
    free: Vec<f64>,
    optimizer: AdamW,
    /// Samples to train on.
    training: Vec<usize>,
    /// Samples to judge on.
    selection: Vec<usize>,
    random: Xoshiro256PlusPlus,
    learning: Learning,
}

impl<'a> Run<'a> {
    fn new(loss: &'a dyn DifferentiableLoss, pool: &Pool, settings: &'a LearningSettings) -> Self {
        let coefficients = Coefficients::new(loss, pool, settings);
        let mut free = vec![0.0; coefficients.len()];
        free.push(1.0);
        let mut random = Xoshiro256PlusPlus::seed_from_u64(settings.seed);
        let (training, held_out) = parted(loss.samples(), settings.holdout, &mut random);
        let learning = Learning {
            method: match settings.layers {
                Layers::All => Method::Learned,
                Layers::Tensor | Layers::Block => Method::LearnedByLayer,
            },
            settings: settings.clone(),
            samples: [training.len(), held_out.len()],
            rows: coefficients.rows.clone(),
            steps: Vec::new(),
            epochs: Vec::new(),
            best: 0,
            ended: Ended::Done,
        };
        let selection = if held_out.is_empty() {
            training.clone()
        } else {
            held_out
        };
        let moved = free.len() - usize::from(!settings.learns_beta);
        Self {
            loss,
            settings,
            coefficients,
            optimizer: AdamW::new(settings.learning_rate, settings.weight_decay, moved),
            free,
            training,
            selection,
            random,
            learning,
        }
    }

    fn beta(&self) -> f64 {
        self.free[self.coefficients.len()]
    }

    fn epochs(&mut self, tell: &dyn Fn(TrainingStep)) -> Result<Ended> {
        let batch = self.settings.batch.max(1);
        for epoch in 1..=self.settings.epochs {
            let mut order = self.training.clone();
            order.shuffle(&mut self.random);
            for samples in order.chunks(batch) {
                if !self.step(epoch, samples, tell)? {
                    return Ok(Ended::NotFinite);
                }
            }
            self.judge(epoch)?;
            let [_, held_out] = self.learning.samples;
            if held_out > 0 && epoch - self.learning.best >= self.settings.patience.max(1) {
                return Ok(Ended::NoGain);
            }
        }
        Ok(Ended::Done)
    }

    /// Takes one step on these samples; `false` if that is impossible.
    fn step(
        &mut self,
        epoch: usize,
        samples: &[usize],
        tell: &dyn Fn(TrainingStep),
    ) -> Result<bool> {
        let alpha = self.coefficients.alpha(&self.free);
        let mix = self.coefficients.mix(&alpha);
        let slope = self.loss.coefficient_gradient(&mix, self.beta(), samples)?;
        let mut gradient = self.coefficients.gradient(&alpha, &slope.rows);
        gradient.push(slope.beta);
        let is_finite = |values: &[f64]| values.iter().all(|value| value.is_finite());
        let mut can = slope.fit.loss.is_finite() && is_finite(&gradient);
        if can {
            let mut free = self.free.clone();
            self.optimizer.step(&mut free, &gradient);
            can = is_finite(&free);
            if can {
                self.free = free;
            }
        }
        let step = self.learning.steps.len() + 1;
        self.learning.steps.push(Step {
            step,
            epoch,
            batch_loss: slope.fit.loss,
            batch_error: slope.fit.error,
            beta: self.beta(),
        });
        let batches = self.training.len().div_ceil(self.settings.batch.max(1));
        tell(TrainingStep {
            step,
            steps: self.settings.epochs * batches,
            loss: slope.fit.loss,
            error: slope.fit.error,
        });
        Ok(can)
    }

    /// Judges the current coefficients, and remembers them if they are the best.
    fn judge(&mut self, epoch: usize) -> Result<()> {
        let alpha = self.coefficients.alpha(&self.free);
        let mix = self.coefficients.mix(&alpha);
        let fit = self.loss.fit(&mix, self.beta(), &self.selection)?;
        self.learning.epochs.push(Epoch {
            epoch,
            step: self.learning.steps.len(),
            selection_loss: fit.loss,
            selection_error: fit.error,
            beta: self.beta(),
            alpha,
        });
        let least = self.learning.epochs[self.learning.best].selection_loss;
        if fit.loss < least || (least.is_nan() && !fit.loss.is_nan()) {
            self.learning.best = epoch;
        }
        Ok(())
    }

    /// Returns the best soup.
    fn finish(self) -> Result<Learned> {
        let best = &self.learning.epochs[self.learning.best];
        let mix = self.coefficients.mix(&best.alpha);
        let beta = best.beta;
        let fit = match self.learning.samples {
            [_, 0] => Fit {
                loss: best.selection_loss,
                error: best.selection_error,
            },
            _ => {
                let all: Vec<usize> = (0..self.loss.samples()).collect();
                self.loss.fit(&mix, beta, &all)?
            }
        };
        Ok(Learned {
            mix,
            beta,
            fit,
            learning: self.learning,
        })
    }
}

/// Splits samples into those to train on and those held out: about the fraction `holdout` of all,
/// but at least one of each kind if there are two or more samples.
fn parted(
    samples: usize,
    holdout: Option<f64>,
    random: &mut Xoshiro256PlusPlus,
) -> (Vec<usize>, Vec<usize>) {
    let mut all: Vec<usize> = (0..samples).collect();
    let held_out = match holdout {
        Some(part) if samples > 1 => {
            let count = (part * samples as f64).round() as usize;
            count.clamp(1, samples - 1)
        }
        _ => return (all, Vec::new()),
    };
    all.shuffle(random);
    let training = all.split_off(held_out);
    (training, all)
}
