//! Selects the pairs of models: all, a random sample, or those of a file.

use std::path::{Path, PathBuf};

use crate::analysis::pairs::{all, drawn};
use crate::base::files;
use crate::error::{Error, Result};

/// The pairs to evaluate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PairSelection {
    /// Every pair once.
    #[default]
    All,
    /// This many pairs, drawn at random.
    Drawn(usize),
    /// The pairs in a CSV with the columns `a,b`.
    Listed(PathBuf),
}

impl PairSelection {
    /// Returns the selected pairs as indices into `names`.
    ///
    /// # Errors
    /// When there are fewer than two models, or the file does not list pairs of them.
    pub fn pairs(&self, names: &[String], seed: u64) -> Result<Vec<(usize, usize)>> {
        if names.len() < 2 {
            let one = names.join("");
            return Err(Error::flag(
                "--models",
                format!("a pair needs two models; there is only `{one}`"),
            )
            .help("`landscape line` draws the path from θ0 to a single model"));
        }
        match self {
            Self::All => Ok(all(0..names.len())),
            Self::Drawn(count) => Ok(drawn(all(0..names.len()), *count, seed)),
            Self::Listed(csv) => listed(csv, names),
        }
    }
}

fn listed(csv: &Path, names: &[String]) -> Result<Vec<(usize, usize)>> {
    let broken = |error: csv::Error| match error.kind() {
        csv::ErrorKind::Io(io) => Error::read(csv, io),
        _ => Error::input(
            csv,
            format!("is not a list of pairs (columns `a,b`): {error}"),
        ),
    };
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(files::reader(csv, files::LIST)?);
    let header = reader.headers().map_err(broken)?.clone();
    let column = |name: &str| {
        let found = header.iter().position(|column| column == name);
        found.ok_or_else(|| Error::input(csv, format!("has no column `{name}`; `a,b` are needed")))
    };
    let columns = [column("a")?, column("b")?];
    let mut pairs = Vec::new();
    for record in reader.records() {
        let record = record.map_err(broken)?;
        let line = record.position().map_or(0, csv::Position::line);
        let fault = |problem: String| Error::input(csv, format!("line {line}: {problem}"));
        let place = |column: usize| {
            let name = record.get(column).unwrap_or_default();
            let found = names.iter().position(|other| other == name);
            found.ok_or_else(|| fault(format!("there is no model `{name}`")))
        };
        let (a, b) = (place(columns[0])?, place(columns[1])?);
        if a == b {
            return Err(fault(format!(
                "`{}` cannot be paired with itself",
                names[a]
            )));
        }
        if pairs.contains(&(a, b)) || pairs.contains(&(b, a)) {
            return Err(fault(format!(
                "the pair `{}`, `{}` is listed twice",
                names[a], names[b]
            )));
        }
        pairs.push((a, b));
    }
    if pairs.is_empty() {
        Err(Error::input(csv, "lists no pair"))
    } else {
        Ok(pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_pairs_and_lists_that_cannot_be_used() {
        let names = ["x", "y", "z"].map(String::from);
        let folder = tempfile::tempdir().unwrap();
        let csv = folder.path().join("p.csv");
        let read = |text: &str| {
            std::fs::write(&csv, text).unwrap();
            PairSelection::Listed(csv.clone()).pairs(&names, 0)
        };
        assert_eq!(read("b,a\ny,x\n z , x \n").unwrap(), [(0, 1), (0, 2)]);
        for (text, message) in [
            ("a\nx\n", "no column `b`"),
            ("a,b\n", "lists no pair"),
            ("a,b\nx,w\n", "line 2: there is no model `w`"),
            ("a,b\nx,x\n", "cannot be paired with itself"),
            (
                "a,b\nx,y\ny,x\n",
                "line 3: the pair `y`, `x` is listed twice",
            ),
            ("a,b\nx,y,z\n", "is not a list of pairs"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(message), "{text:?}: {error}");
        }
        let missing = PairSelection::Listed("nowhere.csv".into()).pairs(&names, 0);
        assert!(missing.unwrap_err().to_string().contains("no such file"));
        assert!(PairSelection::All.pairs(&names[..1], 0).is_err());
    }
}
