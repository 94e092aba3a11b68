//! `landscape plane`: from what was typed to the figure and its data.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use sha2::{Digest, Sha256};

use super::args::{PanelsArg, PlaneArgs, RunArgs};
use super::config::Config;
use super::progress::Meter;
use super::{STOP, draw, note, open_origin, print};
use crate::analysis::plane::{self as analysis, EXTRA_MIXES, Surface};
use crate::checkpoint::{Checkpoint, Content, file};
use crate::data::{Dataset, ReadOptions, Source};
use crate::error::{Error, Result};
use crate::evaluate::Evaluator;
use crate::evaluate::interface::Interface;
use crate::evaluate::onnx::{Engine, Settings, Untouched, embedded};
use crate::evaluate::runtime::Runtime;
use crate::graph::network::Network;
use crate::result::grid::{Grid, linspace};
use crate::result::plane::{Check, Plane, Summary};
use crate::result::provenance::Provenance;
use crate::result::score::{Role, Score};
use crate::result::{atomic, plane_file};
use crate::space::gram::Gram;
use crate::space::matching::{self, Aligned, Options};
use crate::space::plane::PlaneBasis;

/// Samples a run, where the network leaves it open: activations stay in the cache (measured on
/// a convolutional and a transformer network; larger batches were slower).
const BATCH: usize = 32;

/// Most points of a grid: beyond it nobody could wait, nor open the CSV.
const POINTS: usize = 1_000_000;

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
    let checks = self_check(&engine, &network, &aligned, &checkpoints, &surface, &names)?;
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

/// What was typed and configured, checked.
struct Plan {
    origin: PathBuf,
    origin_weights: Option<PathBuf>,
    onnxruntime: Option<PathBuf>,
    options: Options,
    output: Option<String>,
    out: PathBuf,
    panels: PanelsArg,
    steps: usize,
    margin: f64,
    ranges: Option<(Vec<f64>, Vec<f64>)>,
    data: Vec<Source>,
    limit: Option<usize>,
    seed: u64,
    settings: Settings,
}

impl Plan {
    fn new(arguments: &PlaneArgs, config: &Config) -> Result<Self> {
        let common = &arguments.common;
        let run = &arguments.run;
        let origin = common.origin.clone().or_else(|| config.origin.clone());
        let device = run
            .device
            .as_deref()
            .or(config.device.as_deref())
            .unwrap_or("cpu");
        if device != "cpu" {
            return Err(Error::flag(
                "--device",
                format!("`{device}` is not supported yet; cpu is the only device so far"),
            ));
        }
        let steps = arguments.steps.or(config.plane.steps).unwrap_or(21);
        let margin = arguments.margin.or(config.plane.margin).unwrap_or(0.25);
        if !(2..=10_000).contains(&steps) {
            return Err(Error::flag(
                "--steps",
                format!("is {steps}; 2 to 10000 are possible"),
            ));
        }
        if !margin.is_finite() || margin < 0.0 {
            return Err(Error::flag(
                "--margin",
                format!("is {margin}; 0 or more is needed"),
            ));
        }
        let typed = arguments.steps.is_some() || arguments.margin.is_some();
        let configured = |value: &Option<String>| value.clone().filter(|_| !typed);
        let x = arguments.x.clone().or_else(|| configured(&config.plane.x));
        let y = arguments.y.clone().or_else(|| configured(&config.plane.y));
        let ranges = match (x, y) {
            (Some(x), Some(y)) => Some((range("--x", &x)?, range("--y", &y)?)),
            (None, None) => None,
            _ => return Err(Error::flag("--x, --y", "set both or none")),
        };
        let mut ignore = config.ignore.clone();
        ignore.extend(common.ignore.iter().cloned());
        Ok(Self {
            origin: origin.ok_or_else(|| {
                Error::flag(
                    "--origin",
                    "is needed: the network and its initialization θ0, as .onnx",
                )
            })?,
            origin_weights: common
                .origin_weights
                .clone()
                .or_else(|| config.origin_weights.clone()),
            onnxruntime: run
                .onnxruntime
                .clone()
                .or_else(|| config.onnxruntime.clone()),
            options: Options { ignore },
            output: run.output.clone().or_else(|| config.output.clone()),
            out: arguments
                .out
                .clone()
                .or_else(|| config.out.clone())
                .unwrap_or_else(|| ".".into()),
            panels: panels(arguments, config)?,
            steps,
            margin,
            ranges,
            data: data(run, config)?,
            limit: run.limit.or(config.limit),
            seed: run.seed.or(config.seed).unwrap_or(0),
            settings: settings(run, config)?,
        })
    }

