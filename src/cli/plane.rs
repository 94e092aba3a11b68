//! `landscape plane`: from what was typed to the figure and its data.

use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use super::args::PlaneArgs;
use super::job::Job;
use super::prepare::{Inputs, Material, untouched};
use super::progress::{Progress, Steps};
use super::window::Window;
use super::{check, draw, note, print, print_json, statistics, warn};
use crate::analysis::adaptive::{Contours, Refinement};
use crate::analysis::arrows as analysis_of_arrows;
use crate::analysis::plane as analysis;
use crate::checkpoint;
use crate::error::{Error, Result};
use crate::evaluate::Evaluator;
use crate::evaluate::onnx::gradient::Precision;
use crate::evaluate::onnx::{Engine, check_gradient};
use crate::evaluate::slope::Reference;
use crate::figure::panel::contours;
use crate::graph::network::Network;
use crate::result::plane::{self, Arrow, Plane, Summary};
use crate::result::score::DatasetInfo;
use crate::space::mix::Mix;
use crate::space::plane::PlaneBasis;

/// Runs the command, or only compares how it could be laid out on this machine.
pub fn run(arguments: &PlaneArgs, only_compare: bool) -> Result<()> {
    let start = Instant::now();
    let marks = arguments.mark.iter().map(mark);
    let marks = marks.collect::<Result<Vec<Named<'_>>>>()?;
    let mut files: Vec<&Path> = vec![&arguments.a, &arguments.b];
    files.extend(marks.iter().map(|(_, path)| *path));
    let mut inputs = Inputs::open(&arguments.common, &arguments.run, &files)?;
    for (checkpoint, (name, _)) in inputs.checkpoints[2..].iter_mut().zip(&marks) {
        if let Some(name) = name {
            checkpoint.name = (*name).to_string();
        }
    }
    inputs.rename_left_out()?;
    let window = Window::new(arguments, &inputs.plan, &inputs.config)?;
    let network = inputs.network();
    let (aligned, gram) = inputs.align(&network)?;
    let basis = PlaneBasis::of(&aligned.pool, &gram)?;
    let grid = window.grid(&basis)?;
    let geometry = basis.geometry;
    note(&format!(
        "‖δ1‖ = {:.4}, ‖δ2‖ = {:.4}, angle {:.2}°; {}×{} points",
        geometry.norm_a,
        geometry.norm_b,
        geometry.angle_deg,
        grid.xs.len(),
        grid.ys.len()
    ));
    if arguments.arrows.is_some() {
        check_gradient(&network, &aligned, inputs.plan.output.as_deref())?;
    }
    let material = Material::read(&inputs, &network)?;
    let files = untouched(&network, &aligned, &inputs.checkpoints)?;
    let engine = material
        .engine(&inputs, &network, &aligned)?
        .with_files(files);
    if only_compare {
        return compare(&engine);
    }
    if arguments.arrows.is_some() {
        check_slopes(&engine)?;
    }
    let engine = material.keeping(engine, &inputs, &arguments.name)?;
    let job = Job {
        name: &arguments.name,
        plan: &inputs.plan,
        panels: window.panels,
        aligned: &aligned,
        gram,
        names: inputs.names(),
        provenance: material.provenance(&inputs, &aligned),
        refinement: Mutex::new(if arguments.adaptive {
            Refinement::coarse(&grid)
        } else {
            Refinement::whole(&grid)
        }),
        basis,
        grid,
        arrows: Vec::new(),
        start,
        progress: Progress::new(engine.frozen_nodes(), true),
    };
    let mut plane = measured(&engine, &job)?;
    if let Some(steps) = arguments.arrows {
        plane.summary.arrows = arrows(steps as usize, &job, &engine, &plane.datasets)?;
    }
    let doubts = job.doubts(&engine, &plane);
    let warnings = &mut plane.summary.warnings;
    warnings.splice(0..0, doubts);
    warnings.extend(beyond_the_hull(&network, &job));
    let rate = job.progress.finish();
    let cut = material.cut(&plane.datasets);
    let is_whole = cut.is_none();
    plane.summary.warnings.extend(cut);
    material.unchanged(&inputs, &engine)?;
    write(arguments, &job, &plane, rate)?;
    inputs.plan.remove_partial(&arguments.name);
    if is_whole {
        engine.forget();
    }
    Ok(())
}

