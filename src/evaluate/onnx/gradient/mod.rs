//! Loss and gradient of mixes, by graphs that differentiate the network.

pub mod see;
