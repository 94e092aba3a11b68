//! The files of a result: `NAME.csv`, further tables beside it, and `NAME.json`.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::loss::{Beta, BetaFit, LossKind};
use super::score::{DatasetInfo, Role};
use crate::base::{atomic, files};
use crate::error::{Error, Result};

/// The key of a summary that says how its losses are calibrated.
const CALIBRATION: &str = "calibration";

/// The key of a summary's provenance.
const PROVENANCE: &str = "provenance";

/// Path of the JSON that belongs to a result's CSV.
pub fn json_beside(csv: &Path) -> PathBuf {
    csv.with_extension("json")
}

/// Writes the JSON beside a result's CSV.
///
/// # Errors
/// When the file cannot be written.
pub fn write_json(csv: &Path, value: &impl Serialize) -> Result<()> {
    atomic::write_json(&json_beside(csv), value)
}

/// Writes a table whose header is the field names of its rows; without rows the file is empty.
///
/// # Errors
/// When the file cannot be written.
pub fn write_rows(path: &Path, rows: impl IntoIterator<Item = impl Serialize>) -> Result<()> {
    atomic::write(path, |out| {
        let mut writer = csv::Writer::from_writer(out);
        for row in rows {
            writer.serialize(row).map_err(io::Error::other)?;
        }
        writer.flush()
    })
}

/// Writes a table as [`write_rows`] does, but the names of columns with losses say what kind of loss
/// they hold.
///
/// # Errors
/// When the file cannot be written.
pub fn write_losses(
    path: &Path,
    loss: LossKind,
    rows: impl IntoIterator<Item = impl Serialize>,
) -> Result<()> {
    let mut rows = rows.into_iter().peekable();
    let Some(header) = rows.peek().map(header).transpose()? else {
        return write_rows(path, rows);
    };
    write_under(path, header.iter().map(|name| loss.named(name)), rows)
}

/// The field names of a row.
fn header(row: &impl Serialize) -> Result<csv::StringRecord> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let written = writer.serialize(row).map_err(io::Error::other);
    let text = written.and_then(|()| writer.into_inner().map_err(io::Error::other));
    let text = text.map_err(|error| Error::runtime("writing a table", error))?;
    let mut reader = csv::Reader::from_reader(text.as_slice());
    let header = reader.headers().cloned();
    header.map_err(|error| Error::runtime("writing a table", error))
}

/// A summary as its JSON holds it.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Named<'s, S> {
    /// As it is.
    Plain(&'s S),
    /// The names of keys with losses say what kind of loss they hold.
    Renamed(Value),
}

/// A summary as its JSON holds it, with losses of this kind.
///
/// # Errors
/// When the summary is no JSON.
pub fn named<S: Serialize>(loss: LossKind, summary: &S) -> Result<Named<'_, S>> {
    if loss == LossKind::Plain {
        return Ok(Named::Plain(summary));
    }
    let value = serde_json::to_value(summary);
    let value = value.map_err(|error| Error::runtime("writing JSON", error))?;
    Ok(Named::Renamed(renamed(value, &|key| loss.named(key))))
}

/// Renames the keys of a JSON value, but not those of its provenance, which has names of files.
fn renamed(value: Value, rename: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(key, value)| match &*key {
                PROVENANCE => (key, value),
                _ => (rename(&key), renamed(value, rename)),
            });
            Value::Object(fields.collect())
        }
        Value::Array(items) => {
            let items = items.into_iter();
            Value::Array(items.map(|item| renamed(item, rename)).collect())
        }
        other => other,
    }
}

/// The β in the rows of a table, one for each row; empty unless all have one.
pub(super) fn betas(rows: impl Iterator<Item = (Option<f64>, Option<BetaFit>)>) -> Vec<Beta> {
    let beta = |(value, fit): (Option<f64>, Option<BetaFit>)| {
        let (value, fit) = (value?, fit?);
        Some(Beta { value, fit })
    };
    rows.map(beta).collect::<Option<_>>().unwrap_or_default()
}

/// Writes a table with a given header, which is written even without rows.
///
/// # Errors
/// When the file cannot be written.
pub fn write_under(
    path: &Path,
    header: impl IntoIterator<Item = impl AsRef<[u8]>>,
    rows: impl IntoIterator<Item = impl Serialize>,
) -> Result<()> {
    atomic::write(path, |out| {
        let mut builder = csv::WriterBuilder::new();
        let mut writer = builder.has_headers(false).from_writer(out);
        writer.write_record(header).map_err(io::Error::other)?;
        for row in rows {
            writer.serialize(row).map_err(io::Error::other)?;
        }
        writer.flush()
    })
}

/// Writes a table as [`write_rows`] does. Without rows it writes none, and removes an earlier
/// run's.
///
/// # Errors
/// When the file cannot be written.
pub fn write_rows_if_any<R: Serialize>(path: &Path, rows: &[R]) -> Result<()> {
    write_losses_if_any(path, LossKind::Plain, rows)
}