    fn csv(&self, name: &str) -> PathBuf {
        self.out.join("notebooks-data").join(format!("{name}.csv"))
    }

    fn plots(&self) -> PathBuf {
        self.out.join("plots")
    }

    fn grid(&self, basis: &PlaneBasis) -> Result<Grid> {
        let grid = match &self.ranges {
            Some((xs, ys)) => Grid {
                xs: xs.clone(),
                ys: ys.clone(),
            },
            None => basis.grid(self.steps, self.margin),
        };
        if grid.len() > POINTS {
            let (nx, ny) = (grid.xs.len(), grid.ys.len());
            return Err(Error::flag(
                "grid",
                format!("has {nx}×{ny} points; at most {POINTS} are possible"),
            ));
        }
        Ok(grid)
    }

    fn read_data(&self, interface: &Interface, config: &Config) -> Result<Vec<Dataset>> {
        let options = ReadOptions {
            preprocess: config.preprocess.clone(),
            limit: self.limit,
            seed: self.seed,
        };
        let read = |source: &Source| Dataset::read(source, &interface.inputs, &options);
        self.data.iter().map(read).collect()
    }

    /// Settings that the values depend on.
    fn recorded(&self) -> BTreeMap<String, String> {
        let limit = self.limit.unwrap_or(0);
        [
            ("limit", limit.to_string()),
            ("seed", self.seed.to_string()),
            ("batch", self.settings.batch.to_string()),
            ("workers", self.settings.workers.to_string()),
            ("threads", self.settings.threads.to_string()),
            ("batch-norm", "interpolate".to_string()),
        ]
        .map(|(key, value)| (key.to_string(), value))
        .into()
    }
}

fn panels(arguments: &PlaneArgs, config: &Config) -> Result<PanelsArg> {
    match (arguments.panels, config.plane.panels.as_deref()) {
        (Some(panels), _) => Ok(panels),
        (None, None | Some("paper")) => Ok(PanelsArg::Paper),
        (None, Some("all")) => Ok(PanelsArg::All),
        (None, Some(other)) => Err(Error::flag(
            "panels",
            format!("is `{other}`; `paper` or `all`"),
        )),
    }
}

fn settings(run: &RunArgs, config: &Config) -> Result<Settings> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = run.threads.or(config.threads).unwrap_or(1);
    let settings = Settings {
        workers: run
            .workers
            .or(config.workers)
            .unwrap_or((cores / threads.max(1)).max(1)),
        threads,
        batch: run.batch.or(config.batch).unwrap_or(BATCH),
    };
    let checked = [
        ("--workers", settings.workers, 4096),
        ("--threads", settings.threads, 4096),
        ("--batch", settings.batch, 1 << 20),
    ];
    for (flag, value, most) in checked {
        if !(1..=most).contains(&value) {
            return Err(Error::flag(
                flag,
                format!("is {value}; 1 to {most} are possible"),
            ));
        }
    }
    Ok(settings)
}

