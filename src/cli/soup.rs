//! `landscape soup`: averages of many checkpoints, and the paper's table.

use std::cell::RefCell;
use std::time::Instant;

use super::args::{RuleArg, SoupArgs, TableArg};
use super::learn::slopes;
use super::lineup::Lineup;
use super::methods::{check_validation, wanted};
use super::save::{self, saves};
use super::stage::Stage;
use super::table::table;
use super::{draw, note, print, print_json, print_lines, statistics, warn};
use crate::analysis::greedy::{GreedyRule, GreedyTrace, ranked};
use crate::analysis::learned::TrainingStep;
use crate::analysis::recipe::{MethodSpec, Recipe};
use crate::analysis::soup::{Ensemble, Learner, SoupBuilder};
use crate::error::{Kind, Result};
use crate::evaluate::Evaluator;
use crate::evaluate::onnx::gradient::Precision;
use crate::evaluate::onnx::{Engine, check_gradient};
use crate::graph::network::Network;
use crate::result::learned::{Ended, Learning, Settings};
use crate::result::score::{DatasetInfo, Role, Score};
use crate::result::soup::{Coefficient, Decision, Evaluations, Method, MethodResult, Soups};
use crate::result::soup_file;
use crate::space::gram::Gram;
use crate::space::matching::Aligned;
use crate::space::mix::Mix;

/// Runs the command.
pub fn run(arguments: &SoupArgs) -> Result<()> {
    let start = Instant::now();
    let saves = saves(arguments)?;
    let saved: Vec<MethodSpec> = saves.iter().map(|save| save.wanted).collect();
    let wanted = wanted(arguments.methods.as_deref(), &saved)?;
    let learning = arguments.learn.settings(&wanted)?;
    let lineup = Lineup::open(
        &arguments.common,
        &arguments.run,
        arguments.models.as_deref(),
    )?;
    let inputs = &lineup.inputs;
    check_validation(&wanted, &saved, inputs.plan.has(Role::Val))?;
    // Those of the default table are left out where they are impossible.
    let asked = arguments.methods.is_some() || saved.iter().any(|it| it.method.is_learned());
    let probe = |network: &Network<'_>, aligned: &Aligned| {
        if learning.is_some() && asked {
            check_gradient(network, aligned, inputs.plan.output.as_deref())?;
        }
        save::probe(&saves, inputs, network, aligned)
    };
    // What the operators are is not all: some have a derivative for some of their uses alone.
    let left_out = RefCell::new(None);
    let ready = |engine: &Engine<'_>| {
        let Some(settings) = &learning else {
            return Ok(());
        };
        let validation = validation(&engine.datasets()).unwrap_or(0);
        match engine.check_gradients(validation, settings.batch, Precision::Own) {
            Err(error) if !asked && error.kind() == Kind::Input => {
                left_out.replace(Some(format!("learned soups are left out: {error}")));
                Ok(())
            }
            checked => checked,
        }
    };
    lineup.evaluated(&arguments.name, probe, ready, |stage| {
        let tell = |method: Method, moment: TrainingStep| stage.progress.learned(method, &moment);
        let left_out = left_out.take();
        let is_possible = |wanted: &&MethodSpec| left_out.is_none() || !wanted.method.is_learned();
        let wanted: Vec<MethodSpec> = wanted.iter().filter(is_possible).copied().collect();
        let learning = learning.as_ref().filter(|_| left_out.is_none());
        let learner = learning.map(|it| learner(stage, it, &tell)).transpose()?;
        let (recipes, traces) = chosen(arguments, stage, &wanted, learner)?;
        let mut soups = assemble(&lineup, stage, &recipes, &traces)?;
        let rate = stage.progress.finish();
        let provenance = stage.material.provenance(inputs, stage.aligned);
        soups.provenance = stage.progress.recorded(&provenance, start);
        soups.warnings.extend(left_out);
        soups.warnings.extend(missing(&wanted, &recipes));
        let learned = soups.learned.iter();
        soups
            .warnings
            .extend(learned.filter_map(|it| broken(it).or(unimproved(it))));
        soups.warnings.extend(beyond(stage, &soups, &recipes));
        soups.warnings.extend(nonfinite(&soups));
        let caveat = stage.aligned.caveat.as_deref();
        stage.material.unchanged(inputs, stage.engine)?;
        write(arguments, &lineup, &soups, caveat, rate)?;
        // What is in the tables is safe by now.
        for path in save::write(&saves, &soups, &recipes, stage)? {
            note(&format!("written {}", path.display()));
        }
        Ok(())
    })
}

