//! The tensors that differ between the members of a pool, and their names in the graphs.

use crate::graph::skeleton::WeightSlot;
use crate::space::matching::Aligned;

/// A tensor that differs between the members; each mix supplies its values.
#[derive(Debug, Clone)]
pub struct MovingTensor {
    /// Index of the pool's parameter.
    pub parameter: usize,
    /// The name in the graphs.
    pub name: String,
}

impl MovingTensor {
    /// The moving tensors of a pool, in its order.
    pub fn all(aligned: &Aligned) -> Vec<Self> {
        let parameters = aligned.pool.parameters.iter().enumerate();
        let moving = parameters.filter(|(_, parameter)| !parameter.frozen);
        moving
            .map(|(parameter, _)| Self {
                parameter,
                name: format!("landscape.{parameter}"),
            })
            .collect()
    }

    /// The tensor's position in the network's graph.
    pub fn weight_slot(&self, aligned: &Aligned) -> WeightSlot {
        aligned.weight_slot(self.parameter, &self.name, None)
    }
}
