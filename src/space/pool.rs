//! The pool: the origin and the checkpoints, aligned parameter by parameter.

use std::path::PathBuf;

use super::decode;
use super::stored_tensor::StoredTensor;
use crate::checkpoint::tensor::Dtype;

/// What moving a tensor means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A trained tensor: part of θ, of its norms and angles.
    Trainable,
    /// A batch-norm running statistic: moves with the mix, stays out of the geometry.
    Buffer,
}

/// One tensor of the network, in the orientation in which the graph holds it.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Its name: the checkpoint's where there is one, else the initializer's.
    pub name: String,
    /// Shape in the graph.
    pub shape: Vec<usize>,
    /// Element type in the graph.
    pub dtype: Dtype,
    /// Trained, or a running statistic.
    pub role: Role,
    /// Another parameter that is the same tensor (tied weights): this one is fed to the
    /// graph too, but counts in no norm or angle.
    pub tied_to: Option<usize>,
    /// Whether it is equal, value by value, in every member of the pool.
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

    /// Whether it counts in norms and angles.
    pub fn counts(&self) -> bool {
        self.role == Role::Trainable && self.tied_to.is_none()
    }
}

/// One model of the pool.
#[derive(Debug, Clone)]
pub struct Member {
    /// The file's stem.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// One tensor a parameter, in the pool's order: `sources[parameter]`.
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
    /// Marks every trained tensor as one that moves, whether or not the members differ in it.
    pub fn mark_moving(&mut self) {
        for parameter in &mut self.parameters {
            parameter.frozen &= parameter.role != Role::Trainable;
        }
    }

    /// Whether a tied parameter, a matrix, is the transpose of the other.
    pub fn is_transpose(&self, tied: usize, other: usize) -> bool {
        let sources = &self.members[0].sources;
        self.parameters[tied].shape != self.parameters[other].shape
            || !decode::equal(&sources[tied].tensor, &sources[other])
    }
}
