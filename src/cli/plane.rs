//! `landscape plane`: from what was typed to the figure and its data.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use sha2::{Digest, Sha256};

use super::args::PlaneArgs;
use super::config::Config;
use super::plan::Plan;
use super::progress::Meter;
use super::{STOP, draw, note, open_origin, print};
use crate::analysis::check;
use crate::analysis::plane::{self as analysis, EXTRA_MIXES, Surface};
use crate::checkpoint::{Checkpoint, Content, file};
use crate::data::{Dataset, InputDtype};
use crate::error::{Error, Result};
use crate::evaluate::Evaluator;
use crate::evaluate::interface::{self, Interface};
use crate::evaluate::onnx::{Engine, Untouched, embedded};
use crate::evaluate::runtime::Runtime;
use crate::graph::network::Network;
use crate::result::plane::{Check, Plane, Summary};
use crate::result::provenance::Provenance;
use crate::result::score::Score;
use crate::result::{atomic, plane_file};
use crate::space::gram::Gram;
use crate::space::matching::{self, Aligned};
use crate::space::plane::PlaneBasis;

/// Runs the command.
pub fn run(arguments: &PlaneArgs) -> Result<()> {
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

    let interface = Interface::of(&network, plan.output.as_deref())?;
    let datasets = plan.read_data(&interface, &config)?;
    let engine = Engine::new(
        runtime,
        &network,
        &aligned,
        interface,
        &datasets,
        plan.settings,
        &STOP,
    )?;
    let samples: usize = datasets.iter().map(Dataset::len).sum();
    let geometry = basis.geometry;
    note(&format!(
        "‖δ1‖ = {:.4}, ‖δ2‖ = {:.4}, angle {:.2}°; {}×{} points × {samples} samples",
        geometry.norm_a,
        geometry.norm_b,
        geometry.angle_deg,
        grid.xs.len(),
        grid.ys.len()
    ));
    atomic::probe(&plan.csv(&arguments.name))?;
    atomic::probe(&plan.plots().join(&arguments.name))?;
    // Before the grid, so that a network which cannot be run is known at once.
    let files = untouched(&engine, &network, &aligned, &checkpoints)?;
    let meter = Meter::new(grid.len() + EXTRA_MIXES, samples);
    let names = [
        origin_name,
        checkpoints[0].name.clone(),
        checkpoints[1].name.clone(),
    ];
    let surface = analysis::run(&engine, &basis, &grid, &names, &|points, samples| {
        meter.add(points, samples);
    })?;
    let rate = meter.finish();
    let checks = check::against_files(engine.datasets(), &names, &files, &surface.on_plane);
    let warnings = warnings(&aligned, &checks, &surface);
    let provenance = Provenance {
        command: command(),
        version: env!("CARGO_PKG_VERSION").to_string(),
        files: hashes(&inputs(&plan, &checkpoints, &datasets, config_path))?,
        settings: plan.recorded(),
        onnxruntime: runtime.version().to_string(),
        provider: "CPU".to_string(),
        wall_seconds: start.elapsed().as_secs_f64(),
    };
    let plane = Plane {
        coefficients: surface.coefficients,
        datasets: engine.datasets().to_vec(),
        scores: surface.scores,
        summary: Summary {
            geometry,
            checkpoints: surface.checkpoints,
            minimum: surface.minimum,
            checks,
            warnings,
            provenance,
        },
        grid,
    };
    write(arguments, &plan, &plane, rate)
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

/// Scores of the untouched files, run as they are: `[model][data set]`.
fn untouched(
    engine: &Engine<'_>,
    network: &Network<'_>,
    aligned: &Aligned,
    checkpoints: &[Checkpoint],
) -> Result<Vec<Vec<Score>>> {
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
            _ => Untouched::Bytes(embedded(network, aligned, index + 1)),
        });
    }
    let evaluate = |model| engine.evaluate_model(model);
    models.iter().map(evaluate).collect()
}

fn warnings(aligned: &Aligned, checks: &[Check], surface: &Surface) -> Vec<String> {
    let mut warnings = aligned.warnings.clone();
    for check in checks.iter().filter(|check| !check.agrees) {
        warnings.push(format!(
            "{} on {}: its file gives loss {:.6}, the plane {:.6}, {} samples differ; do not trust this plane",
            check.name, check.dataset, check.loss_file, check.loss_plane, check.error_difference
        ));
    }
    let nonfinite = surface
        .scores
        .iter()
        .flatten()
        .filter(|score| score.nonfinite > 0)
        .count();
    if nonfinite > 0 {
        warnings.push(format!(
            "{nonfinite} values of the surface are NaN or infinite; they are hatched"
        ));
    }
    warnings
}

fn inputs(
    plan: &Plan,
    checkpoints: &[Checkpoint],
    datasets: &[Dataset],
    config: Option<PathBuf>,
) -> Vec<PathBuf> {
    let mut paths = vec![plan.origin.clone()];
    paths.extend(plan.origin_weights.clone());
    paths.extend(checkpoints.iter().map(|checkpoint| checkpoint.path.clone()));
    paths.extend(datasets.iter().map(|dataset| dataset.path().to_path_buf()));
    paths.extend(config);
    paths
}

fn hashes(paths: &[PathBuf]) -> Result<BTreeMap<String, String>> {
    let hash = |path: &PathBuf| {
        let bytes = file::map(Path::new(path))?;
        let digest = Sha256::digest(&bytes);
        let hex = digest
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>();
        Ok((path.display().to_string(), hex))
    };
    paths.iter().map(hash).collect()
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
