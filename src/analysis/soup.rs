//! Recipes: which models go into an average, and with what weights (Wortsman et al. 2022).
//!
//! Selection looks at the validation set alone; everything else is only reported.

use clap::ValueEnum;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;
use serde::Deserialize;

use super::averages;
use super::learned::{Learned, Moment, hold, learn};
use crate::error::Result;
use crate::evaluate::differentiable_loss::{DifferentiableLoss, Reference};
use crate::evaluate::{Answers, EvaluationObserver, Evaluator};
use crate::result::learned::{Layers, LearningSettings};
use crate::result::method::Method;
use crate::result::score::Score;
use crate::space::gram::Gram;
use crate::space::mix::Mix;
use crate::space::pool::Pool;

/// A method, with its α, λ or t where one is given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wanted {
    /// Which method.
    pub method: Method,
    /// Its number; where there is none, its usual ones.
    pub setting: Option<f64>,
}

impl Wanted {
    /// A method as it usually is.
    pub fn plain(method: Method) -> Self {
        Self {
            method,
            setting: None,
        }
    }

    /// The numbers that are tried: α of WiSE-FT in steps of 0.1 as its released sweep, t = ½, and
    /// λ in steps of 0.1.
    fn settings(&self) -> Vec<f64> {
        match (self.setting, self.method) {
            (Some(setting), _) => vec![setting],
            (None, Method::WiseFt) => (1..10).map(|tenths| f64::from(tenths) / 10.0).collect(),
            (None, Method::TaskArithmetic) => {
                (1..11).map(|tenths| f64::from(tenths) / 10.0).collect()
            }
            (None, _) => vec![0.5],
        }
    }
}

/// What a method makes one model, or one ensemble, of.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// Which method.
    pub method: Method,
    /// Its α, λ or t.
    pub setting: Option<f64>,
    /// Its seed.
    pub seed: Option<u64>,
    /// Members of the pool, in the order in which they came in.
    pub members: Vec<usize>,
    /// Weights of members of the pool, θ0's too where it has one; the mean over the tensors where
    /// each has its own.
    pub weights: Vec<(usize, f64)>,
    /// What was learned, where something was.
    pub learned: Option<Learned>,
}

impl Recipe {
    /// The mean of members.
    pub fn mean(method: Method, members: Vec<usize>) -> Self {
        Self {
            method,
            setting: None,
            seed: None,
            weights: mean(&members),
            members,
            learned: None,
        }
    }

    /// The soup as a mix of a pool of so many members.
    pub fn mix(&self, members: usize) -> Mix {
        match &self.learned {
            Some(learned) => learned.mix.clone(),
            None => Mix::over(&self.weights, members),
        }
    }
}

/// Learns soups.
pub struct Learner<'a> {
    /// The loss on the validation set.
    pub slopes: Box<dyn DifferentiableLoss + 'a>,
    /// The models.
    pub pool: &'a Pool,
    /// How; the layers are those of a soup by layer.
    pub settings: LearningSettings,
    /// By what part of a loss rounding may move it.
    pub rounding: f64,
    /// Told of every step.
    pub tell: &'a dyn Fn(Method, Moment),
}

impl Learner<'_> {
    fn recipe(&self, method: Method, members: Vec<usize>) -> Result<Recipe> {
        let mut settings = self.settings.clone();
        if method == Method::Learned {
            settings.layers = Layers::All;
        }
        let tell = |moment: Moment| (self.tell)(method, moment);
        let learned = learn(&*self.slopes, self.pool, &settings, &tell)?;
        let weights = learned.mix.mean().into_iter().enumerate();
        Ok(Recipe {
            weights: weights.skip(1).collect(),
            learned: Some(learned),
            ..Recipe::mean(method, members)
        })
    }
}

/// Score of Σᵢ wᵢ·logitsᵢ over members of the pool, on a data set.
pub type Ensemble<'a> = dyn Fn(&[(usize, f64)], usize) -> Score + 'a;