/// Writes a table as [`write_losses`] does. Without rows it writes none, and removes an earlier
/// run's.
///
/// # Errors
/// When the file cannot be written.
pub fn write_losses_if_any<R: Serialize>(path: &Path, loss: LossKind, rows: &[R]) -> Result<()> {
    if rows.is_empty() {
        remove_stale(path);
        return Ok(());
    }
    write_losses(path, loss, rows)
}

/// Removes a table that an earlier run left and that this result does not have.
pub fn remove_stale(path: &Path) {
    // Usually there is none.
    drop(std::fs::remove_file(path));
}

/// Reads the JSON beside a CSV; `what` names the expected result in messages.
///
/// # Errors
/// When the file is missing or holds something else.
pub fn read_json<T: DeserializeOwned>(csv: &Path, what: &str) -> Result<T> {
    let json = json_beside(csv);
    let text = files::text(&json, files::RESULT)?;
    serde_json::from_str(&text)
        .map_err(|error| Error::input(&json, format!("is no {what}: {error}")))
}

/// Reads the rows of a CSV and the summary in the JSON beside it; `what` names the result.
///
/// # Errors
/// When a file is missing or holds something else.
pub fn read_both<Row: DeserializeOwned, Summary: DeserializeOwned>(
    csv: &Path,
    what: &str,
) -> Result<(Vec<Row>, Summary)> {
    let json = json_beside(csv);
    let text = files::text(&json, files::RESULT)
        .map_err(|error| error.help("the figure's markers come from the .json beside the .csv"))?;
    let no_summary = |error| Error::input(&json, format!("is no {what}'s summary: {error}"));
    let value: Value = serde_json::from_str(&text).map_err(no_summary)?;
    let loss = match value.get(CALIBRATION) {
        Some(_) => LossKind::Calibrated,
        None => LossKind::Plain,
    };
    let summary = match loss {
        // Errors in the text itself have a line.
        LossKind::Plain => serde_json::from_str(&text),
        LossKind::Calibrated => serde_json::from_value(renamed(value, &|key| loss.unnamed(key))),
    };
    let summary = summary.map_err(no_summary)?;
    let mut reader = csv::Reader::from_reader(files::reader(csv, files::RESULT)?);
    rename_header(&mut reader, loss).map_err(|problem| Error::input(csv, problem))?;
    let rows = reader
        .deserialize()
        .collect::<std::result::Result<Vec<Row>, _>>()
        .map_err(|error| Error::input(csv, format!("is no {what}: {error}")))?;
    Ok((rows, summary))
}

/// Gives columns of calibrated losses the names of fields.
///
/// # Errors
/// When the columns hold another kind of loss than the JSON.
fn rename_header(
    reader: &mut csv::Reader<impl io::Read>,
    loss: LossKind,
) -> std::result::Result<(), String> {
    // The rows' own error says what is wrong with a header that cannot be read.
    let Ok(header) = reader.headers().cloned() else {
        return Ok(());
    };
    let plain: csv::StringRecord = header
        .iter()
        .map(|name| LossKind::Calibrated.unnamed(name))
        .collect();
    let is_calibrated = plain != header;
    if is_calibrated != (loss == LossKind::Calibrated) {
        let [is, other] = match is_calibrated {
            true => ["calibrated losses", "losses as they are"],
            false => ["losses as they are", "calibrated losses"],
        };
        return Err(format!(
            "holds {is}, and the .json beside it {other}: they are of different runs"
        ));
    }
    reader.set_headers(plain);
    Ok(())
}

/// Adds a row's data set to `datasets` unless it is there; returns its index.
///
/// Rows of interpolated points have 0 samples; all others of a data set must agree on the number.
///
/// # Errors
/// When the rows disagree.
pub(super) fn enter_dataset(
    datasets: &mut Vec<DatasetInfo>,
    name: &str,
    role: Role,
    samples: usize,
) -> std::result::Result<usize, String> {
    let Some(place) = datasets.iter().position(|dataset| dataset.name == name) else {
        datasets.push(DatasetInfo {
            name: name.to_string(),
            role,
            samples,
        });
        return Ok(datasets.len() - 1);
    };
    let known = &mut datasets[place].samples;
    if *known == 0 {
        *known = samples;
    }
    if samples != 0 && samples != *known {
        return Err(format!(
            "has rows of {known} samples and of {samples} for the data set `{name}`"
        ));
    }
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_those_of_measured_rows_wherever_they_stand() {
        let mut datasets = Vec::new();
        let mut enter = |name, samples| enter_dataset(&mut datasets, name, Role::Test, samples);
        let places = [("a", 0), ("b", 7), ("a", 9), ("a", 0), ("b", 7)];
        let places = places.map(|(name, samples)| enter(name, samples));
        assert_eq!(places, [0, 1, 0, 0, 1].map(Ok));
        let message = enter("a", 8).unwrap_err();
        assert_eq!(
            message,
            "has rows of 9 samples and of 8 for the data set `a`"
        );
        let samples: Vec<usize> = datasets.iter().map(|dataset| dataset.samples).collect();
        assert_eq!(samples, [9, 7]);
    }
}
