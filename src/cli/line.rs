//! `landscape line`: soups and ensembles on the path between checkpoints.

use std::path::Path as FilePath;
use std::time::Instant;

use super::args::LineArgs;
use super::doubts::doubts;
use super::prepare::{Inputs, Material, untouched};
use super::progress::Progress;
use super::window::{check_steps, range};
use super::{check, draw, print, print_json, print_lines, statistics, warn};
use crate::analysis::line::{Base, CheckpointPath};
use crate::analysis::self_check::against_files;
use crate::error::Result;
use crate::evaluate::onnx::Engine;
use crate::evaluate::{Answers, Evaluator};
use crate::result::grid::linspace;
use crate::result::line::{self, Barriers, ESTABLISHED, Line, Node, Summary};
use crate::result::plane::NamedScore;
use crate::result::plane_file::json_beside;
use crate::result::score::{DatasetInfo, Score};
use crate::space::mix::Mix;

/// Runs the command.
pub fn run(arguments: &LineArgs) -> Result<()> {
    let start = Instant::now();
    let files: Vec<&FilePath> = arguments
        .a
        .iter()
        .chain(&arguments.through)
        .chain([&arguments.b])
        .map(AsRef::as_ref)
        .collect();
    let mut inputs = Inputs::open(&arguments.common, &arguments.run, &files)?;
    inputs.rename_left_out()?;
    let path = path(arguments)?;
    let network = inputs.network();
    let (aligned, gram) = inputs.align(&network)?;
    let material = Material::read(&inputs, &network)?;
    let files = untouched(&network, &aligned, &inputs.checkpoints)?;
    let engine = material
        .engine(&inputs, &network, &aligned)?
        .with_files(files);
    let engine = material.keeping(engine, &inputs, &arguments.name)?;
    let progress = Progress::new(engine.frozen_nodes(), false);
    let members = aligned.pool.members.len();
    let mut mixes = path.mixes(members);
    mixes.extend(Mix::units(members));
    let answers = engine.evaluate(&mixes, &progress)?;
    let ensemble = ensembles(&engine, &path, &answers.datasets, &inputs, &progress)?;
    let rate = progress.finish();
    let models = &answers.scores[answers.scores.len() - members..];
    let doubts = doubts(
        &engine,
        &aligned.pool,
        Some(&gram),
        &answers.datasets,
        models,
    );
    let mut line = arrange(&path, &answers, ensemble, &inputs.names());
    line.summary
        .warnings
        .splice(0..0, doubts.into_iter().chain(aligned.warnings.clone()));
    let warnings = &mut line.summary.warnings;
    warnings.extend(statistics::averaged(&network, &aligned));
    let points = &path.mixes(members)[..path.alphas.len()];
    let between = format!("α from 0 to {}", path.nodes.len() - 1);
    let words = ("points", between.as_str());
    let place = |point: usize| format!("α = {}", path.alphas[point]);
    warnings.extend(statistics::beyond(&network, &aligned, points, words, place));
    let cut = material.cut(&line.datasets);
    let is_whole = cut.is_none();
    line.summary.warnings.extend(cut);
    line.summary.provenance = progress.recorded(&material.provenance(&inputs, &aligned), start);
    let caveat = aligned.caveat.as_deref();
    material.unchanged(&inputs, &engine)?;
    write(arguments, &inputs, &line, caveat, rate)?;
    if is_whole {
        engine.forget();
    }
    Ok(())
}

