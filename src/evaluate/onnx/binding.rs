//! How mixed weights get into a session.

/// How mixed weights get into a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// One session per mix; ONNX Runtime receives the mixed weights before it optimizes.
    Baked,
    /// One session per worker; the graph mixes the weights.
    InGraph,
    /// One session per worker; mixed weights are inputs of its graph.
    Inputs,
}

impl Binding {
    /// The name on the command line and in a layout.
    pub fn name(self) -> &'static str {
        match self {
            Self::Baked => "baked",
            Self::InGraph => "in-graph",
            Self::Inputs => "inputs",
        }
    }

    /// Parses the name of a binding.
    pub fn parse(name: &str) -> Option<Self> {
        let all = [Self::Baked, Self::InGraph, Self::Inputs];
        all.into_iter().find(|binding| binding.name() == name)
    }
}
