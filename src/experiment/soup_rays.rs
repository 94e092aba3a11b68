//! Evaluates the rays of a soup run: the mixes between θ0 and the best model, and between θ0 and each
//! soup. They tell what averaging does from what the shorter way from θ0 does.

use super::Observer;
use super::soup_comparisons::Compare;
use crate::analysis::averages;
use crate::analysis::comparison::{Compared, compare};
use crate::analysis::recipe::Recipe;
use crate::error::Result;
use crate::evaluate::Evaluator;
use crate::evaluate::outcomes::Outcomes;
use crate::result::method::Method;
use crate::result::soup::{MinusBest, Ray, RayPoint, Soups};
use crate::space::mix::Mix;

/// How many mixes a ray has, both ends included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RayMixes {
    /// There are no rays.
    None,
    /// 11, as the sweep of WiSE-FT; 6 where 11 would add more models to the run than it has.
    #[default]
    Auto,
    /// This many; at least 2.
    Count(usize),
}

impl RayMixes {
    /// The number for rays to these models, in a run that evaluates the mixes `known` anyway.
    fn count(self, models: &[Mix], known: &[Mix]) -> usize {
        match self {
            Self::None => 0,
            Self::Count(count) => count,
            Self::Auto if added(models, 11, known) > known.len() => 6,
            Self::Auto => 11,
        }
    }
}

/// The number of different mixes on rays to these models that are not known.
fn added(models: &[Mix], count: usize, known: &[Mix]) -> usize {
    let mut new: Vec<Mix> = Vec::new();
    for (_, mix) in models.iter().flat_map(|model| averages::ray(model, count)) {
        if !known.contains(&mix) && !new.contains(&mix) {
            new.push(mix);
        }
    }
    new.len()
}

/// Evaluates, on every data set, the rays to the best individual model and to every soup that the
/// table shows as one row.
///
/// # Errors
/// When a mix cannot be evaluated, or the user stopped the run.
pub fn evaluated(
    comparing: &Compare<'_>,
    wanted: RayMixes,
    (soups, recipes): (&Soups, &[Recipe]),
    observer: &dyn Observer,
) -> Result<Vec<Ray>> {
    let members = comparing.members;
    let ends = ends(comparing, soups, recipes);
    let models: Vec<Mix> = ends.iter().map(|end| end.mix(members)).collect();
    let mut known = Mix::units(members);
    for recipe in recipes.iter().filter(|recipe| !recipe.method.is_ensemble()) {
        let mix = recipe.mix(members);
        if !known.contains(&mix) {
            known.push(mix);
        }
    }
    let count = wanted.count(&models, &known);
    if count == 0 || ends.is_empty() {
        return Ok(Vec::new());
    }
    observer.note(&format!(
        "{} rays of {count} mixes from θ0, to the best model and to each soup: {} more models on all \
         data sets (--no-rays leaves them out)",
        ends.len(),
        added(&models, count, &known)
    ));
    let rays = models.iter().map(|model| averages::ray(model, count));
    let (alphas, mixes): (Vec<f64>, Vec<Mix>) = rays.flatten().unzip();
    let answers = comparing.engine.evaluate(&mixes, observer)?;
    let best = ends.iter().find(|end| end.method == Method::Best);
    let best = best.map(|best| comparing.outcomes(best)).transpose()?;
    let points = alphas.into_iter().zip(&mixes).zip(answers.scores);
    let points = points.map(|((alpha, mix), scores)| {
        Ok(RayPoint {
            alpha,
            scores,
            minus_best: minus_best(comparing, mix, best.as_deref())?,
        })
    });
    let points = points.collect::<Result<Vec<RayPoint>>>()?;
    let rays = ends.iter().zip(points.chunks(count));
    Ok(rays.map(|(end, points)| ray(end, points)).collect())
}

/// A mix, which was evaluated, minus the best model: data set by data set, and in the means. Empty
/// where no model is known to be the best.
fn minus_best(
    comparing: &Compare<'_>,
    mix: &Mix,
    best: Option<&[Outcomes]>,
) -> Result<Vec<MinusBest>> {
    let Some(best) = best else {
        return Ok(Vec::new());
    };
    let outcomes = comparing.of_mix(mix)?;
    let compared = |outcomes| Compared {
        name: "",
        seed: None,
        outcomes,
    };
    let rows = compare(
        &comparing.models.datasets,
        compared(&outcomes),
        compared(best),
    );
    let differences = rows.into_iter().map(|row| MinusBest {
        dataset: row.dataset,
        delta_accuracy: row.delta_accuracy,
        delta_accuracy_se: row.delta_accuracy_se,
    });
    Ok(differences.collect())
}

fn ray(end: &Recipe, points: &[RayPoint]) -> Ray {
    Ray {
        method: end.method,
        setting: end.setting,
        seed: end.seed,
        points: points.to_vec(),
    }
}

/// The models at the ends of the rays, the best one first.
fn ends(comparing: &Compare<'_>, soups: &Soups, recipes: &[Recipe]) -> Vec<Recipe> {
    let rows = soups.rows();
    let shown = rows.iter().filter_map(|row| Some(&recipes[row.single()?]));
    let ends = shown.filter(|recipe| recipe.method.has_ray());
    let mut ends: Vec<Recipe> = ends.cloned().collect();
    let has_best = ends.iter().any(|end| end.method == Method::Best);
    if !has_best && comparing.models.validation().is_some() {
        let best = comparing.models.ranked()[..1].to_vec();
        ends.insert(0, Recipe::mean(Method::Best, best));
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rays_at_most_double_a_run_unless_a_number_is_given() {
        let models = [Mix::unit(1, 3), Mix::new(vec![0.0, 0.5, 0.5])];
        // Both ends are known: nine new mixes on each ray, or four.
        let mut known = Mix::units(3);
        known.push(models[1].clone());
        assert_eq!(added(&models, 11, &known), 18);
        assert_eq!(added(&models, 6, &known), 8);
        assert_eq!(RayMixes::Auto.count(&models, &known), 6);
        // A sweep of the first model leaves the second's.
        let sweep = averages::ray(&models[0], 11);
        known.extend(sweep.into_iter().map(|it| it.1));
        assert_eq!(added(&models, 11, &known), 9);
        assert_eq!(RayMixes::Auto.count(&models, &known), 11);
        assert_eq!(RayMixes::Count(31).count(&models, &known[..1]), 31);
        assert_eq!(RayMixes::None.count(&models, &known), 0);
    }
}
