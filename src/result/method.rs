//! The methods that combine many models into one, in the order of the tables.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A method that combines many models into one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // described by `label`
pub enum Method {
    Best,
    Second,
    Uniform,
    Greedy,
    GreedyRandom,
    Learned,
    LearnedByLayer,
    WiseFt,
    ModelStock,
    Slerp,
    SlerpTasks,
    TaskArithmetic,
    Ensemble,
    GreedyEnsemble,
}

impl Method {
    /// All methods, in the order of the table.
    pub const ALL: [Self; 14] = [
        Self::Best,
        Self::Second,
        Self::Uniform,
        Self::Greedy,
        Self::GreedyRandom,
        Self::Learned,
        Self::LearnedByLayer,
        Self::WiseFt,
        Self::ModelStock,
        Self::Slerp,
        Self::SlerpTasks,
        Self::TaskArithmetic,
        Self::Ensemble,
        Self::GreedyEnsemble,
    ];

    /// The method's name in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Best => "best",
            Self::Second => "second",
            Self::Uniform => "uniform",
            Self::Greedy => "greedy",
            Self::GreedyRandom => "greedy-random",
            Self::Learned => "learned",
            Self::LearnedByLayer => "learned-by-layer",
            Self::WiseFt => "wise-ft",
            Self::ModelStock => "model-stock",
            Self::Slerp => "slerp",
            Self::SlerpTasks => "slerp-tasks",
            Self::TaskArithmetic => "task-arithmetic",
            Self::Ensemble => "ensemble",
            Self::GreedyEnsemble => "greedy-ensemble",
        }
    }

    /// The method's name in the paper's table.
    pub fn label(self) -> &'static str {
        match self {
            Self::Best => "best individual model",
            Self::Second => "second best model",
            Self::Uniform => "uniform soup",
            Self::Greedy => "greedy soup",
            Self::GreedyRandom => "greedy soup (random order)",
            Self::Learned => "learned soup",
            Self::LearnedByLayer => "learned soup (by layer)",
            Self::WiseFt => "best, shortened",
            Self::ModelStock => "Model Stock",
            Self::Slerp => "SLERP of the two best",
            Self::SlerpTasks => "SLERP of the two best task vectors",
            Self::TaskArithmetic => "task arithmetic",
            Self::Ensemble => "ensemble",
            Self::GreedyEnsemble => "greedy ensemble",
        }
    }

    /// Whether the method needs a validation set, to choose by its accuracy or to learn from it.
    pub fn selects(self) -> bool {
        !matches!(
            self,
            Self::Uniform | Self::ModelStock | Self::TaskArithmetic | Self::Ensemble
        )
    }

    /// Whether the method learns its coefficients.
    pub fn is_learned(self) -> bool {
        matches!(self, Self::Learned | Self::LearnedByLayer)
    }

    /// Whether the method has a parameter α, s or t.
    pub fn has_setting(self) -> bool {
        matches!(
            self,
            Self::WiseFt | Self::Slerp | Self::SlerpTasks | Self::TaskArithmetic
        )
    }

    /// Whether WiSE-FT can start from the method's model: it makes a single one, and is no sweep
    /// between θ0 and a model itself.
    pub fn is_a_base(self) -> bool {
        let is_a_sweep = matches!(self, Self::WiseFt | Self::TaskArithmetic);
        !(is_a_sweep || self.is_ensemble() || self == Self::GreedyRandom)
    }

    /// Whether the way from θ0 to the method's model is drawn: it makes a soup, or is the best model.
    /// Sweeps lie on such ways themselves.
    pub fn has_ray(self) -> bool {
        self == Self::GreedyRandom || (self.is_a_base() && self != Self::Second)
    }

    /// Whether the method depends on the angles between models.
    pub fn needs_angles(self) -> bool {
        matches!(self, Self::ModelStock | Self::Slerp | Self::SlerpTasks)
    }

    /// Whether the method averages logits, so that it needs one forward pass per member.
    pub fn is_ensemble(self) -> bool {
        matches!(self, Self::Ensemble | Self::GreedyEnsemble)
    }
}

/// A method, the base of WiSE-FT and the α, s or t, if there are such, as the command line and the
/// files have them: `greedy`, `wise-ft:0.5`, `wise-ft(greedy):0.8`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MethodName(pub Method, pub Option<Method>, pub Option<f64>);

impl fmt::Display for MethodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(method, base, setting) = self;
        f.write_str(method.name())?;
        if let Some(base) = base {
            write!(f, "({})", base.name())?;
        }
        match setting {
            Some(setting) => write!(f, ":{setting}"),
            None => Ok(()),
        }
    }
}
