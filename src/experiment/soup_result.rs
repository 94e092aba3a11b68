//! Turns the recipes and scores of a soup run into a result with warnings.

use super::batch_norm;
use super::evaluated::EvaluatedModels;
use super::session::Session;
use crate::analysis::greedy::GreedyTrace;
use crate::analysis::inference::paired::Discordant;
use crate::analysis::recipe::{MethodSpec, Recipe};
use crate::analysis::twins;
use crate::evaluate::onnx::Engine;
use crate::graph::network::Network;
use crate::result::calibration::Calibration;
use crate::result::learned::{Ended, Learning, Optimizer};
use crate::result::score::{DatasetInfo, Score};
use crate::result::soup::{Coefficient, Decision, Evaluations, MethodResult, Soups};
use crate::space::mix::Mix;
use crate::space::pool::Pool;

/// Assembles a result from `scores[recipe][data set]`. The caller adds effort, comparisons and
/// provenance; `counts` are those of every decision.
pub fn assemble(
    session: &Session,
    models: &EvaluatedModels,
    recipes: &[Recipe],
    (scores, calibrations): (Vec<Vec<Score>>, Vec<Calibration>),
    (traces, counts): (&[GreedyTrace], &[Option<Discordant>]),
) -> Soups {
    let (origin, individuals) = session.individuals(models.scores.clone(), &models.calibrations);
    let names = session.names();
    let validation = models.validation().map(|set| &models.datasets[set]);
    let learned = recipes.iter().filter_map(|recipe| recipe.learned.as_ref());
    let learned = learned.map(|learned| &learned.learning);
    Soups {
        methods: results(
            recipes,
            (scores, calibrations),
            (&names, session.pool()),
            validation.is_some(),
        ),
        decisions: decisions(traces, counts, &names, validation),
        rays: Vec::new(),
        resampling: None,
        comparisons: Vec::new(),
        origin_comparisons: Vec::new(),
        may_be_highest: Default::default(),
        learned: learned.cloned().collect(),
        saved: Vec::new(),
        evaluations: Evaluations::default(),
        warnings: models.warnings.clone(),
        provenance: Default::default(),
        datasets: models.datasets.clone(),
        origin,
        models: individuals,
    }
}

/// Adds the warnings about the soups.
pub fn add_warnings(
    soups: &mut Soups,
    session: &Session,
    network: &Network<'_>,
    methods: &[MethodSpec],
    recipes: &[Recipe],
) {
    let learned = soups.learned.iter();
    let learned = learned.filter_map(|it| broken(it).or(unimproved(it)).or(unfinished(it)));
    let notes = recipes.iter().flat_map(|recipe| recipe.notes.clone());
    let warnings = [
        missing(methods, recipes),
        notes.collect(),
        learned.collect(),
        Vec::from_iter(beyond(session, network, soups, recipes)),
        nonfinite(soups),
        twins::equal_models(session.pool()),
    ];
    soups.warnings.extend(warnings.concat());
}

/// Warns about methods that made nothing.
fn missing(wanted: &[MethodSpec], recipes: &[Recipe]) -> Vec<String> {
    let is_of = |recipe: &Recipe, wanted: &MethodSpec| {
        (recipe.method, recipe.base) == (wanted.method, wanted.base)
    };
    let made = |wanted: &&MethodSpec| recipes.iter().any(|recipe| is_of(recipe, wanted));
    let missing = wanted.iter().filter(|wanted| !made(wanted));
    missing
        .map(|wanted| format!("{wanted} is undefined for these models"))
        .collect()
}

/// Warns about soups outside the convex hull of the models.
fn beyond(
    session: &Session,
    network: &Network<'_>,
    soups: &Soups,
    recipes: &[Recipe],
) -> Option<String> {
    let made = soups.methods.iter().zip(recipes);
    let made = made.filter(|(_, recipe)| !recipe.method.is_ensemble());
    let (made, mixes): (Vec<&MethodResult>, Vec<Mix>) = made
        .map(|(made, recipe)| (made, recipe.mix(session.members())))
        .unzip();
    let words = ("soups", "coefficients of 0 or more");
    let place = |soup: usize| made[soup].to_string();
    batch_norm::beyond(session, network, &mixes, words, place)
}

