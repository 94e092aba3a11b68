//! Compares the soups and ensembles of a run on the same samples: with the best model, with each
//! other, and step by step in greedy methods.

use std::collections::BTreeMap;

use fixedbitset::FixedBitSet;

use super::Observer;
use super::evaluated::EvaluatedModels;
use crate::analysis::comparison::{Compared, compare};
use crate::analysis::greedy::{GreedyTrace, Trial};
use crate::analysis::inference::Draws;
use crate::analysis::inference::highest::{Right, may_be_highest};
use crate::analysis::inference::paired::Discordant;
use crate::analysis::recipe::{Recipe, mean};
use crate::error::Result;
use crate::evaluate::Evaluator;
use crate::evaluate::logits::Ensemble;
use crate::evaluate::onnx::Engine;
use crate::evaluate::outcomes::Outcomes;
use crate::result::method::Method;
use crate::result::score::{DatasetInfo, MEANS, in_roles};
use crate::result::soup::Soups;
use crate::space::mix::Mix;

/// What the engine and the models' logits say of every sample.
pub struct Compare<'c> {
    pub engine: &'c Engine<'c>,
    pub models: &'c EvaluatedModels,
    /// Number of members of the pool, including θ0.
    pub members: usize,
}

impl Compare<'_> {
    /// The outcomes of a recipe on every data set; it was evaluated before.
    ///
    /// # Errors
    /// When kept outcomes cannot be read.
    pub fn outcomes(&self, recipe: &Recipe) -> Result<Vec<Outcomes>> {
        let sets = 0..self.models.datasets.len();
        let ensemble = Ensemble {
            combine: recipe.combine,
            weights: &recipe.weights,
        };
        let mix = (!recipe.method.is_ensemble()).then(|| recipe.mix(self.members));
        sets.map(|set| self.on_set(ensemble, mix.as_ref(), set))
            .collect()
    }

    /// The outcomes of a mix on every data set; it was evaluated before.
    ///
    /// # Errors
    /// When kept outcomes cannot be read.
    pub fn of_mix(&self, mix: &Mix) -> Result<Vec<Outcomes>> {
        let none = Ensemble::of_logits(&[]);
        let sets = 0..self.models.datasets.len();
        sets.map(|set| self.on_set(none, Some(mix), set)).collect()
    }

    /// The outcomes of a soup on a data set, or of an ensemble.
    fn on_set(&self, ensemble: Ensemble<'_>, mix: Option<&Mix>, set: usize) -> Result<Outcomes> {
        let logits = &self.models.logits;
        let Some(mix) = mix else {
            return Ok(logits.outcomes(ensemble, set));
        };
        // A single model has logits.
        if mix.is_unit() {
            return Ok(logits.outcomes_of(mix.lead(), set));
        }
        let samples = self.models.datasets[set].samples;
        self.engine.kept_outcomes(mix, set, samples)
    }

    /// Which samples of a data set the mean of each set of members has right. Those not seen yet are
    /// evaluated, on that data set only.
    ///
    /// # Errors
    /// When a soup cannot be evaluated, or kept outcomes cannot be read.
    pub fn correct(
        &self,
        sets: &[Vec<usize>],
        set: usize,
        observer: &dyn Observer,
    ) -> Result<Vec<FixedBitSet>> {
        let mixes = sets
            .iter()
            .map(|members| Mix::over(&mean(members), self.members));
        let mixes: Vec<Mix> = mixes.collect();
        let soups = mixes.iter().filter(|mix| !mix.is_unit());
        let soups: Vec<Mix> = soups.cloned().collect();
        if !soups.is_empty() {
            self.engine.evaluate_one(&soups, set, observer)?;
        }
        let correct = |mix: &Mix| {
            Ok(self
                .on_set(Ensemble::of_logits(&[]), Some(mix), set)?
                .correct()
                .clone())
        };
        mixes.iter().map(correct).collect()
    }

    /// Adds comparisons of the recipes, and of θ0, with the references: the best individual model and
    /// each method that the table shows as one row; and which rows may be the highest.
    ///
    /// # Errors
    /// When kept outcomes cannot be read.
    pub fn add_all(&self, soups: &mut Soups, recipes: &[Recipe], seed: u64) -> Result<()> {
        let outcomes_of = recipes.iter().map(|recipe| self.outcomes(recipe));
        let outcomes_of = outcomes_of.collect::<Result<Vec<Vec<Outcomes>>>>()?;
        let sets = 0..self.models.datasets.len();
        let origin = sets.map(|set| self.models.logits.outcomes_of(0, set));
        let origin: Vec<Outcomes> = origin.collect();
        let names: Vec<String> = soups.methods.iter().map(ToString::to_string).collect();
        let shown: Vec<usize> = soups.rows().iter().filter_map(|row| row.single()).collect();
        let (mut of_methods, mut of_origin) = (Vec::new(), Vec::new());
        for &reference in &shown {
            let method = &soups.methods[reference];
            let of_model = method.method == Method::Best;
            let named = match method.members.first() {
                Some(model) if of_model => model,
                _ => &names[reference],
            };
            let compared = |name: &str, seed, outcomes: &[Outcomes]| {
                let reference = Compared {
                    name: named,
                    seed: method.seed,
                    outcomes: &outcomes_of[reference],
                };
                let model = Compared {
                    name,
                    seed,
                    outcomes,
                };
                compare(&soups.datasets, model, reference)
            };
            let others = (0..recipes.len()).filter(|&index| index != reference);
            of_methods.extend(others.flat_map(|index| {
                let seed = soups.methods[index].seed;
                compared(names[index].as_str(), seed, &outcomes_of[index])
            }));
            of_origin.extend(compared(soups.origin.name.as_str(), None, &origin));
        }
        (soups.comparisons, soups.origin_comparisons) = (of_methods, of_origin);
        let rows = shown.iter().map(|&at| (&names[at], &outcomes_of[at]));
        let rows = std::iter::once((&soups.origin.name, &origin)).chain(rows);
        let rows: Vec<(&String, &Vec<Outcomes>)> = rows.collect();
        soups.may_be_highest = highest(&soups.datasets, &rows, seed);
        Ok(())
    }

    /// For each decision of the greedy methods, the validation samples that only one of two
    /// averages has right: the one with the model that was tried, and the one before. The first
    /// model of each is compared with nothing.
    ///
    /// # Errors
    /// When kept outcomes cannot be read.
    pub fn decisions(&self, traces: &[GreedyTrace]) -> Result<Vec<Option<Discordant>>> {
        let Some(validation) = self.models.validation() else {
            return Ok(Vec::new());
        };
        let mut all = Vec::new();
        for trace in traces {
            let (mut chosen, mut before): (Vec<usize>, Option<Outcomes>) = (Vec::new(), None);
            for Trial { member, added, .. } in &trace.trials {
                let mut tried = chosen.clone();
                tried.push(*member);
                let weights = mean(&tried);
                let is_soup = !trace.method.is_ensemble();
                let mix = is_soup.then(|| Mix::over(&weights, self.members));
                let ensemble = Ensemble {
                    combine: trace.combine,
                    weights: &weights,
                };
                let with = self.on_set(ensemble, mix.as_ref(), validation)?;
                all.push(
                    before
                        .as_ref()
                        .map(|before| Discordant::count(with.correctness(), before.correctness())),
                );
                if *added {
                    (chosen, before) = (tried, Some(with));
                }
            }
        }
        Ok(all)
    }
}

/// The rows that may be the highest of each data set and mean: `rows` are names and outcomes by data set.
fn highest(
    datasets: &[DatasetInfo],
    rows: &[(&String, &Vec<Outcomes>)],
    seed: u64,
) -> BTreeMap<String, Vec<String>> {
    let on = |sets: &[usize]| {
        let right = |&set: &usize| Right {
            correct: rows.iter().map(|(_, of)| of[set].correct()).collect(),
            samples: datasets[set].samples,
        };
        let right: Vec<Right<'_>> = sets.iter().map(right).collect();
        let may_be = may_be_highest(&right, &Draws::new(seed));
        let named = rows.iter().zip(may_be).filter(|(_, may_be)| *may_be);
        named.map(|((name, _), _)| (*name).clone()).collect()
    };
    let indices: Vec<usize> = (0..datasets.len()).collect();
    let single = indices
        .iter()
        .map(|&set| (datasets[set].name.clone(), on(&[set])));
    let means = MEANS.iter().filter_map(|(name, roles)| {
        let sets: Vec<usize> = in_roles(datasets, &indices, roles)
            .into_iter()
            .copied()
            .collect();
        (!sets.is_empty()).then(|| ((*name).to_string(), on(&sets)))
    });
    single.chain(means).collect()
}
