//! Recipes: the members and weights that a method combines into one soup or one ensemble.

use std::fmt;

use super::learned::Learned;
use crate::result::combine::Combine;
use crate::result::method::{Method, MethodName};
use crate::space::mix::Mix;

/// A method, with its α, s or t if one is given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MethodSpec {
    /// Which method.
    pub method: Method,
    /// For WiSE-FT, the method whose model is joined with θ0; `None` for the best model.
    pub base: Option<Method>,
    /// The α, s or t; `None` for the default values.
    pub setting: Option<f64>,
}

impl MethodSpec {
    /// A method with its default settings.
    pub fn plain(method: Method) -> Self {
        Self {
            method,
            base: None,
            setting: None,
        }
    }

    /// The method that makes the model: the base of WiSE-FT, if it has one.
    fn maker(&self) -> Method {
        self.base.unwrap_or(self.method)
    }

    /// Whether a validation set is needed, to choose by its accuracy or to learn from it.
    pub fn selects(&self) -> bool {
        self.maker().selects()
    }

    /// Whether coefficients are learned, by this method if one is given.
    pub fn learns(&self) -> bool {
        self.maker().is_learned()
    }

    /// Whether the angles between models are needed.
    pub fn needs_angles(&self) -> bool {
        self.maker().needs_angles()
    }

    /// Whether the method, or the base of WiSE-FT, is this one.
    pub fn involves(&self, method: Method) -> bool {
        self.maker() == method
    }

    /// The values to try: α of WiSE-FT from 0 to 1 and s of task arithmetic from 0.1 to 1.5, in
    /// steps of 0.1, and t = ½.
    pub(super) fn settings(&self) -> Vec<f64> {
        let tenths = |range: std::ops::RangeInclusive<u8>| {
            range.map(|tenths| f64::from(tenths) / 10.0).collect()
        };
        match (self.setting, self.method) {
            (Some(setting), _) => vec![setting],
            (None, Method::WiseFt) => tenths(0..=10),
            (None, Method::TaskArithmetic) => tenths(1..=15),
            (None, _) => vec![0.5],
        }
    }
}

impl fmt::Display for MethodSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        MethodName(self.method, self.base, self.setting).fmt(f)
    }
}

/// The members and weights of one soup or one ensemble.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// Which method.
    pub method: Method,
    /// For WiSE-FT, the method whose model is joined with θ0; `None` for the best model.
    pub base: Option<Method>,
    /// The α, s or t.
    pub setting: Option<f64>,
    /// The seed of its random order.
    pub seed: Option<u64>,
    /// Members of the pool, in the order in which they were added.
    pub members: Vec<usize>,
    /// Weights of members of the pool, including θ0 if it has one; if each tensor has its own
    /// weights, their mean over the tensors.
    pub weights: Vec<(usize, f64)>,
    /// The soup, if each tensor has its own weights.
    pub by_tensor: Option<Mix>,
    /// What it averages, if it is an ensemble.
    pub combine: Combine,
    /// The learned coefficients, if this is a learned soup.
    pub learned: Option<Learned>,
    /// What the result has to say about it.
    pub notes: Vec<String>,
}

impl Recipe {
    /// The mean of some members.
    pub fn mean(method: Method, members: Vec<usize>) -> Self {
        Self {
            method,
            base: None,
            setting: None,
            seed: None,
            weights: mean(&members),
            members,
            by_tensor: None,
            combine: Combine::Logits,
            learned: None,
            notes: Vec::new(),
        }
    }

    /// A mix that a method made of some members.
    pub fn of(method: Method, members: Vec<usize>, mix: Mix) -> Self {
        let weights = mix.mean().into_iter().enumerate();
        Self {
            weights: weights.filter(|(_, weight)| *weight != 0.0).collect(),
            by_tensor: mix.shared().is_none().then_some(mix),
            ..Self::mean(method, members)
        }
    }

    /// The soup as a mix, for a pool of `members` models.
    pub fn mix(&self, members: usize) -> Mix {
        match &self.by_tensor {
            Some(mix) => mix.clone(),
            None => Mix::over(&self.weights, members),
        }
    }

    /// Whether the validation set chose its models or its weights; a setting aside.
    pub fn selects(&self) -> bool {
        self.base.unwrap_or(self.method).selects()
    }

    /// What tells this recipe from the others of a run.
    pub fn key(&self) -> (Method, Option<Method>, Combine, Option<f64>, Option<u64>) {
        (
            self.method,
            self.base,
            self.combine,
            self.setting,
            self.seed,
        )
    }
}

/// Equal weights for all members.
pub fn mean(members: &[usize]) -> Vec<(usize, f64)> {
    let weight = 1.0 / members.len() as f64;
    members.iter().map(|&member| (member, weight)).collect()
}
