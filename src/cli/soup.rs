//! `landscape soup`: averages of many checkpoints, and the paper's table.

use std::time::Instant;

use super::args::{RuleArg, SoupArgs, TableArg};
use super::lineup::Lineup;
use super::save::{self, Save, saves};
use super::stage::Stage;
use super::table::table;
use super::{draw, note, print};
use crate::analysis::soup::{Cook, Ensemble, Recipe, Rule, Trace, Wanted, ranked};
use crate::error::{Error, Result};
use crate::evaluate::onnx::Engine;
use crate::graph::network::Network;
use crate::result::score::{DatasetInfo, Role, Score};
use crate::result::soup::{Coefficient, Decision, Evaluations, Method, MethodResult, Soups};
use crate::result::soup_file;
use crate::space::gram::Gram;
use crate::space::matching::Aligned;

/// Runs the command.
pub fn run(arguments: &SoupArgs) -> Result<()> {
    let start = Instant::now();
    let saves = saves(arguments)?;
    let wanted = wanted(arguments, &saves)?;
    let lineup = Lineup::open(
        &arguments.common,
        &arguments.run,
        arguments.models.as_deref(),
    )?;
    let inputs = &lineup.inputs;
    check_validation(&wanted, &saves, inputs.plan.has(Role::Val))?;
    let probe =
        |network: &Network<'_>, aligned: &Aligned| save::probe(&saves, inputs, network, aligned);
    lineup.evaluated(&arguments.name, probe, |stage| {
        let (recipes, traces) = chosen(arguments, stage, &wanted)?;
        let mut soups = assemble(&lineup, stage, &recipes, &traces)?;
        let rate = stage.progress.finish();
        let provenance = stage.material.provenance(inputs);
        soups.provenance = stage.progress.recorded(&provenance, start);
        soups.warnings.extend(missing(&wanted, &recipes));
        soups.warnings.extend(nonfinite(&soups));
        write(arguments, &lineup, &soups, rate)?;
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
    wanted: &[Wanted],
) -> Result<(Vec<Recipe>, Vec<Trace>)> {
    let ensemble = |weights: &[(usize, f64)], set: usize| stage.logits.ensemble(weights, set);
    let seed = stage.inputs.plan.seed;
    let cook = Cook {
        rule: match arguments.rule {
            RuleArg::Ge => Rule::AtLeast,
            RuleArg::Gt => Rule::Above,
        },
        seeds: (0..arguments.orders)
            .map(|order| seed.wrapping_add(order))
            .collect(),
        ..cook(stage, &ensemble)
    };
    let checkpoints: Vec<usize> = (1..cook.members).collect();
    let ranked = match validation(stage) {
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

fn cook<'c>(stage: &'c Stage<'_>, ensemble: &'c Ensemble<'c>) -> Cook<'c> {
    Cook {
        evaluator: stage.engine,
        ensemble,
        watch: stage.progress,
        members: stage.singles.len(),
        validation: validation(stage).unwrap_or(0),
        rule: Rule::AtLeast,
        seeds: Vec::new(),
    }
}

/// Which data set is the validation set.
fn validation(stage: &Stage<'_>) -> Option<usize> {
    let mut datasets = stage.datasets.iter();
    datasets.position(|set| set.role == Role::Val)
}

/// Evaluates what was made, on all data sets.
fn assemble(
    lineup: &Lineup,
    stage: &Stage<'_>,
    recipes: &[Recipe],
    traces: &[Trace],
) -> Result<Soups> {
    let ensemble = |weights: &[(usize, f64)], set: usize| stage.logits.ensemble(weights, set);
    let served = cook(stage, &ensemble).scores(recipes)?;
    let (origin, models) = lineup.individuals(stage.singles.clone());
    let names = stage.inputs.names();
    let validation = validation(stage).map(|set| &stage.datasets[set]);
    Ok(Soups {
        methods: results(recipes, served, &names),
        decisions: decisions(traces, &names, validation),
        evaluations: evaluations(stage.engine, stage.singles.len()),
        warnings: stage.warnings.clone(),
        provenance: Default::default(),
        datasets: stage.datasets.clone(),
        origin,
        models,
    })
}

/// The methods that were asked for, or those of the paper, in the order of the table.
fn wanted(arguments: &SoupArgs, saves: &[Save]) -> Result<Vec<Wanted>> {
    let mut wanted = match &arguments.methods {
        Some(list) => list
            .split(',')
            .map(|text| parse("--methods", text.trim()))
            .collect::<Result<Vec<_>>>()?,
        None => PAPER.map(Wanted::plain).to_vec(),
    };
    wanted.extend(saves.iter().map(|save| save.wanted));
    let number = |wanted: &Wanted| wanted.setting.unwrap_or(f64::INFINITY);
    wanted.sort_by(|a, b| {
        let methods = a.method.cmp(&b.method);
        methods.then(number(a).total_cmp(&number(b)))
    });
    wanted.dedup();
    Ok(wanted)
}

/// Whether there is a validation set where something is chosen by it.
fn check_validation(wanted: &[Wanted], saves: &[Save], has_validation: bool) -> Result<()> {
    let selecting = wanted.iter().find(|wanted| wanted.method.selects());
    let swept = |save: &&Save| save.wanted.method.has_setting() && save.wanted.setting.is_none();
    match (selecting, saves.iter().find(swept)) {
        _ if has_validation => Ok(()),
        (Some(wanted), _) => Err(Error::flag(
            "--val",
            format!(
                "is needed: `{}` chooses by validation accuracy",
                wanted.method.name()
            ),
        )
        .help("--methods uniform,ensemble chooses nothing")),
        (None, Some(save)) => {
            let name = save.wanted.method.name();
            Err(Error::flag(
                "--val",
                format!("is needed to choose which `{name}` to save"),
            )
            .help(format!("--save {name}:NUMBER=FILE chooses none")))
        }
        (None, None) => Ok(()),
    }
}

/// What is to be said of methods that made nothing.
fn missing(wanted: &[Wanted], recipes: &[Recipe]) -> Vec<String> {
    let made = |wanted: &&Wanted| recipes.iter().any(|recipe| recipe.method == wanted.method);
    let missing = wanted.iter().filter(|wanted| !made(wanted));
    missing
        .map(|wanted| format!("{} is not defined for these models", wanted.method.name()))
        .collect()
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

/// What is made when nothing is asked for.
const PAPER: [Method; 7] = [
    Method::Best,
    Method::Second,
    Method::Uniform,
    Method::Greedy,
    Method::GreedyRandom,
    Method::Ensemble,
    Method::GreedyEnsemble,
];

/// `NAME` or `NAME:NUMBER`.
///
/// # Errors
/// When there is no such method, or it takes no number.
pub fn parse(flag: &str, text: &str) -> Result<Wanted> {
    let (name, setting) = match text.split_once(':') {
        Some((name, setting)) => (name, Some(setting)),
        None => (text, None),
    };
    let mut methods = Method::ALL.into_iter();
    let Some(method) = methods.find(|method| method.name() == name) else {
        let all = Method::ALL.map(Method::name).join(", ");
        return Err(Error::flag(
            flag,
            format!("there is no `{name}`; there are {all}"),
        ));
    };
    let fault = |problem: &str| Error::flag(flag, format!("`{text}`: {problem}"));
    let setting = match setting {
        None => None,
        Some(_) if !method.has_setting() => {
            return Err(fault("this method takes no number"));
        }
        Some(setting) => Some(
            setting
                .parse::<f64>()
                .ok()
                .filter(|setting| setting.abs() <= 1e6)
                .ok_or_else(|| fault("a number is needed behind the colon"))?,
        ),
    };
    Ok(Wanted { method, setting })
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
        coefficients: recipe
            .weights
            .iter()
            .map(|&(member, coefficient)| Coefficient {
                model: names[member].clone(),
                tensor: None,
                coefficient,
            })
            .collect(),
        scores,
    };
    recipes.iter().zip(served).map(result).collect()
}

fn decisions(
    traces: &[Trace],
    names: &[String],
    validation: Option<&DatasetInfo>,
) -> Vec<Decision> {
    let mut decisions = Vec::new();
    for (method, seed, trials) in traces {
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
    }
}

fn write(arguments: &SoupArgs, lineup: &Lineup, soups: &Soups, rate: f64) -> Result<()> {
    let plan = &lineup.inputs.plan;
    let csv = plan.csv(&arguments.name);
    soup_file::write(soups, &csv)?;
    let drawn = draw::soup_figures(soups, &plan.plots(), &arguments.name)?;
    for warning in soups.warnings.iter().skip(lineup.warnings.len()) {
        note(&format!("warning: {warning}"));
    }
    if arguments.common.json {
        let text = serde_json::to_string(soups).map_err(|error| Error::runtime("--json", error))?;
        print(&text);
        return Ok(());
    }
    print(&table(soups, arguments.table));
    // A table for a paper is all that goes where it is redirected to.
    let say = match arguments.table {
        TableArg::Text => print,
        TableArg::Markdown | TableArg::Latex => note,
    };
    let Evaluations {
        logits,
        soups: tried,
        remembered,
        samples,
    } = soups.evaluations;
    let seconds = soups.provenance.wall_seconds;
    say(&format!(
        "{logits} models, {tried} soups evaluated, {remembered} known already; {samples} samples \
         through the network, {rate:.0} samples/s, {seconds:.1} s"
    ));
    say(&format!("data    {}", csv.display()));
    for figure in drawn {
        say(&format!("figure  {}", figure.display()));
    }
    Ok(())
}