/// Evaluates the grid, or refines it until every contour is measured.
fn measured(engine: &Engine<'_>, job: &Job<'_>) -> Result<Plane> {
    loop {
        // What was evaluated before is remembered.
        let members = job.names.len();
        let mixes = analysis::mixes(&job.basis, &job.grid, &job.refinement(), members);
        let answers = engine.evaluate(&mixes, job)?;
        let plane = job.assemble(&answers);
        let contours = contours(&plane, job.panels.into());
        let surfaces = contours.into_iter();
        let surfaces: Vec<Contours> = surfaces
            .map(|(values, levels)| Contours { values, levels })
            .collect();
        if !job.refinement().refine(&surfaces) {
            return Ok(plane);
        }
    }
}

/// What is to be said of batch norm on the plane.
fn beyond_the_hull(network: &Network<'_>, job: &Job<'_>) -> Vec<String> {
    let points: Vec<(f64, f64)> = job.grid.points().collect();
    let members = job.names.len();
    let mixes = points.iter().map(|&(x, y)| job.basis.mix(x, y, members));
    let mixes: Vec<Mix> = mixes.collect();
    let words = ("points", "the triangle of the three models");
    let place = |point: usize| {
        let (x, y) = points[point];
        format!("({x:.3}, {y:.3})")
    };
    let averaged = statistics::averaged(network, job.aligned);
    let beyond = statistics::beyond(network, job.aligned, &mixes, words, place);
    averaged.into_iter().chain(beyond).collect()
}

/// Whether the network can be differentiated on every data set. Before the grid, which takes long:
/// an operator may have no derivative.
fn check_slopes(engine: &Engine<'_>) -> Result<()> {
    let mut sets = engine.datasets().into_iter().enumerate();
    sets.try_for_each(|(index, set)| engine.check_gradients(index, set.samples, Precision::Own))
}

/// The slopes of all data sets at points of a coarse grid, over the samples that the plane is of.
fn arrows(
    steps: usize,
    job: &Job<'_>,
    engine: &Engine<'_>,
    datasets: &[DatasetInfo],
) -> Result<Vec<Arrow>> {
    let points = analysis_of_arrows::points(&job.grid, steps);
    let count = points.len() * datasets.len();
    note(&format!("{count} gradients for the arrows"));
    let steps = Steps::new(count, "gradients");
    let mut arrows = Vec::new();
    // One data set at a time: each may take the memory for what the frozen part makes of it.
    for (index, set) in datasets.iter().enumerate() {
        let slopes = engine.gradients(index, set.samples, Precision::Own)?;
        let (basis, members) = (&job.basis, job.names.len());
        let done = || steps.advance(1, "");
        let found = analysis_of_arrows::arrows(basis, &points, &slopes, set, members, &done)?;
        hold(engine, job, index, &found)?;
        arrows.extend(found);
    }
    steps.finish();
    Ok(arrows)
}

/// Holds the loss of a data set's first arrow against the evaluator's.
fn hold(engine: &Engine<'_>, job: &Job<'_>, index: usize, arrows: &[Arrow]) -> Result<()> {
    let Some(arrow) = arrows.first() else {
        return Ok(());
    };
    let mix = job.basis.mix(arrow.x, arrow.y, job.names.len());
    let sets = 0..engine.datasets().len();
    let wanted: Vec<bool> = sets.map(|set| set == index).collect();
    let answers = engine.evaluate_on(&[mix], &wanted, &())?;
    let reference = Reference {
        what: format!("the point ({:.3}, {:.3})", arrow.x, arrow.y),
        dataset: arrow.dataset.clone(),
        loss: answers.scores[0][index].loss,
        samples: answers.datasets[index].samples,
        rounding: engine.rounding(),
    };
    // A limit may have stopped the one and not the other.
    match reference.samples == arrow.samples {
        true => reference.hold(arrow.loss),
        false => Ok(()),
    }
}