/// Trials of a greedy method, with its seed where it has one.
pub type Trace = (Method, Option<u64>, Vec<Trial>);

/// Makes recipes, by what models do on the validation set.
pub struct Cook<'a> {
    /// Evaluates soups.
    pub evaluator: &'a dyn Evaluator,
    /// Scores ensembles.
    pub ensemble: &'a Ensemble<'a>,
    /// Told how evaluations go on.
    pub observer: &'a dyn EvaluationObserver,
    /// Members of the pool, θ0 among them.
    pub members: usize,
    /// The validation set's index among the data sets.
    pub validation: usize,
    /// When a greedy method takes a model.
    pub rule: Rule,
    /// Seeds of the random orders.
    pub seeds: Vec<u64>,
    /// Learns soups, where any are wanted.
    pub learner: Option<Learner<'a>>,
}

impl Cook<'_> {
    /// Holds the loss that soups are learned from against that which they are judged by, at the
    /// uniform soup, where learning begins. To be asked before anything is learned.
    ///
    /// # Errors
    /// When the two part by more than rounding, or a soup cannot be evaluated.
    pub fn check_start(&self) -> Result<()> {
        let Some(learner) = &self.learner else {
            return Ok(());
        };
        let checkpoints: Vec<usize> = (1..self.members).collect();
        let mix = Mix::over(&mean(&checkpoints), self.members);
        let answers = self.on_validation(&mix)?;
        let set = &answers.datasets[self.validation];
        let reference = Reference {
            what: "the uniform soup".to_string(),
            dataset: set.name.clone(),
            loss: answers.scores[0][self.validation].loss,
            samples: set.samples,
            rounding: learner.rounding,
        };
        hold(&*learner.slopes, &mix, learner.settings.batch, &reference)
    }

    /// What a method makes of members that are sorted by validation error, the best first: one
    /// recipe a seed or a setting, none where there are too few members or, for those by angles
    /// (which need `gram`), where the angles leave it undefined.
    ///
    /// # Errors
    /// When a soup cannot be evaluated.
    pub fn recipes(
        &self,
        wanted: &Wanted,
        ranked: &[usize],
        gram: Option<&Gram>,
    ) -> Result<(Vec<Recipe>, Vec<Trace>)> {
        let method = wanted.method;
        let mut all = ranked.to_vec();
        all.sort_unstable();
        let plain = |members: &[usize]| vec![Recipe::mean(method, members.to_vec())];
        let recipes = match method {
            Method::Best => plain(&ranked[..1]),
            Method::Second => ranked.get(1..2).map_or_else(Vec::new, plain),
            Method::Uniform | Method::Ensemble => plain(&all),
            Method::Greedy | Method::GreedyEnsemble => {
                return self.greedily(method, &[(None, ranked.to_vec())]);
            }
            Method::GreedyRandom => {
                let seeds = self.seeds.iter();
                let orders = seeds.map(|&seed| (Some(seed), shuffled(&all, seed)));
                return self.greedily(method, &orders.collect::<Vec<_>>());
            }
            Method::Learned | Method::LearnedByLayer => match &self.learner {
                Some(learner) => vec![learner.recipe(method, all)?],
                None => Vec::new(),
            },
            Method::WiseFt | Method::ModelStock | Method::Slerp | Method::TaskArithmetic => {
                self.by_formula(wanted, ranked, &all, gram)
            }
        };
        Ok((recipes, Vec::new()))
    }

    fn by_formula(
        &self,
        wanted: &Wanted,
        ranked: &[usize],
        all: &[usize],
        gram: Option<&Gram>,
    ) -> Vec<Recipe> {
        let recipe = |members: &[usize], setting: Option<f64>, mix: Mix| Recipe {
            setting,
            weights: weights(&mix),
            ..Recipe::mean(wanted.method, members.to_vec())
        };
        let settings = wanted.settings().into_iter();
        match wanted.method {
            Method::WiseFt => settings
                .map(|alpha| {
                    let best = Mix::unit(ranked[0], self.members);
                    recipe(&ranked[..1], Some(alpha), averages::wise_ft(&best, alpha))
                })
                .collect(),
            Method::TaskArithmetic => settings
                .map(|lambda| {
                    let mix = averages::task_arithmetic(all, lambda, self.members);
                    recipe(all, Some(lambda), mix)
                })
                .collect(),
            Method::Slerp => settings
                .filter_map(|t| {
                    let pair = ranked.get(..2)?;
                    let mix = averages::slerp(pair[0], pair[1], t, gram?)?;
                    Some(recipe(pair, Some(t), mix))
                })
                .collect(),
            _ => gram
                .and_then(|gram| averages::model_stock(all, gram))
                .map(|(mix, _)| vec![recipe(all, None, mix)])
                .unwrap_or_default(),
        }
    }

    /// A greedy method in each of these orders.
    fn greedily(
        &self,
        method: Method,
        orders: &[(Option<u64>, Vec<usize>)],
    ) -> Result<(Vec<Recipe>, Vec<Trace>)> {
        let (mut recipes, mut traces) = (Vec::new(), Vec::new());
        for (seed, order) in orders {
            let error = |members: &[usize]| self.validation_error(method, members);
            let (members, trials) = greedy(order, self.rule, error)?;
            recipes.push(Recipe {
                seed: *seed,
                ..Recipe::mean(method, members)
            });
            traces.push((method, *seed, trials));
        }
        Ok((recipes, traces))
    }

    /// Validation error of the mean of members: of their weights or of their logits.
    fn validation_error(&self, method: Method, members: &[usize]) -> Result<f64> {
        let weights = mean(members);
        if method.is_ensemble() {
            return Ok((self.ensemble)(&weights, self.validation).error);
        }
        let answers = self.on_validation(&Mix::over(&weights, self.members))?;
        Ok(answers.scores[0][self.validation].error)
    }

    /// Evaluates a soup on the validation set alone.
    fn on_validation(&self, mix: &Mix) -> Result<Answers> {
        let sets = 0..self.evaluator.datasets().len();
        let wanted: Vec<bool> = sets.map(|set| set == self.validation).collect();
        let mixes = std::slice::from_ref(mix);
        self.evaluator.evaluate_on(mixes, &wanted, self.observer)
    }

    /// Scores of recipes on every data set; of the validation set, the loss of a learned soup is
    /// that of β·logits.
    ///
    /// # Errors
    /// When a soup cannot be evaluated.
    pub fn scores(&self, recipes: &[Recipe]) -> Result<Vec<Vec<Score>>> {
        let soups = recipes.iter().filter(|recipe| !recipe.method.is_ensemble());
        let mixes: Vec<Mix> = soups.map(|recipe| recipe.mix(self.members)).collect();
        let answers = self.evaluator.evaluate(&mixes, self.observer)?;
        let mut soups = answers.scores.into_iter();
        let ensemble = |recipe: &Recipe| {
            let sets = 0..answers.datasets.len();
            sets.map(|set| (self.ensemble)(&recipe.weights, set))
                .collect()
        };
        let scores = recipes
            .iter()
            .map(|recipe| match recipe.method.is_ensemble() {
                true => ensemble(recipe),
                false => self.with_beta(recipe, soups.next().unwrap_or_default()),
            });
        Ok(scores.collect())
    }

    /// A soup's scores with its β where there is one. It changes no error, and with 1 no loss.
    fn with_beta(&self, recipe: &Recipe, mut scores: Vec<Score>) -> Vec<Score> {
        if let Some(learned) = recipe
            .learned
            .as_ref()
            .filter(|learned| learned.beta != 1.0)
            && let Some(score) = scores.get_mut(self.validation)
        {
            score.loss = learned.fit.loss;
            // Only that of β = 1 is known.
            score.loss_se = f64::NAN;
        }
        scores
    }
}

