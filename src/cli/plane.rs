//! `landscape plane`: from what was typed to the figure and its data.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::args::PlaneArgs;
use super::config::Config;
use super::job::Job;
use super::plan::Plan;
use super::progress::Meter;
use super::{STOP, draw, note, open_origin, print};
use crate::analysis::adaptive::{Contours, Refinement};
use crate::analysis::plane as analysis;
use crate::checkpoint::onnx::Model;
use crate::checkpoint::{Checkpoint, Content, file};
use crate::data::{Dataset, InputDtype};
use crate::error::{Error, Result};
use crate::evaluate::interface::{self, Interface};
use crate::evaluate::onnx::{Engine, Untouched, embedded};
use crate::evaluate::runtime::Runtime;
use crate::evaluate::{Answers, Evaluator};
use crate::figure::panel::contours;
use crate::graph::network::Network;
use crate::result::plane::Plane;
use crate::result::provenance::Provenance;
use crate::result::score::DatasetInfo;
use crate::result::{atomic, plane_file};
use crate::space::gram::Gram;
use crate::space::matching::{self, Aligned};
use crate::space::plane::PlaneBasis;

/// Runs the command, or only compares how it could be laid out on this machine.
pub fn run(arguments: &PlaneArgs, only_compare: bool) -> Result<()> {
    let start = Instant::now();
    let (config, config_path) = Config::load(arguments.common.config.as_deref())?;
    let plan = Plan::new(arguments, &config)?;
    let runtime = Runtime::load(plan.onnxruntime.as_deref())?;
    let (origin_name, model) = open_origin(&plan.origin)?;
    let network = Network::of(&model);
    let checkpoints = [
        Checkpoint::open(&arguments.a)?,
        Checkpoint::open(&arguments.b)?,
    ];
    let weights = plan
        .origin_weights
        .as_deref()
        .map(Checkpoint::open)
        .transpose()?;
    let aligned = matching::pool(
        &network,
        &origin_name,
        &checkpoints,
        weights.as_ref(),
        &plan.options,
    )?;
    let gram = Gram::of(&aligned.pool);
    refuse_nonfinite(&aligned, &gram)?;
    let basis = PlaneBasis::of(&aligned.pool, &gram)?;
    let grid = plan.grid(&basis)?;
    let geometry = basis.geometry;
    note(&format!(
        "‖δ1‖ = {:.4}, ‖δ2‖ = {:.4}, angle {:.2}°; {}×{} points",
        geometry.norm_a,
        geometry.norm_b,
        geometry.angle_deg,
        grid.xs.len(),
        grid.ys.len()
    ));
    let interface = Interface::of(&network, plan.output.as_deref())?;
    let datasets = plan.read_data(&interface, &config)?;
    let models = hashes(&model_files(&plan, &model, &checkpoints))?;
    let data = datasets
        .iter()
        .map(|data| (data.path().display().to_string(), data.sha256().to_string()));
    let content: Vec<(String, String)> = models.into_iter().chain(data).collect();
    let config_file = hashes(config_path.as_slice())?;
    atomic::probe(&plan.csv(&arguments.name))?;
    atomic::probe(&plan.plots().join(&arguments.name))?;
    let keep = plan.keep(&arguments.name, &content, &config);
    let engine = Engine::new(
        runtime,
        &network,
        &aligned,
        interface,
        &datasets,
        plan.request.clone(),
        &STOP,
    )?
    .with_files(untouched(&network, &aligned, &checkpoints)?)
    .keeping(&keep)?;
    if only_compare {
        return compare(&engine);
    }
    let [a, b] = &checkpoints;
    let job = Job {
        name: &arguments.name,
        plan: &plan,
        aligned: &aligned,
        names: [origin_name, a.name.clone(), b.name.clone()],
        provenance: Provenance {
            command: command(),
            version: env!("CARGO_PKG_VERSION").to_string(),
            files: content.into_iter().chain(config_file).collect(),
            settings: plan.recorded(),
            onnxruntime: runtime.version().to_string(),
            provider: plan.request.device.provider().to_string(),
            wall_seconds: 0.0,
        },
        refinement: Mutex::new(if arguments.adaptive {
            Refinement::coarse(&grid)
        } else {
            Refinement::whole(&grid)
        }),
        basis,
        grid,
        start,
        meter: OnceLock::new(),
        layout: OnceLock::new(),
        frozen: engine.frozen_nodes(),
    };
    let (answers, mut plane) = measured(&engine, &job)?;
    let rate = job.meter.get().map_or(0.0, Meter::finish);
    let whole = datasets.iter().map(Dataset::len);
    let samples = |sets: &[DatasetInfo]| sets.iter().map(|set| set.samples).sum::<usize>();
    let (done, whole) = (samples(&answers.datasets), whole.sum::<usize>());
    let is_whole = done == whole;
    if !is_whole {
        plane.summary.warnings.push(format!(
            "stopped by a limit after {done} of {whole} samples; every value is of these"
        ));
    }
    write(arguments, &plan, &plane, rate)?;
    plan.remove_partial(&arguments.name);
    if is_whole {
        engine.forget();
    }
    Ok(())
}

