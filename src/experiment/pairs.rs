//! Pairs of checkpoints: their angle, their midpoint soup and their ensemble (Figures 3 and 4 of
//! Wortsman et al. 2022).

use super::Observer;
use super::angle_tensors::{AngleTensors, members_of_groups, parameter_groups};
use super::evaluated::EvaluatedModels;
use super::pair_selection::PairSelection;
use super::session::Session;
use super::theory::compared;
use crate::analysis::diversity::{self, diversity};
use crate::analysis::pairs::{self as analysis, PairModels};
use crate::analysis::theory::agreements;
use crate::error::Result;
use crate::evaluate::Evaluator;
use crate::evaluate::logits::Logits;
use crate::evaluate::onnx::Engine;
use crate::evaluate::outcomes::Outcomes;
use crate::graph::groups::Group;
use crate::result::models::Individual;
use crate::result::pairs::{GroupAngle, LayerAngle, Pair, PairRounding, PairRow, Pairs};
use crate::result::score::Score;
use crate::space::gram::Gram;
use crate::space::mix::Mix;
use crate::space::pool::Pool;
use crate::space::rounding::Rounding;

/// Which pairs to evaluate, and what else to compute for them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PairsSettings {
    /// The pairs.
    pub selection: PairSelection,
    /// Columns of the list to compare; `None` compares all.
    pub hyperparameters: Option<Vec<String>>,
    /// The tensors that norms and angles are of.
    pub angles: AngleTensors,
    /// Whether to report the angles within each tensor, and each group of tensors, as well.
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
    let chosen = settings.angles.chosen(session.pool())?;
    let columns = session.hyperparameters(settings.hyperparameters.as_deref())?;
    let network = session.network();
    let data = session.load_data()?;
    let engine = session.engine(&network, &data, observer)?;
    let engine = session.keep(engine, &data)?;
    let models = EvaluatedModels::of(session, &network, &data, &engine, observer)?;
    let geometry = Geometry {
        gram: &session.gram().over(&chosen.parameters),
        rounding: Rounding::over(session.pool(), |index| chosen.parameters[index]),
    };
    let mut pairs = assemble(session, (&engine, &models), &geometry, &places, observer)?;
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
        let names = &session.names()[1..];
        pairs.layers = layers(
            session.pool(),
            (geometry.gram, &chosen.parameters),
            &places,
            names,
        );
        let output = session.settings.logits_output.as_deref();
        let groups = parameter_groups(&network, session.aligned(), output);
        let groups = members_of_groups(&groups, &chosen.parameters);
        pairs.groups = group_angles(&groups, geometry.gram, &places, names);
    }
    pairs.angles_of = chosen.said;
    pairs.provenance = session.provenance(&data, Some(&engine));
    session.conclude(engine, true)?;
    Ok(pairs)
}

/// What norms and angles are computed from.
struct Geometry<'g> {
    gram: &'g Gram,
    /// The rounding of the checkpoints, if some are stored in 16 bits.
    rounding: Option<Rounding>,
}

impl Geometry<'_> {
    /// Norms and angle of a pair without rounding.
    fn unrounded(&self, a: usize, b: usize) -> Option<PairRounding> {
        let rounding = self.rounding.as_ref()?;
        let angle = rounding.angle(a, b);
        Some(PairRounding {
            angle_deg: angle.angle_deg,
            share: angle.share,
            norm_a: rounding.norm(a),
            norm_b: rounding.norm(b),
            floors_a: rounding.ratio(a),
            floors_b: rounding.ratio(b),
        })
    }
}

/// Evaluates the midpoint soups, and compares each with its pair and its ensemble.
fn assemble(
    session: &Session,
    (engine, evaluated): (&Engine<'_>, &EvaluatedModels),
    geometry: &Geometry<'_>,
    places: &[(usize, usize)],
    observer: &dyn Observer,
) -> Result<Pairs> {
    let (_, models) = session.individuals(evaluated.scores.clone(), &evaluated.calibrations);
    let gram = geometry.gram;
    let pair = |&(a, b): &(usize, usize)| Pair {
        a: models[a].name.clone(),
        b: models[b].name.clone(),
        angle_deg: gram.angle(a, b),
        norm_a: gram.norm(a),
        norm_b: gram.norm(b),
        rounding: geometry.unrounded(a, b),
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
        groups: Vec::new(),
        angles_of: None,
        warnings: [
            evaluated.warnings.clone(),
            analysis::twins(session.gram(), &names),
        ]
        .concat(),
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
    let predictions = predictions(logits, session.members());
    let members: Vec<Vec<Outcomes>> = (0..session.members()).map(of_member).collect();
    let rows = |(&(a, b), midpoint): (&(usize, usize), &Mix)| {
        let soup = sets.clone();
        let soup = soup.map(|set| engine.kept_outcomes(midpoint, set, datasets[set].samples));
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
            let [a, b] = [a, b].map(|model| &predictions[model][set]);
            diversity(a, b, logits.labels(set))
        });
        diversity::fill(&mut rows, datasets, &found.collect::<Vec<_>>());
        Ok(rows)
    };
    places.iter().zip(&midpoints).map(rows).collect()
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
    (gram, chosen): (&Gram, &[bool]),
    places: &[(usize, usize)],
    names: &[String],
) -> Vec<LayerAngle> {
    let parameters = pool.parameters.iter().enumerate();
    let moving = parameters
        .filter(|(index, parameter)| chosen[*index] && parameter.counts() && !parameter.frozen);
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

/// The angles within each group of tensors.
fn group_angles(
    groups: &[(Group, Vec<bool>)],
    gram: &Gram,
    places: &[(usize, usize)],
    names: &[String],
) -> Vec<GroupAngle> {
    let angles = groups.iter().flat_map(|(group, parameters)| {
        let (of_group, tensors) = (gram.over(parameters), parameters.iter());
        let tensors = tensors.filter(|chosen| **chosen).count();
        places.iter().map(move |&(a, b)| GroupAngle {
            a: names[a].clone(),
            b: names[b].clone(),
            group: group.name().to_string(),
            tensors,
            angle_deg: of_group.angle(a, b),
            norm_a: of_group.norm(a),
            norm_b: of_group.norm(b),
        })
    });
    angles.collect()
}
