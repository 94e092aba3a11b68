//! How mixed weights get into a session.

/// How mixed weights get into a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// A session a mix, its weights handed over before ONNX Runtime optimizes.
    Baked,
    /// One session a worker; the graph mixes the weights.
    InGraph,
    /// One session a worker; mixed weights are inputs of its graph.
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

    /// The binding of a name.
    pub fn parse(name: &str) -> Option<Self> {
        let all = [Self::Baked, Self::InGraph, Self::Inputs];
        all.into_iter().find(|binding| binding.name() == name)
    }
}
