//! The pool: the origin and the checkpoints, aligned parameter by parameter.

use std::path::PathBuf;

use super::decode;
use super::stored_tensor::StoredTensor;
use crate::checkpoint::tensor::Dtype;

/// The role of a tensor in a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterRole {
    /// A trained tensor: part of θ and of its norms and angles.
    Trainable,
    /// A batch-norm running mean, or another buffer: mixed like θ, but not part of norms and angles.
    Buffer,
    /// A batch-norm running variance: a buffer that stays positive outside the checkpoints' hull
    /// ([`super::log_variance`]).
    Variance,
}

/// One tensor of the network, in the orientation in which the graph holds it.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// The checkpoint's name of the tensor; without one, the initializer's.
    pub name: String,
    /// Shape in the graph.
    pub shape: Vec<usize>,
    /// Element type in the graph.
    pub dtype: Dtype,
    /// Whether it is trained or a running statistic.
    pub role: ParameterRole,
    /// Index of another parameter that is the same tensor (tied weights). This one is fed to the
    /// graph as well, but does not count in norms and angles.
    pub tied_to: Option<usize>,
    /// Whether it is equal in every member of the pool, value by value.
    pub frozen: bool,
}

impl Parameter {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is a buffer: mixed, but not part of θ.
    pub fn is_buffer(&self) -> bool {
        self.role != ParameterRole::Trainable
    }

    /// Whether it counts in norms and angles.
    pub fn counts(&self) -> bool {
        self.role == ParameterRole::Trainable && self.tied_to.is_none()
    }
}

/// One model of the pool.
#[derive(Debug, Clone)]
pub struct Member {
    /// Name: the file's stem.
    pub name: String,
    /// Path of the file.
    pub path: PathBuf,
    /// `sources[parameter]`: the member's tensors.
    pub sources: Vec<StoredTensor>,
}

/// The origin (member 0) and the checkpoints, all over the same parameters.
#[derive(Debug, Clone)]
pub struct Pool {
    /// The parameters.
    pub parameters: Vec<Parameter>,
    /// The models; member 0 is the origin θ0.
    pub members: Vec<Member>,
}

impl Pool {
    /// Marks every trained tensor as moving, even if the members do not differ in it.
    pub fn mark_moving(&mut self) {
        for parameter in &mut self.parameters {
            parameter.frozen &= parameter.is_buffer();
        }
    }

    /// Whether a tied matrix is the transpose of the other parameter.
    pub fn is_transpose(&self, tied: usize, other: usize) -> bool {
        let sources = &self.members[0].sources;
        self.parameters[tied].shape != self.parameters[other].shape
            || !decode::equal(&sources[tied].tensor, &sources[other])
    }
}
