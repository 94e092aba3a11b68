//! Learned soups (Wortsman et al. 2022, appendix I): coefficients α and an inverse temperature β
//! by gradient descent,
//!
//! argmin over α, β of Σⱼ ℓ(β·f(xⱼ; Σᵢ αᵢθᵢ), yⱼ),
//!
//! where ℓ is cross-entropy and j runs over the validation set; by layer, each tensor or block of
//! layers has its own α. The models are the checkpoints; θ0 is not included.
//!
//! Learning starts at the best of some candidates, each at its own best β: the uniform soup, the
//! greedy soup and every single model. The start and the end of every epoch are judged on held-out
//! samples, or on the whole validation set if none are held out, and the best one is kept: on these
//! samples a learned soup is never worse than the best of the candidates. (The paper's released code
//! starts at the uniform soup and keeps the last step.)

mod adamw;
mod candidate;
mod coefficients;
mod layers;
mod lbfgs;
#[cfg(test)]
mod optimum_tests;
mod preset;
mod start;
#[cfg(test)]
mod tests;

use std::rc::Rc;

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;

use self::adamw::AdamW;
use self::candidate::Begin;
pub use self::candidate::Candidate;
use self::coefficients::Coefficients;
use self::lbfgs::{Advance, LEAST_GAIN, LEAST_PROMISE, Lbfgs, Place};
pub use self::preset::{Preset, lbfgs_settings};
pub use self::start::hold;
use crate::error::Result;
use crate::evaluate::differentiable_loss::{DifferentiableLoss, Fit};
use crate::evaluate::metrics::Outcome;
use crate::result::learned::{Ended, Epoch, Layers, Learning, LearningSettings, Optimizer, Step};
use crate::result::method::Method;
use crate::space::mix::Mix;
use crate::space::pool::Pool;

/// A step of the optimizer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainingStep {
    /// The step's number, from 1.
    pub step: usize,
    /// The largest number of steps.
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

/// Learns a soup of the checkpoints of a pool, which has at least one, on the data set of `loss`,
/// from the best of the candidates; without any, from the uniform soup at β = 1. `tell` is called
/// after every step.
///
/// AdamW at a constant rate takes mini-batches of the samples, reshuffled each epoch; L-BFGS takes
/// all samples. Learning ends early if the held-out samples show no gain or if a loss or a
/// derivative is not finite; the best soup until then is kept. A single sample is never held out.
///
/// # Errors
/// Returns the errors of `loss`.
pub fn learn(
    loss: &dyn DifferentiableLoss,
    pool: &Pool,
    settings: &LearningSettings,
    candidates: &[Candidate<'_>],
    tell: &dyn Fn(TrainingStep),
) -> Result<Learned> {
    let mut run = Run::new(loss, pool, settings, candidates);
    run.learning.ended = match settings.optimizer {
        Optimizer::AdamW => run.epochs(tell)?,
        Optimizer::Lbfgs => run.iterations(tell)?,
    };
    run.finish()
}

struct Run<'a> {
    loss: &'a dyn DifferentiableLoss,
    settings: &'a LearningSettings,
    coefficients: Rc<Coefficients>,
    begin: Begin,
    /// The optimizer's variables: those of the coefficients, then β.
    free: Vec<f64>,
    /// Samples to train on.
    training: Rc<[usize]>,
    /// Samples to judge on.
    selection: Vec<usize>,
    /// Losses of these samples when they were last judged, if they were.
    judged: Option<Vec<f64>>,
    random: Xoshiro256PlusPlus,
    learning: Learning,
}