/// Warns about a soup whose learning broke off.
fn broken(learning: &Learning) -> Option<String> {
    let last = learning.steps.last()?.step;
    let kept = learning.kept()?.epoch;
    (learning.ended == Ended::NotFinite).then(|| {
        format!(
            "{}: a loss or gradient became NaN or infinite at step {last}; the soup of \
             epoch {kept} is kept",
            learning.method.name()
        )
    })
}

/// Warns about a soup that learning did not improve.
fn unimproved(learning: &Learning) -> Option<String> {
    let judged = match learning.samples {
        [_, 0] => "the validation set",
        _ => "the samples held out",
    };
    let start = learning.start.name();
    (learning.best == 0).then(|| {
        format!(
            "{}: no epoch improved on the loss of the start, the {start}, on {judged}; the result \
             is the {start}",
            learning.method.name()
        )
    })
}

/// Warns about a soup whose last epoch still gained more than the standard error of the gain.
fn unfinished(learning: &Learning) -> Option<String> {
    let name = learning.method.name();
    let last = learning.epochs.last()?;
    if learning.ended != Ended::Done || learning.best + 1 != learning.epochs.len() {
        return None;
    }
    match (learning.settings.optimizer, last.gain, last.gain_se) {
        (Optimizer::Lbfgs, ..) => Some(format!(
            "{name}: L-BFGS had not converged after {} iterations; --epochs allows more",
            last.epoch
        )),
        (_, Some(gain), Some(se)) if gain > se => Some(format!(
            "{name}: the last epoch still lowered the loss, by {gain:.2e} ± {se:.1e}; --epochs {} \
             goes on, and --optimizer lbfgs ends where nothing is gained",
            2 * last.epoch
        )),
        _ => None,
    }
}

/// Warns about models whose losses are NaN or infinite on some samples.
fn nonfinite(soups: &Soups) -> Vec<String> {
    let count = |scores: &[Score]| scores.iter().map(|score| score.nonfinite).sum::<usize>();
    let models = std::iter::once(&soups.origin).chain(&soups.models);
    let models = models.map(|model| (model.name.clone(), count(&model.scores)));
    let methods = soups.methods.iter();
    let methods = methods.map(|made| (made.to_string(), count(&made.scores)));
    let found = models.chain(methods).filter(|(_, count)| *count > 0);
    found
        .map(|(name, count)| format!("{name}: {count} losses are NaN or infinite"))
        .collect()
}

fn results(
    recipes: &[Recipe],
    (scores, calibrations): (Vec<Vec<Score>>, Vec<Calibration>),
    (names, pool): (&[String], &Pool),
    has_validation: bool,
) -> Vec<MethodResult> {
    // Of several settings of one method, the table has the one that the validation set prefers.
    let settings = |recipe: &Recipe| {
        let same = |it: &&Recipe| (it.method, it.base) == (recipe.method, recipe.base);
        let with = recipes.iter().filter(same);
        with.filter(|it| it.setting.is_some()).count()
    };
    let in_sample = |recipe: &Recipe| has_validation && (recipe.selects() || settings(recipe) > 1);
    let result = |((recipe, scores), calibration): ((&Recipe, _), _)| MethodResult {
        method: recipe.method,
        base: recipe.base,
        setting: recipe.setting,
        seed: recipe.seed,
        members: recipe
            .members
            .iter()
            .map(|&member| names[member].clone())
            .collect(),
        coefficients: coefficients(recipe, names, pool),
        combine: recipe.combine,
        beta: recipe.learned.as_ref().map(|learned| learned.beta),
        val_in_sample: in_sample(recipe),
        scores,
        calibration: Some(calibration),
    };
    let made = recipes.iter().zip(scores).zip(calibrations);
    made.map(result).collect()
}

