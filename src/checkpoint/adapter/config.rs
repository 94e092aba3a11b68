//! The configuration of an adapter, `adapter_config.json`.
//!
//! A key that may change the model and is not known here is refused, never passed over.

use std::collections::BTreeMap;
use std::path::Path;

use indexmap::IndexMap;
use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

use super::MERGE;
use crate::base::files;
use crate::error::{Error, Result};

/// PEFT's rank and alpha where the configuration names none.
const DEFAULT: i64 = 8;

/// Initializations that leave the base as it is.
const INITIALIZATIONS: [&str; 4] = ["gaussian", "eva", "orthogonal", "mica"];

/// Keys that do not change a trained model's values: they say how the adapter was made, what it
/// belongs to, or are details of something that another key switches on.
const IDLE: [&str; 20] = [
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "eva_config",
    "exclude_modules",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "merge_weights",
    "modules_to_save",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
];

/// The configuration of a LoRA adapter, as far as the values depend on it.
#[derive(Debug, Clone)]
pub struct Config {
    rank: i64,
    alpha: f64,
    ranks: Vec<(Pattern, i64)>,
    alphas: Vec<(Pattern, f64)>,
    rank_stabilized: bool,
    /// Whether the base holds matrices as [in, out], as GPT-2's `Conv1D` does.
    pub fan_in_fan_out: bool,
    /// Whether rows are scaled to a trained magnitude (DoRA).
    pub has_magnitudes: bool,
    /// Whether the second factor has a bias.
    pub has_factor_bias: bool,
}

/// The keys of the file that the values depend on, and the others.
#[derive(Deserialize)]
struct Keys {
    peft_type: Option<String>,
    r: Option<i64>,
    lora_alpha: Option<f64>,
    #[serde(default)]
    rank_pattern: Option<IndexMap<String, i64>>,
    #[serde(default)]
    alpha_pattern: Option<IndexMap<String, f64>>,
    #[serde(default)]
    use_rslora: Option<bool>,
    #[serde(default)]
    use_dora: Option<bool>,
    #[serde(default)]
    fan_in_fan_out: Option<bool>,
    #[serde(default)]
    lora_bias: Option<bool>,
    #[serde(default)]
    bias: Option<String>,
    #[serde(default)]
    init_lora_weights: Option<Value>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

/// A key of `rank_pattern` or `alpha_pattern`.
#[derive(Debug, Clone)]
struct Pattern(Regex);

impl Pattern {
    /// Reads a key as PEFT's `get_pattern_key` does: a regular expression for the end of a module's
    /// path that begins at the path's start or after a dot.
    fn new(key: &str) -> std::result::Result<Self, String> {
        Regex::new(&format!(r"^(?:(.*\.)?({key})$)"))
            .map(Self)
            .map_err(|_| format!("`{key}` is no regular expression that is understood here"))
    }
}

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// When the file is no configuration, or it describes an adapter that is not computed here.
    pub fn read(path: &Path) -> Result<Self> {
        let text = files::text(path, files::CONFIGURATION)?;
        let keys: Keys = serde_json::from_str(&text).map_err(|error| {
            Error::input(
                path,
                format!("is not the configuration of an adapter: {error}"),
            )
        })?;
        Self::of(&keys).map_err(|(problem, help)| Error::input(path, problem).help(help))
    }

    /// Checks the keys. An error is a problem and its cure.
    fn of(keys: &Keys) -> std::result::Result<Self, (String, &'static str)> {
        check_kind(keys.peft_type.as_deref())?;
        check_initialization(keys.init_lora_weights.as_ref())?;
        check_others(&keys.others)?;
        let plain = |problem: String| (problem, MERGE);
        if let Some(bias) = &keys.bias
            && !["none", "all", "lora_only"].contains(&bias.as_str())
        {
            return Err(plain(format!("`bias` is `{bias}`, which is not known")));
        }
        let ranks = patterns(keys.rank_pattern.as_ref()).map_err(plain)?;
        let config = Self {
            rank: keys.r.unwrap_or(DEFAULT),
            alpha: keys.lora_alpha.unwrap_or(8.0),
            alphas: patterns(keys.alpha_pattern.as_ref()).map_err(plain)?,
            rank_stabilized: keys.use_rslora.unwrap_or(false),
            fan_in_fan_out: keys.fan_in_fan_out.unwrap_or(false),
            has_magnitudes: keys.use_dora.unwrap_or(false),
            has_factor_bias: keys.lora_bias.unwrap_or(false),
            ranks,
        };
        let ranks = config.ranks.iter().map(|(_, rank)| *rank);
        match ranks.chain([config.rank]).find(|rank| *rank <= 0) {
            Some(rank) => Err((
                format!("has the rank {rank}; a rank is positive"),
                "is it the file that PEFT wrote?",
            )),
            None => Ok(config),
        }
    }

