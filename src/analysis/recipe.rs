//! Recipes: the members and weights that a method combines into one soup or one ensemble.

use super::learned::Learned;
use crate::result::combine::Combine;
use crate::result::method::Method;
use crate::space::mix::Mix;

/// A method, with its α, λ or t if one is given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MethodSpec {
    /// Which method.
    pub method: Method,
    /// The α, λ or t; `None` for the default values.
    pub setting: Option<f64>,
}

impl MethodSpec {
    /// A method with its default settings.
    pub fn plain(method: Method) -> Self {
        Self {
            method,
            setting: None,
        }
    }

    /// The values to try: α of WiSE-FT in steps of 0.1 as in its released sweep, t = ½, and λ in
    /// steps of 0.1.
    pub(super) fn settings(&self) -> Vec<f64> {
        match (self.setting, self.method) {
            (Some(setting), _) => vec![setting],
            (None, Method::WiseFt) => (1..10).map(|tenths| f64::from(tenths) / 10.0).collect(),
            (None, Method::TaskArithmetic) => {
                (1..11).map(|tenths| f64::from(tenths) / 10.0).collect()
            }
            (None, _) => vec![0.5],
        }
    }
}

/// The members and weights of one soup or one ensemble.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// Which method.
    pub method: Method,
    /// The α, λ or t.
    pub setting: Option<f64>,
    /// The seed of its random order.
    pub seed: Option<u64>,
    /// Members of the pool, in the order in which they were added.
    pub members: Vec<usize>,
    /// Weights of members of the pool, including θ0 if it has one; if each tensor has its own
    /// weights, their mean over the tensors.
    pub weights: Vec<(usize, f64)>,
    /// What it averages, if it is an ensemble.
    pub combine: Combine,
    /// The learned coefficients, if this is a learned soup.
    pub learned: Option<Learned>,
}

impl Recipe {
    /// The mean of some members.
    pub fn mean(method: Method, members: Vec<usize>) -> Self {
        Self {
            method,
            setting: None,
            seed: None,
            weights: mean(&members),
            members,
            combine: Combine::Logits,
            learned: None,
        }
    }

    /// The soup as a mix, for a pool of `members` models.
    pub fn mix(&self, members: usize) -> Mix {
        match &self.learned {
            Some(learned) => learned.mix.clone(),
            None => Mix::over(&self.weights, members),
        }
    }
}

/// Equal weights for all members.
pub fn mean(members: &[usize]) -> Vec<(usize, f64)> {
    let weight = 1.0 / members.len() as f64;
    members.iter().map(|&member| (member, weight)).collect()
}