impl<'a> Run<'a> {
    fn new(
        loss: &'a dyn DifferentiableLoss,
        pool: &Pool,
        settings: &'a LearningSettings,
        candidates: &[Candidate<'_>],
    ) -> Self {
        let coefficients = Coefficients::new(loss, pool, settings);
        let mut random = Xoshiro256PlusPlus::seed_from_u64(settings.seed);
        let (training, held_out) = parted(loss.samples(), settings.holdout, &mut random);
        let samples = [training.len(), held_out.len()];
        let selection = if held_out.is_empty() {
            training.clone()
        } else {
            held_out
        };
        let models = pool.members.len() - 1;
        let of = (&*training, &*selection);
        let begin = Begin::best(candidates, models, of, settings.learns_beta);
        let uniform = coefficients.everywhere(&vec![1.0 / models as f64; models]);
        let mut free = coefficients.free(&coefficients.everywhere(&begin.alpha), &uniform);
        free.push(begin.beta);
        let learning = Learning {
            method: match settings.layers {
                Layers::All => Method::Learned,
                Layers::Tensor | Layers::Block => Method::LearnedByLayer,
            },
            settings: settings.clone(),
            start: begin.start,
            samples,
            rows: coefficients.rows.clone(),
            steps: Vec::new(),
            epochs: Vec::new(),
            best: 0,
            ended: Ended::Done,
        };
        Self {
            loss,
            settings,
            coefficients: Rc::new(coefficients),
            begin,
            free,
            training: training.into(),
            selection,
            judged: None,
            random,
            learning,
        }
    }

    fn beta(&self) -> f64 {
        self.free[self.coefficients.len()]
    }

    /// The number of steps in an epoch.
    fn steps_each(&self) -> usize {
        match self.settings.optimizer {
            Optimizer::AdamW => self.training.len().div_ceil(self.settings.batch.max(1)),
            Optimizer::Lbfgs => 1,
        }
    }

    /// Learns with AdamW.
    fn epochs(&mut self, tell: &dyn Fn(TrainingStep)) -> Result<Ended> {
        self.judge(0, self.coefficients.everywhere(&self.begin.alpha))?;
        let settings = self.settings;
        let moved = self.free.len() - usize::from(!settings.learns_beta);
        let mut optimizer = AdamW::new(settings.learning_rate, settings.weight_decay, moved);
        for epoch in 1..=settings.length.epochs(self.steps_each()) {
            let mut order = self.training.to_vec();
            order.shuffle(&mut self.random);
            for samples in order.chunks(settings.batch.max(1)) {
                if !self.step(&mut optimizer, epoch, samples, tell)? {
                    return Ok(Ended::NotFinite);
                }
            }
            self.judge(epoch, self.coefficients.alpha(&self.free))?;
            if self.is_patience_over() {
                return Ok(Ended::NoGain);
            }
        }
        Ok(Ended::Done)
    }

    /// Whether samples are held out and too many epochs gained nothing on them.
    fn is_patience_over(&self) -> bool {
        let [_, held_out] = self.learning.samples;
        let since = self.learning.epochs.len() - 1 - self.learning.best;
        held_out > 0 && since >= self.settings.patience.max(1)
    }

    /// Takes one step on these samples; `false` if that is impossible.
    fn step(
        &mut self,
        optimizer: &mut AdamW,
        epoch: usize,
        samples: &[usize],
        tell: &dyn Fn(TrainingStep),
    ) -> Result<bool> {
        let settings = self.settings;
        let (fit, gradient) = slope(self.loss, &self.coefficients, settings, samples, &self.free)?;
        let is_finite = |values: &[f64]| values.iter().all(|value| value.is_finite());
        let mut can = fit.loss.is_finite() && is_finite(&gradient);
        if can {
            let mut free = self.free.clone();
            optimizer.step(&mut free, &gradient);
            can = is_finite(&free);
            if can {
                self.free = free;
            }
        }
        self.stepped(epoch, fit, tell);
        Ok(can)
    }

    /// Notes a step from a place with this loss.
    fn stepped(&mut self, epoch: usize, from: Fit, tell: &dyn Fn(TrainingStep)) {
        let step = self.learning.steps.len() + 1;
        self.learning.steps.push(Step {
            step,
            epoch,
            batch_loss: from.loss,
            batch_error: from.error,
            beta: self.beta(),
        });
        let each = self.steps_each();
        tell(TrainingStep {
            step,
            steps: self.settings.length.epochs(each) * each,
            loss: from.loss,
            error: from.error,
        });
    }

    /// Learns with L-BFGS. Where it gains no more, a little of what the slopes favour is mixed in, and
    /// it begins anew: a coefficient near 0 has nearly no slope in z, whatever it promises. Where
    /// nothing is promised, or that gained nothing either, there is nothing to find.
    fn iterations(&mut self, tell: &dyn Fn(TrainingStep)) -> Result<Ended> {
        self.judge(0, self.coefficients.everywhere(&self.begin.alpha))?;
        let (loss, settings) = (self.loss, self.settings);
        let (coefficients, training) = (Rc::clone(&self.coefficients), Rc::clone(&self.training));
        let slope = |free: &[f64]| slope(loss, &coefficients, settings, &training, free);
        let mut solver = Lbfgs::new(&slope, self.free.clone());
        let (mut last, mut least) = (None, f64::INFINITY);
        for epoch in 1..=settings.length.epochs(1) {
            let mut advance = solver.advance()?;
            if matches!(advance, Advance::Nowhere) {
                let Some(free) = self.reopened(last, &mut least)? else {
                    return Ok(Ended::Converged);
                };
                solver = Lbfgs::new(&slope, free);
                advance = solver.advance()?;
            }
            let place = match advance {
                Advance::To(place) => place,
                Advance::Nowhere => return Ok(Ended::Converged),
                Advance::NotFinite => return Ok(Ended::NotFinite),
            };
            let gain = self.moved(epoch, &mut last, place, tell)?;
            if self.is_patience_over() {
                return Ok(Ended::NoGain);
            }
            if gain.abs() <= LEAST_GAIN {
                let Some(free) = self.reopened(last, &mut least)? else {
                    return Ok(Ended::Converged);
                };
                solver = Lbfgs::new(&slope, free);
            }
        }
        Ok(Ended::Done)
    }

    /// Where to begin anew after the loss `last`; `None` if the slopes promise nothing there, or the
    /// last new beginning did not lead below `least`, the loss before it.
    fn reopened(&self, last: Option<Fit>, least: &mut f64) -> Result<Option<Vec<f64>>> {
        let Some(last) = last.filter(|last| last.loss < *least * (1.0 - 10.0 * LEAST_GAIN)) else {
            return Ok(None);
        };
        *least = last.loss;
        let alpha = self.coefficients.alpha(&self.free);
        let mix = self.coefficients.mix(&alpha);
        let slope = self
            .loss
            .coefficient_gradient(&mix, self.beta(), &self.training)?;
        let (vertices, gap) = self.coefficients.favoured(&alpha, &slope.rows);
        if gap <= LEAST_PROMISE * last.loss.abs() {
            return Ok(None);
        }
        let mut free = self.coefficients.free(&alpha, &vertices);
        free.push(self.beta());
        Ok(Some(free))
    }

    /// Takes the place that an iteration led to. Returns the gain as a fraction of the loss.
    fn moved(
        &mut self,
        epoch: usize,
        from: &mut Option<Fit>,
        place: Place,
        tell: &dyn Fn(TrainingStep),
    ) -> Result<f64> {
        self.free = place.free;
        let before = from.replace(place.fit);
        self.stepped(epoch, before.unwrap_or(place.fit), tell);
        let alpha = self.coefficients.alpha(&self.free);
        match self.learning.samples {
            // The loss is that of all samples already.
            [_, 0] => self.record(epoch, alpha, place.fit, None),
            _ => self.judge(epoch, alpha)?,
        }
        let gain = before.map(|before| (before.loss - place.fit.loss) / before.loss.abs());
        Ok(gain.unwrap_or(f64::INFINITY))
    }

    /// Judges coefficients with the current β, and remembers them if they are the best.
    fn judge(&mut self, epoch: usize, alpha: Vec<Vec<f64>>) -> Result<()> {
        let mix = self.coefficients.mix(&alpha);
        let outcomes = self.loss.outcomes(&mix, self.beta(), &self.selection)?;
        self.record(epoch, alpha, Fit::of(&outcomes), Some(&outcomes));
        Ok(())
    }

    fn record(
        &mut self,
        epoch: usize,
        alpha: Vec<Vec<f64>>,
        fit: Fit,
        outcomes: Option<&[Outcome]>,
    ) {
        let losses: Option<Vec<f64>> =
            outcomes.map(|outcomes| outcomes.iter().map(|outcome| outcome.loss).collect());
        let gain = match (&self.judged, &losses) {
            (Some(before), Some(losses)) => Some(gain(before, losses)),
            _ => None,
        };
        self.judged = losses;
        self.learning.epochs.push(Epoch {
            epoch,
            step: self.learning.steps.len(),
            selection_loss: fit.loss,
            selection_error: fit.error,
            gain: gain.map(|(gain, _)| gain),
            gain_se: gain.map(|(_, se)| se),
            beta: self.beta(),
            alpha,
        });
        let least = self.learning.epochs[self.learning.best].selection_loss;
        if fit.loss < least || (least.is_nan() && !fit.loss.is_nan()) {
            self.learning.best = epoch;
        }
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

/// Loss, error and gradient of a mean over some samples, in the free variables of all coefficients
/// and β. The slope in β is 0 unless it is learned.
fn slope(
    loss: &dyn DifferentiableLoss,
    coefficients: &Coefficients,
    settings: &LearningSettings,
    samples: &[usize],
    free: &[f64],
) -> Result<(Fit, Vec<f64>)> {
    let alpha = coefficients.alpha(free);
    let beta = free[coefficients.len()];
    let slope = loss.coefficient_gradient(&coefficients.mix(&alpha), beta, samples)?;
    let mut gradient = coefficients.gradient(free, &alpha, &slope.rows);
    gradient.push(if settings.learns_beta {
        slope.beta
    } else {
        0.0
    });
    Ok((slope.fit, gradient))
}

/// The mean fall of the loss of the same samples, and its standard error.
fn gain(before: &[f64], after: &[f64]) -> (f64, f64) {
    let n = before.len() as f64;
    let falls = || {
        before
            .iter()
            .zip(after)
            .map(|(before, after)| before - after)
    };
    let mean = falls().sum::<f64>() / n;
    let spread: f64 = falls().map(|fall| (fall - mean).powi(2)).sum();
    (mean, (spread / (n - 1.0) / n).sqrt())
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
