//! Averages of a pool of models: fixed, greedy and learned soups, and ensembles for comparison.

use std::cell::RefCell;
use std::rc::Rc;

use super::evaluated::{EvaluatedModels, validation};
use super::made_models::MadeModels;
use super::save::{self, Save, ToSave};
use super::session::Session;
use super::{Observer, soup_result};
use crate::analysis::greedy::{GreedyRule, GreedyTrace, ranked};
use crate::analysis::learned::TrainingStep;
use crate::analysis::recipe::{MethodSpec, Recipe};
use crate::analysis::soup::{Learner, Scorer, SoupBuilder, StartLogits};
use crate::error::{Cause, Error, Result};
use crate::evaluate::Evaluator;
use crate::evaluate::logits::{Ensemble, Logits};
use crate::evaluate::onnx::gradient::Precision;
use crate::evaluate::onnx::{Engine, check_gradient};
use crate::result::combine::Combine;
use crate::result::learned::{LearningSettings, Optimizer};
use crate::result::method::Method;
use crate::result::score::Role;
use crate::result::soup::Soups;
use crate::space::gram::Gram;
use crate::space::mix::Mix;

/// Which averages to make, and how.
pub struct SoupSettings {
    /// The methods, in the order of the table.
    pub methods: Vec<MethodSpec>,
    /// Whether the user asked for the methods. If not, and the network has no gradient, learned
    /// soups are left out with a warning.
    pub asked: bool,
    /// When a greedy soup adds a model.
    pub rule: GreedyRule,
    /// Number of random orders for `greedy-random`.
    pub orders: u64,
    /// What ensembles average.
    pub combine: Vec<Combine>,
    /// How soups are learned, if any are.
    pub learning: Option<LearningSettings>,
    /// Models to save as checkpoints.
    pub saves: Vec<Save>,
}

impl SoupSettings {
    /// Checks that there is a validation set if a method needs one.
    ///
    /// # Errors
    /// When there is none; the message names the first method that needs it.
    pub fn check(&self, has_validation: bool) -> Result<()> {
        let selecting = self.methods.iter().find(|wanted| wanted.method.selects());
        let swept = |saved: &&MethodSpec| saved.method.has_setting() && saved.setting.is_none();
        let mut saved = self.saves.iter().map(|save| &save.wanted);
        match (selecting, saved.find(swept)) {
            _ if has_validation => Ok(()),
            (Some(wanted), _) => {
                let why = if wanted.method.is_learned() {
                    "is learned on it"
                } else {
                    "chooses by validation accuracy"
                };
                let name = wanted.method.name();
                Err(Error::flag("--val", format!("is needed: `{name}` {why}"))
                    .help("--methods uniform,ensemble needs no validation set"))
            }
            (None, Some(saved)) => {
                let name = saved.method.name();
                Err(Error::flag(
                    "--val",
                    format!("is needed to choose which `{name}` to save"),
                )
                .help(format!("--save {name}:NUMBER=FILE needs no choice")))
            }
            (None, None) => Ok(()),
        }
    }
}

/// The result of [`run`].
pub struct SoupRun {
    /// The table and the data behind it.
    pub soups: Soups,
    /// Models to save with [`save::write`] once the table is written.
    pub to_save: Result<Vec<ToSave>>,
}

/// Makes the averages of the session's models and evaluates them on every data set.
///
/// # Errors
/// When an input cannot be used, or the run fails or is stopped.
pub fn run(session: &Session, settings: &SoupSettings, observer: &dyn Observer) -> Result<SoupRun> {
    settings.check(session.settings.has(Role::Val))?;
    session.settings.refuse_limits()?;
    let network = session.network();
    let learns = settings.learning.is_some();
    if learns && settings.asked {
        session
            .settings
            .refuse_recalibration("a learned soup needs")?;
        let output = session.settings.logits_output.as_deref();
        check_gradient(&network, session.aligned(), output)?;
    }
    save::probe(&settings.saves, session, &network)?;
    let data = session.load_data()?;
    let engine = session.engine(&network, &data, observer)?;
    // Knowing the operators is not enough: some are differentiable only for some uses.
    let left_out = no_gradients(&engine, settings)?;
    let engine = session.keep(engine, &data)?;
    let models = EvaluatedModels::of(session, &network, &data, &engine, observer)?;
    let tell = |method: Method, step: TrainingStep| observer.learning_step(method, &step);
    let ensemble = |of: Ensemble<'_>, set: usize| models.logits.score(of, set);
    let learning = settings.learning.as_ref().filter(|_| left_out.is_none());
    let set = models.validation().unwrap_or(0);
    let on_validation = |mixes: &[Mix]| {
        let sets = models.datasets.iter().enumerate();
        let samples = sets.map(|(of, info)| if of == set { info.samples } else { 0 });
        let folder = session.scratch_folder();
        engine.logits(mixes, &samples.collect::<Vec<_>>(), &folder, observer)
    };
    let soups = once(&on_validation);
    let starts = StartLogits {
        members: &models.logits,
        validation: set,
        soups: &soups,
    };
    let learner = learning.map(|learning| learner((session, &engine), learning, starts, &tell));
    let builder = SoupBuilder {
        learner: learner.transpose()?,
        ..builder((session, &engine, &models), settings, &ensemble, observer)
    };
    let is_possible = |wanted: &&MethodSpec| left_out.is_none() || !wanted.method.is_learned();
    let methods = settings.methods.iter().filter(is_possible).copied();
    let methods: Vec<MethodSpec> = methods.collect();
    let (recipes, traces) = chosen(&builder, session, &models, &methods)?;
    drop(builder);
    drop(soups);
    let made = MadeModels::of(session, &engine, &models, &recipes, observer)?;
    let measured = (made.scores(&recipes), made.calibrations(&recipes));
    let mut soups = soup_result::assemble(session, &models, &recipes, measured, &traces);
    soups.evaluations = soup_result::evaluations(&engine, session.members());
    soups.provenance = session.provenance(&data, Some(&engine));
    soups.warnings.extend(left_out);
    soup_result::add_warnings(&mut soups, session, &network, &methods, &recipes);
    let made = (&soups, recipes.as_slice());
    let to_save = save::chosen(&settings.saves, made, session, (&engine, &data));
    session.conclude(engine, true)?;
    Ok(SoupRun { soups, to_save })
}

