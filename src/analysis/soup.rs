//! Soups: which models each method averages, and with what weights (Wortsman et al. 2022).
//!
//! Selection uses the validation set only; all other data sets are only reported.

use std::rc::Rc;

use super::averages;
use super::greedy::{GreedyRule, GreedyTrace, greedy, shuffled};
use super::learned::{Candidate, TrainingStep, hold, learn};
use super::recipe::{MethodSpec, Recipe, mean};
use crate::error::Result;
use crate::evaluate::differentiable_loss::{DifferentiableLoss, Reference};
use crate::evaluate::logits::{Ensemble, Logits};
use crate::evaluate::{Answers, EvaluationObserver, Evaluator};
use crate::result::combine::Combine;
use crate::result::learned::{Layers, LearningSettings, Start};
use crate::result::method::Method;
use crate::result::score::Score;
use crate::space::gram::Gram;
use crate::space::mix::Mix;
use crate::space::pool::Pool;

/// Learns soups.
pub struct Learner<'a> {
    /// The loss on the validation set.
    pub loss: Box<dyn DifferentiableLoss + 'a>,
    /// The models.
    pub pool: &'a Pool,
    /// The settings; the layers apply to a soup by layer.
    pub settings: LearningSettings,
    /// The fraction by which rounding may change a loss.
    pub rounding: f64,
    /// Logits from which the start is chosen; without them it is the uniform soup.
    pub starts: Option<StartLogits<'a>>,
    /// Called after every step.
    pub tell: &'a dyn Fn(Method, TrainingStep),
}

/// Logits of the soups from which learning may start.
pub struct StartLogits<'a> {
    /// Logits of the members of the pool.
    pub members: &'a Logits,
    /// The place of the validation set among their data sets.
    pub validation: usize,
    /// Computes the logits of soups; the validation set has the same place.
    pub soups: &'a dyn Fn(&[Mix]) -> Result<Rc<Logits>>,
}

impl Learner<'_> {
    fn recipe(&self, method: Method, members: Vec<usize>, greedy: &[usize]) -> Result<Recipe> {
        let mut settings = self.settings.clone();
        if method == Method::Learned {
            settings.layers = Layers::All;
        }
        let tell = |step: TrainingStep| (self.tell)(method, step);
        let size = self.pool.members.len();
        let soups = [(Start::Uniform, &*members), (Start::Greedy, greedy)];
        let soups = soups.map(|(start, members)| (start, Mix::over(&mean(members), size)));
        let singles = (1..size).map(|member| (Start::Model, Mix::unit(member, size)));
        let mut candidates = Vec::new();
        let mixes = soups.clone().map(|(_, mix)| mix);
        let logits = self.starts.as_ref().map(|of| (of.soups)(&mixes));
        let logits = logits.transpose()?;
        if let (Some(starts), Some(logits)) = (&self.starts, &logits) {
            let soups = soups.iter().cloned().enumerate();
            let soups = soups.map(|(place, (start, mix))| (start, mix, &**logits, place));
            let singles = singles.map(|(start, mix)| (start, mix, starts.members));
            let singles = singles.zip(1..);
            let singles = singles.map(|((start, mix, logits), place)| (start, mix, logits, place));
            let all = soups.chain(singles);
            candidates.extend(all.map(|(start, mix, logits, model)| Candidate {
                start,
                alpha: mix.row(0)[1..].to_vec(),
                logits,
                model,
                dataset: starts.validation,
            }));
        }
        let learned = learn(&*self.loss, self.pool, &settings, &candidates, &tell)?;
        let mix = learned.mix.clone();
        let weights = mix.mean().into_iter().enumerate();
        Ok(Recipe {
            // Models without any weight are listed, too.
            weights: weights.skip(1).collect(),
            learned: Some(learned),
            ..Recipe::of(method, members, mix)
        })
    }
}

/// Computes the score of an ensemble of members of the pool, on a data set.
pub type Scorer<'a> = dyn Fn(Ensemble<'_>, usize) -> Score + 'a;

/// Makes the recipes of soups and ensembles from the scores of models on the validation set.
pub struct SoupBuilder<'a> {
    /// Evaluates soups.
    pub evaluator: &'a dyn Evaluator,
    /// Scores ensembles.
    pub ensemble: &'a Scorer<'a>,
    /// What ensembles average: each makes a recipe of its own.
    pub combine: &'a [Combine],
    /// Observes the progress of evaluations.
    pub observer: &'a dyn EvaluationObserver,
    /// The models, θ0 first.
    pub pool: &'a Pool,
    /// The validation set's index among the data sets.
    pub validation: usize,
    /// When a greedy method adds a model.
    pub rule: GreedyRule,
    /// Seeds of the random orders.
    pub seeds: Vec<u64>,
    /// Learns soups, if any are requested.
    pub learner: Option<Learner<'a>>,
}