/// What the methods make of the models.
fn chosen(
    arguments: &SoupArgs,
    stage: &Stage<'_>,
    wanted: &[MethodSpec],
    learner: Option<Learner<'_>>,
) -> Result<(Vec<Recipe>, Vec<GreedyTrace>)> {
    let ensemble = |weights: &[(usize, f64)], set: usize| stage.logits.ensemble(weights, set);
    let seed = stage.inputs.plan.seed;
    let cook = SoupBuilder {
        rule: match arguments.rule {
            RuleArg::Ge => GreedyRule::AtLeast,
            RuleArg::Gt => GreedyRule::Above,
        },
        seeds: (0..arguments.orders)
            .map(|order| seed.wrapping_add(order))
            .collect(),
        learner,
        ..cook(stage, &ensemble)
    };
    cook.check_start()?;
    let checkpoints: Vec<usize> = (1..cook.members).collect();
    let ranked = match validation(&stage.datasets) {
        Some(set) => ranked(&checkpoints, |member| stage.singles[member][set]),
        None => checkpoints,
    };
    let mut methods = wanted.iter();
    let needs_angles = methods.any(|wanted| wanted.method.needs_angles());
    let gram = needs_angles.then(|| Gram::of(&stage.aligned.pool));
    let (mut recipes, mut traces) = (Vec::new(), Vec::new());
    for wanted in wanted {
        let (made, traced) = cook.recipes(wanted, &ranked, gram.as_ref())?;
        // A sweep may hold a point that was asked for by itself.
        let known = |recipe: &Recipe| {
            let same = |other: &Recipe| {
                let of = |recipe: &Recipe| (recipe.method, recipe.setting, recipe.seed);
                of(other) == of(recipe)
            };
            recipes.iter().any(same)
        };
        let new: Vec<Recipe> = made.into_iter().filter(|recipe| !known(recipe)).collect();
        recipes.extend(new);
        traces.extend(traced);
    }
    Ok((recipes, traces))
}

/// Learns soups of the stage's models on its validation set.
fn learner<'l>(
    stage: &'l Stage<'_>,
    settings: &Settings,
    tell: &'l dyn Fn(Method, TrainingStep),
) -> Result<Learner<'l>> {
    Ok(Learner {
        slopes: slopes(
            stage,
            validation(&stage.datasets).unwrap_or(0),
            settings.batch,
        )?,
        rounding: stage.engine.rounding(),
        pool: &stage.aligned.pool,
        settings: Settings {
            seed: stage.inputs.plan.seed,
            ..settings.clone()
        },
        tell,
    })
}

fn cook<'c>(stage: &'c Stage<'_>, ensemble: &'c Ensemble<'c>) -> SoupBuilder<'c> {
    SoupBuilder {
        evaluator: stage.engine,
        ensemble,
        watch: stage.progress,
        members: stage.singles.len(),
        validation: validation(&stage.datasets).unwrap_or(0),
        rule: GreedyRule::AtLeast,
        seeds: Vec::new(),
        learner: None,
    }
}

/// Which data set is the validation set.
fn validation(datasets: &[DatasetInfo]) -> Option<usize> {
    let mut datasets = datasets.iter();
    datasets.position(|set| set.role == Role::Val)
}

/// Evaluates what was made, on all data sets.
fn assemble(
    lineup: &Lineup,
    stage: &Stage<'_>,
    recipes: &[Recipe],
    traces: &[GreedyTrace],
) -> Result<Soups> {
    let ensemble = |weights: &[(usize, f64)], set: usize| stage.logits.ensemble(weights, set);
    let served = cook(stage, &ensemble).scores(recipes)?;
    let (origin, models) = lineup.individuals(stage.singles.clone());
    let names = stage.inputs.names();
    let validation = validation(&stage.datasets).map(|set| &stage.datasets[set]);
    let learned = recipes.iter().filter_map(|recipe| recipe.learned.as_ref());
    let learned = learned.map(|learned| &learned.learning);
    Ok(Soups {
        methods: results(recipes, served, &names),
        decisions: decisions(traces, &names, validation),
        learned: learned.cloned().collect(),
        evaluations: evaluations(stage.engine, stage.singles.len()),
        warnings: stage.warnings.clone(),
        provenance: Default::default(),
        datasets: stage.datasets.clone(),
        origin,
        models,
    })
}