    /// The rank of a module's factors. `module` is its path in the base.
    pub fn rank(&self, module: &str) -> i64 {
        matching(&self.ranks, module).unwrap_or(self.rank)
    }

    /// The factor of a module's product: α/r, or α/√r if the ranks are stabilized (Kalajdzievski
    /// 2023).
    pub fn scaling(&self, module: &str) -> f64 {
        let alpha = matching(&self.alphas, module).unwrap_or(self.alpha);
        // Exact below 2^53, and a rank is the length of a tensor's axis.
        #[allow(clippy::cast_precision_loss)]
        let rank = self.rank(module) as f64;
        if self.rank_stabilized {
            alpha / rank.sqrt()
        } else {
            alpha / rank
        }
    }
}

/// The value of the first pattern that fits a module.
fn matching<T: Copy>(patterns: &[(Pattern, T)], module: &str) -> Option<T> {
    let mut patterns = patterns.iter();
    let found = patterns.find(|(pattern, _)| pattern.0.is_match(module));
    found.map(|(_, value)| *value)
}

fn patterns<T: Copy>(
    keys: Option<&IndexMap<String, T>>,
) -> std::result::Result<Vec<(Pattern, T)>, String> {
    let keys = keys.into_iter().flatten();
    keys.map(|(key, value)| Ok((Pattern::new(key)?, *value)))
        .collect()
}

fn check_kind(kind: Option<&str>) -> std::result::Result<(), (String, &'static str)> {
    match kind {
        Some("LORA") => Ok(()),
        Some(kind) => Err((
            format!("is of the kind {kind}; of the kinds of adapters only LORA is computed here"),
            MERGE,
        )),
        None => Err((
            "names no kind of adapter (`peft_type`)".to_string(),
            "is it the file that PEFT wrote?",
        )),
    }
}

/// Refuses initializations that change the base: the adapter then belongs to another base than the
/// one at hand.
fn check_initialization(value: Option<&Value>) -> std::result::Result<(), (String, &'static str)> {
    match value {
        None | Some(Value::Null | Value::Bool(_)) => Ok(()),
        Some(Value::String(name)) if INITIALIZATIONS.contains(&name.as_str()) => Ok(()),
        Some(value) => Err((
            format!(
                "says `init_lora_weights` {value}: such an initialization may change the base's own \
                 weights, so the adapter does not belong to the base as it is"
            ),
            "save it for the unchanged base in Python: \
             save_pretrained(\"lora\", path_initial_model_for_weight_conversion=INITIAL), or merge it: \
             model.merge_and_unload().save_pretrained(\"merged\")",
        )),
    }
}

