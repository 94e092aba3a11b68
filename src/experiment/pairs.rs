//! Pairs of checkpoints: their angle, their midpoint soup and their ensemble (Figures 3 and 4 of
//! Wortsman et al. 2022).

use super::Observer;
use super::evaluated::EvaluatedModels;
use super::pair_selection::PairSelection;
use super::session::Session;
use super::theory::compared;
use crate::analysis::diversity::{self, diversity};
use crate::analysis::pairs::{self as analysis, PairModels};
use crate::analysis::theory::agreements;
use crate::error::{Error, Result};
use crate::evaluate::Evaluator;
use crate::evaluate::onnx::Engine;
use crate::evaluate::outcomes::Outcomes;
use crate::result::models::Individual;
use crate::result::pairs::{LayerAngle, Pair, PairRow, Pairs};
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
    /// Steps in α by which soup and ensemble are compared as in section 4 of the paper; empty for no
    /// comparison. Each is above 0 and at most 1.
    pub theory: Vec<f64>,
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
    if !settings.theory.is_empty() {
        let what = (places.as_slice(), settings.theory.as_slice());
        pairs.theory = compared(session, &engine, &models, what, observer)?;
        let names = &session.names()[1..];
        pairs.theory_agreement = agreements(&pairs.theory, names, session.seed());
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
    let (_, models) = session.individuals(evaluated.scores.clone(), &evaluated.calibrations);
    let gram = session.gram();
    let pair = |&(a, b): &(usize, usize)| Pair {
        a: models[a].name.clone(),
        b: models[b].name.clone(),
        angle_deg: gram.angle(a, b),
        norm_a: gram.norm(a),
        norm_b: gram.norm(b),
        differ: Vec::new(),
        rows: Vec::new(),
    };
    let mut pairs: Vec<Pair> = places.iter().map(pair).collect();
    let rows = measured(session, engine, evaluated, places, observer)?;
    for (pair, rows) in pairs.iter_mut().zip(rows) {
        pair.rows = rows;
    }
    let (count, seed) = (models.len(), session.seed());
    let [soup_ensemble_test, soup_ensemble_shifts] =
        analysis::soup_ensemble(&pairs, places, count, seed);
    let names: Vec<String> = models.iter().map(|model| model.name.clone()).collect();
    let mut all = Pairs {
        angle_advantage: analysis::angle_advantage(&pairs, places, count, seed, f64::NEG_INFINITY),
        angle_advantage_zoom: None,
        soup_ensemble_test,
        soup_ensemble_shifts,
        summaries: analysis::summaries(&pairs, places),
        theory: Vec::new(),
        theory_agreement: Vec::new(),
        layers: Vec::new(),
        warnings: [evaluated.warnings.clone(), analysis::twins(gram, &names)].concat(),
        provenance: Default::default(),
        pairs,
        datasets: evaluated.datasets.clone(),
        models,
        hyperparameters: Vec::new(),
    };
    let zoomed = all.zoom();
    all.angle_advantage_zoom =
        zoomed.map(|floor| analysis::angle_advantage(&all.pairs, places, count, seed, floor));
    Ok(all)
}

/// Evaluates the midpoint soups and compares each with its pair, `rows[pair]`.
fn measured(
    session: &Session,
    engine: &Engine<'_>,
    evaluated: &EvaluatedModels,
    places: &[(usize, usize)],
    observer: &dyn Observer,
) -> Result<Vec<Vec<PairRow>>> {
    // Indices count members of the pool, where θ0 comes first.
    let halves = |(a, b): (usize, usize)| [(a + 1, 0.5), (b + 1, 0.5)];
    let midpoint = |&pair| Mix::over(&halves(pair), session.members());
    let midpoints: Vec<Mix> = places.iter().map(midpoint).collect();
    engine.evaluate(&midpoints, observer)?;
    let datasets = &evaluated.datasets;
    let sets = 0..datasets.len();
    let of_member = |member: usize| {
        let sets = sets.clone();
        sets.map(|set| evaluated.logits.outcomes_of(member, set))
            .collect()
    };
    let logits = &evaluated.logits;
    let predictions = |member: usize| -> Vec<Vec<Option<u32>>> {
        let sets = sets.clone();
        sets.map(|set| logits.predictions(member, set)).collect()
    };
    let predictions: Vec<_> = (0..session.members()).map(predictions).collect();
    let members: Vec<Vec<Outcomes>> = (0..session.members()).map(of_member).collect();
    let rows = |(&(a, b), midpoint): (&(usize, usize), &Mix)| {
        let soup = sets.clone().map(|set| {
            let known = engine.outcomes(midpoint, set, datasets[set].samples)?;
            known.ok_or_else(|| {
                Error::runtime("pairs", "are too many to compare them sample by sample")
                    .help("take fewer with --sample, or fewer images with --limit")
            })
        });
        let soup = soup.collect::<Result<Vec<Outcomes>>>()?;
        let ensemble = sets.clone();
        let ensemble = ensemble.map(|set| evaluated.logits.ensemble(&halves((a, b)), set));
        let models = PairModels {
            a: &members[a + 1],
            b: &members[b + 1],
            soup: &soup,
            ensemble: &ensemble.collect::<Vec<Score>>(),
        };
        let mut rows = analysis::rows(datasets, models);
        let found = sets.clone().map(|set| {
            let [a, b] = [a, b].map(|model| &predictions[model + 1][set]);
            diversity(a, b, logits.labels(set))
        });
        diversity::fill(&mut rows, datasets, &found.collect::<Vec<_>>());
        Ok(rows)
    };
    places.iter().zip(&midpoints).map(rows).collect()
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
