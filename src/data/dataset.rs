//! A data set in memory.

use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::array::{Container, Layout, list};
use super::as_it_is;
use super::fill::{BatchMut, Column, convertible, needs_table};
use super::npz::Npz;
use super::preprocess::{Preprocess, Table};
use super::safetensors::SafetensorsFile;
use super::spec::{InputDtype, InputSpec};
use super::{labels, subset};
use crate::base::dtype::Dtype;
use crate::base::{download, files, hash, human, map};
use crate::error::{Error, Result};
use crate::result::score::{DatasetInfo, Role};

/// Alternative names of the array if the graph has a single input.
const ALIASES: [&str; 2] = ["x", "inputs"];

/// A data set and its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// `train`, `val`, `test`, or the name given to a shift or source set.
    pub name: String,
    /// Purpose of the data set.
    pub role: Role,
    /// Path of the `.npz` or `.safetensors` file.
    pub path: PathBuf,
}

impl Source {
    /// Names a data set, its role and its file.
    pub fn new(name: impl Into<String>, role: Role, path: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            role,
            path: path.into(),
        }
    }
}

/// How data sets are read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReadOptions {
    /// Scaling of u8 data for floating-point inputs.
    pub preprocess: Option<Preprocess>,
    /// Samples to keep, chosen at random without replacement; `None` and 0 keep all.
    pub limit: Option<usize>,
    /// Seed of the choice of samples.
    pub seed: u64,
}

/// Labelled samples: one array per input of the graph, with the samples along its first axis.
///
/// Samples stay as stored until [`Dataset::fill`] converts a batch. If the file is uncompressed
/// they stay in the memory-mapped file, which must not be changed meanwhile. A data set can be
/// shared between threads.
#[derive(Debug)]
pub struct Dataset {
    source: Source,
    sha256: String,
    /// Number of samples in the file.
    file_samples: usize,
    /// File indices of the samples kept, ascending; `None` if all are kept.
    rows: Option<Vec<usize>>,
    labels: Vec<i64>,
    columns: Vec<Column>,
    /// The samples in evaluation order.
    order: Vec<usize>,
    /// Warnings for the results about how the data is used.
    warnings: Vec<String>,
    /// Notes for the user at the terminal only.
    notes: Vec<String>,
}

impl Dataset {
    /// Reads the samples and labels that a graph with these inputs needs.
    ///
    /// An array is matched to an input by name; if the graph has a single input, `x` or `inputs`
    /// work as well. Arrays that match no input are ignored.
    ///
    /// # Errors
    /// When the file is missing, damaged or of unknown format; when labels or an input's array are
    /// missing or of the wrong type, shape or number of samples; when there is no sample; and when
    /// u8 data meets a floating-point input without preprocessing. The error names file and array.
    pub fn read(source: &Source, inputs: &[InputSpec], options: &ReadOptions) -> Result<Self> {
        let mut read = Self::read_rows(source, inputs, options, |n| {
            subset::subset(n, options.limit, options.seed)
        })?;
        if let Some(preprocess) = &options.preprocess {
            read.look_at_floats(inputs, preprocess);
        }
        Ok(read)
    }

    /// Reads samples that [`Dataset::read`] leaves out because of the limit, as many of them as that
    /// reads, or all. `None` if it leaves out none.
    ///
    /// # Errors
    /// As [`Dataset::read`].
    pub fn read_left_out(
        source: &Source,
        inputs: &[InputSpec],
        options: &ReadOptions,
    ) -> Result<Option<Self>> {
        let read = Self::read_rows(source, inputs, options, |n| {
            subset::left_out(n, options.limit, options.seed)
        })?;
        Ok(read.rows.is_some().then_some(read))
    }

    /// Reads the samples that `rows` chooses of n.
    fn read_rows(
        source: &Source,
        inputs: &[InputSpec],
        options: &ReadOptions,
        rows: impl FnOnce(usize) -> Option<Vec<usize>>,
    ) -> Result<Self> {
        let path = &source.path;
        let bytes = map::map_open(&files::open(path)?, path)?;
        download::refuse_failed(path, &bytes)?;
        let mut container = open(path, &bytes)?;
        let container = container.as_mut();
        let (element, n) = labels::shape(path, container)?;
        if n == 0 {
            return Err(Error::input(
                path,
                "holds no sample: `labels` has shape [0]",
            ));
        }
        let rows = rows(n);
        let labels = labels::read(path, container, element, rows.as_deref())?;
        let mut reader = Reader {
            path,
            container,
            samples: n,
            rows: rows.as_deref(),
            preprocess: options.preprocess.as_ref(),
        };
        let names = inputs.iter().map(|spec| reader.name(spec, inputs.len()));
        let names = names.collect::<Result<Vec<String>>>()?;
        let columns = inputs.iter().zip(&names);
        let columns = columns.map(|(spec, name)| reader.column(spec, name));
        let columns = columns.collect::<Result<_>>()?;
        let notes = unread(path, container, &names);
        Ok(Self {
            source: source.clone(),
            sha256: hash::sha256(&bytes),
            file_samples: n,
            rows,
            order: subset::order(labels.len(), options.seed),
            labels,
            columns,
            warnings: Vec::new(),
            notes: notes.into_iter().collect(),
        })
    }

