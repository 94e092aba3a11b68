//! Whether ONNX Runtime knows the versions of format and operators that a model is written in.

use super::setup::{Setup, failed};
use crate::checkpoint::onnx::Model;
use crate::checkpoint::onnx::proto::{DataType, GraphProto, ModelProto};
use crate::error::{Error, Result};
use crate::graph::build::{described, node};

/// Builds a session over one node in the versions of a model.
///
/// # Errors
/// Fails when ONNX Runtime is older than the model; the message names both versions.
pub fn check(setup: &Setup<'_>, model: &Model) -> Result<()> {
    let vector = |name: &str| described(name, DataType::Float, &[1]);
    let smallest = ModelProto {
        ir_version: model.proto.ir_version,
        opset_import: model.proto.opset_import.clone(),
        graph: Some(GraphProto {
            name: Some("versions".to_string()),
            node: vec![node("Identity", &["x"], "y", &[])],
            input: vec![vector("x")],
            output: vec![vector("y")],
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    };
    let built = setup
        .builder(1, 0)
        .and_then(|builder| setup.light(smallest).commit(builder));
    let Err(error) = built else {
        return Ok(());
    };
    let text = error.to_string();
    let Some(found) = Limit::told_by(&text) else {
        return Err(failed("reading the versions of the model", &error));
    };
    let runtime = format!("ONNX Runtime {}", setup.runtime.version());
    Err(found.error(model, &runtime))
}

/// A version that ONNX Runtime does not know, and the newest that it does.
#[derive(Debug, PartialEq, Eq)]
struct Limit {
    /// The operators' domain; `None` for the version of the format.
    domain: Option<String>,
    asked: u64,
    newest: u64,
}

impl Limit {
    /// Reads ONNX Runtime's message.
    fn told_by(text: &str) -> Option<Self> {
        if let Some(asked) = number_after(text, "model IR version: ") {
            return Some(Self {
                domain: None,
                asked,
                newest: number_after(text, "max supported IR version: ")?,
            });
        }
        let (_, rest) = text.split_once("official support for domain ")?;
        let domain = rest.split_whitespace().next()?;
        Some(Self {
            domain: Some(domain.to_string()),
            asked: number_after(text, "versions. Opset ")?,
            newest: number_after(rest, "is till opset ")?,
        })
    }

    fn error(&self, model: &Model, runtime: &str) -> Error {
        let Self {
            domain,
            asked,
            newest,
        } = self;
        let (problem, cure) = match domain.as_deref() {
            None => (
                format!(
                    "is written in version {asked} of the format (IR version), and {runtime} reads \
                     versions up to {newest}"
                ),
                format!("write it with ir_version {newest}"),
            ),
            Some("ai.onnx") => (
                format!(
                    "uses version {asked} of the operators (opset), and {runtime} knows versions up \
                     to {newest}"
                ),
                format!("export it with opset_version={newest}"),
            ),
            Some(domain) => (
                format!(
                    "uses version {asked} of the operators of {domain}, and {runtime} knows versions \
                     up to {newest}"
                ),
                format!("export it with version {newest} of these operators"),
            ),
        };
        Error::input(&model.path, problem).help(format!(
            "{cure}, or use a newer ONNX Runtime (pip install -U onnxruntime)"
        ))
    }
}

/// The number that follows a text.
fn number_after(text: &str, before: &str) -> Option<u64> {
    let (_, rest) = text.split_once(before)?;
    let end = rest.find(|c: char| !c.is_ascii_digit());
    rest[..end.unwrap_or(rest.len())].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_onnx_runtime_are_read() {
        let format = "/src/model.cc:256 onnxruntime::Model::Model(onnx::ModelProto&&) Unsupported \
                      model IR version: 99, max supported IR version: 14\n";
        let limit = |domain: Option<&str>, asked, newest| {
            Some(Limit {
                domain: domain.map(str::to_string),
                asked,
                newest,
            })
        };
        assert_eq!(Limit::told_by(format), limit(None, 99, 14));
        let operators = "ONNX Runtime only *guarantees* support for models stamped with official \
                         released onnx opset versions. Opset 77 is under development and support for \
                         this is limited. Current official support for domain ai.onnx.ml is till \
                         opset 5.";
        assert_eq!(Limit::told_by(operators), limit(Some("ai.onnx.ml"), 77, 5));
        assert_eq!(Limit::told_by("Load model failed: bad node"), None);
    }
}
