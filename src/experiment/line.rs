//! The path between checkpoints: soups and ensembles along it, and the barriers.

use super::session::Session;
use super::{Observer, batch_norm, input_warnings};
use crate::analysis::inference::Draws;
use crate::analysis::line::{Base, CheckpointPath, Rises};
use crate::analysis::self_check::against_files;
use crate::error::{Error, Result};
use crate::evaluate::logits::Ensemble;
use crate::evaluate::onnx::Engine;
use crate::evaluate::outcomes::Outcomes;
use crate::evaluate::{Answers, Evaluator};
use crate::graph::network::Network;
use crate::result::grid::linspace;
use crate::result::line::{Barriers, Line, LineSummary, Node};
use crate::result::loss::{Beta, CalibratedOn, LossKind};
use crate::result::panels::Quantity;
use crate::result::score::{DatasetInfo, NamedScore, Score};
use crate::space::mix::Mix;

/// The points of a path that are evaluated.
#[derive(Debug, Clone, PartialEq)]
pub enum Alphas {
    /// This many points between neighbouring checkpoints, both included.
    Steps(usize),
    /// These points, ascending: 0 is the first checkpoint, 1 the next.
    Values(Vec<f64>),
}

/// How to measure a path.
#[derive(Debug, Clone, PartialEq)]
pub struct LineSettings {
    /// Whether the path begins at θ0; otherwise it begins at the session's first checkpoint.
    pub from_origin: bool,
    /// The points.
    pub alphas: Alphas,
    /// What losses are computed from.
    pub loss: LossKind,
}

impl LineSettings {
    /// The path through the models of a session, with its points.
    ///
    /// # Errors
    /// When there are fewer than two models on the path, or no points.
    fn path(&self, members: usize) -> Result<CheckpointPath> {
        let nodes: Vec<usize> = (usize::from(!self.from_origin)..members).collect();
        let has_points = match &self.alphas {
            Alphas::Steps(steps) => *steps >= 2,
            Alphas::Values(values) => !values.is_empty(),
        };
        if nodes.len() < 2 || !has_points {
            let problem = "a path needs two models, and points on it";
            return Err(Error::flag("path", problem));
        }
        let pieces = nodes.len() - 1;
        let mut alphas = match &self.alphas {
            Alphas::Values(alphas) => alphas.clone(),
            Alphas::Steps(steps) => {
                let piece = |k: usize| {
                    let points = linspace(0.0, 1.0, *steps).into_iter();
                    points.map(move |t| k as f64 + t)
                };
                (0..pieces).flat_map(piece).collect()
            }
        };
        // The checkpoints within the range are always measured.
        let ends = (alphas[0], alphas[alphas.len() - 1]);
        let inside = |alpha: &f64| (ends.0..=ends.1).contains(alpha);
        alphas.extend((0..=pieces).map(|k| k as f64).filter(inside));
        alphas.sort_by(f64::total_cmp);
        alphas.dedup();
        Ok(CheckpointPath { nodes, alphas })
    }
}

/// Measures the path through the session's checkpoints, in their order.
///
/// # Errors
/// When an input cannot be used, or a run fails or is stopped.
pub fn run(session: &Session, settings: &LineSettings, observer: &dyn Observer) -> Result<Line> {
    let members = session.members();
    let path = settings.path(members)?;
    session.settings.check_loss(settings.loss)?;
    let network = session.network();
    let data = session.load_data()?;
    let files = session.originals(&network);
    let engine = session
        .engine(&network, &data, observer)?
        .with_originals(files);
    let engine = session.with_loss(engine, settings.loss);
    let engine = session.keep(engine, &data)?;
    let mut mixes = path.mixes(members);
    mixes.extend(Mix::units(members));
    let answers = engine.evaluate(&mixes, observer)?;
    let ensemble = ensembles(session, &engine, &path, &answers.datasets, observer)?;
    let models = &answers.scores[answers.scores.len() - members..];
    let (pool, gram, sets) = (session.pool(), session.gram(), &answers.datasets);
    let mut warnings = input_warnings::of_inputs(&engine, pool, Some(gram), sets, models);
    warnings.extend(session.aligned().warnings.clone());
    let rises = rises(session, &engine, &path, &answers.datasets)?;
    let differing = |member: usize, set: usize| {
        let samples = answers.datasets[set].samples;
        engine.differing(member, &Mix::unit(member, members), set, samples)
    };
    let names = session.names();
    let mut line = arrange(&path, &answers, (ensemble, rises), (&names, &differing));
    let betas = line.soup_beta.iter().chain(&line.ensemble_beta);
    line.summary.calibration = Session::calibrated_on(&engine, betas);
    let calibration = line.summary.calibration.iter();
    warnings.extend(calibration.filter_map(CalibratedOn::exceptions));
    line.summary.warnings.splice(0..0, warnings);
    let warnings = &mut line.summary.warnings;
    warnings.extend(of_batch_norm(session, &network, &path));
    let cut = data.cut(&line.datasets);
    let is_whole = cut.is_none();
    warnings.extend(cut);
    line.summary.provenance = session.provenance(&data, Some(&engine));
    session.conclude(engine, is_whole)?;
    Ok(line)
}

/// Warns about batch norm on the path.
fn of_batch_norm(session: &Session, network: &Network<'_>, path: &CheckpointPath) -> Vec<String> {
    let mixes = path.mixes(session.members());
    let points = &mixes[..path.alphas.len()];
    let between = format!("α from 0 to {}", path.nodes.len() - 1);
    let words = ("points", between.as_str());
    let place = |point: usize| format!("α = {}", path.alphas[point]);
    batch_norm::warnings(session, network, points, words, place)
}

