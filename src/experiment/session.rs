//! A session: the network and the checkpoints, opened and aligned.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

use indexmap::IndexMap;

use super::Observer;
use super::candidates::{Candidate, Candidates};
use super::data::LoadedData;
use super::inputs::{Inputs, open_origin};
use super::output::Output;
use super::settings::SessionSettings;
use crate::base::lock::lock;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::evaluate::journal::Journal;
use crate::evaluate::onnx::{Engine, check_fits};
use crate::evaluate::runtime::Runtime;
use crate::graph::network::Network;
use crate::result::calibration::Calibration;
use crate::result::models::Individual;
use crate::result::provenance::Provenance;
use crate::result::score::Score;
use crate::space::gram::{Gram, nonfinite};
use crate::space::matching::Aligned;
use crate::space::pool::Pool;
use crate::space::statistics::{self, BatchNorm};

/// A network and its checkpoints, opened and aligned, with the settings of evaluation.
///
/// It owns what an [`Engine`] borrows, so an experiment keeps its engine in a local variable.
///
/// A session with an output is for one experiment: its files stay locked until
/// [`Session::forget`], and the wall time of a result begins when the session was opened.
pub struct Session {
    pub(super) settings: SessionSettings,
    pub(super) inputs: Inputs,
    candidates: Vec<Candidate>,
    pub(super) aligned: Aligned,
    gram: OnceLock<Gram>,
    warnings: Vec<String>,
    pub(super) runtime: &'static Runtime,
    start: Instant,
    /// Journal of a run, kept until its results are written, and whether the run is whole.
    finished: Mutex<Option<(Journal, bool)>>,
}

impl Session {
    /// Opens the files, aligns the checkpoints with the network, and checks that their weights are
    /// finite. Listed models with non-finite weights are left out with a warning.
    ///
    /// # Errors
    /// When a file cannot be used, a checkpoint does not fit the network, the network does not fit
    /// into memory, or no model is left.
    pub fn open(settings: SessionSettings, observer: &dyn Observer) -> Result<Self> {
        let start = Instant::now();
        if settings.data.is_empty() {
            return Err(Error::flag("data", "no data set was named"));
        }
        let (mut candidates, list) = settings.candidates.read()?;
        let runtime = Runtime::load(settings.onnxruntime.as_deref())?;
        // Adapters and what an exporter computed are computed as soon as the inputs are open.
        check_fits(&open_origin(&settings.origin)?.model, &settings.options)?;
        let inputs = Inputs::open(&settings, &candidates)?;
        inputs.notes().iter().for_each(|note| observer.note(note));
        for (candidate, checkpoint) in candidates.iter_mut().zip(&inputs.checkpoints) {
            let name = candidate.name.get_or_insert_default();
            name.clone_from(&checkpoint.name);
        }
        let aligned = inputs.align(&settings.matching)?;
        let mut session = Self {
            settings,
            inputs,
            candidates,
            aligned,
            gram: OnceLock::new(),
            warnings: Vec::new(),
            runtime,
            start,
            finished: Mutex::default(),
        };
        match list {
            Some(list) => {
                session.refuse_names(&list)?;
                session.refuse_separators(&list)?;
                session.leave_out_diverged(&list, observer)?;
            }
            None => {
                session.refuse_names("NAME=CKPT")?;
                session.refuse_nonfinite()?;
            }
        }
        session.rename_left_out()?;
        let network = Network::of(&session.inputs.model);
        statistics::apply(session.settings.batch_norm, &network, &mut session.aligned)?;
        if session.settings.every_tensor_moves {
            session.aligned.pool.mark_moving();
        }
        Ok(session)
    }

    /// Names of θ0 and the checkpoints, `names[member]`.
    pub fn names(&self) -> Vec<String> {
        self.inputs.names()
    }

    /// The models' names as given, `names[checkpoint]`: without the suffix for tensors left out by
    /// `--ignore` or `--fixed`.
    pub fn given_names(&self) -> Vec<String> {
        let names = self.candidates.iter().map(|it| it.name.clone());
        names.map(Option::unwrap_or_default).collect()
    }