/// Where models are evaluated.
fn path(arguments: &LineArgs) -> Result<CheckpointPath> {
    let first = usize::from(arguments.a.is_some());
    let nodes: Vec<usize> = (first..first + arguments.through.len() + 2).collect();
    let pieces = nodes.len() - 1;
    let steps = arguments.steps;
    check_steps(steps)?;
    let mut alphas = match &arguments.alpha {
        Some(alpha) => range("--alpha", alpha)?,
        None => {
            let piece = |k: usize| {
                let points = linspace(0.0, 1.0, steps).into_iter();
                points.map(move |t| k as f64 + t)
            };
            (0..pieces).flat_map(piece).collect()
        }
    };
    // The checkpoints within the range belong to the picture.
    let ends = (alphas[0], alphas[alphas.len() - 1]);
    let inside = |alpha: &f64| (ends.0..=ends.1).contains(alpha);
    alphas.extend((0..=pieces).map(|k| k as f64).filter(inside));
    alphas.sort_by(f64::total_cmp);
    alphas.dedup();
    Ok(CheckpointPath { nodes, alphas })
}

/// Scores of the ensembles, `[data set][α]`, on as many samples as the soups were evaluated on.
fn ensembles(
    engine: &Engine<'_>,
    path: &CheckpointPath,
    datasets: &[DatasetInfo],
    inputs: &Inputs,
    progress: &Progress,
) -> Result<Vec<Vec<Score>>> {
    let members = inputs.checkpoints.len() + 1;
    let models = path.nodes.iter().map(|&node| Mix::unit(node, members));
    let samples: Vec<usize> = datasets.iter().map(|set| set.samples).collect();
    let models: Vec<Mix> = models.collect();
    let logits = engine.logits(&models, &samples, &inputs.plan.data_folder(), progress)?;
    let score = |set: usize| {
        let alphas = path.alphas.iter();
        alphas
            .map(|alpha| logits.ensemble(&path.weights(*alpha), set))
            .collect()
    };
    Ok((0..samples.len()).map(score).collect())
}

/// Arranges the answers to the path's mixes, which the single models follow.
fn arrange(
    path: &CheckpointPath,
    answers: &Answers,
    ensemble: Vec<Vec<Score>>,
    names: &[String],
) -> Line {
    let datasets = &answers.datasets;
    let (points, rest) = answers.scores.split_at(path.alphas.len());
    let (nodes, models) = rest.split_at(path.nodes.len());
    let of = |scores: &[Vec<Score>], set: usize| -> Vec<Score> {
        scores.iter().map(|sets| sets[set]).collect()
    };
    let barriers = datasets.iter().enumerate().map(|(set, dataset)| {
        let (soups, ends) = (of(points, set), of(nodes, set));
        let barrier = |base, value| path.barrier(&soups, &ends, base, value);
        let loss = |score: &Score| (score.loss, score.loss_se);
        let error = |score: &Score| (score.error, score.error_se);
        let three = [
            barrier(Base::Chord, loss),
            barrier(Base::Chord, error),
            barrier(Base::Mean, error),
        ];
        Barriers::new(dataset, three)
    });
    let checks = against_files(datasets, names, &answers.files, models);
    let doubts = checks.iter().filter(|check| !check.agrees).map(|check| {
        format!(
            "{} on {}: its file gives loss {:.6}, its mix {:.6}; do not trust this path",
            check.name, check.dataset, check.loss_file, check.loss_plane
        )
    });
    let node = |(place, (&member, scores)): (usize, (&usize, &Vec<Score>))| Node {
        name: names[member].clone(),
        origin: member == 0,
        alpha: place as f64,
        scores: NamedScore::all(datasets, scores),
    };
    Line {
        alphas: path.alphas.clone(),
        soup: (0..datasets.len()).map(|set| of(points, set)).collect(),
        ensemble,
        summary: Summary {
            checkpoints: path.nodes.iter().zip(nodes).enumerate().map(node).collect(),
            barriers: barriers.collect(),
            warnings: doubts.collect(),
            checks,
            provenance: Default::default(),
        },
        datasets: datasets.clone(),
    }
}

