//! A data set in memory.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::array::{Container, Element, Layout};
use super::fill::{BatchMut, fill, mismatch, to_i64};
use super::npz::Npz;
use super::preprocess::{Preprocess, Table};
use super::safetensors::Tensors;
use super::spec::InputSpec;
use super::subset::subset;
use crate::error::{Error, Result};
use crate::result::score::{DatasetInfo, Role};

/// Names under which the only input's array is accepted besides the graph's own.
const USUAL_NAMES: [&str; 2] = ["x", "inputs"];

/// Which samples of a file are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Subset {
    /// At most this many; `None` or 0 for all.
    pub limit: Option<usize>,
    /// Seed of the choice.
    pub seed: u64,
}

/// Samples with labels, one array per model input.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Name, role and number of samples.
    pub info: DatasetInfo,
    /// The file.
    pub path: PathBuf,
    labels: Vec<i64>,
    /// Index in the file of each sample, when not all were taken.
    rows: Option<Vec<usize>>,
    columns: Vec<Column>,
}

#[derive(Debug, Clone)]
struct Column {
    element: Element,
    bytes: Bytes,
    /// Shape of one sample.
    sample: Vec<usize>,
    table: Option<Table>,
}

impl Dataset {
    /// Reads the file's `labels` and an array for each of the graph's inputs.
    ///
    /// # Errors
    /// When the file is missing or damaged, an array is missing or of another shape or type than
    /// the graph takes, lengths differ, labels are no integers, or there is no sample.
    pub fn read(
        path: &Path,
        name: &str,
        role: Role,
        inputs: &[InputSpec],
        preprocess: Option<&Preprocess>,
        choice: Subset,
    ) -> Result<Self> {
        let mut file = open(path)?;
        let labels_layout = labels_layout(path, file.as_mut())?;
        let n = labels_layout.shape[0];
        let rows = subset(n, choice.limit, choice.seed);
        let mut columns = Vec::new();
        for input in inputs {
            let array = array_for(path, file.as_ref(), input, inputs.len())?;
            let layout = file.layout(&array)?;
            check(path, &array, &layout, input, n, preprocess.is_some())?;
            columns.push(Column {
                element: element(&layout),
                table: match preprocess {
                    Some(preprocess)
                        if layout.element == Ok(Element::U8) && input.dtype.is_float() =>
                    {
                        Some(Table::new(preprocess, &layout.shape)?)
                    }
                    _ => None,
                },
                bytes: file.read(&array, rows.as_deref())?,
                sample: layout.shape[1..].to_vec(),
            });
        }
        let labels = to_i64(
            &file.read("labels", rows.as_deref())?,
            element(&labels_layout),
        );
        Ok(Self {
            info: DatasetInfo {
                name: name.to_string(),
                role,
                samples: labels.len(),
            },
            path: path.to_path_buf(),
            labels,
            rows,
            columns,
        })
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no sample; [`Dataset::read`] refuses such files.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The labels.
    pub fn labels(&self) -> &[i64] {
        &self.labels
    }

    /// Shape of one sample of input `input`.
    pub fn sample_shape(&self, input: usize) -> &[usize] {
        &self.columns[input].sample
    }

    /// Converts samples `rows` of input `input` into a buffer of just that size.
    pub fn fill(&self, input: usize, rows: Range<usize>, out: BatchMut<'_>) {
        let column = &self.columns[input];
        let stride = column.sample.iter().product::<usize>() * column.element.size();
        let bytes = &column.bytes[rows.start * stride..rows.end * stride];
        fill(bytes, column.element, column.table.as_ref(), out);
    }

    /// Checks that every label is a class of the network.
    ///
    /// # Errors
    /// Names the first label that is not.
    pub fn check_labels(&self, classes: usize) -> Result<()> {
        let outside = |label: &i64| usize::try_from(*label).map_or(true, |label| label >= classes);
        let Some(at) = self.labels.iter().position(outside) else {
            return Ok(());
        };
        let row = self.rows.as_ref().map_or(at, |rows| rows[at]);
        Err(Error::input(
            &self.path,
            format!(
                "labels[{row}] is {}, but the network has {classes} classes (0 to {})",
                self.labels[at],
                classes.saturating_sub(1)
            ),
        ))
    }
}

fn open(path: &Path) -> Result<Box<dyn Container>> {
    let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    match ending.as_deref() {
        Some("npz") => Ok(Box::new(Npz::open(path)?)),
        Some("safetensors") => Ok(Box::new(Tensors::open(path)?)),
        _ if path.exists() => Err(
            Error::input(path, "is neither an .npz nor a .safetensors file")
                .help("make one with numpy.savez_compressed(file, x=..., labels=...)"),
        ),
        _ => Err(Error::input(path, "there is no such file")),
    }
}

fn list(file: &dyn Container) -> String {
    let mut text = String::new();
    for name in file.names() {
        let separator = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{separator}`{name}`");
    }
    text
}

fn labels_layout(path: &Path, file: &mut dyn Container) -> Result<Layout> {
    if !file.names().iter().any(|name| name == "labels") {
        let found = list(file);
        return Err(Error::input(
            path,
            format!("has no array `labels`; it holds {found}"),
        ));
    }
    let layout = file.layout("labels")?;
    let fault = |problem: &str| {
        let found = layout.describe();
        Err(Error::input(
            path,
            format!("`labels` is {found}; {problem}"),
        ))
    };
    match &layout.element {
        Ok(element) if element.is_integer() => {}
        _ => return fault("integers (class numbers) are needed"),
    }
    match layout.shape.as_slice() {
        [0] => fault("the data set is empty"),
        [_] => Ok(layout),
        _ => fault("one number a sample, shape [n], is needed"),
    }
}

/// The array that feeds an input: the one with its name, else a usual one for the only input.
fn array_for(
    path: &Path,
    file: &dyn Container,
    input: &InputSpec,
    inputs: usize,
) -> Result<String> {
    let names = file.names();
    let usual = if inputs == 1 { &USUAL_NAMES[..] } else { &[] };
    let mut wanted = std::iter::once(input.name.as_str()).chain(usual.iter().copied());
    let found = wanted.find(|wanted| names.iter().any(|name| name == wanted));
    found.map(str::to_string).ok_or_else(|| {
        Error::input(
            path,
            format!(
                "has no array for the network's input `{}` ({input}); it holds {}",
                input.name,
                list(file)
            ),
        )
    })
}

fn check(
    path: &Path,
    array: &str,
    layout: &Layout,
    input: &InputSpec,
    n: usize,
    preprocess: bool,
) -> Result<()> {
    let found = layout.describe();
    let fault =
        |problem: String| Error::input(path, format!("array `{array}` is {found}; {problem}"));
    let element = match &layout.element {
        Ok(element) => *element,
        Err(_) => return Err(fault("it cannot be read".to_string())),
    };
    if !input.accepts(&layout.shape) {
        return Err(fault(format!(
            "the network's input `{}` takes {input}",
            input.name
        )));
    }
    if layout.shape[0] != n {
        return Err(fault(format!("`labels` has {n} entries")));
    }
    match mismatch(element, input.dtype, preprocess) {
        None => Ok(()),
        Some(help) => Err(fault(format!(
            "the network's input `{}` takes {input}",
            input.name
        ))
        .help(help)),
    }
}

fn element(layout: &Layout) -> Element {
    // Callers checked the type; a type that cannot be read never gets here.
    layout.element.clone().unwrap_or(Element::U8)
}
