//! Many checkpoints: the list of models opened, those that diverged left out.

use std::path::Path;

use indexmap::IndexMap;

use super::args::{Common, RunArgs};
use super::config::Config;
use super::models::{self, Listed};
use super::note;
use super::prepare::Inputs;
use crate::error::{Error, Result};
use crate::result::models::Individual;
use crate::result::score::{Role, Score};
use crate::space::gram::nonfinite;
use crate::space::matching::Aligned;

/// The models of a list, ready to be aligned.
pub struct Lineup {
    /// Network, checkpoints and data that were named.
    pub inputs: Inputs,
    /// What the list says of the checkpoints, in their order.
    listed: Vec<Listed>,
    /// Their names in the list, whatever was left out of them.
    pub listed_names: Vec<String>,
    /// What is to be said of models that were left out.
    pub warnings: Vec<String>,
}

impl Lineup {
    /// Opens the models of a list. Models that hold NaN or infinite values are left out.
    ///
    /// # Errors
    /// When the list or a file cannot be used, or no model is left.
    pub fn open(common: &Common, run: &RunArgs, csv: Option<&Path>) -> Result<Self> {
        let config = Config::load(common.config.as_deref())?;
        let csv = csv.or(config.0.models.as_deref());
        let csv = csv.map(Path::to_path_buf).ok_or_else(|| {
            Error::flag(
                "--models",
                "is needed: the checkpoints, as a .csv with `name,path`",
            )
        })?;
        refuse_limits(run)?;
        let listed = models::read(&csv)?;
        let paths: Vec<&Path> = listed.iter().map(|model| model.path.as_path()).collect();
        let mut inputs = Inputs::with_config(config, common, run, &paths)?;
        let request = &mut inputs.plan.request;
        (request.max_time, request.tolerance) = (None, None);
        // No table has a place for it, and it is often the largest.
        inputs.plan.leave_out(Role::Train)?;
        for (checkpoint, model) in inputs.checkpoints.iter_mut().zip(&listed) {
            checkpoint.name.clone_from(&model.name);
        }
        let origin = &inputs.names()[0];
        if listed.iter().any(|model| model.name == *origin) {
            return Err(Error::input(
                &csv,
                format!("a model has the name of the origin, `{origin}`"),
            ));
        }
        let mut lineup = Self {
            inputs,
            listed,
            listed_names: Vec::new(),
            warnings: Vec::new(),
        };
        lineup.leave_out_diverged(&csv)?;
        let names = lineup.listed.iter().map(|model| model.name.clone());
        lineup.listed_names = names.collect();
        lineup.inputs.rename_left_out()?;
        for (model, checkpoint) in lineup.listed.iter_mut().zip(&lineup.inputs.checkpoints) {
            model.name.clone_from(&checkpoint.name);
        }
        Ok(lineup)
    }

    fn leave_out_diverged(&mut self, csv: &Path) -> Result<()> {
        let diverged = {
            let network = self.inputs.network();
            diverged(&self.inputs.aligned(&network)?)?
        };
        for (index, problem) in diverged.iter().enumerate().rev() {
            let Some(problem) = problem else { continue };
            self.inputs.checkpoints.remove(index);
            let model = self.listed.remove(index);
            let warning = format!("{} is left out: {problem}", model.name);
            note(&format!("warning: {warning}"));
            self.warnings.insert(0, warning);
        }
        if self.listed.is_empty() {
            let mut warnings = self.warnings.iter();
            let first = warnings.next().cloned().unwrap_or_default();
            return Err(Error::input(csv, first).lines(warnings));
        }
        Ok(())
    }

    /// Columns of the list: those that are named, joined by commas, or all but name and path.
    ///
    /// # Errors
    /// When there is no such column.
    pub fn hyperparameters(&self, named: Option<&str>) -> Result<Vec<String>> {
        let first = self.listed.first();
        let columns = first
            .into_iter()
            .flat_map(|model| model.hyperparameters.keys());
        let columns: Vec<String> = columns.cloned().collect();
        let Some(named) = named else {
            return Ok(columns);
        };
        let known = |name: &str| match columns.iter().any(|column| column == name) {
            true => Ok(name.to_string()),
            false => Err(Error::flag(
                "--hyperparameters",
                format!(
                    "the list has no column `{name}`; it has `{}`",
                    columns.join("`, `")
                ),
            )),
        };
        named.split(',').map(|name| known(name.trim())).collect()
    }

    /// θ0 and the checkpoints with these scores, `[member][data set]`.
    pub fn individuals(&self, mut scores: Vec<Vec<Score>>) -> (Individual, Vec<Individual>) {
        let checkpoints = scores.split_off(1);
        let origin = Individual {
            name: self.inputs.names().swap_remove(0),
            path: self.inputs.plan.origin.display().to_string(),
            hyperparameters: IndexMap::new(),
            scores: scores.pop().unwrap_or_default(),
        };
        let individual = |(model, scores): (&Listed, Vec<Score>)| Individual {
            name: model.name.clone(),
            path: model.given.clone(),
            hyperparameters: model.hyperparameters.clone(),
            scores,
        };
        let models = self.listed.iter().zip(checkpoints).map(individual);
        (origin, models.collect())
    }
}

/// Models are compared on the same samples, all of them; what a configuration says is for planes.
fn refuse_limits(run: &RunArgs) -> Result<()> {
    let flags = [
        ("--max-time", &run.max_time),
        ("--tolerance", &run.tolerance),
    ];
    match flags.into_iter().find(|(_, value)| value.is_some()) {
        Some((flag, _)) => Err(Error::flag(flag, "choices between models need all samples")
            .help("--limit N takes so many of each data set")),
        None => Ok(()),
    }
}

/// What is wrong with each checkpoint, where something is.
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