/// The weights of a recipe's models, per tensor if each tensor has its own.
fn coefficients(recipe: &Recipe, names: &[String], pool: &Pool) -> Vec<Coefficient> {
    let of = |member: usize, tensor: Option<&String>, coefficient: f64| Coefficient {
        model: names[member].clone(),
        tensor: tensor.cloned(),
        coefficient,
    };
    let Some(mix) = &recipe.by_tensor else {
        let weights = recipe.weights.iter();
        let weights = weights.map(|&(member, weight)| of(member, None, weight));
        return weights.collect();
    };
    let Some(learned) = &recipe.learned else {
        let moving = pool.parameters.iter().enumerate();
        let moving = moving.filter(|(_, parameter)| !parameter.frozen);
        let all = moving.flat_map(|(index, parameter)| {
            let row = mix.row(index).iter().enumerate();
            let row = row.filter(|(member, _)| mix.has_part(*member));
            row.map(|(member, weight)| of(member, Some(&parameter.name), *weight))
        });
        return all.collect();
    };
    let alpha = learned.learning.kept().map(|epoch| &epoch.alpha);
    let rows = learned
        .learning
        .rows
        .iter()
        .zip(alpha.into_iter().flatten());
    let tensors = rows.flat_map(|(row, alpha)| row.tensors.iter().map(move |name| (name, alpha)));
    let all = tensors.flat_map(|(name, alpha)| {
        let models = alpha.iter().enumerate();
        models.map(move |(model, weight)| of(model + 1, Some(name), *weight))
    });
    all.collect()
}

fn decisions(
    traces: &[GreedyTrace],
    counts: &[Option<Discordant>],
    names: &[String],
    validation: Option<&DatasetInfo>,
) -> Vec<Decision> {
    let mut decisions = Vec::new();
    let mut counts = counts.iter().copied();
    for trace in traces {
        let mut members = 0;
        for (step, trial) in trace.trials.iter().enumerate() {
            members += usize::from(trial.added);
            let counted = counts.next().flatten();
            decisions.push(Decision {
                method: trace.method,
                combine: trace.combine,
                seed: trace.seed,
                step: step + 1,
                model: names[trial.member].clone(),
                val_accuracy: validation.map_or(f64::NAN, |set| set.accuracy(trial.error)),
                added: trial.added,
                members,
                gained: counted.map(|it| it.only_first),
                lost: counted.map(|it| it.only_second),
                mcnemar_p: counted.map(|it| it.p()),
            });
        }
    }
    decisions
}