/// The weights of a mix that are not 0.
fn weights(mix: &Mix) -> Vec<(usize, f64)> {
    let weights = mix.row(0).iter().copied().enumerate();
    weights.filter(|(_, weight)| *weight != 0.0).collect()
}

/// The same weight for each.
pub fn mean(members: &[usize]) -> Vec<(usize, f64)> {
    let weight = 1.0 / members.len() as f64;
    members.iter().map(|&member| (member, weight)).collect()
}

/// When a greedy method adds a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
pub enum Rule {
    /// If validation accuracy does not fall, as in the paper (Recipe 1)
    #[default]
    #[value(name = "ge")]
    #[serde(rename = "ge")]
    AtLeast,
    /// If validation accuracy rises, as in the paper's released code
    #[value(name = "gt")]
    #[serde(rename = "gt")]
    Above,
}

/// A greedy method tried a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trial {
    /// The member.
    pub member: usize,
    /// Validation error with it.
    pub error: f64,
    /// Whether it was taken.
    pub added: bool,
}

/// Goes through members in order and keeps each that does the mean good, the first in any case;
/// `error` is the validation error of the mean of members.
///
/// # Errors
/// Those of `error`.
pub fn greedy(
    order: &[usize],
    rule: Rule,
    mut error: impl FnMut(&[usize]) -> Result<f64>,
) -> Result<(Vec<usize>, Vec<Trial>)> {
    let (mut chosen, mut lowest) = (Vec::new(), f64::INFINITY);
    let mut trials = Vec::new();
    for &member in order {
        chosen.push(member);
        let error = error(&chosen)?;
        let added = match rule {
            _ if chosen.len() == 1 => true,
            Rule::AtLeast => error <= lowest,
            Rule::Above => error < lowest,
        };
        if added {
            lowest = error;
        } else {
            chosen.pop();
        }
        trials.push(Trial {
            member,
            error,
            added,
        });
    }
    Ok((chosen, trials))
}