    /// Checks floating-point data if preprocessing is configured, which applies only to u8. If some
    /// input is preprocessed, the others are meant to be taken as they are.
    fn look_at_floats(&mut self, inputs: &[InputSpec], preprocess: &Preprocess) {
        if self.columns.iter().any(Column::is_preprocessed) {
            return;
        }
        for (input, spec) in inputs.iter().enumerate() {
            if !self.dtype(input).is_float() {
                continue;
            }
            let few = &self.order[..self.len().min(as_it_is::SAMPLES)];
            let Some(seen) = as_it_is::Seen::of(&self.columns[input], few) else {
                continue;
            };
            match seen.told(&spec.name, self.path(), preprocess) {
                as_it_is::Told::Warning(text) => self.warnings.push(text),
                as_it_is::Told::Note(text) => self.notes.push(text),
            }
        }
    }

    /// Warnings for the results about how the data is used.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Notes for the user about data that is used as it should be.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// `train`, `val`, `test`, or the name given to a shift or source set.
    pub fn name(&self) -> &str {
        &self.source.name
    }

    /// Purpose of the data set.
    pub fn role(&self) -> Role {
        self.source.role
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.source.path
    }

    /// SHA-256 of the file's content, in hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Name, role and number of samples, as results carry them.
    pub fn info(&self) -> DatasetInfo {
        DatasetInfo {
            name: self.source.name.clone(),
            role: self.source.role,
            samples: self.len(),
        }
    }

    /// Number of samples kept, at least 1.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Number of samples in the file, kept or not.
    pub fn file_samples(&self) -> usize {
        self.file_samples
    }

    /// Whether there is no sample; never true, since [`Dataset::read`] refuses empty data.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The class of each sample.
    pub fn labels(&self) -> &[i64] {
        &self.labels
    }

    /// The samples in evaluation order: shuffled with a seed, so that the first of them are a fair
    /// sample of all, however the file is sorted.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// File index of a kept sample.
    pub fn file_index(&self, sample: usize) -> usize {
        self.rows.as_ref().map_or(sample, |rows| rows[sample])
    }

    /// Shape of one sample of an input, without the batch axis; `input` is an index into the
    /// specifications given to [`Dataset::read`].
    pub fn sample_shape(&self, input: usize) -> &[usize] {
        &self.columns[input].shape
    }

    /// Number of elements in one sample of an input.
    pub fn sample_len(&self, input: usize) -> usize {
        self.columns[input].row_len
    }

    /// Element type of an input in the graph.
    pub fn dtype(&self, input: usize) -> InputDtype {
        self.columns[input].dtype
    }

    /// Writes the given samples of an input into the caller's buffer, converted to the graph's
    /// type; nothing is allocated.
    ///
    /// # Panics
    /// When `out` is not of the input's type or not of `samples.len()` × [`Dataset::sample_len`]
    /// elements, or `samples` is out of range.
    pub fn fill(&self, input: usize, samples: Range<usize>, out: BatchMut<'_>) {
        let column = &self.columns[input];
        assert_eq!(out.dtype(), column.dtype, "the buffer has the input's type");
        assert_eq!(out.len(), samples.len() * column.row_len, "the buffer fits");
        column.fill(samples.start, samples.len(), out);
    }

    /// Writes samples of an input into the caller's buffer, one by one; `places` are indices into
    /// [`Dataset::order`].
    ///
    /// # Panics
    /// When [`Dataset::fill`] does.
    pub fn gather(&self, input: usize, places: &[usize], mut out: BatchMut<'_>) {
        let row = self.sample_len(input);
        for (index, &place) in places.iter().enumerate() {
            let sample = self.order[place];
            self.fill(
                input,
                sample..sample + 1,
                out.part(index * row..(index + 1) * row),
            );
        }
    }

    /// Checks that every label is a class, 0 ≤ label < `classes`.
    ///
    /// # Errors
    /// When a label is no class; the message gives the first such label and its index in the file.
    pub fn check_labels(&self, classes: usize) -> Result<()> {
        let is_class = |label: i64| usize::try_from(label).is_ok_and(|label| label < classes);
        let wrong = self.labels.iter().position(|&label| !is_class(label));
        let Some(sample) = wrong else {
            return Ok(());
        };
        let bounds = (self.labels.iter().min(), self.labels.iter().max());
        let last = i64::try_from(classes).unwrap_or(i64::MAX);
        let from_one = match bounds == (Some(&1), Some(&last)) {
            true => "; these seem to begin at 1: write `labels - 1` instead",
            false => "",
        };
        let problem = format!(
            "labels[{}] is {}; the model has {classes} classes, so that labels go from 0 to {}{from_one}",
            self.file_index(sample),
            self.labels[sample],
            classes.saturating_sub(1)
        );
        Err(Error::input(self.path(), problem))
    }
}