/// The data sets by role, those of the flags before those of the file.
fn data(run: &RunArgs, config: &Config) -> Result<Vec<Source>> {
    let roles = [
        (Role::Train, &run.train, &config.data.train),
        (Role::Val, &run.val, &config.data.val),
        (Role::Test, &run.test, &config.data.test),
    ];
    let typed = run.shift.len() + roles.iter().filter(|(_, flag, _)| flag.is_some()).count();
    let mut data = Vec::new();
    for (role, flag, configured) in roles {
        let path = flag
            .as_ref()
            .or_else(|| configured.as_ref().filter(|_| typed == 0));
        if let Some(path) = path {
            data.push(source(role.name(), role, path));
        }
    }
    for shift in &run.shift {
        let Some((name, path)) = shift.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(Error::flag(
                "--shift",
                format!("is `{shift}`; NAME=PATH is needed"),
            ));
        };
        data.push(source(name, Role::Shift, Path::new(path)));
    }
    if typed == 0 {
        for (name, path) in &config.data.shifts {
            data.push(source(name, Role::Shift, path));
        }
    }
    if data.is_empty() {
        return Err(Error::flag("data", "no data set was named").help(
            "give at least one of --train, --val, --test, --shift NAME=PATH, or list them under [data] in landscape.toml",
        ));
    }
    for (index, Source { name, .. }) in data.iter().enumerate() {
        let reserved = ["shifts", "all"].contains(&name.as_str());
        if reserved || data[..index].iter().any(|other| other.name == *name) {
            let why = if reserved {
                "is kept for means"
            } else {
                "names two data sets"
            };
            return Err(Error::flag("--shift", format!("the name `{name}` {why}")));
        }
    }
    Ok(data)
}

fn source(name: &str, role: Role, path: &Path) -> Source {
    Source {
        name: name.to_string(),
        role,
        path: path.to_path_buf(),
    }
}

/// `MIN:MAX:N`, ends included.
fn range(flag: &str, text: &str) -> Result<Vec<f64>> {
    let fault = || {
        Error::flag(
            flag,
            format!("is `{text}`; MIN:MAX:N with MIN < MAX and N from 2 on is needed"),
        )
    };
    let parts: Vec<&str> = text.split(':').collect();
    let [min, max, n] = parts.as_slice() else {
        return Err(fault());
    };
    let (Ok(min), Ok(max), Ok(n)) = (min.parse::<f64>(), max.parse::<f64>(), n.parse::<usize>())
    else {
        return Err(fault());
    };
    if !min.is_finite() || !max.is_finite() || min >= max || !(2..=10_000).contains(&n) {
        return Err(fault());
    }
    Ok(linspace(min, max, n))
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

/// Largest relative difference of two losses that float32 rounding in another order of
/// operations explains: ten times what was seen on the tested networks.
const ROUNDING: f64 = 1e-4;

/// Evaluates the untouched files and compares with the plane at the same points.
fn self_check(
    engine: &Engine<'_>,
    network: &Network<'_>,
    aligned: &Aligned,
    checkpoints: &[Checkpoint],
    surface: &Surface,
    names: &[String; 3],
) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for (member, name) in names.iter().enumerate() {
        let content = member.checked_sub(1).map(|k| &checkpoints[k].content);
        let model = match content {
            None => Untouched::File(&network.model.path),
            Some(Content::Onnx(model)) => Untouched::File(&model.path),
            Some(Content::Safetensors(_)) => Untouched::Bytes(embedded(network, aligned, member)),
        };
        let direct = engine.evaluate_model(&model)?;
        let pairs = engine
            .datasets()
            .iter()
            .zip(direct.iter().zip(&surface.on_plane[member]));
        for (dataset, (file, plane)) in pairs {
            checks.push(check(name, &dataset.name, dataset.samples, file, plane));
        }
    }
    Ok(checks)
}

fn check(name: &str, dataset: &str, samples: usize, file: &Score, plane: &Score) -> Check {
    let count = |score: &Score| (score.error * samples as f64).round() as i64;
    let close = (file.loss - plane.loss).abs() <= ROUNDING * file.loss.abs().max(1e-3);
    let same =
        file.loss.to_bits() == plane.loss.to_bits() || (file.loss.is_nan() && plane.loss.is_nan());
    let error_difference = count(plane) - count(file);
    // A sample on the edge between two classes may fall either way.
    let few = error_difference.unsigned_abs() as usize <= 1 + samples / 1000;
    Check {
        name: name.to_string(),
        dataset: dataset.to_string(),
        loss_file: file.loss,
        loss_plane: plane.loss,
        error_difference,
        agrees: (close || same) && few,
    }
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
