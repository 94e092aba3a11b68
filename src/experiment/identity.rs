//! The identity of a run. An interrupted run is resumed only by one with the same weights, data and
//! settings; they are compared by content, never by file name.

use std::collections::BTreeMap;

use serde::Serialize;

use super::data::LoadedData;
use super::settings::SessionSettings;
use crate::data::Preprocess;
use crate::result::score::Role;

/// Everything the values depend on. Its JSON is hashed into the key of a journal, so the names in
/// it must not change when types are renamed.
#[derive(Serialize)]
struct Identity<'i> {
    /// SHA-256 of each file of weights and data.
    files: Vec<&'i str>,
    /// Name and role of each data set.
    data: Vec<(&'i str, Role)>,
    preprocess: Option<&'i Preprocess>,
    ignore: &'i [String],
    /// The checkpoint of each entry of `--fixed`; `None` for θ0.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    fixed: &'i [Option<usize>],
    settings: BTreeMap<String, String>,
}

/// Returns the identity of a run as text. `fixed` are the checkpoints that `--fixed` names, of
/// `models` in all.
pub fn of(
    settings: &SessionSettings,
    data: &LoadedData,
    fixed: &[Option<usize>],
    models: usize,
) -> String {
    let sets = settings.data.iter();
    let mut recorded = settings.recorded();
    // Of the files, one more or less may be θ0's state dict: models that are run unchanged are known
    // by their place.
    recorded.insert("models".to_string(), models.to_string());
    if let Some(key) = &settings.weights {
        // The files of an index do not say which dictionary was taken.
        recorded.insert("weights".to_string(), key.clone());
    }
    if !data.dictionaries.is_empty() {
        // One file holds several models.
        let taken = data.dictionaries.iter();
        let taken: Vec<String> = taken.map(|(name, key)| format!("{name}={key}")).collect();
        recorded.insert("dictionaries".to_string(), taken.join(";"));
    }
    written(&Identity {
        files: data.content.iter().map(|(_, hash)| hash.as_str()).collect(),
        data: sets.map(|set| (&*set.name, set.role)).collect(),
        preprocess: settings.preprocess.as_ref(),
        ignore: &settings.matching.ignore,
        fixed,
        settings: recorded,
    })
}

fn written(of: &Identity<'_>) -> String {
    // Numbers are finite and keys are text, so this cannot fail.
    serde_json::to_string(of).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_is_known_by_names_that_stay() {
        let preprocess = Preprocess::new(0.5, vec![0.25], vec![1.0], 1).unwrap();
        let text = written(&Identity {
            files: vec!["aa", "bb"],
            data: vec![("test", Role::Test), ("cold", Role::Shift)],
            preprocess: Some(&preprocess),
            ignore: &["head.*".to_string()],
            fixed: &[],
            settings: [("seed".to_string(), "3".to_string())].into(),
        });
        assert_eq!(
            text,
            r#"{"files":["aa","bb"],"data":[["test","test"],["cold","shift"]],"#.to_string()
                + r#""preprocess":{"scale":0.5,"mean":[0.25],"std":[1.0],"channel_axis":1},"#
                + r#""ignore":["head.*"],"settings":{"seed":"3"}}"#
        );
    }
}