/// Counts the evaluations of a run.
pub fn evaluations(engine: &Engine<'_>, members: usize) -> Evaluations {
    let counts = engine.counts();
    Evaluations {
        logits: members,
        soups: counts.models - counts.remembered,
        remembered: counts.remembered,
        samples: counts.samples,
        learning: counts.learning,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::learned::{Preset, lbfgs_settings, learn};
    use crate::analysis::recipe::mean;
    use crate::evaluate::quadratic::Quadratic;
    use crate::result::learned::Layers;
    use crate::result::learned::{LearningSettings, Length};
    use crate::result::method::Method;
    use crate::space::testing::random_pool;

    /// A calibration of which nothing is known.
    fn unknown() -> Calibration {
        Calibration {
            beta: f64::NAN,
            plain: Vec::new(),
            calibrated: Vec::new(),
        }
    }

    #[test]
    fn each_tensor_of_a_soup_by_layer_has_the_coefficients_of_its_row() {
        let mut pool = random_pool(3, &[vec![2], vec![3], vec![1]], 2);
        for (parameter, name) in pool.parameters.iter_mut().zip(["b.0.w", "head", "b.0.v"]) {
            parameter.name = name.to_string();
        }
        let loss = Quadratic::new(&pool, vec![0.1; 6], vec![1.0; 6], 0.0);
        let settings = LearningSettings {
            layers: Layers::Block,
            ..Preset::Paper.settings()
        };
        let learned = learn(&loss, &pool, &settings, &[], &|_| {}).unwrap();
        let mix = learned.mix.clone();
        let recipe = Recipe {
            learned: Some(learned),
            ..Recipe::of(Method::LearnedByLayer, vec![1, 2], mix.clone())
        };
        let names = ["zs", "one", "two"].map(String::from);
        let made = results(
            &[recipe],
            (vec![Vec::new()], vec![unknown()]),
            (&names, &pool),
            true,
        )
        .remove(0);
        assert!(made.beta.is_some() && made.val_in_sample);
        let made = made.coefficients.iter();
        let made: Vec<_> = made
            .map(|of| {
                (
                    of.tensor.as_deref().unwrap(),
                    of.model.as_str(),
                    of.coefficient,
                )
            })
            .collect();
        let expected = [(0, "b.0.w"), (2, "b.0.v"), (1, "head")].map(|(index, tensor)| {
            let row = mix.row(index);
            [(tensor, "one", row[1]), (tensor, "two", row[2])]
        });
        assert_eq!(made, expected.concat());
        // Coefficients that apply to all tensors name none.
        let plain = Recipe {
            weights: mean(&[1, 2]),
            ..Recipe::mean(Method::Learned, vec![1, 2])
        };
        let made = coefficients(&plain, &names, &pool);
        assert!(made.len() == 2 && made.iter().all(|of| of.tensor.is_none()));
    }

    #[test]
    fn validation_is_in_sample_where_it_was_used_for_a_choice() {
        let pool = random_pool(3, &[vec![1]], 2);
        let recipe = |method, base, setting| Recipe {
            base,
            setting,
            ..Recipe::mean(method, vec![1, 2])
        };
        let recipes = [
            recipe(Method::Best, None, None),
            recipe(Method::Uniform, None, None),
            recipe(Method::GreedyRandom, None, None),
            recipe(Method::Learned, None, None),
            recipe(Method::WiseFt, Some(Method::Uniform), Some(0.5)),
            recipe(Method::WiseFt, Some(Method::Greedy), Some(0.5)),
            recipe(Method::ModelStock, None, None),
            recipe(Method::TaskArithmetic, None, Some(0.5)),
            recipe(Method::TaskArithmetic, None, Some(0.6)),
            recipe(Method::Ensemble, None, None),
            recipe(Method::GreedyEnsemble, None, None),
        ];
        let names = ["zs", "one", "two"].map(String::from);
        let flags = |has_validation| {
            let scores = vec![Vec::new(); recipes.len()];
            let calibrations = vec![unknown(); recipes.len()];
            let measured = (scores, calibrations);
            let made = results(&recipes, measured, (&names, &pool), has_validation);
            made.iter().map(|it| it.val_in_sample).collect::<Vec<_>>()
        };
        let (yes, no) = (true, false);
        let expected = [yes, no, yes, yes, no, yes, no, yes, yes, no, yes];
        assert_eq!(flags(true), expected);
        assert_eq!(flags(false), [no; 11]);
    }

    #[test]
    fn learning_that_broke_off_is_said() {
        let pool = random_pool(3, &[vec![1]], 2);
        let loss = Quadratic::new(&pool, vec![0.1], vec![f64::NAN], 0.0);
        let learned = learn(&loss, &pool, &Preset::Paper.settings(), &[], &|_| {}).unwrap();
        let text = broken(&learned.learning).unwrap();
        assert!(text.starts_with("learned: a loss or gradient became NaN or infinite at step 1"));
        assert!(text.ends_with("of epoch 0 is kept"));
    }

    #[test]
    fn learning_that_ended_too_early_is_said() {
        let pool = random_pool(3, &[vec![1]], 2);
        let loss = Quadratic::new(&pool, vec![0.1], vec![1.0], 0.0);
        let learn = |settings: &LearningSettings| {
            learn(&loss, &pool, settings, &[], &|_| {})
                .unwrap()
                .learning
        };
        let short = LearningSettings {
            length: Length::Epochs(1),
            ..Preset::Released.settings()
        };
        let mut learning = learn(&short);
        let last = learning.epochs.last_mut().unwrap();
        (last.gain, last.gain_se) = (Some(0.002), Some(0.0005));
        let text = unfinished(&learning).unwrap();
        assert!(
            text.contains("by 2.00e-3 ± 5.0e-4; --epochs 2 goes on"),
            "{text}"
        );
        // Within its standard error.
        learning.epochs.last_mut().unwrap().gain_se = Some(0.003);
        assert_eq!(unfinished(&learning), None);
        let one = LearningSettings {
            length: Length::Epochs(1),
            ..lbfgs_settings()
        };
        let text = unfinished(&learn(&one)).unwrap();
        assert!(
            text.contains("had not converged after 1 iterations"),
            "{text}"
        );
        assert_eq!(unfinished(&learn(&lbfgs_settings())), None);
    }
}
