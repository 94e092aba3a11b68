//! Runs the greedy recipe again on resamples of the validation set, and evaluates what it ends with.

use std::collections::HashMap;

use super::Observer;
use super::soup_comparisons::Compare;
use crate::analysis::greedy::GreedyRule;
use crate::analysis::inference::Draws;
use crate::analysis::recipe::{Recipe, mean};
use crate::analysis::resample::{greedy_soups, spread};
use crate::error::Result;
use crate::evaluate::Evaluator;
use crate::result::method::Method;
use crate::result::models::Accuracies;
use crate::result::score::Role;
use crate::result::soup::{Inclusion, Resampling, Spread};
use crate::space::mix::Mix;

/// How to resample, and what to call the models.
pub struct Resamples<'r> {
    pub draws: Draws,
    pub rule: GreedyRule,
    /// Names of θ0 and the models.
    pub names: &'r [String],
}

/// Resamples the choices of the greedy soup among the recipes; `None` without such a soup.
///
/// # Errors
/// When a soup cannot be evaluated, or the user stopped the run.
pub fn of_greedy(
    comparing: &Compare<'_>,
    recipes: &[Recipe],
    wanted: &Resamples<'_>,
    observer: &dyn Observer,
) -> Result<Option<Resampling>> {
    let mut recipes = recipes.iter();
    let greedy = recipes.find(|recipe| recipe.method == Method::Greedy);
    let (Some(greedy), Some(validation)) = (greedy, comparing.models.validation()) else {
        return Ok(None);
    };
    let Resamples { draws, rule, names } = wanted;
    let members: Vec<usize> = (1..comparing.members).collect();
    let samples = comparing.models.datasets[validation].samples;
    observer.note(&format!(
        "{} resamples of the {samples} validation samples: at most {} soups to try on them, each \
         different one once",
        draws.count,
        draws.count * (members.len() - 1)
    ));
    let run_before = run(comparing);
    let correct = |sets: &[Vec<usize>]| comparing.correct(sets, validation, observer);
    let soups = greedy_soups(&members, *rule, samples, *draws, correct)?;
    let evaluated = run(comparing) - run_before;
    let mut published = greedy.members.clone();
    published.sort_unstable();
    let fraction = |holds: &dyn Fn(&Vec<usize>) -> bool| {
        let count = soups.iter().filter(|soup| holds(soup)).count();
        count as f64 / soups.len() as f64
    };
    let inclusion = |member: &usize| Inclusion {
        model: names[*member].clone(),
        frequency: fraction(&|soup| soup.contains(member)),
    };
    let mut different = soups.clone();
    different.sort_unstable();
    different.dedup();
    let [test, shifts] = spreads(comparing, &soups, &different, observer)?;
    Ok(Some(Resampling {
        resamples: soups.len(),
        seed: draws.seed,
        soups: different.len(),
        published: fraction(&|soup| *soup == published),
        evaluated,
        models: members.iter().map(inclusion).collect(),
        test,
        shifts,
    }))
}

/// Number of models that were run, not remembered.
fn run(comparing: &Compare<'_>) -> usize {
    let counts = comparing.engine.counts();
    counts.models - counts.remembered
}

/// Evaluates the different soups on the data sets that are only reported, and returns the spread of
/// their test and mean shift accuracy over the resamples.
fn spreads(
    comparing: &Compare<'_>,
    soups: &[Vec<usize>],
    different: &[Vec<usize>],
    observer: &dyn Observer,
) -> Result<[Option<Spread>; 2]> {
    let datasets = &comparing.models.datasets;
    let roles = [Role::Test, Role::Shift];
    let has = |role: Role| datasets.iter().any(|set| set.role == role);
    if !roles.into_iter().any(has) {
        return Ok([None; 2]);
    }
    let wanted = datasets.iter().map(|set| roles.contains(&set.role));
    let wanted: Vec<bool> = wanted.collect();
    let mixes = different
        .iter()
        .map(|soup| Mix::over(&mean(soup), comparing.members));
    let mixes: Vec<Mix> = mixes.collect();
    let answers = comparing.engine.evaluate_on(&mixes, &wanted, observer)?;
    let accuracies = answers.scores.iter().map(|of| Accuracies::of(datasets, of));
    let of_soup: HashMap<&Vec<usize>, Accuracies> = different.iter().zip(accuracies).collect();
    let spread_of = |value: fn(&Accuracies) -> f64| {
        let values = soups.iter().filter_map(|soup| of_soup.get(soup)).map(value);
        let [sd, low, high] = spread(&values.collect::<Vec<f64>>());
        Spread { sd, low, high }
    };
    Ok([
        has(Role::Test).then(|| spread_of(|of| of.test)),
        has(Role::Shift).then(|| spread_of(|of| of.shift)),
    ])
}
