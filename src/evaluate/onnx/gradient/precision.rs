//! The precision of gradients.

/// The type that a gradient is computed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// The types of the network.
    Own,
    /// Doubles throughout.
    Double,
}