/// What is to be said of methods that made nothing.
fn missing(wanted: &[MethodSpec], recipes: &[Recipe]) -> Vec<String> {
    let made = |wanted: &&MethodSpec| recipes.iter().any(|recipe| recipe.method == wanted.method);
    let missing = wanted.iter().filter(|wanted| !made(wanted));
    missing
        .map(|wanted| format!("{} is not defined for these models", wanted.method.name()))
        .collect()
}

/// What is to be said of soups beyond the hull of the models.
fn beyond(stage: &Stage<'_>, soups: &Soups, recipes: &[Recipe]) -> Option<String> {
    let made = soups.methods.iter().zip(recipes);
    let made = made.filter(|(_, recipe)| !recipe.method.is_ensemble());
    let (made, mixes): (Vec<&MethodResult>, Vec<Mix>) = made
        .map(|(made, recipe)| (made, recipe.mix(stage.singles.len())))
        .unzip();
    let words = ("soups", "coefficients of 0 or more");
    let place = |soup: usize| made[soup].to_string();
    statistics::beyond(stage.network, stage.aligned, &mixes, words, place)
}

/// What is to be said of a soup whose learning broke off.
fn broken(learning: &Learning) -> Option<String> {
    let last = learning.steps.last()?.step;
    let kept = learning.kept()?.epoch;
    (learning.ended == Ended::NotFinite).then(|| {
        format!(
            "{}: a loss or a slope is NaN or infinite at step {last}; the soup is that after \
             epoch {kept}",
            learning.method.name()
        )
    })
}

/// What is to be said of a soup that learning left where it began.
fn unimproved(learning: &Learning) -> Option<String> {
    let judged = match learning.samples {
        [_, 0] => "the validation set",
        _ => "the samples held out",
    };
    (learning.best == 0).then(|| {
        format!(
            "{}: no epoch has a lower loss on {judged} than the uniform soup, where learning began: \
             the soup is the uniform one",
            learning.method.name()
        )
    })
}

/// What is to be said of models whose losses are NaN or infinite on some samples.
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

fn results(recipes: &[Recipe], served: Vec<Vec<Score>>, names: &[String]) -> Vec<MethodResult> {
    let result = |(recipe, scores): (&Recipe, Vec<Score>)| MethodResult {
        method: recipe.method,
        setting: recipe.setting,
        seed: recipe.seed,
        members: recipe
            .members
            .iter()
            .map(|&member| names[member].clone())
            .collect(),
        coefficients: coefficients(recipe, names),
        beta: recipe.learned.as_ref().map(|learned| learned.beta),
        scores,
    };
    recipes.iter().zip(served).map(result).collect()
}