    /// The origin's network.
    pub fn network(&self) -> Network<'_> {
        Network::of(&self.inputs.model)
    }

    /// θ0 and the checkpoints, over the same parameters.
    pub fn aligned(&self) -> &Aligned {
        &self.aligned
    }

    /// θ0 and the checkpoints, tensor by tensor.
    pub fn pool(&self) -> &Pool {
        &self.aligned.pool
    }

    /// Number of models, including θ0.
    pub fn members(&self) -> usize {
        self.aligned.pool.members.len()
    }

    /// Inner products of the checkpoints' differences from θ0; computed on first use.
    pub fn gram(&self) -> &Gram {
        self.gram.get_or_init(|| Gram::of(&self.aligned.pool))
    }

    /// The inner products, if they have been computed.
    pub(super) fn known_gram(&self) -> Option<&Gram> {
        self.gram.get()
    }

    /// Seed of all random draws.
    pub fn seed(&self) -> u64 {
        self.settings.seed
    }

    /// Warnings about models that were left out.
    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The entry of a saved model that says where its running statistics come from, unless they are
    /// averaged as all its tensors are.
    pub(super) fn saved_statistics(&self) -> Option<(String, String)> {
        let policy = self.settings.batch_norm;
        let is_other = policy != BatchNorm::Interpolate;
        is_other.then(|| ("landscape.bn".to_string(), policy.to_string()))
    }

    /// Columns of the list: those named, or all but `name` and `path`.
    ///
    /// # Errors
    /// When a named column does not exist.
    pub fn hyperparameters(&self, named: Option<&[String]>) -> Result<Vec<String>> {
        let first = self.candidates.first();
        let columns = first.into_iter().flat_map(|it| it.hyperparameters.keys());
        let columns: Vec<String> = columns.cloned().collect();
        let Some(named) = named else {
            return Ok(columns);
        };
        match named.iter().find(|name| !columns.contains(name)) {
            None => Ok(named.to_vec()),
            Some(unknown) => Err(Error::flag(
                "--hyperparameters",
                format!(
                    "the list has no column `{unknown}`; it has `{}`",
                    columns.join("`, `")
                ),
            )),
        }
    }

    /// θ0 and the checkpoints with their names, from `scores[member][data set]` and
    /// `calibrations[member]`.
    pub(super) fn individuals(
        &self,
        mut scores: Vec<Vec<Score>>,
        calibrations: &[Calibration],
    ) -> (Individual, Vec<Individual>) {
        let checkpoints = scores.split_off(1);
        let origin = Individual {
            name: self.inputs.origin_name.clone(),
            path: self.inputs.origin.display().to_string(),
            hyperparameters: IndexMap::new(),
            scores: scores.pop().unwrap_or_default(),
            calibration: calibrations.first().cloned(),
        };
        let models = self.candidates.iter().zip(&self.inputs.checkpoints);
        let individual = |((candidate, checkpoint), scores): (_, Vec<Score>)| {
            let (candidate, checkpoint): (&Candidate, &Checkpoint) = (candidate, checkpoint);
            Individual {
                name: checkpoint.name.clone(),
                path: candidate.given.clone(),
                hyperparameters: candidate.hyperparameters.clone(),
                scores,
                calibration: None,
            }
        };
        let mut models: Vec<Individual> = models.zip(checkpoints).map(individual).collect();
        for (model, calibration) in models.iter_mut().zip(calibrations.iter().skip(1)) {
            model.calibration = Some(calibration.clone());
        }
        (origin, models)
    }

    /// Reads the data sets.
    ///
    /// # Errors
    /// When data cannot be read or does not fit the network.
    pub fn load_data(&self) -> Result<LoadedData> {
        LoadedData::read(&self.settings, &self.inputs)
    }

    /// Where results are written: the output of the settings, or the working folder.
    pub fn output(&self) -> Output {
        let output = self.settings.output.clone();
        output.unwrap_or_else(|| Output {
            folder: ".".into(),
            name: "landscape".to_string(),
            fresh: false,
        })
    }

    /// The folder for scratch files.
    pub(super) fn scratch_folder(&self) -> PathBuf {
        match &self.settings.output {
            Some(output) => output.data_folder(),
            None => std::env::temp_dir(),
        }
    }

    /// Ends an experiment and checks that the inputs have not changed. Its journal is kept until
    /// [`Session::forget`]; if a limit cut the run short (`is_whole` is false), it is kept for a
    /// later run.
    ///
    /// # Errors
    /// When an input has changed since it was opened; the journal is then removed.
    pub(super) fn conclude(&self, engine: Engine<'_>, is_whole: bool) -> Result<()> {
        let checked = self.inputs.check_unchanged();
        if checked.is_err() {
            engine.forget();
        } else {
            // The output stays locked until its files are written.
            *lock(&self.finished) = Some((engine.into_journal(), is_whole));
        }
        checked
    }

    /// Removes the journal of a finished run, once its results are written.
    pub fn forget(&self) {
        let finished = lock(&self.finished).take();
        if let Some((journal, true)) = finished {
            journal.remove();
        }
    }

    /// The provenance of a result, with the time elapsed so far.
    pub fn provenance(&self, data: &LoadedData, engine: Option<&Engine<'_>>) -> Provenance {
        let files = data.content.iter().chain(&data.config_file);
        let mut settings = self.settings.recorded();
        let policy = self.settings.batch_norm;
        if !statistics::matters(policy, &self.network(), &self.aligned) {
            settings.remove("bn");
        }
        if engine.and_then(Engine::calibrated_on).is_some() {
            settings.insert("loss".to_string(), "calibrated".to_string());
        }
        if let Some(layout) = engine.and_then(Engine::layout) {
            settings.insert("layout".to_string(), layout);
        }
        let unfolded = &self.inputs.unfolding.explained;
        if !unfolded.is_empty() {
            let names: Vec<&str> = unfolded.keys().map(String::as_str).collect();
            settings.insert("unfolded".to_string(), names.join(", "));
        }
        if !self.aligned.unused.is_empty() {
            let patterns = self.aligned.unused.iter().cloned().collect::<Vec<_>>();
            settings.insert("ignored-unused".to_string(), patterns.join(", "));
        }
        Provenance {
            command: self.settings.command.clone(),
            version: env!("CARGO_PKG_VERSION").to_string(),
            files: files.cloned().collect(),
            drawn_from: data.drawn_from(),
            settings,
            onnxruntime: self.runtime.version().to_string(),
            provider: self.settings.options.device.provider().to_string(),
            // A spectrum has no engine that runs whole models.
            verified: self.verified(engine.is_some()),
            dictionaries: self.inputs.dictionaries(),
            caveats: self.aligned.caveats.clone(),
            wall_seconds: self.start.elapsed().as_secs_f64(),
        }
    }

    /// Refuses names that the results could not tell apart; `place` is where models are named.
    fn refuse_names(&self, place: &str) -> Result<()> {
        let mut known = BTreeMap::from([(&self.inputs.origin_name, &self.inputs.origin)]);
        let is_list = !matches!(self.settings.candidates, Candidates::Files(_));
        for model in &self.inputs.checkpoints {
            let Some(path) = known.insert(&model.name, &model.path) else {
                continue;
            };
            // A path may begin or end at the origin itself.
            let is_origin = model.name == self.inputs.origin_name && *path == self.inputs.origin;
            if is_origin && !is_list && model.path == self.inputs.origin {
                continue;
            }
            let problem = match is_origin {
                true => format!("a model has the name of the origin, `{}`", model.name),
                false => format!("two models have the name `{}`", model.name),
            };
            return Err(Error::flag(place, problem).help("give each a name of its own: NAME=CKPT"));
        }
        Ok(())
    }

    /// Refuses names that the lists in the results could not hold.
    fn refuse_separators(&self, place: &str) -> Result<()> {
        let mut models = self.inputs.checkpoints.iter();
        let Some(model) = models.find(|model| model.name.contains(';')) else {
            return Ok(());
        };
        let problem = format!(
            "the name `{}` contains a `;`, which separates names in the results",
            model.name
        );
        Err(Error::flag(place, problem).help("give it another name: NAME=CKPT"))
    }

    /// Leaves out listed models whose weights are NaN or infinite.
    fn leave_out_diverged(&mut self, list: &str, observer: &dyn Observer) -> Result<()> {
        let diverged = diverged(&self.aligned)?;
        for (index, problem) in diverged.iter().enumerate().rev() {
            let Some(problem) = problem else { continue };
            let model = self.inputs.checkpoints.remove(index);
            self.candidates.remove(index);
            let warning = format!("{} is left out: {problem}", model.name);
            observer.warn(&warning);
            self.warnings.insert(0, warning);
        }
        if self.candidates.is_empty() {
            let mut warnings = self.warnings.iter();
            let first = warnings.next().cloned().unwrap_or_default();
            return Err(Error::flag(list, first).lines(warnings));
        }
        if !self.warnings.is_empty() {
            // Which tensors are frozen or tied depends on all models.
            self.aligned = self.inputs.align(&self.settings.matching)?;
        }
        Ok(())
    }

    fn refuse_nonfinite(&self) -> Result<()> {
        let Some((parameter, member, count)) = self.gram().first_nonfinite() else {
            return Ok(());
        };
        let member = &self.aligned.pool.members[member];
        Err(Error::input(
            &member.path,
            format!(
                "{count} values of `{}` are NaN or infinite; finite weights are needed",
                member.sources[parameter].name
            ),
        )
        .help("did this training run diverge?"))
    }

    /// Renames checkpoints that lose tensors to `--ignore` or `--fixed`: their values are not those of the file.
    fn rename_left_out(&mut self) -> Result<()> {
        let mut renamed = false;
        let checkpoints = self.inputs.checkpoints.iter_mut();
        for (checkpoint, left) in checkpoints.zip(&self.aligned.left_out) {
            if !left.is_empty() {
                let suffix = left.suffix(&self.settings.matching);
                checkpoint.name.push_str(&suffix);
                renamed = true;
            }
        }
        if renamed {
            // Members and warnings contain the names.
            self.aligned = self.inputs.align(&self.settings.matching)?;
        }
        Ok(())
    }
}

/// Describes the non-finite weights of each checkpoint; `None` for a sound one.
fn diverged(aligned: &Aligned) -> Result<Vec<Option<String>>> {
    let pool = &aligned.pool;
    let problem = |(member, found): (usize, &Option<(usize, usize)>)| {
        let (parameter, count) = (*found)?;
        let name = &pool.members[member].sources[parameter].name;
        Some(format!("{count} values of `{name}` are NaN or infinite"))
    };
    let found = nonfinite(pool);
    let mut problems: Vec<Option<String>> = found.iter().enumerate().map(problem).collect();
    let checkpoints = problems.split_off(1);
    match problems.pop().flatten() {
        Some(problem) => Err(Error::input(&pool.members[0].path, problem)),
        None => Ok(checkpoints),
    }
}
