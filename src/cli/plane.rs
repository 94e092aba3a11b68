//! `landscape plane`: from what was typed to the figure and its data.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Instant;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::args::PlaneArgs;
use super::config::Config;
use super::plan::Plan;
use super::progress::Meter;
use super::{STOP, draw, note, open_origin, print};
use crate::analysis::check;
use crate::analysis::plane::{self as analysis, Surface};
use crate::checkpoint::onnx::Model;
use crate::checkpoint::{Checkpoint, Content, file};
use crate::data::{Dataset, InputDtype};
use crate::error::{Error, Result};
use crate::evaluate::interface::{self, Interface};
use crate::evaluate::onnx::{Engine, Untouched, embedded, size};
use crate::evaluate::runtime::Runtime;
use crate::evaluate::{Answers, Evaluator, Outlook, Watch};
use crate::graph::network::Network;
use crate::result::grid::Grid;
use crate::result::plane::{Check, Plane, Summary};
use crate::result::provenance::Provenance;
use crate::result::score::DatasetInfo;
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
    if arguments.measure {
        return measure(&engine);
    }
    let [a, b] = &checkpoints;
    let job = Job {
        arguments,
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
        basis,
        grid,
        start,
        meter: OnceLock::new(),
        layout: OnceLock::new(),
        frozen: engine.frozen_nodes(),
    };
    let answers = engine.evaluate(&analysis::mixes(&job.basis, &job.grid), &job)?;
    let rate = job.meter.get().map_or(0.0, Meter::finish);
    let mut plane = job.assemble(&answers);
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

/// Prints how layouts compare.
fn measure(engine: &Engine<'_>) -> Result<()> {
    print(&format!(
        "{:>12}  {:>12}  layout",
        "samples/s", "ms to build"
    ));
    for (layout, measured) in engine.compare()? {
        let (rate, build) = (measured.rate, 1e3 * measured.build);
        print(&format!("{rate:>12.1}  {build:>12.2}  {layout}"));
    }
    Ok(())
}

/// All that turns answers into a plane and its files.
struct Job<'j> {
    arguments: &'j PlaneArgs,
    plan: &'j Plan,
    aligned: &'j Aligned,
    names: [String; 3],
    provenance: Provenance,
    basis: PlaneBasis,
    grid: Grid,
    start: Instant,
    meter: OnceLock<Meter>,
    layout: OnceLock<String>,
    frozen: Option<(usize, usize)>,
}

impl Job<'_> {
    fn assemble(&self, answers: &Answers) -> Plane {
        let surface = analysis::arrange(answers, &self.basis, &self.grid, &self.names);
        let datasets = &answers.datasets;
        let checks = check::against_files(datasets, &self.names, &answers.files, &surface.on_plane);
        let warnings = warnings(self.aligned, &checks, &surface);
        let mut provenance = self.provenance.clone();
        provenance.wall_seconds = self.start.elapsed().as_secs_f64();
        if let Some(layout) = self.layout.get() {
            let layout = layout.clone();
            provenance.settings.insert("layout".to_string(), layout);
        }
        Plane {
            coefficients: surface.coefficients,
            datasets: datasets.clone(),
            scores: surface.scores,
            summary: Summary {
                geometry: self.basis.geometry,
                checkpoints: surface.checkpoints,
                minimum: surface.minimum,
                checks,
                warnings,
                provenance,
            },
            grid: self.grid.clone(),
        }
    }
}

impl Watch for Job<'_> {
    fn begins(&self, outlook: &Outlook) {
        let Outlook {
            models,
            samples,
            chunks,
            done,
            ..
        } = outlook;
        let mut line = format!(
            "{models} models × {samples} samples, about {}, {} of memory",
            brief(outlook.seconds),
            size(outlook.memory)
        );
        if let Some((frozen, all)) = self.frozen {
            line.push_str(&format!(
                "; {frozen} of {all} nodes are frozen and run once"
            ));
        }
        if *chunks > 1 {
            line.push_str(&format!("; the map shows after 1/{chunks} of the samples"));
        }
        if *done > 0 {
            let part = 100.0 * *done as f64 / (models * samples) as f64;
            line.push_str(&format!(
                "; {part:.0} % were done before (--fresh begins anew)"
            ));
        }
        note(&line);
        let _ = self.layout.set(outlook.layout.clone());
        let _ = self.meter.set(Meter::new(*models, *samples, *done));
    }

    fn progress(&self, models: usize, samples: usize) {
        if let Some(meter) = self.meter.get() {
            meter.add(models, samples);
        }
    }

    fn sharpened(&self, answers: &Answers) -> Result<()> {
        let name = format!("{}.partial", self.arguments.name);
        let mut plane = self.assemble(answers);
        plane
            .summary
            .warnings
            .push("partial: the run goes on".to_string());
        let csv = self.plan.csv(&name);
        plane_file::write(&plane, &csv, &plane_file::json_beside(&csv))?;
        draw::figures(&plane, self.plan.panels, &self.plan.plots(), &name)?;
        Ok(())
    }
}

/// Seconds as a person would say them.
fn brief(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => "1 s".to_string(),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
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
    network: &Network<'m>,
    aligned: &Aligned,
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
            _ => Untouched::Bytes(embedded(network, aligned, index + 1)),
        });
    }
    Ok(models)
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