impl SoupBuilder<'_> {
    /// The number of members of the pool, including θ0.
    pub fn members(&self) -> usize {
        self.pool.members.len()
    }

    /// Compares the loss that soups are trained with and the loss that they are judged by, at the
    /// uniform soup, where training starts. Call it before anything is learned.
    ///
    /// # Errors
    /// Fails when the two differ by more than rounding, or a soup cannot be evaluated.
    pub fn check_start(&self) -> Result<()> {
        let Some(learner) = &self.learner else {
            return Ok(());
        };
        let checkpoints: Vec<usize> = (1..self.members()).collect();
        let mix = Mix::over(&mean(&checkpoints), self.members());
        let answers = self.on_validation(&mix)?;
        let what = "the uniform soup";
        let reference = Reference::of(&answers, self.validation, what, learner.rounding);
        hold(&*learner.loss, &mix, learner.settings.batch, &reference)
    }

    /// The recipes of a method for members sorted by validation error, the best first: one recipe
    /// per seed or setting. There is none if there are too few members or, for methods based on
    /// angles (which need `gram`), if a model is not finite. WiSE-FT shortens `base`, or else the
    /// best model.
    ///
    /// # Errors
    /// Fails when a soup cannot be evaluated.
    pub fn recipes(
        &self,
        wanted: &MethodSpec,
        ranked: &[usize],
        gram: Option<&Gram>,
        base: Option<&Recipe>,
    ) -> Result<(Vec<Recipe>, Vec<GreedyTrace>)> {
        let method = wanted.method;
        let mut all = ranked.to_vec();
        all.sort_unstable();
        let plain = |members: &[usize]| vec![Recipe::mean(method, members.to_vec())];
        let recipes = match method {
            Method::Best => plain(&ranked[..1]),
            Method::Second => ranked.get(1..2).map_or_else(Vec::new, plain),
            Method::Uniform => plain(&all),
            Method::Ensemble => {
                let kinds = self.combine.iter();
                let kinds = kinds.map(|&combine| Recipe {
                    combine,
                    ..Recipe::mean(method, all.clone())
                });
                kinds.collect()
            }
            Method::Greedy => {
                return self.greedily((method, Combine::Logits), &[(None, ranked.to_vec())]);
            }
            Method::GreedyEnsemble => return self.greedy_ensembles(ranked),
            Method::GreedyRandom => {
                let seeds = self.seeds.iter();
                let orders = seeds.map(|&seed| (Some(seed), shuffled(&all, seed)));
                return self.greedily((method, Combine::Logits), &orders.collect::<Vec<_>>());
            }
            Method::Learned | Method::LearnedByLayer => match &self.learner {
                Some(learner) => {
                    let error = |members: &[usize]| {
                        self.validation_error((Method::Greedy, Combine::Logits), members)
                    };
                    let (greedy, _) = greedy(ranked, self.rule, error)?;
                    vec![learner.recipe(method, all, &greedy)?]
                }
                None => Vec::new(),
            },
            Method::WiseFt => match (wanted.base, base) {
                (None, _) => self.shortened(wanted, &Recipe::mean(method, ranked[..1].to_vec())),
                (Some(_), Some(base)) => self.shortened(wanted, base),
                (Some(_), None) => Vec::new(),
            },
            Method::ModelStock => Vec::from_iter(self.model_stock(&all, gram)),
            Method::Slerp | Method::SlerpTasks | Method::TaskArithmetic => {
                self.by_formula(wanted, ranked, &all, gram)
            }
        };
        Ok((recipes, Vec::new()))
    }

    /// A greedy ensemble of each kind.
    fn greedy_ensembles(&self, ranked: &[usize]) -> Result<(Vec<Recipe>, Vec<GreedyTrace>)> {
        let (mut recipes, mut traces) = (Vec::new(), Vec::new());
        for &combine in self.combine {
            let order = [(None, ranked.to_vec())];
            let (made, traced) = self.greedily((Method::GreedyEnsemble, combine), &order)?;
            recipes.extend(made);
            traces.extend(traced);
        }
        Ok((recipes, traces))
    }

    /// WiSE-FT of a recipe's model, for each α.
    fn shortened(&self, wanted: &MethodSpec, base: &Recipe) -> Vec<Recipe> {
        let model = base.mix(self.members());
        let made = |alpha: f64| Recipe {
            base: wanted.base,
            setting: Some(alpha),
            ..Recipe::of(
                Method::WiseFt,
                base.members.clone(),
                averages::wise_ft(&model, alpha),
            )
        };
        wanted.settings().into_iter().map(made).collect()
    }

    fn model_stock(&self, all: &[usize], gram: Option<&Gram>) -> Option<Recipe> {
        let stock = averages::model_stock(all, self.pool, gram?)?;
        Some(Recipe {
            notes: stock.notes(self.pool),
            ..Recipe::of(Method::ModelStock, all.to_vec(), stock.mix)
        })
    }

    /// The recipes of a method that has a formula for a number, for each number.
    fn by_formula(
        &self,
        wanted: &MethodSpec,
        ranked: &[usize],
        all: &[usize],
        gram: Option<&Gram>,
    ) -> Vec<Recipe> {
        let made = |setting: f64| {
            let (members, mix) = if wanted.method == Method::TaskArithmetic {
                let mix = averages::task_arithmetic(all, setting, self.members());
                (all, mix)
            } else {
                let pair = ranked.get(..2)?;
                let of = match wanted.method {
                    Method::Slerp => averages::slerp,
                    _ => averages::slerp_tasks,
                };
                (pair, of(pair[0], pair[1], setting, self.pool, gram?)?)
            };
            Some(Recipe {
                setting: Some(setting),
                ..Recipe::of(wanted.method, members.to_vec(), mix)
            })
        };
        wanted.settings().into_iter().filter_map(made).collect()
    }

    /// Runs a greedy method in each of these orders.
    fn greedily(
        &self,
        (method, combine): (Method, Combine),
        orders: &[(Option<u64>, Vec<usize>)],
    ) -> Result<(Vec<Recipe>, Vec<GreedyTrace>)> {
        let (mut recipes, mut traces) = (Vec::new(), Vec::new());
        for (seed, order) in orders {
            let error = |members: &[usize]| self.validation_error((method, combine), members);
            let (members, trials) = greedy(order, self.rule, error)?;
            recipes.push(Recipe {
                seed: *seed,
                combine,
                ..Recipe::mean(method, members)
            });
            traces.push(GreedyTrace {
                method,
                combine,
                seed: *seed,
                trials,
            });
        }
        Ok((recipes, traces))
    }

    /// The validation error of the mean of some members: of their weights or of their logits.
    fn validation_error(
        &self,
        (method, combine): (Method, Combine),
        members: &[usize],
    ) -> Result<f64> {
        let weights = mean(members);
        if method.is_ensemble() {
            let ensemble = Ensemble {
                combine,
                weights: &weights,
            };
            return Ok((self.ensemble)(ensemble, self.validation).error);
        }
        let answers = self.on_validation(&Mix::over(&weights, self.members()))?;
        Ok(answers.scores[0][self.validation].error)
    }

    /// Evaluates a soup on the validation set only.
    fn on_validation(&self, mix: &Mix) -> Result<Answers> {
        let mixes = std::slice::from_ref(mix);
        let (evaluator, observer) = (self.evaluator, self.observer);
        evaluator.evaluate_one(mixes, self.validation, observer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::learned::Preset;
    use crate::evaluate::quadratic::Quadratic;
    use crate::result::learned::Length;
    use crate::space::testing::random_pool;

    #[test]
    fn learned_soups_have_their_own_coefficients() {
        let pool = random_pool(4, &[vec![3], vec![2]], 5);
        let loss = || Quadratic::new(&pool, vec![0.2; 5], vec![1.0; 5], 0.1);
        let evaluator = loss();
        let builder = SoupBuilder {
            evaluator: &evaluator,
            ensemble: &|_, _| panic!("no ensemble is asked for"),
            combine: &[],
            observer: &(),
            pool: &pool,
            validation: 0,
            rule: GreedyRule::AtLeast,
            seeds: Vec::new(),
            learner: Some(Learner {
                loss: Box::new(loss()),
                pool: &pool,
                settings: LearningSettings {
                    layers: Layers::Tensor,
                    length: Length::Epochs(60),
                    ..Preset::Released.settings()
                },
                rounding: 1e-9,
                starts: None,
                tell: &|_, _| {},
            }),
        };
        builder.check_start().unwrap();
        let made = |method: Method| {
            let wanted = MethodSpec::plain(method);
            builder
                .recipes(&wanted, &[2, 1, 3], None, None)
                .unwrap()
                .0
                .remove(0)
        };
        let uniform = made(Method::Uniform);
        let together = made(Method::Learned);
        let by_layer = made(Method::LearnedByLayer);
        assert_eq!(
            (&*by_layer.members, by_layer.mix(4).rows().len()),
            (&[1, 2, 3][..], 2)
        );
        assert!(together.mix(4).shared().is_some());
        assert!(by_layer.learned.as_ref().is_some_and(|it| it.beta > 0.0));
        let mixes = [uniform, together, by_layer].map(|recipe| recipe.mix(4));
        let losses: Vec<f64> = mixes
            .iter()
            .map(|mix| evaluator.fit(mix, 1.0, &[0]))
            .map(|fit| fit.unwrap().loss)
            .collect();
        assert!(losses[2] < losses[1] && losses[1] < losses[0], "{losses:?}");
    }
}