/// The weights of a recipe's models, tensor by tensor where each has its own.
fn coefficients(recipe: &Recipe, names: &[String]) -> Vec<Coefficient> {
    let of = |member: usize, tensor: Option<&String>, coefficient: f64| Coefficient {
        model: names[member].clone(),
        tensor: tensor.cloned(),
        coefficient,
    };
    let by_layer = recipe.learned.as_ref();
    let by_layer = by_layer.filter(|_| recipe.method == Method::LearnedByLayer);
    let Some(learned) = by_layer else {
        let weights = recipe.weights.iter();
        let weights = weights.map(|&(member, weight)| of(member, None, weight));
        return weights.collect();
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
    names: &[String],
    validation: Option<&DatasetInfo>,
) -> Vec<Decision> {
    let mut decisions = Vec::new();
    for GreedyTrace {
        method,
        seed,
        trials,
    } in traces
    {
        let mut members = 0;
        for (step, trial) in trials.iter().enumerate() {
            members += usize::from(trial.added);
            decisions.push(Decision {
                method: *method,
                seed: *seed,
                step: step + 1,
                model: names[trial.member].clone(),
                val_accuracy: validation.map_or(f64::NAN, |set| set.accuracy(trial.error)),
                added: trial.added,
                members,
            });
        }
    }
    decisions
}

fn evaluations(engine: &Engine<'_>, members: usize) -> Evaluations {
    let counts = engine.counts();
    Evaluations {
        logits: members,
        soups: counts.models - counts.remembered,
        remembered: counts.remembered,
        samples: counts.samples,
        learning: counts.learning,
    }
}

fn write(
    arguments: &SoupArgs,
    lineup: &Lineup,
    soups: &Soups,
    caveat: Option<&str>,
    rate: f64,
) -> Result<()> {
    let plan = &lineup.inputs.plan;
    let csv = plan.csv(&arguments.name);
    soup_file::write(soups, &csv)?;
    let drawn = draw::soup_figures(soups, &plan.plots(), &arguments.name)?;
    for warning in soups.warnings.iter().skip(lineup.warnings.len()) {
        warn(warning);
    }
    if arguments.common.json {
        return print_json(soups);
    }
    print_lines(&table(soups, arguments.table));
    // A table for a paper is all that goes where it is redirected to.
    let say = match arguments.table {
        TableArg::Text => print,
        TableArg::Markdown | TableArg::Latex => note,
    };
    if let Some(caveat) = caveat {
        say(&format!("every soup: {caveat}"));
    }
    let Evaluations {
        logits,
        soups: tried,
        remembered,
        samples,
        learning,
    } = soups.evaluations;
    let seconds = soups.provenance.wall_seconds;
    let learned = match learning {
        0 => format!(", {rate:.0} samples/s"),
        // The rate is of both together.
        _ => format!(" and {learning} to learn soups"),
    };
    say(&format!(
        "{logits} models, {tried} soups evaluated, {remembered} known already; {samples} samples \
         through the network{learned}, {seconds:.1} s"
    ));
    say(&format!("data    {}", csv.display()));
    for figure in drawn {
        say(&format!("figure  {}", figure.display()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::learned::{Preset, learn};
    use crate::analysis::recipe::mean;
    use crate::evaluate::quadratic::Quadratic;
    use crate::result::learned::Layers;
    use crate::space::testing::random_pool;

    #[test]
    fn each_tensor_of_a_soup_by_layer_has_the_coefficients_of_its_row() {
        let mut pool = random_pool(3, &[vec![2], vec![3], vec![1]], 2);
        for (parameter, name) in pool.parameters.iter_mut().zip(["b.0.w", "head", "b.0.v"]) {
            parameter.name = name.to_string();
        }
        let loss = Quadratic::new(&pool, vec![0.1; 6], vec![1.0; 6], 0.0);
        let settings = Settings {
            layers: Layers::Block,
            ..Preset::Paper.settings()
        };
        let learned = learn(&loss, &pool, &settings, &|_| {}).unwrap();
        let mix = learned.mix.clone();
        let recipe = Recipe {
            learned: Some(learned),
            ..Recipe::mean(Method::LearnedByLayer, vec![1, 2])
        };
        let names = ["zs", "one", "two"].map(String::from);
        let made = results(&[recipe], vec![Vec::new()], &names).remove(0);
        assert!(made.beta.is_some());
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
        // One that serves all has no tensor.
        let plain = Recipe {
            weights: mean(&[1, 2]),
            ..Recipe::mean(Method::Learned, vec![1, 2])
        };
        let made = coefficients(&plain, &names);
        assert!(made.len() == 2 && made.iter().all(|of| of.tensor.is_none()));
    }

    #[test]
    fn learning_that_broke_off_is_said() {
        let pool = random_pool(3, &[vec![1]], 2);
        let loss = Quadratic::new(&pool, vec![0.1], vec![f64::NAN], 0.0);
        let learned = learn(&loss, &pool, &Preset::Paper.settings(), &|_| {}).unwrap();
        let text = broken(&learned.learning).unwrap();
        assert!(text.starts_with("learned: a loss or a slope is NaN or infinite at step 1"));
        assert!(text.ends_with("after epoch 0"));
    }
}
