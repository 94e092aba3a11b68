//! Averages of a pool of models: fixed, greedy and learned soups, and ensembles for comparison.

use std::cell::RefCell;
use std::rc::Rc;

use super::evaluated::{EvaluatedModels, validation};
use super::made_models::MadeModels;
use super::save::{self, Save, ToSave};
use super::session::Session;
use super::soup_comparisons::Compare;
pub use super::soup_rays::RayMixes;
use super::soup_resample::{self, Resamples};
use super::{Observer, soup_rays, soup_result};
use crate::analysis::greedy::{GreedyRule, GreedyTrace};
use crate::analysis::inference::Draws;
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
use crate::result::soup::{Resampling, Soups};
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
    /// How many mixes to evaluate between θ0 and each soup.
    pub rays: RayMixes,
    /// On how many resamples of the validation set to repeat the choices of the greedy soup.
    pub resamples: Option<usize>,
    /// Models to save as checkpoints.
    pub saves: Vec<Save>,
}

impl SoupSettings {
    /// Checks that there is a validation set if a method needs one.
    ///
    /// # Errors
    /// When there is none; the message names the first method that needs it.
    pub fn check(&self, has_validation: bool) -> Result<()> {
        let selecting = self.methods.iter().find(|wanted| wanted.selects());
        let swept = |saved: &&MethodSpec| saved.method.has_setting() && saved.setting.is_none();
        let mut saved = self.saves.iter().map(|save| &save.wanted);
        match (selecting, saved.find(swept)) {
            _ if has_validation => Ok(()),
            (Some(wanted), _) => {
                let why = if wanted.learns() {
                    "is learned on it"
                } else {
                    "chooses by validation accuracy"
                };
                Err(Error::flag("--val", format!("is needed: `{wanted}` {why}"))
                    .help("--methods uniform,ensemble needs no validation set"))
            }
            (None, Some(saved)) => Err(Error::flag(
                "--val",
                format!("is needed to choose which `{saved}` to save"),
            )
            .help(format!("--save {saved}:NUMBER=FILE needs no choice"))),
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
    if settings.learning.is_some() && settings.asked {
        session
            .settings
            .refuse_recalibration("a learned soup needs")?;
        let output = session.settings.logits_output.as_deref();
        check_gradient(&network, session.aligned(), output)?;
    }
    save::probe(&settings.saves, session, &network)?;
    let data = session.load_data()?;
    let engine = session.engine(&network, &data, observer)?;
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
    let is_possible = |wanted: &&MethodSpec| left_out.is_none() || !wanted.learns();
    let possible = settings.methods.iter().filter(is_possible);
    let methods: Vec<MethodSpec> = possible.copied().collect();
    let (recipes, traces) = chosen(&builder, session, &models, &methods)?;
    drop(builder);
    drop(soups);
    let comparing = Compare {
        engine: &engine,
        models: &models,
        members: session.members(),
    };
    let made = (recipes.as_slice(), traces.as_slice());
    let mut soups = measured((session, settings), &comparing, made, observer)?;
    soups.evaluations = soup_result::evaluations(&engine, session.members());
    soups.provenance = session.provenance(&data, Some(&engine));
    soups.warnings.extend(left_out);
    soup_result::add_warnings(&mut soups, session, &network, &methods, &recipes);
    let made = (&soups, recipes.as_slice());
    let to_save = save::chosen(&settings.saves, made, session, (&engine, &data));
    session.conclude(engine, true)?;
    Ok(SoupRun { soups, to_save })
}

/// Evaluates what the recipes make, and compares it sample by sample.
fn measured(
    (session, settings): (&Session, &SoupSettings),
    comparing: &Compare<'_>,
    (recipes, traces): (&[Recipe], &[GreedyTrace]),
    observer: &dyn Observer,
) -> Result<Soups> {
    let (engine, models) = (comparing.engine, comparing.models);
    let made = MadeModels::of(session, engine, models, recipes, observer)?;
    let scores = (made.scores(recipes), made.calibrations(recipes));
    let counts = comparing.decisions(traces)?;
    let mut soups = soup_result::assemble(session, models, recipes, scores, (traces, &counts));
    soups.rays = soup_rays::evaluated(comparing, settings.rays, (&soups, recipes), observer)?;
    soups.resampling = resampled((session, settings), comparing, recipes, observer)?;
    comparing.add_all(&mut soups, recipes, session.settings.seed)?;
    Ok(soups)
}

/// Repeats the choices of the greedy soup on resamples, if that is asked for.
fn resampled(
    (session, settings): (&Session, &SoupSettings),
    comparing: &Compare<'_>,
    recipes: &[Recipe],
    observer: &dyn Observer,
) -> Result<Option<Resampling>> {
    let Some(count) = settings.resamples else {
        return Ok(None);
    };
    let wanted = Resamples {
        draws: Draws {
            count,
            seed: session.seed(),
        },
        rule: settings.rule,
        names: &session.names(),
    };
    soup_resample::of_greedy(comparing, recipes, &wanted, observer)
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

/// Returns the reason to leave out learned soups, if there is one. Knowing the operators is not
/// enough: some are differentiable only for some uses.
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
    let ranked = models.ranked();
    let mut all = methods.iter();
    let needs_angles = all.any(MethodSpec::needs_angles);
    let gram: Option<&Gram> = needs_angles.then(|| session.gram());
    let (mut recipes, mut traces) = (Vec::new(), Vec::new());
    // Models that WiSE-FT needs and that are in no row of the table.
    let mut bases: Vec<Recipe> = Vec::new();
    for wanted in methods {
        if let Some(base) = wanted.base {
            let mut made = recipes.iter().chain(&bases);
            if !made.any(|recipe: &Recipe| recipe.method == base) {
                let plain = MethodSpec::plain(base);
                bases.extend(builder.recipes(&plain, &ranked, gram, None)?.0);
            }
        }
        let mut all = recipes.iter().chain(&bases);
        let base = wanted
            .base
            .and_then(|base| all.find(|recipe| recipe.method == base));
        let (made, traced) = builder.recipes(wanted, &ranked, gram, base)?;
        // A sweep may contain a point that was also asked for by itself.
        let known = |recipe: &Recipe| recipes.iter().any(|it: &Recipe| it.key() == recipe.key());
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
        pool: session.pool(),
        validation: models.validation().unwrap_or(0),
        rule: settings.rule,
        seeds: seeds.collect(),
        learner: None,
    }
}
