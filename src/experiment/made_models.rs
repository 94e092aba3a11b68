//! The final soups and ensembles of a table: their logits, and what follows from them.

use std::collections::HashMap;

use super::Observer;
use super::evaluated::EvaluatedModels;
use super::session::Session;
use crate::analysis::calibration::calibration;
use crate::analysis::recipe::Recipe;
use crate::error::Result;
use crate::evaluate::journal::LogitsOf;
use crate::evaluate::logits::{Ensemble, Logits};
use crate::evaluate::onnx::Engine;
use crate::result::calibration::Calibration;
use crate::result::score::Score;
use crate::space::mix::Mix;

/// Logits of the models that recipes make. Single models and ensembles need none beyond those of the
/// pool.
pub struct MadeModels<'m> {
    members: &'m EvaluatedModels,
    soups: Option<Logits>,
    /// The place of each recipe's logits among those of the soups, or its members' weights.
    places: Vec<Place>,
}

enum Place {
    Soup([(usize, f64); 1]),
    Members(Vec<(usize, f64)>),
}

impl<'m> MadeModels<'m> {
    /// Runs each soup once on all data sets; the engine knows their scores and outcomes afterwards.
    ///
    /// # Errors
    /// When the network cannot be run, the disk is full, or the user stopped the run.
    pub fn of(
        session: &Session,
        engine: &Engine<'_>,
        members: &'m EvaluatedModels,
        recipes: &[Recipe],
        observer: &dyn Observer,
    ) -> Result<Self> {
        let size = session.members();
        let mut mixes: Vec<Mix> = Vec::new();
        let mut known: HashMap<Vec<Vec<u64>>, usize> = HashMap::new();
        let mut place = |recipe: &Recipe| {
            if recipe.method.is_ensemble() {
                return Place::Members(recipe.weights.clone());
            }
            let mix = recipe.mix(size);
            if mix.is_unit() {
                // A weight of 0 is not read: logits of a ruined model may be NaN.
                return Place::Members(vec![(mix.lead(), 1.0)]);
            }
            let bits = |row: &Vec<f64>| row.iter().map(|c| c.to_bits()).collect();
            let rows = mix.rows().iter().map(bits).collect();
            let index = *known.entry(rows).or_insert_with(|| {
                mixes.push(mix);
                mixes.len() - 1
            });
            Place::Soup([(index, 1.0)])
        };
        let places = recipes.iter().map(&mut place).collect();
        let folder = session.scratch_folder();
        let soups = (!mixes.is_empty())
            .then(|| engine.kept_logits(&mixes, LogitsOf::Soups, &folder, observer));
        Ok(Self {
            members,
            soups: soups.transpose()?,
            places,
        })
    }

    /// `scores[recipe][data set]`, at β = 1.
    pub fn scores(&self, recipes: &[Recipe]) -> Vec<Vec<Score>> {
        self.each(recipes, |logits, ensemble| {
            let sets = 0..logits.datasets();
            sets.map(|set| logits.score(ensemble, set)).collect()
        })
    }

    /// `calibrations[recipe]`.
    pub fn calibrations(&self, recipes: &[Recipe]) -> Vec<Calibration> {
        let validation = self.members.validation();
        self.each(recipes, |logits, ensemble| {
            calibration(logits, ensemble, validation)
        })
    }

    fn each<T>(&self, recipes: &[Recipe], of: impl Fn(&Logits, Ensemble<'_>) -> T) -> Vec<T> {
        let each = recipes.iter().zip(&self.places);
        each.map(|(recipe, place)| {
            let (logits, weights) = match (place, &self.soups) {
                (Place::Soup(weights), Some(soups)) => (soups, &weights[..]),
                (Place::Members(weights), _) => (&self.members.logits, &weights[..]),
                (Place::Soup(_), None) => unreachable!("a soup without logits"),
            };
            let combine = recipe.combine;
            of(logits, Ensemble { combine, weights })
        })
        .collect()
    }
}
