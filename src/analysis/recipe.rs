//! Recipes: the members and weights that a method puts into one soup or one ensemble.

use super::learned::Learned;
use crate::result::method::Method;
use crate::space::mix::Mix;

/// A method, with its α, λ or t where one is given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MethodSpec {
    /// Which method.
    pub method: Method,
    /// Its α, λ or t; the usual ones where there is none.
    pub setting: Option<f64>,
}

impl MethodSpec {
    /// A method as it usually is.
    pub fn plain(method: Method) -> Self {
        Self {
            method,
            setting: None,
        }
    }

    /// The numbers that are tried: α of WiSE-FT in steps of 0.1 as its released sweep, t = ½, and
    /// λ in steps of 0.1.
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
    /// Its α, λ or t.
    pub setting: Option<f64>,
    /// Its seed.
    pub seed: Option<u64>,
    /// Members of the pool, in the order in which they came in.
    pub members: Vec<usize>,
    /// Weights of members of the pool, θ0's too where it has one; the mean over the tensors where
    /// each has its own.
    pub weights: Vec<(usize, f64)>,
    /// The learned coefficients, of a learned soup.
    pub learned: Option<Learned>,
}

impl Recipe {
    /// The mean of members.
    pub fn mean(method: Method, members: Vec<usize>) -> Self {
        Self {
            method,
            setting: None,
            seed: None,
            weights: mean(&members),
            members,
            learned: None,
        }
    }

    /// The soup as a mix of a pool of so many members.
    pub fn mix(&self, members: usize) -> Mix {
        match &self.learned {
            Some(learned) => learned.mix.clone(),
            None => Mix::over(&self.weights, members),
        }
    }
}

/// The mean: each member with the same weight.
pub fn mean(members: &[usize]) -> Vec<(usize, f64)> {
    let weight = 1.0 / members.len() as f64;
    members.iter().map(|&member| (member, weight)).collect()
}