fn write(
    arguments: &LineArgs,
    inputs: &Inputs,
    line: &Line,
    caveat: Option<&str>,
    rate: f64,
) -> Result<()> {
    let name = &arguments.name;
    let csv = inputs.plan.csv(name);
    line::write(line, &csv, &json_beside(&csv))?;
    let drawn = draw::line_figures(line, arguments.panels, &inputs.plan.plots(), name)?;
    let summary = &line.summary;
    for warning in &summary.warnings {
        warn(warning);
    }
    if arguments.common.json {
        return print_json(summary);
    }
    rises(&summary.barriers);
    if let Some(caveat) = caveat {
        print(&format!("every soup between the ends: {caveat}"));
    }
    let checks = check::told(&summary.checks, &summary.provenance, "the path");
    print(&checks);
    let seconds = summary.provenance.wall_seconds;
    print(&format!("{rate:.0} samples/s, {seconds:.1} s"));
    print(&format!("data    {}", csv.display()));
    for figure in drawn {
        print(&format!("figure  {}", figure.display()));
    }
    Ok(())
}

/// Prints the largest rises, and what they say.
fn rises(barriers: &[Barriers]) {
    let column = |name: &str| format!("{name:23}  at α  {:16}", "");
    let [loss, error] = ["loss (nats, ± unpaired)", "error (%, ± unpaired)"].map(column);
    print(&format!("largest rise  {loss}  {error}  over the mean"));
    for of in barriers {
        let loss = rise(of.barrier_loss, of.barrier_loss_se, of.argmax_alpha, 4);
        let (height, se) = (100.0 * of.barrier_error, 100.0 * of.barrier_error_se);
        let error = rise(height, se, of.argmax_alpha_error, 2);
        let frankle = match (of.frankle_barrier_error, of.frankle_at_end) {
            (height, _) if height.is_nan() => "–".to_string(),
            (height, true) => format!("{:.2} % (at an end)", 100.0 * height),
            (height, false) => format!("{:.2} %", 100.0 * height),
        };
        print(&format!("{:12}  {loss}  {error}  {frankle}", of.dataset));
    }
    print_lines(
        "±: one standard error, unpaired: as if the soup and the ends had seen different samples. The \
         paired one may\nbe much smaller, or larger. A rise of more than two of them is called a barrier. \
         Where it is less, none is\nestablished, which does not show that there is none.",
    );
    if barriers.iter().any(|of| of.frankle_at_end) {
        print(
            "at an end: no soup is above the higher end, and the number is half the ends' difference",
        );
    }
}

/// A rise with its standard error and place, and in words.
fn rise(height: f64, se: f64, alpha: f64, digits: usize) -> String {
    if alpha.is_nan() {
        return format!("{:47}", "no point between the checkpoints");
    }
    let words = match height {
        _ if height.is_nan() => "not a number",
        // Of an infinite loss there is no standard error.
        _ if height > ESTABLISHED * se || height == f64::INFINITY => "barrier",
        _ => "not established",
    };
    format!("{height:10.digits$} ± {se:<10.digits$}  {alpha:4.2}  {words:16}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rise_is_a_barrier_above_two_standard_errors_only() {
        for (height, se, alpha, words) in [
            (0.5, 0.2, 0.5, "    0.5000 ± 0.2000      0.50  barrier"),
            (
                0.4,
                0.2,
                0.5,
                "    0.4000 ± 0.2000      0.50  not established",
            ),
            (
                -0.4,
                0.1,
                0.25,
                "   -0.4000 ± 0.1000      0.25  not established",
            ),
            (
                0.4,
                f64::NAN,
                0.5,
                "    0.4000 ± NaN         0.50  not established",
            ),
            (
                f64::INFINITY,
                f64::NAN,
                0.5,
                "       inf ± NaN         0.50  barrier",
            ),
            (
                f64::NAN,
                f64::NAN,
                0.5,
                "       NaN ± NaN         0.50  not a number",
            ),
            (
                f64::NAN,
                f64::NAN,
                f64::NAN,
                "no point between the checkpoints",
            ),
        ] {
            assert_eq!(rise(height, se, alpha, 4).trim_end(), words);
        }
        // The columns stay where they are.
        let widths = [0.5, f64::NAN].map(|alpha| rise(0.5, 0.1, alpha, 2).chars().count());
        assert_eq!(widths[0], widths[1]);
    }
}