/// Computes logits unless the same mixes were the last ones: both kinds of learned soups start from
/// the same.
fn once(
    compute: &dyn Fn(&[Mix]) -> Result<Logits>,
) -> impl Fn(&[Mix]) -> Result<Rc<Logits>> + use<'_> {
    let last: RefCell<Option<(Vec<Mix>, Rc<Logits>)>> = RefCell::default();
    move |mixes| {
        if let Some((_, logits)) = last.borrow().as_ref().filter(|(of, _)| of == mixes) {
            return Ok(Rc::clone(logits));
        }
        let logits = Rc::new(compute(mixes)?);
        *last.borrow_mut() = Some((mixes.to_vec(), Rc::clone(&logits)));
        Ok(logits)
    }
}

/// Returns the reason to leave out learned soups, if there is one.
fn no_gradients(engine: &Engine<'_>, settings: &SoupSettings) -> Result<Option<String>> {
    let Some(learning) = &settings.learning else {
        return Ok(None);
    };
    let set = validation(&engine.datasets()).unwrap_or(0);
    match engine.check_gradients(set, learning.batch, Precision::Own) {
        Err(error) if !settings.asked && matches!(error.cause(), Cause::NoDerivative) => {
            let why = error.first_line();
            Ok(Some(format!("learned soups are left out: {why}")))
        }
        checked => checked.map(|()| None),
    }
}

/// Makes the recipes of all methods, with the traces of greedy ones.
fn chosen(
    builder: &SoupBuilder<'_>,
    session: &Session,
    models: &EvaluatedModels,
    methods: &[MethodSpec],
) -> Result<(Vec<Recipe>, Vec<GreedyTrace>)> {
    builder.check_start()?;
    let checkpoints: Vec<usize> = (1..builder.members).collect();
    let ranked = match models.validation() {
        Some(set) => ranked(&checkpoints, |member| models.scores[member][set]),
        None => checkpoints,
    };
    let mut all = methods.iter();
    let needs_angles = all.any(|wanted| wanted.method.needs_angles());
    let gram: Option<&Gram> = needs_angles.then(|| session.gram());
    let (mut recipes, mut traces) = (Vec::new(), Vec::new());
    for wanted in methods {
        let (made, traced) = builder.recipes(wanted, &ranked, gram)?;
        // A sweep may contain a point that was also asked for by itself.
        let known = |recipe: &Recipe| {
            let same = |other: &Recipe| {
                let of = |recipe: &Recipe| {
                    let Recipe {
                        method,
                        setting,
                        seed,
                        combine,
                        ..
                    } = recipe;
                    (*method, *setting, *seed, *combine)
                };
                of(other) == of(recipe)
            };
            recipes.iter().any(same)
        };
        let new: Vec<Recipe> = made.into_iter().filter(|recipe| !known(recipe)).collect();
        recipes.extend(new);
        traces.extend(traced);
    }
    Ok((recipes, traces))
}

/// Sets up learning on the validation set.
fn learner<'l>(
    (session, engine): (&'l Session, &'l Engine<'_>),
    learning: &LearningSettings,
    starts: StartLogits<'l>,
    tell: &'l dyn Fn(Method, TrainingStep),
) -> Result<Learner<'l>> {
    let set = starts.validation;
    // The layout suits the number of samples in a step.
    let batch = match learning.optimizer {
        Optimizer::AdamW => learning.batch,
        Optimizer::Lbfgs => engine.datasets()[set].samples,
    };
    let gradients = engine.gradients(set, batch, Precision::Own)?;
    Ok(Learner {
        loss: Box::new(gradients),
        rounding: engine.rounding(),
        pool: session.pool(),
        settings: LearningSettings {
            seed: session.seed(),
            ..learning.clone()
        },
        starts: Some(starts),
        tell,
    })
}

fn builder<'c>(
    (session, engine, models): (&'c Session, &'c Engine<'_>, &'c EvaluatedModels),
    settings: &'c SoupSettings,
    ensemble: &'c Scorer<'c>,
    observer: &'c dyn Observer,
) -> SoupBuilder<'c> {
    let seeds = (0..settings.orders).map(|order| session.seed().wrapping_add(order));
    SoupBuilder {
        evaluator: engine,
        ensemble,
        combine: &settings.combine,
        observer,
        members: session.members(),
        validation: models.validation().unwrap_or(0),
        rule: settings.rule,
        seeds: seeds.collect(),
        learner: None,
    }
}