/// A name that was given, and a file.
type Named<'a> = (Option<&'a str>, &'a Path);

/// `NAME=FILE` or `FILE`.
fn mark(text: &String) -> Result<Named<'_>> {
    let is_file = checkpoint::find(Path::new(text)).is_ok_and(|path| path.is_file());
    match text.split_once('=') {
        _ if is_file => Ok((None, Path::new(text))),
        Some(("", _) | (_, "")) => Err(Error::flag(
            "--mark",
            format!("is `{text}`; NAME=FILE or FILE is needed"),
        )),
        Some((name, path)) => Ok((Some(name), Path::new(path))),
        None => Ok((None, Path::new(text))),
    }
}

/// Prints how layouts compare.
fn compare(engine: &Engine<'_>) -> Result<()> {
    let line = |first: &str, second: &str, layout: &str| {
        print(&format!("{first:>12}  {second:>12}  {layout}"));
    };
    line("samples/s", "ms a model", "layout");
    for (layout, measured) in engine.compare()? {
        let rate = format!("{:.1}", measured.rate);
        line(
            &rate,
            &format!("{:.2}", 1e3 * measured.each),
            &layout.to_string(),
        );
    }
    match engine.compare_gradients() {
        Ok(rates) => {
            for (what, layout, rate) in rates {
                line(&format!("{rate:.1}"), "", &format!("{layout}: {what}"));
            }
        }
        Err(error) => note(&format!("gradients: {error}")),
    }
    Ok(())
}

fn write(arguments: &PlaneArgs, job: &Job<'_>, plane: &Plane, rate: f64) -> Result<()> {
    let name = &arguments.name;
    let csv = job.plan.csv(name);
    plane::file::write(plane, &csv)?;
    let png = draw::figures(plane, job.panels, &job.plan.plots(), name)?;
    for warning in &plane.summary.warnings {
        warn(warning);
    }
    if arguments.common.json {
        return print_json(&plane.summary);
    }
    let models = plane.summary.checkpoints.iter();
    let models = models.map(|model| (&model.name, &model.scores, None));
    let marks = plane.summary.marks.iter();
    let marks = marks.map(|mark| (&mark.name, &mark.scores, Some(mark.distance)));
    let soup = plane.summary.checkpoints.len() - 1;
    for (index, (name, scores, distance)) in models.chain(marks).enumerate() {
        let mut line = format!("{name:12}");
        for score in scores {
            let (loss, error) = (score.score.loss, 100.0 * score.score.error);
            line.push_str(&format!("  {} {loss:.4} nats {error:.2} %", score.dataset));
        }
        if let Some(distance) = distance {
            line.push_str(&format!("  {distance:.3} off the plane"));
        }
        if let Some(caveat) = job.aligned.caveat.as_ref().filter(|_| index == soup) {
            line.push_str(&format!("  ({caveat})"));
        }
        print(&line);
    }
    let Summary {
        checks, provenance, ..
    } = &plane.summary;
    print(&check::told(checks, provenance, "the plane"));
    let measured = plane.measured.iter().filter(|measured| **measured).count();
    let points = plane.grid.len();
    if measured < points {
        print(&format!(
            "{measured} of {points} grid points were evaluated, the others interpolated"
        ));
    }
    print(&format!(
        "{rate:.0} samples/s, {:.1} s",
        plane.summary.provenance.wall_seconds
    ));
    print(&format!("data    {}", csv.display()));
    print(&format!("figure  {}", png.display()));
    Ok(())
}
