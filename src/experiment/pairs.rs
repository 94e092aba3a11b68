//! Pairs of checkpoints: their angle, their midpoint soup and their ensemble (Figures 3 and 4 of
//! Wortsman et al. 2022).

use super::Observer;
use super::evaluated::EvaluatedModels;
use super::pair_selection::PairSelection;
use super::session::Session;
use super::theory::compared;
use crate::analysis::diversity::{self, diversity};
use crate::analysis::pairs::{self as analysis, PairScores};
use crate::error::Result;
use crate::evaluate::Evaluator;
use crate::evaluate::logits::Logits;
use crate::evaluate::onnx::Engine;
use crate::result::models::Individual;
use crate::result::pairs::{LayerAngle, Pair, Pairs};
use crate::result::score::Score;
use crate::space::gram::Gram;
use crate::space::mix::Mix;
use crate::space::pool::Pool;

/// Which pairs to evaluate, and what else to compute for them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PairsSettings {
    /// The pairs.
    pub selection: PairSelection,
    /// Columns of the list to compare; `None` compares all.
    pub hyperparameters: Option<Vec<String>>,
    /// Whether to report the angles within each tensor as well.
    pub by_layer: bool,
    /// Whether to compare soup and ensemble by section 4 of the paper.
    pub theory: bool,
}

/// Evaluates pairs of the session's models.
///
/// # Errors
/// When an input cannot be used, or the run fails or is stopped.
pub fn run(session: &Session, settings: &PairsSettings, observer: &dyn Observer) -> Result<Pairs> {
    session.settings.refuse_limits()?;
    let selection = &settings.selection;
    let places = selection.pairs(&session.given_names(), session.seed())?;
    let columns = session.hyperparameters(settings.hyperparameters.as_deref())?;
    let network = session.network();
    let data = session.load_data()?;
    let engine = session.engine(&network, &data, observer)?;
    let engine = session.keep(engine, &data)?;
    let models = EvaluatedModels::of(session, &network, &data, &engine, observer)?;
    let mut pairs = assemble(session, &engine, &models, &places, observer)?;
    for (pair, &(a, b)) in pairs.pairs.iter_mut().zip(&places) {
        pair.differ = differ(&pairs.models[a], &pairs.models[b], &columns);
    }
    pairs.hyperparameters = columns;
    if settings.theory {
        pairs.theory = compared(session, &engine, &models, &places, observer)?;
    }
    if settings.by_layer {
        pairs.layers = layers(
            session.pool(),
            session.gram(),
            &places,
            &session.names()[1..],
        );
    }
    pairs.provenance = session.provenance(&data, Some(&engine));
    session.conclude(engine, true)?;
    Ok(pairs)
}

/// Evaluates the midpoint soups, and compares each with its pair and its ensemble.
fn assemble(
    session: &Session,
    engine: &Engine<'_>,
    evaluated: &EvaluatedModels,
    places: &[(usize, usize)],
    observer: &dyn Observer,
) -> Result<Pairs> {
    // Indices count members of the pool, where θ0 comes first.
    let halves = |(a, b): (usize, usize)| [(a + 1, 0.5), (b + 1, 0.5)];
    let midpoint = |&pair| Mix::over(&halves(pair), session.members());
    let midpoints: Vec<Mix> = places.iter().map(midpoint).collect();
    let soups = engine.evaluate(&midpoints, observer)?;
    let (_, models) = session.individuals(evaluated.scores.clone(), &evaluated.calibrations);
    let gram = session.gram();
    let logits = &evaluated.logits;
    let predictions = predictions(logits, session.members());
    let pair = |(&(a, b), soup): (&(usize, usize), &Vec<Score>)| {
        let sets = 0..evaluated.datasets.len();
        let ensemble = sets.map(|set| evaluated.logits.ensemble(&halves((a, b)), set));
        let scores = PairScores {
            a: &evaluated.scores[a + 1],
            b: &evaluated.scores[b + 1],
            soup,
            ensemble: &ensemble.collect::<Vec<Score>>(),
        };
        let found = (0..evaluated.datasets.len()).map(|set| {
            let [a, b] = [a, b].map(|model| &predictions[model][set]);
            diversity(a, b, logits.labels(set))
        });
        let mut rows = analysis::rows(&evaluated.datasets, scores);
        diversity::fill(&mut rows, &evaluated.datasets, &found.collect::<Vec<_>>());
        Pair {
            a: models[a].name.clone(),
            b: models[b].name.clone(),
            angle_deg: gram.angle(a, b),
            norm_a: gram.norm(a),
            norm_b: gram.norm(b),
            differ: Vec::new(),
            rows,
        }
    };
    let pairs: Vec<Pair> = places.iter().zip(&soups.scores).map(pair).collect();
    let [angle_advantage, soup_ensemble_test, soup_ensemble_shifts] =
        analysis::correlations(&pairs, places, models.len(), session.seed());
    let names: Vec<String> = models.iter().map(|model| model.name.clone()).collect();
    Ok(Pairs {
        angle_advantage,
        soup_ensemble_test,
        soup_ensemble_shifts,
        theory: Vec::new(),
        layers: Vec::new(),
        warnings: [evaluated.warnings.clone(), analysis::twins(gram, &names)].concat(),
        provenance: Default::default(),
        pairs,
        datasets: evaluated.datasets.clone(),
        models,
        hyperparameters: Vec::new(),
    })
}

/// The checkpoints' predictions, `[checkpoint][data set]`.
fn predictions(logits: &Logits, members: usize) -> Vec<Vec<Vec<Option<u32>>>> {
    let of = |member: usize| {
        let sets = 0..logits.datasets();
        sets.map(|set| logits.predictions(member, set)).collect()
    };
    // Those of θ0 are not compared.
    (1..members).map(of).collect()
}

/// The columns in which two models differ.
fn differ(a: &Individual, b: &Individual, columns: &[String]) -> Vec<String> {
    let value = |model: &Individual, column: &String| model.hyperparameters.get(column).cloned();
    let differing = columns
        .iter()
        .filter(|column| value(a, column) != value(b, column));
    differing.cloned().collect()
}

/// The angles within each tensor that counts and that some checkpoint changed.
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