/// The ensembles of a path.
struct Ensembles {
    /// `scores[data set][α]`, on as many samples as the soups were evaluated on.
    scores: Vec<Vec<Score>>,
    /// `betas[α]`, if losses are calibrated; otherwise empty.
    betas: Vec<Beta>,
}

/// Forms and evaluates the ensembles.
fn ensembles(
    session: &Session,
    engine: &Engine<'_>,
    path: &CheckpointPath,
    datasets: &[DatasetInfo],
    observer: &dyn Observer,
) -> Result<Ensembles> {
    let members = session.members();
    let models = path.nodes.iter().map(|&node| Mix::unit(node, members));
    let models: Vec<Mix> = models.collect();
    let samples: Vec<usize> = datasets.iter().map(|set| set.samples).collect();
    let mut run = samples.clone();
    if let Some(validation) = engine.calibrated_on() {
        // A limit may have stopped the soups earlier, but not what calibrates them.
        run[validation] = engine.datasets()[validation].samples;
    }
    let logits = engine.logits(&models, &run, &session.scratch_folder(), observer)?;
    let (mut betas, mut scores) = (Vec::new(), Vec::new());
    for alpha in &path.alphas {
        let weights = path.weights(*alpha);
        scores.push(match engine.calibrated_on() {
            Some(validation) => {
                let ensemble = Ensemble::of_logits(&weights);
                let (beta, scores) = logits.calibrated(ensemble, validation, &samples);
                betas.push(beta);
                scores
            }
            None => {
                let sets = 0..samples.len();
                sets.map(|set| logits.ensemble(&weights, set)).collect()
            }
        });
    }
    Ok(Ensembles {
        scores: (0..samples.len()).map(|set| on_set(&scores, set)).collect(),
        betas,
    })
}

/// The rises on a data set: of the loss and of the error over the straight line, and of the error
/// over the mean of the ends.
type ThreeRises = [Rises; 3];

/// The rises of the path, `rises[data set]`, from the outcomes of every sample.
fn rises(
    session: &Session,
    engine: &Engine<'_>,
    path: &CheckpointPath,
    datasets: &[DatasetInfo],
) -> Result<Vec<ThreeRises>> {
    let mixes = path.mixes(session.members());
    let draws = Draws::new(session.seed());
    let on_set = |(set, dataset): (usize, &DatasetInfo)| {
        let outcomes = mixes.iter();
        let outcomes = outcomes.map(|mix| engine.kept_outcomes(mix, set, dataset.samples));
        let outcomes = outcomes.collect::<Result<Vec<Outcomes>>>()?;
        let both = outcomes.split_at(path.alphas.len());
        let three = [
            (Base::Chord, Quantity::Loss),
            (Base::Chord, Quantity::Error),
            (Base::Mean, Quantity::Error),
        ];
        Ok(three.map(|of| path.rises(both, of, &draws)))
    };
    datasets.iter().enumerate().map(on_set).collect()
}

/// Arranges the scores of the path's mixes; the single models come after them.
fn arrange(
    path: &CheckpointPath,
    answers: &Answers,
    (ensemble, rises): (Ensembles, Vec<ThreeRises>),
    (names, differing): (&[String], &dyn Fn(usize, usize) -> Option<usize>),
) -> Line {
    let datasets = &answers.datasets;
    let (points, rest) = answers.scores.split_at(path.alphas.len());
    let (nodes, models) = rest.split_at(path.nodes.len());
    let sets = datasets.iter().zip(&rises);
    let barriers = sets.map(|(dataset, three)| {
        let three = [0, 1, 2].map(|which: usize| three[which].barrier);
        Barriers::new(dataset, three)
    });
    let checks = against_files(datasets, names, (&answers.originals, models), differing);
    let disagreeing = checks.iter().filter(|check| !check.agrees).map(|check| {
        format!(
            "{} on {}: its file gives loss {:.6}, its mix {:.6}; do not trust this path",
            check.name, check.dataset, check.loss_file, check.loss_plane
        )
    });
    let node = |(place, (&member, scores)): (usize, (&usize, &Vec<Score>))| Node {
        name: names[member].clone(),
        origin: member == 0,
        alpha: place as f64,
        beta: answers.betas.get(path.alphas.len() + place).copied(),
        scores: NamedScore::all(datasets, scores),
    };
    Line {
        alphas: path.alphas.clone(),
        soup: (0..datasets.len()).map(|set| on_set(points, set)).collect(),
        rise_loss: rises.iter().map(|three| three[0].points.clone()).collect(),
        rise_error: rises.iter().map(|three| three[1].points.clone()).collect(),
        ensemble: ensemble.scores,
        soup_beta: answers
            .betas
            .iter()
            .copied()
            .take(path.alphas.len())
            .collect(),
        ensemble_beta: ensemble.betas,
        summary: LineSummary {
            calibration: None,
            checkpoints: path.nodes.iter().zip(nodes).enumerate().map(node).collect(),
            barriers: barriers.collect(),
            warnings: disagreeing.collect(),
            checks,
            provenance: Default::default(),
        },
        datasets: datasets.clone(),
    }
}

/// Extracts the scores on one data set from `scores[model][data set]`.
fn on_set(scores: &[Vec<Score>], set: usize) -> Vec<Score> {
    scores.iter().map(|sets| sets[set]).collect()
}
