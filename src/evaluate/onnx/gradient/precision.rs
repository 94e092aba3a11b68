//! In what type gradients are computed.

/// In what type a gradient is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// The types of the network.
    Own,
    /// Doubles throughout.
    Double,
}
