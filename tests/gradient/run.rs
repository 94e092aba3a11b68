//! Graphs through ONNX Runtime.

use std::borrow::Cow;
use std::collections::HashSet;

use landscape::checkpoint::onnx::proto::ModelProto;
use landscape::evaluate::onnx::gradient::value_probe::{expose_values, probe_values};
use landscape::evaluate::runtime::Runtime;
use landscape::graph::gradient::values::Value;
use ort::session::{Session, SessionInputValue};
use ort::value::DynValue;
use prost::Message;

/// A session of a graph; `context` is told where there is none.
pub fn session(model: &ModelProto, context: &str) -> Session {
    let runtime = Runtime::load(None).unwrap();
    let built = Session::builder(runtime.environment()).and_then(|builder| {
        let mut builder = builder.with_intra_threads(1)?;
        builder.commit_from_memory(&model.encode_to_vec())
    });
    built.unwrap_or_else(|error| panic!("{error}\n{context}"))
}

type Feeds<'f> = Vec<(Cow<'f, str>, SessionInputValue<'f>)>;

fn fed(feeds: &[(String, DynValue)]) -> Feeds<'_> {
    let feeds = feeds.iter();
    feeds
        .map(|(name, value)| (Cow::from(name.as_str()), value.into()))
        .collect()
}

/// Every value of a graph, by name.
pub fn run_seen(model: &ModelProto, feeds: &[(String, DynValue)]) -> Vec<(String, Value)> {
    let mut session = session(&expose_values(model.clone()), "forward");
    probe_values(&mut session, fed(feeds)).unwrap()
}

/// All outputs as f64.
pub fn run(session: &mut Session, feeds: &[(String, DynValue)]) -> Vec<Vec<f64>> {
    let names: Vec<String> = session
        .outputs()
        .iter()
        .map(|o| o.name().to_string())
        .collect();
    // What no output depends on is no input of the session.
    let read = session.inputs().iter().map(|input| input.name());
    let read: HashSet<String> = read.map(str::to_string).collect();
    let mut feeds = fed(feeds);
    feeds.retain(|(name, _)| read.contains(&**name));
    let outputs = session.run(feeds).unwrap();
    let values = names.iter().map(|name| {
        let value = &outputs[name.as_str()];
        match value.try_extract_tensor::<f64>() {
            Ok((_, values)) => values.to_vec(),
            Err(_) => {
                let (_, values) = value.try_extract_tensor::<f32>().unwrap();
                values.iter().map(|&x| f64::from(x)).collect()
            }
        }
    });
    values.collect()
}
