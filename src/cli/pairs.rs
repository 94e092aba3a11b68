//! `landscape pairs`: every two checkpoints, their angle, their soup and their ensemble.

use std::time::Instant;

use super::args::PairsArgs;
use super::draw;
use super::lineup::Lineup;
use super::selection::Selection;
use super::stage::Stage;
use super::theory::compared;
use super::{print, print_json, warn};
use crate::analysis::pairs::{self as analysis, PairScores};
use crate::error::Result;
use crate::evaluate::Evaluator;
use crate::result::models::Individual;
use crate::result::pairs::{Correlation, LayerAngle, Pair, Pairs};
use crate::result::pairs_file;
use crate::result::score::Score;
use crate::space::gram::Gram;
use crate::space::mix::Mix;
use crate::space::pool::Pool;

/// Runs the command.
pub fn run(arguments: &PairsArgs) -> Result<()> {
    let start = Instant::now();
    let selection = Selection::parse(arguments.pairs.as_deref())?;
    let lineup = Lineup::open(
        &arguments.common,
        &arguments.run,
        arguments.models.as_deref(),
    )?;
    let inputs = &lineup.inputs;
    let names = inputs.names();
    let places = selection.pairs(&lineup.listed_names, inputs.plan.seed)?;
    let columns = lineup.hyperparameters(arguments.hyperparameters.as_deref())?;
    lineup.evaluated(
        &arguments.name,
        |_, _| Ok(()),
        |_| Ok(()),
        |stage| {
            let gram = Gram::of(&stage.aligned.pool);
            let mut pairs = assemble(&lineup, stage, &gram, &places, columns)?;
            if arguments.theory {
                pairs.theory = compared(stage, &places)?;
            }
            if arguments.by_layer {
                pairs.layers = layers(&stage.aligned.pool, &gram, &places, &names[1..]);
            }
            let rate = stage.progress.finish();
            let provenance = stage.material.provenance(inputs, stage.aligned);
            pairs.provenance = stage.progress.recorded(&provenance, start);
            let caveat = stage.aligned.caveat.as_deref();
            stage.material.unchanged(inputs, stage.engine)?;
            write(arguments, &lineup, &pairs, caveat, rate)
        },
    )
}

/// Evaluates the midpoint soups, and puts each beside its pair and its ensemble.
fn assemble(
    lineup: &Lineup,
    stage: &Stage<'_>,
    gram: &Gram,
    places: &[(usize, usize)],
    columns: Vec<String>,
) -> Result<Pairs> {
    // Members of the pool: θ0 comes first.
    let halves = |(a, b): (usize, usize)| [(a + 1, 0.5), (b + 1, 0.5)];
    let members = stage.singles.len();
    let midpoints = places.iter().map(|&pair| Mix::over(&halves(pair), members));
    let midpoints: Vec<Mix> = midpoints.collect();
    let soups = stage.engine.evaluate(&midpoints, stage.progress)?;
    let (_, models) = lineup.individuals(stage.singles.clone());
    let pair = |(&(a, b), soup): (&(usize, usize), &Vec<Score>)| {
        let sets = 0..stage.datasets.len();
        let ensemble = sets.map(|set| stage.logits.ensemble(&halves((a, b)), set));
        let four = PairScores {
            a: &stage.singles[a + 1],
            b: &stage.singles[b + 1],
            soup,
            ensemble: &ensemble.collect::<Vec<Score>>(),
        };
        Pair {
            a: models[a].name.clone(),
            b: models[b].name.clone(),
            angle_deg: gram.angle(a, b),
            norm_a: gram.norm(a),
            norm_b: gram.norm(b),
            differ: differ(&models[a], &models[b], &columns),
            rows: analysis::rows(&stage.datasets, four),
        }
    };
    let pairs: Vec<Pair> = places.iter().zip(&soups.scores).map(pair).collect();
    let seed = stage.inputs.plan.seed;
    let [angle_advantage, soup_ensemble_test, soup_ensemble_shifts] =
        analysis::correlations(&pairs, places, models.len(), seed);
    let names: Vec<String> = models.iter().map(|model| model.name.clone()).collect();
    Ok(Pairs {
        angle_advantage,
        soup_ensemble_test,
        soup_ensemble_shifts,
        theory: Vec::new(),
        layers: Vec::new(),
        warnings: [stage.warnings.clone(), analysis::twins(gram, &names)].concat(),
        provenance: Default::default(),
        pairs,
        datasets: stage.datasets.clone(),
        models,
        hyperparameters: columns,
    })
}