/// Members by their validation error, the best first; of equals the one listed first.
pub fn ranked(members: &[usize], validation: impl Fn(usize) -> Score) -> Vec<usize> {
    let mut ranked = members.to_vec();
    ranked.sort_by(|&a, &b| validation(a).error.total_cmp(&validation(b).error));
    ranked
}

/// Members in a random order.
pub fn shuffled(members: &[usize], seed: u64) -> Vec<usize> {
    let mut shuffled = members.to_vec();
    shuffled.shuffle(&mut Xoshiro256PlusPlus::seed_from_u64(seed));
    shuffled
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::analysis::learned::Preset;
    use crate::evaluate::quadratic::Quadratic;
    use crate::space::testing::random_pool;

    /// Errors of sets of members.
    fn table(errors: &[(&[usize], f64)]) -> impl Fn(&[usize]) -> Result<f64> {
        let errors: Vec<(Vec<usize>, f64)> = errors
            .iter()
            .map(|(set, error)| (set.to_vec(), *error))
            .collect();
        move |members| {
            let mut members = members.to_vec();
            members.sort_unstable();
            let found = errors.iter().find(|(set, _)| *set == members);
            Ok(found.unwrap().1)
        }
    }

    #[test]
    fn the_two_rules_part_where_accuracy_stays_the_same() {
        // 2 changes nothing; 3 does good to {1, 2} alone.
        let errors = table(&[
            (&[1], 0.10),
            (&[1, 2], 0.10),
            (&[1, 2, 3], 0.05),
            (&[1, 3], 0.20),
        ]);
        let (members, trials) = greedy(&[1, 2, 3], Rule::AtLeast, &errors).unwrap();
        assert_eq!(members, [1, 2, 3]);
        assert!(trials.iter().all(|trial| trial.added));
        let (members, trials) = greedy(&[1, 2, 3], Rule::Above, &errors).unwrap();
        assert_eq!(members, [1]);
        let seen: Vec<_> = trials
            .iter()
            .map(|t| (t.member, t.error, t.added))
            .collect();
        assert_eq!(seen, [(1, 0.10, true), (2, 0.10, false), (3, 0.20, false)]);
    }

    #[test]
    fn equals_rank_as_they_are_listed() {
        let score = |member: usize| Score {
            loss: 0.0,
            loss_se: 0.0,
            error: [0.0, 0.2, 0.1, 0.2, 0.1][member],
            error_se: 0.0,
            nonfinite: 0,
        };
        assert_eq!(ranked(&[1, 2, 3, 4], score), [2, 4, 1, 3]);
    }

    #[test]
    fn orders_are_those_of_their_seeds() {
        let members: Vec<usize> = (1..20).collect();
        assert_eq!(shuffled(&members, 7), shuffled(&members, 7));
        assert_ne!(shuffled(&members, 7), shuffled(&members, 8));
        let mut sorted = shuffled(&members, 7);
        sorted.sort_unstable();
        assert_eq!(sorted, members);
    }

    #[test]
    fn learned_soups_are_served_with_their_own_coefficients_and_beta() {
        let pool = random_pool(4, &[vec![3], vec![2]], 5);
        let loss = || Quadratic::new(&pool, vec![0.2; 5], vec![1.0; 5], 0.1);
        let evaluator = loss();
        let cook = Cook {
            evaluator: &evaluator,
            ensemble: &|_, _| panic!("no ensemble is asked for"),
            observer: &(),
            members: 4,
            validation: 0,
            rule: Rule::AtLeast,
            seeds: Vec::new(),
            learner: Some(Learner {
                slopes: Box::new(loss()),
                pool: &pool,
                settings: LearningSettings {
                    layers: Layers::Tensor,
                    epochs: 60,
                    ..Preset::Released.settings()
                },
                rounding: 1e-9,
                tell: &|_, _| {},
            }),
        };
        cook.check_start().unwrap();
        let made = |method: Method| {
            let wanted = Wanted::plain(method);
            cook.recipes(&wanted, &[2, 1, 3], None).unwrap().0.remove(0)
        };
        let uniform = made(Method::Uniform);
        let together = made(Method::Learned);
        let mut by_layer = made(Method::LearnedByLayer);
        assert_eq!(
            (&*by_layer.members, by_layer.mix(4).rows().len()),
            (&[1, 2, 3][..], 2)
        );
        assert!(together.mix(4).shared().is_some());
        let recipes = [uniform, together, by_layer.clone()];
        let losses: Vec<f64> = cook
            .scores(&recipes)
            .unwrap()
            .iter()
            .map(|of| of[0].loss)
            .collect();
        assert!(losses[2] < losses[1] && losses[1] < losses[0], "{losses:?}");
        let learned = by_layer.learned.as_mut().unwrap();
        assert!((losses[2] - learned.fit.loss).abs() < 1e-12);
        // The loss is that with β, whose standard error is not known.
        (learned.beta, learned.fit.loss) = (1.5, 7.0);
        let score = cook.scores(&[by_layer]).unwrap()[0][0];
        assert!(score.loss == 7.0 && score.loss_se.is_nan() && score.error < 0.5);
    }

    proptest! {
        /// Whatever the errors of sets are: greedy in the order of validation never ends above
        /// the best single model, and each decision follows its rule.
        #[test]
        fn greedy_is_never_worse_than_the_best(errors in proptest::collection::vec(0_u8..20, 64)) {
            let error = |members: &[usize]| {
                let bits = members.iter().map(|member| 1 << member).sum::<usize>();
                Ok(f64::from(errors[bits % 64]) / 20.0)
            };
            let mut order: Vec<usize> = (0..6).collect();
            order.sort_by(|a, b| error(&[*a]).unwrap().total_cmp(&error(&[*b]).unwrap()));
            for rule in [Rule::AtLeast, Rule::Above] {
                let (members, trials) = greedy(&order, rule, error).unwrap();
                prop_assert!(error(&members).unwrap() <= error(&order[..1]).unwrap());
                prop_assert_eq!(trials.len(), 6);
                let added = trials.iter().filter(|trial| trial.added);
                prop_assert!(added.map(|trial| trial.member).eq(members));
            }
        }
    }
}