/// Context for reading the arrays of inputs.
struct Reader<'a> {
    path: &'a Path,
    container: &'a mut dyn Container,
    /// Number of samples in the file.
    samples: usize,
    rows: Option<&'a [usize]>,
    preprocess: Option<&'a Preprocess>,
}

impl Reader<'_> {
    /// Returns the name of the array that feeds an input.
    fn name(&mut self, spec: &InputSpec, inputs: usize) -> Result<String> {
        let names = self.container.names();
        let there = |wanted: &str| names.iter().any(|name| name == wanted);
        if there(&spec.name) {
            return Ok(spec.name.clone());
        }
        let aliases = ALIASES.iter().filter(|alias| inputs == 1 && there(alias));
        let aliases: Vec<_> = aliases.collect();
        let input = &spec.name;
        let problem = match aliases[..] {
            [alias] => return Ok(alias.to_string()),
            [] => format!("has no array for the graph's input `{input}`"),
            _ => format!("has both `x` and `inputs` for the graph's one input `{input}`"),
        };
        let problem = format!("{problem}; there is {}", list(self.container));
        let alias = match inputs == 1 && input != ALIASES[0] {
            true => " or `x`",
            false => "",
        };
        Err(Error::input(self.path, problem).help(format!(
            "name the array `{input}`{alias}, or export the network with input_names=[\"NAME\", …], which \
             gives its inputs these names"
        )))
    }

    fn column(&mut self, spec: &InputSpec, name: &str) -> Result<Column> {
        let layout = self.container.layout(name)?;
        let element = self.check(spec, name, &layout)?;
        let table = match self.preprocess {
            _ if !needs_table(element, spec.dtype) => None,
            Some(preprocess) => Some(Table::new(preprocess, self.path, name, &layout.shape)?),
            None => return Err(self.no_preprocess(spec, name)),
        };
        let bytes: Bytes = self.container.read(name, self.rows)?;
        let shape = layout.shape[1..].to_vec();
        let column = Column::new(spec.dtype, element, shape, bytes, table);
        column.check_range(self.path, name, self.rows)?;
        Ok(column)
    }

    /// Checks an array's type, shape and number of samples against its input; returns its type.
    fn check(&self, spec: &InputSpec, name: &str, layout: &Layout) -> Result<Dtype> {
        let found = format!("array `{name}` is {}", layout.describe());
        let wanted = format!("the graph's input `{}` takes {spec}", spec.name);
        let refuse = |problem: String| Err(Error::input(self.path, problem));
        let element = match layout.element {
            Ok(element) if convertible(element, spec.dtype) => element,
            _ => return refuse(format!("{found}, which does not convert: {wanted}")),
        };
        if !spec.accepts(&layout.shape) {
            return refuse(format!("{found}; {wanted}"));
        }
        match layout.shape[..] {
            [n, ..] if n != self.samples => refuse(format!(
                "{found}, that is {n} samples, but `labels` has {}",
                self.samples
            )),
            [_, ref sample @ ..] if !sample.contains(&0) => Ok(element),
            _ => refuse(format!("{found}, so that a sample has no element")),
        }
    }

    fn no_preprocess(&self, spec: &InputSpec, name: &str) -> Error {
        let problem = format!(
            "array `{name}` is u8 and the graph's input `{}` takes {}, but no preprocessing is \
             configured",
            spec.name,
            spec.dtype.name()
        );
        Error::input(self.path, problem)
            .help("say in landscape.toml what the model was trained with, such as")
            .lines([
                "  [preprocess]",
                "  scale = \"1/255\"",
                "  mean = [0.1307]",
                "  std = [0.3081]",
            ])
    }
}

/// Tells which arrays of a file are neither labels nor fed to the graph.
fn unread(path: &Path, container: &dyn Container, fed: &[String]) -> Option<String> {
    let names = container.names().into_iter();
    let unread = names.filter(|name| name != labels::NAME && !fed.contains(name));
    let unread: Vec<String> = unread.map(|name| format!("`{name}`")).collect();
    (!unread.is_empty()).then(|| {
        let arrays = human::list(&unread, NAMED);
        format!("{}: not read: {arrays}", path.display())
    })
}

/// Maximum number of arrays named in a note.
const NAMED: usize = 4;

/// Opens a data file; its extension gives the format.
fn open(path: &Path, bytes: &Bytes) -> Result<Box<dyn Container>> {
    let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
    match ending.to_str() {
        Some("npz") => Ok(Box::new(Npz::open(path, bytes.clone())?)),
        Some("safetensors") => Ok(Box::new(SafetensorsFile::open(path, bytes)?)),
        _ => Err(Error::input(
            path,
            "is of no known kind of data set; expected a name ending in .npz or .safetensors",
        )),
    }
}