/// Refuses keys that are not known and are not switched off.
fn check_others(
    others: &BTreeMap<String, Value>,
) -> std::result::Result<(), (String, &'static str)> {
    let is_off = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(keys) => keys.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    };
    let mut others = others.iter();
    let active = others.find(|(key, value)| !IDLE.contains(&key.as_str()) && !is_off(value));
    match active {
        None => Ok(()),
        Some((key, value)) => Err((
            format!("sets `{key}` to {value}, which is not computed here"),
            MERGE,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(keys: &str) -> Result<Config> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("adapter_config.json");
        std::fs::write(&path, format!("{{{keys}}}")).unwrap();
        Config::read(&path)
    }

    #[test]
    fn the_scaling_is_alpha_over_the_rank_or_its_root() {
        let plain = read(r#""peft_type":"LORA","r":4,"lora_alpha":6"#).unwrap();
        assert_eq!((plain.rank("a.b"), plain.scaling("a.b")), (4, 1.5));
        let stabilized =
            read(r#""peft_type":"LORA","r":4,"lora_alpha":6,"use_rslora":true"#).unwrap();
        assert_eq!(stabilized.scaling("a.b"), 3.0);
        let defaults = read(r#""peft_type":"LORA""#).unwrap();
        assert_eq!((defaults.rank("a"), defaults.scaling("a")), (8, 1.0));
        // A training library may write numbers as it likes, and PEFT divides them.
        let negative = read(r#""peft_type":"LORA","r":2,"lora_alpha":-0.5"#).unwrap();
        assert_eq!(negative.scaling("a"), -0.25);
    }

    #[test]
    fn patterns_fit_the_end_of_a_path_and_the_first_in_the_file_counts() {
        let config = read(
            r#""peft_type":"LORA","r":8,"lora_alpha":8,
               "rank_pattern":{"z.query":2,"query":4,"^value":3,"layer\\.[01]\\.out":1},
               "alpha_pattern":{"layer.1.out":5,"out":7}"#,
        )
        .unwrap();
        for (module, rank, alpha) in [
            ("z.query", 2, 8.0),
            ("a.z.query", 2, 8.0),
            ("az.query", 4, 8.0),
            ("query", 4, 8.0),
            ("subquery", 8, 8.0),
            ("query.x", 8, 8.0),
            ("value", 3, 8.0),
            // The anchor stands behind the optional part of the path, where it never fits.
            ("a.value", 8, 8.0),
            ("layer.1.out", 1, 5.0),
            ("layer.2.out", 8, 7.0),
            ("layer.1.outer", 8, 8.0),
        ] {
            assert_eq!(config.rank(module), rank, "{module}");
            assert_eq!(config.scaling(module), alpha / rank as f64, "{module}");
        }
    }

    #[test]
    fn configurations_that_are_not_computed_are_refused_with_the_cure() {
        let lora = r#""peft_type":"LORA","#;
        for (keys, problem, cure) in [
            (r#""r":8"#.to_string(), "names no kind", "PEFT wrote"),
            (
                r#""peft_type":"IA3""#.to_string(),
                "kind IA3",
                "merge_and_unload",
            ),
            (
                r#""peft_type":"LOHA""#.to_string(),
                "kind LOHA",
                "merge_and_unload",
            ),
            (
                r#""peft_type":"ADALORA""#.to_string(),
                "kind ADALORA",
                "merge_and_unload",
            ),
            (
                r#""peft_type":"PREFIX_TUNING""#.to_string(),
                "PREFIX_TUNING",
                "merge",
            ),
            (format!(r#"{lora}"r":0"#), "the rank 0", "PEFT"),
            (format!(r#"{lora}"r":-4"#), "the rank -4", "PEFT"),
            (
                format!(r#"{lora}"rank_pattern":{{"q":0}}"#),
                "the rank 0",
                "PEFT",
            ),
            (
                format!(r#"{lora}"rank_pattern":{{"q(":1}}"#),
                "`q(` is no regular",
                "merge",
            ),
            (
                format!(r#"{lora}"bias":"some""#),
                "`bias` is `some`",
                "merge",
            ),
            (
                format!(r#"{lora}"init_lora_weights":"pissa_niter_4""#),
                "pissa_niter_4",
                "unchanged base",
            ),
            (
                format!(r#"{lora}"init_lora_weights":"olora""#),
                "olora",
                "unchanged base",
            ),
            (
                format!(r#"{lora}"init_lora_weights":"loftq""#),
                "loftq",
                "unchanged base",
            ),
            (
                format!(r#"{lora}"layer_replication":[[0,2]]"#),
                "layer_replication",
                "merge",
            ),
            (
                format!(r#"{lora}"target_parameters":["w"]"#),
                "target_parameters",
                "merge",
            ),
            (
                format!(r#"{lora}"trainable_token_indices":[3]"#),
                "trainable_token_indices",
                "merge",
            ),
            (format!(r#"{lora}"use_qalora":true"#), "use_qalora", "merge"),
            (
                format!(r#"{lora}"alora_invocation_tokens":[1]"#),
                "alora_invocation",
                "merge",
            ),
            (
                format!(r#"{lora}"ensure_weight_tying":true"#),
                "ensure_weight_tying",
                "merge",
            ),
            (
                format!(r#"{lora}"of_the_future":0.5"#),
                "of_the_future",
                "merge",
            ),
        ] {
            let error = read(&keys).unwrap_err().to_string();
            assert!(error.contains(problem), "{keys}: {error}");
            assert!(
                error.contains("help: ") && error.contains(cure),
                "{keys}: {error}"
            );
        }
        // What is not known and switched off changes nothing.
        read(&format!(
            r#"{lora}"of_the_future":false,"also":null,"too":{{}}"#
        ))
        .unwrap();
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        for keys in [
            r#""peft_type":"LORA","lora_alpha":NaN"#,
            r#""peft_type":"LORA","lora_alpha":"8""#,
            r#""peft_type":"LORA","lora_alpha":1e999"#,
            r#""peft_type":"LORA","r":4.5"#,
            r#""peft_type":"LORA","r":99999999999999999999"#,
            r#""peft_type":"LORA","rank_pattern":["q"]"#,
            r#""peft_type":"LORA","use_rslora":1"#,
            r#""peft_type":3"#,
            r#"]"#,
        ] {
            let error = read(keys).unwrap_err().to_string();
            assert!(
                error.contains("is not the configuration of an adapter"),
                "{keys}: {error}"
            );
        }
    }
}