/// Columns of the list in which two models differ.
fn differ(a: &Individual, b: &Individual, columns: &[String]) -> Vec<String> {
    let value = |model: &Individual, column: &String| model.hyperparameters.get(column).cloned();
    let differing = columns
        .iter()
        .filter(|column| value(a, column) != value(b, column));
    differing.cloned().collect()
}

/// Angles in each tensor that counts and that some checkpoint moved.
fn layers(
    pool: &Pool,
    gram: &Gram,
    places: &[(usize, usize)],
    names: &[String],
) -> Vec<LayerAngle> {
    let parameters = pool.parameters.iter().enumerate();
    let moving = parameters.filter(|(_, parameter)| parameter.counts() && !parameter.frozen);
    let angles = moving.flat_map(|(index, parameter)| {
        places.iter().map(move |&(a, b)| LayerAngle {
            a: names[a].clone(),
            b: names[b].clone(),
            tensor: parameter.name.clone(),
            angle_deg: gram.parameter_angle(index, a, b),
            norm_a: gram.parameter_norm(index, a),
            norm_b: gram.parameter_norm(index, b),
        })
    });
    angles.collect()
}

fn write(
    arguments: &PairsArgs,
    lineup: &Lineup,
    pairs: &Pairs,
    caveat: Option<&str>,
    rate: f64,
) -> Result<()> {
    let plan = &lineup.inputs.plan;
    let csv = plan.csv(&arguments.name);
    pairs_file::write(pairs, &csv)?;
    let drawn = draw::pair_figures(pairs, &plan.plots(), &arguments.name)?;
    for warning in pairs.warnings.iter().skip(lineup.warnings.len()) {
        warn(warning);
    }
    if arguments.common.json {
        return print_json(pairs);
    }
    extremes(pairs);
    if let Some(caveat) = caveat {
        print(&format!("every soup: {caveat}"));
    }
    print(&format!(
        "angle and advantage: Spearman {}",
        said(&pairs.angle_advantage)
    ));
    print(&format!(
        "soup and ensemble: Pearson {} on test, {} on the shifts",
        said(&pairs.soup_ensemble_test),
        said(&pairs.soup_ensemble_shifts)
    ));
    let seconds = pairs.provenance.wall_seconds;
    print(&format!("{rate:.0} samples/s, {seconds:.1} s"));
    print(&format!("data    {}", csv.display()));
    for figure in drawn {
        print(&format!("figure  {}", figure.display()));
    }
    Ok(())
}

/// Pairs that are shown of each end.
const SHOWN: usize = 3;

/// Prints the pairs that gain most by interpolation, and those that lose most.
fn extremes(pairs: &Pairs) {
    let mean = |pair: &Pair| pair.row("all").or(pair.rows.first()).cloned();
    let mut rows: Vec<_> = pairs
        .pairs
        .iter()
        .filter_map(|pair| Some((pair, mean(pair)?)))
        .collect();
    rows.sort_by(|a, b| b.1.advantage.total_cmp(&a.1.advantage));
    print("pair                 angle   soup (%)   ensemble (%)   advantage (points, unpaired ±)");
    let ends = rows.len().saturating_sub(SHOWN).max(SHOWN);
    for (index, (pair, row)) in rows.iter().enumerate() {
        if index >= SHOWN && index < ends {
            continue;
        }
        if index == ends && ends > SHOWN {
            print("…");
        }
        print(&format!(
            "{:18}  {:5.1}°   {:8.2}   {:12.2}   {:+.2} ± {:.2}",
            format!("{} {}", pair.a, pair.b),
            pair.angle_deg,
            100.0 * row.accuracy_soup,
            100.0 * row.accuracy_ensemble,
            100.0 * row.advantage,
            100.0 * row.advantage_se
        ));
    }
}

fn said(correlation: &Correlation) -> String {
    let Correlation {
        value,
        low,
        high,
        pairs,
    } = correlation;
    match (value.is_nan(), low.is_nan() || high.is_nan()) {
        (true, _) => format!("undefined (pairs: {pairs})"),
        (false, true) => format!("{value:.2} (pairs: {pairs})"),
        (false, false) => format!("{value:.2} ({low:.2} to {high:.2}, {pairs} pairs)"),
    }
}
