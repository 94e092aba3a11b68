//! Labels: one integer per sample.

use std::path::Path;

use super::array::{Container, list, width};
use super::fill::{each, integers};
use crate::base::dtype::Dtype;
use crate::error::{Error, Result};

/// Name of the labels' array in a data file.
pub(super) const NAME: &str = "labels";

/// Returns the element type and number of the labels, without reading them.
///
/// # Errors
/// When there is no `labels` array, or it does not hold integers of shape `[n]`.
pub(super) fn shape(path: &Path, container: &mut dyn Container) -> Result<(Dtype, usize)> {
    if !container.names().iter().any(|name| name == NAME) {
        let there = list(container);
        let problem = format!("has no array `{NAME}` (integers, shape [n]); there is {there}");
        return Err(Error::input(path, problem));
    }
    let layout = container.layout(NAME)?;
    let found = layout.describe();
    let refuse = |expected: &str| {
        let problem = format!("array `{NAME}` is {found}; expected {expected}");
        Error::input(path, problem)
    };
    let element = match layout.element {
        Ok(element) if element.is_integer() => element,
        _ => {
            return Err(refuse("integers").help("store class indices, such as labels.astype(int)"));
        }
    };
    match layout.shape[..] {
        [n] => Ok((element, n)),
        _ => Err(refuse("shape [n], one class index a sample")),
    }
}

/// Reads the labels of the given rows.
///
/// # Errors
/// When they cannot be read, or a label is beyond the range of i64.
pub(super) fn read(
    path: &Path,
    container: &mut dyn Container,
    element: Dtype,
    rows: Option<&[usize]>,
) -> Result<Vec<i64>> {
    let bytes = container.read(NAME, rows)?;
    let mut labels = vec![0; bytes.len() / width(element)];
    if element == Dtype::U64 {
        each(&bytes, &mut labels, |bytes| {
            i64::try_from(u64::from_le_bytes(bytes)).unwrap_or(-1)
        });
        if labels.contains(&-1) {
            let problem = format!("array `{NAME}` holds a value beyond the range of i64");
            return Err(Error::input(path, problem));
        }
    } else {
        integers(element, &bytes, &mut labels, |label| label);
    }
    Ok(labels)
}
