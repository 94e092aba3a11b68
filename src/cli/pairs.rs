//! `landscape pairs`: every two checkpoints, their angle, their soup and their ensemble.

use std::time::Instant;

use super::args::PairsArgs;
use super::draw;
use super::lineup::{Lineup, doubts, singles};
use super::prepare::Material;
use super::progress::Progress;
use super::selection::Selection;
use super::theory::compared;
use super::{note, print};
use crate::analysis::pairs::{self as analysis, Four};
use crate::error::{Error, Result};
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
    for warning in &lineup.warnings {
        note(&format!("warning: {warning}"));
    }
    let names = inputs.names();
    let places = selection.pairs(&names[1..], inputs.plan.seed)?;
    let columns = lineup.hyperparameters(arguments.hyperparameters.as_deref())?;
    let network = inputs.network();
    let aligned = inputs.aligned(&network)?;
    let gram = Gram::of(&aligned.pool);
    let material = Material::read(inputs, &network)?;
    let engine = material.engine(inputs, &network, &aligned)?;
    let engine = material.keeping(engine, inputs, &arguments.name)?;
    let progress = Progress::new(engine.frozen_nodes(), false);
    let datasets = material.datasets();
    let members = aligned.pool.members.len();
    let logits = engine.kept_logits(&Mix::units(members), &progress)?;
    let doubts = doubts(&engine, inputs, &network, &aligned, &logits)?;
    let midpoint = |&(a, b): &(usize, usize)| Mix::over(&[(a + 1, 0.5), (b + 1, 0.5)], members);
    let midpoints: Vec<Mix> = places.iter().map(midpoint).collect();
    let soups = engine.evaluate(&midpoints, &progress)?;
    let scores = singles(&logits, members, datasets.len());
    let ensemble = |a: usize, b: usize| -> Vec<Score> {
        let sets = 0..datasets.len();
        sets.map(|set| logits.ensemble(&[(a + 1, 0.5), (b + 1, 0.5)], set))
            .collect()
    };
    let theory = if arguments.theory {
        compared(&engine, &logits, &places, inputs, &progress)?
    } else {
        Vec::new()
    };
    let rate = progress.finish();
    let (_, models) = lineup.individuals(scores.clone());
    let pair = |(&(a, b), soup): (&(usize, usize), &Vec<Score>)| Pair {
        a: models[a].name.clone(),
        b: models[b].name.clone(),
        angle_deg: analysis::angle(&gram.total, a, b),
        norm_a: analysis::norm(&gram.total, a),
        norm_b: analysis::norm(&gram.total, b),
        differ: differ(&models[a], &models[b], &columns),
        rows: analysis::rows(
            &datasets,
            Four {
                a: &scores[a + 1],
                b: &scores[b + 1],
                soup,
                ensemble: &ensemble(a, b),
            },
        ),
    };
    let all: Vec<Pair> = places.iter().zip(&soups.scores).map(pair).collect();
    let seed = inputs.plan.seed;
    let [angle_advantage, soup_ensemble_test, soup_ensemble_shifts] =
        analysis::correlations(&all, &places, models.len(), seed);
    let twins = analysis::twins(&gram, &names[1..]);
    let pairs = Pairs {
        angle_advantage,
        soup_ensemble_test,
        soup_ensemble_shifts,
        theory,
        layers: match arguments.by_layer {
            true => layers(&aligned.pool, &gram, &places, &names[1..]),
            false => Vec::new(),
        },
        warnings: [
            lineup.warnings.clone(),
            aligned.warnings.clone(),
            twins,
            doubts,
        ]
        .concat(),
        provenance: progress.recorded(&material.provenance(inputs), start),
        pairs: all,
        datasets,
        models,
        hyperparameters: columns,
    };
    write(arguments, &lineup, &pairs, rate)?;
    engine.forget();
    Ok(())
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
    let parameters = pool.parameters.iter().zip(&gram.per_parameter);
    let moving = parameters.filter(|(parameter, _)| parameter.counts() && !parameter.frozen);
    let angles = moving.flat_map(|(parameter, products)| {
        places.iter().map(move |&(a, b)| LayerAngle {
            a: names[a].clone(),
            b: names[b].clone(),
            tensor: parameter.name.clone(),
            angle_deg: analysis::angle(products, a, b),
            norm_a: analysis::norm(products, a),
            norm_b: analysis::norm(products, b),
        })
    });
    angles.collect()
}

fn write(arguments: &PairsArgs, lineup: &Lineup, pairs: &Pairs, rate: f64) -> Result<()> {
    let plan = &lineup.inputs.plan;
    let csv = plan.csv(&arguments.name);
    pairs_file::write(pairs, &csv)?;
    let drawn = draw::pair_figures(pairs, &plan.plots(), &arguments.name)?;
    for warning in pairs.warnings.iter().skip(lineup.warnings.len()) {
        note(&format!("warning: {warning}"));
    }
    if arguments.common.json {
        let text = serde_json::to_string(pairs).map_err(|error| Error::runtime("--json", error))?;
        print(&text);
        return Ok(());
    }
    extremes(pairs);
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
    print("pair                 angle   soup (%)   ensemble (%)   advantage (points)");
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
    match value.is_nan() {
        true => format!("undefined ({pairs} pairs)"),
        false => format!("{value:.2} ({low:.2} to {high:.2}, {pairs} pairs)"),
    }
}
