//! Weights of an ONNX model that are stored in files beside it.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;

use super::proto::{TensorProto, entries};
use crate::base::files::Stamp;
use crate::base::map;
use crate::error::Error;

/// The external files of one model, each mapped once.
pub struct Files {
    folder: PathBuf,
    /// Folders that may contain the files: the model's own, as given and with links resolved (a
    /// hub's cache links model and data into one folder of blobs).
    roots: Vec<PathBuf>,
    mapped: BTreeMap<PathBuf, (Stamp, Bytes)>,
}

/// The reason why external data cannot be used.
pub struct Fault {
    problem: String,
    help: Option<&'static str>,
}

impl Fault {
    fn new(problem: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
            help: None,
        }
    }

    /// Makes an error that names model and initializer.
    pub fn within(self, model: &Path, initializer: &str) -> Error {
        let error = Error::input(
            model,
            format!("initializer `{initializer}`: {}", self.problem),
        );
        match self.help {
            Some(help) => error.help(help),
            None => error,
        }
    }
}

impl Files {
    /// Prepares to open the files beside a model.
    pub fn beside(model: &Path) -> Self {
        let parent = |path: &Path| match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let folder = parent(model);
        let real = |path: &Path| path.canonicalize().ok();
        let roots = [real(&folder), real(model).map(|path| parent(&path))];
        Self {
            folder,
            roots: roots.into_iter().flatten().collect(),
            mapped: BTreeMap::new(),
        }
    }

    /// Returns the bytes of an external initializer.
    pub fn bytes(&mut self, proto: &TensorProto) -> Result<Bytes, Fault> {
        let entries = entries(&proto.external_data);
        let location = *entries
            .get("location")
            .ok_or_else(|| Fault::new("is external but names no file"))?;
        let number = |key: &str| match entries.get(key) {
            None => Ok(None),
            Some(text) => text.parse::<usize>().map(Some).map_err(|_| {
                Fault::new(format!("external data: `{key}` is `{text}`, not a number"))
            }),
        };
        let offset = number("offset")?.unwrap_or(0);
        let length = number("length")?;
        let file = self.map(location)?;
        let too_few = || Fault {
            problem: format!(
                "external data `{location}` has {} bytes, too few for offset {offset}{}",
                file.len(),
                length.map_or(String::new(), |length| format!(" and length {length}"))
            ),
            help: Some("was the copy or download cut short?"),
        };
        let end = match length {
            Some(length) => offset.checked_add(length),
            None => Some(file.len()),
        };
        match end {
            Some(end) if offset <= end && end <= file.len() => Ok(file.slice(offset..end)),
            _ => Err(too_few()),
        }
    }

    /// The files used, as they were when they were opened, in the order of their paths.
    pub fn stamps(&self) -> Vec<Stamp> {
        self.mapped
            .values()
            .map(|(stamp, _)| stamp.clone())
            .collect()
    }

    fn map(&mut self, location: &str) -> Result<Bytes, Fault> {
        let path = self.resolve(location)?;
        if let Some((_, bytes)) = self.mapped.get(&path) {
            return Ok(bytes.clone());
        }
        let stamp = Stamp::of(&path);
        let bytes = map::map_file(&path).map_err(|error| Fault {
            problem: format!("external data: {error}"),
            help: Some("keep the model and its data file in one folder"),
        })?;
        self.mapped.insert(path, (stamp, bytes.clone()));
        Ok(bytes)
    }

    /// Resolves the file's path; refuses one outside the model's folder.
    fn resolve(&self, location: &str) -> Result<PathBuf, Fault> {
        let outside = || {
            Fault::new(format!(
                "external data `{location}` lies outside the model's folder; refused"
            ))
        };
        let inside = Path::new(location)
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !inside || location.contains('\\') {
            return Err(outside());
        }
        let path = self.folder.join(location);
        match path.canonicalize() {
            Ok(real) if !self.roots.iter().any(|root| real.starts_with(root)) => Err(outside()),
            // Opening the file reports if it does not exist.
            _ => Ok(path),
        }
    }
}