/// Evaluates the grid, or refines it until every contour is measured.
fn measured(engine: &Engine<'_>, job: &Job<'_>) -> Result<(Answers, Plane)> {
    loop {
        // What was evaluated before is remembered.
        let mixes = analysis::mixes(&job.basis, &job.grid, &job.refinement());
        let answers = engine.evaluate(&mixes, job)?;
        let plane = job.assemble(&answers);
        let contours = contours(&plane, job.plan.panels.into());
        let surfaces = contours.into_iter();
        let surfaces: Vec<Contours> = surfaces
            .map(|(values, levels)| Contours { values, levels })
            .collect();
        if !job.refinement().refine(&surfaces) {
            return Ok((answers, plane));
        }
    }
}

/// Prints how layouts compare.
fn compare(engine: &Engine<'_>) -> Result<()> {
    let line = |first: &str, second: &str, layout: &str| {
        print(&format!("{first:>12}  {second:>12}  {layout}"));
    };
    line("samples/s", "ms to build", "layout");
    for (layout, measured) in engine.compare()? {
        let rate = format!("{:.1}", measured.rate);
        line(
            &rate,
            &format!("{:.2}", 1e3 * measured.build),
            &layout.to_string(),
        );
    }
    Ok(())
}

/// The command line, the program by its name alone: its folder says nothing about the result.
fn command() -> Vec<String> {
    let program = env!("CARGO_PKG_NAME").to_string();
    std::iter::once(program)
        .chain(std::env::args().skip(1))
        .collect()
}

fn refuse_nonfinite(aligned: &Aligned, gram: &Gram) -> Result<()> {
    let Some((parameter, member, count)) = gram.first_nonfinite() else {
        return Ok(());
    };
    let member = &aligned.pool.members[member];
    Err(Error::input(
        &member.path,
        format!(
            "{count} values of `{}` are NaN or infinite; a plane needs finite weights",
            member.sources[parameter].name
        ),
    )
    .help("did this training run diverge?"))
}

/// The checkpoints as they are, to be run beside their mixes.
fn untouched<'m>(
    network: &'m Network<'m>,
    aligned: &'m Aligned,
    checkpoints: &'m [Checkpoint],
) -> Result<Vec<Untouched<'m>>> {
    let types = |network: &Network<'_>| -> Result<Vec<InputDtype>> {
        let inputs = interface::inputs(network)?;
        Ok(inputs.into_iter().map(|input| input.dtype).collect())
    };
    let own = types(network)?;
    let mut models = vec![Untouched::File(&network.model.path)];
    for (index, checkpoint) in checkpoints.iter().enumerate() {
        // A graph of another precision cannot be fed the same data.
        models.push(match &checkpoint.content {
            Content::Onnx(model) if types(&Network::of(model))? == own => {
                Untouched::File(&model.path)
            }
            _ => Untouched::Written(Box::new(move || embedded(network, aligned, index + 1))),
        });
    }
    Ok(models)
}

/// The files that weights come from.
fn model_files(plan: &Plan, origin: &Model, checkpoints: &[Checkpoint]) -> Vec<PathBuf> {
    let mut paths = vec![plan.origin.clone()];
    paths.extend(origin.external.iter().cloned());
    paths.extend(plan.origin_weights.clone());
    for checkpoint in checkpoints {
        paths.push(checkpoint.path.clone());
        if let Content::Onnx(model) = &checkpoint.content {
            paths.extend(model.external.iter().cloned());
        }
    }
    paths
}

/// SHA-256 of each file's content, in the order given.
fn hashes(paths: &[PathBuf]) -> Result<Vec<(String, String)>> {
    let hash = |path: &PathBuf| {
        let bytes = file::map(Path::new(path))?;
        let digest = Sha256::digest(&bytes);
        let hex = digest
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>();
        Ok((path.display().to_string(), hex))
    };
    paths.par_iter().map(hash).collect()
}

fn write(arguments: &PlaneArgs, plan: &Plan, plane: &Plane, rate: f64) -> Result<()> {
    let name = &arguments.name;
    let csv = plan.csv(name);
    let json = plane_file::json_beside(&csv);
    plane_file::write(plane, &csv, &json)?;
    let png = draw::figures(plane, plan.panels, &plan.plots(), name)?;
    for warning in &plane.summary.warnings {
        note(&format!("warning: {warning}"));
    }
    if arguments.common.json {
        let text = serde_json::to_string(&plane.summary)
            .map_err(|error| Error::runtime("--json", error))?;
        print(&text);
        return Ok(());
    }
    for checkpoint in &plane.summary.checkpoints {
        let mut line = format!("{:12}", checkpoint.name);
        for score in &checkpoint.scores {
            let (loss, error) = (score.score.loss, 100.0 * score.score.error);
            line.push_str(&format!("  {} {loss:.4} nats {error:.2} %", score.dataset));
        }
        print(&line);
    }
    let agree = plane
        .summary
        .checks
        .iter()
        .filter(|check| check.agrees)
        .count();
    let all = plane.summary.checks.len();
    print(&format!(
        "self-check: {agree} of {all} values of the untouched files agree with the plane"
    ));
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
    print(&format!(
        "data    {}\nfigure  {}",
        csv.display(),
        png.display()
    ));
    Ok(())
}
