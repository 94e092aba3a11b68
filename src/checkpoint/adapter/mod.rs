//! LoRA adapters as PEFT saves them (Hu et al. 2022): `adapter_model.safetensors` and
//! `adapter_config.json`.
//!
//! An adapter is a model only with its base: it updates tensors of the base by a product of two
//! small factors, W + s·B·A, and replaces others as a whole. Here it is read and paired;
//! [`crate::space::adapter`] applies it.

mod config;
mod names;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use self::config::Config;
use self::names::{Named, Part, one_adapter};
use super::folder::hugging_face;
use super::names::stem;
use super::tensor::Tensor;
use super::{Checkpoint, Content};
use crate::base::files::Stamp;
use crate::error::{Error, Result, file_name};

/// Name of an adapter's configuration.
const CONFIGURATION: &str = "adapter_config.json";

/// Stem of the names of an adapter's weights.
const WEIGHTS: &str = "adapter_model";

/// What PEFT calls the files of an adapter's weights, best first.
const WEIGHTS_FILES: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];

/// What mends an adapter that is not computed here.
pub const MERGE: &str = "merge it into its base in Python, and name the merged model: \
                         model.merge_and_unload().save_pretrained(\"merged\")";

/// A LoRA adapter: changes to a base.
#[derive(Debug, Clone)]
pub struct Adapter {
    /// Name: the folder's, or the file's stem if that is not PEFT's.
    pub name: String,
    /// The folder that holds it; its weights if these have another name than PEFT gives.
    pub source: PathBuf,
    /// Path of the weights.
    pub path: PathBuf,
    /// All files that were read, as they were then: the weights and the configuration.
    pub files: Vec<Stamp>,
    /// Whether matrices of the base are said to be [in, out].
    pub fan_in_fan_out: bool,
    /// The updated modules, by their paths.
    pub updates: Vec<Update>,
    /// Tensors that replace those of the base, by their names.
    pub whole: BTreeMap<String, Tensor>,
}

/// An update of a module's weight by a product of factors.
#[derive(Debug, Clone)]
pub struct Update {
    /// Path of the module in the base.
    pub module: String,
    /// Whether it is an embedding, whose weight is [rows, columns] = (B·A)ᵀ.
    pub is_embedding: bool,
    /// First factor A: [rank, in] or, of a convolution, [rank, in, kernel…].
    pub a: Tensor,
    /// Second factor B: [out, rank] or, of a convolution, [out, rank, 1…].
    pub b: Tensor,
    /// Bias of the second factor: one element for each output.
    pub bias: Option<Tensor>,
    /// Trained norm of each output: `out` elements (DoRA, Liu et al. 2024).
    pub magnitude: Option<Tensor>,
    /// The factor of the product.
    pub scaling: f64,
}

/// Finds the weights of an adapter in a folder that holds one; `None` for everything else.
///
/// # Errors
/// When the folder holds the configuration of an adapter but no weights, or also a whole model.
pub fn weights_in(folder: &Path) -> Result<Option<PathBuf>> {
    let file = |name: &&str| {
        let path = folder.join(name);
        path.is_file().then_some(path)
    };
    let has_configuration = folder.join(CONFIGURATION).is_file();
    let weights = WEIGHTS_FILES.iter().find_map(file);
    if !folder.is_dir() || (!has_configuration && weights.is_none()) {
        return Ok(None);
    }
    let Some(weights) = weights else {
        return Err(Error::input(
            folder,
            format!(
                "holds {CONFIGURATION} but neither {}",
                WEIGHTS_FILES.join(" nor ")
            ),
        )
        .help("name the file of weights"));
    };
    match hugging_face(folder) {
        None => Ok(Some(weights)),
        Some(model) => Err(Error::input(
            folder,
            format!(
                "holds an adapter ({}) and a whole model ({})",
                file_name(&weights),
                file_name(&model)
            ),
        )
        .help("name the file that is meant")),
    }
}

/// Whether a checkpoint is an adapter: it has factors, or PEFT's name and a configuration.
pub fn is_adapter(checkpoint: &Checkpoint) -> bool {
    let Content::StateDict(tensors) = &checkpoint.content else {
        return false;
    };
    let is_named = checkpoint
        .path
        .file_stem()
        .is_some_and(|stem| stem == WEIGHTS);
    let is_configured = is_named && checkpoint.path.with_file_name(CONFIGURATION).is_file();
    is_configured || tensors.keys().any(|name| names::is_factor(name))
}

impl Adapter {
    /// Reads the configuration beside an adapter's weights, and pairs their factors.
    ///
    /// # Errors
    /// When there is no configuration, it describes something that is not computed here, or the
    /// factors do not fit it or each other.
    pub fn of(checkpoint: Checkpoint) -> Result<Self> {
        let Checkpoint { path, files, .. } = &checkpoint;
        let source = source(path);
        let configuration = path.with_file_name(CONFIGURATION);
        let tensors = checkpoint.state_dict().into_iter().flatten();
        if !configuration.is_file() {
            let factor = tensors
                .map(|(name, _)| name)
                .find(|it| names::is_factor(it));
            let factor = factor.map_or_else(String::new, |it| format!(" (`{it}`)"));
            return Err(Error::input(
                path,
                format!("holds a LoRA adapter{factor}, but there is no {CONFIGURATION} beside it"),
            )
            .help(format!(
                "it tells the scaling of the factors; copy it from where PEFT saved it, or {MERGE}"
            )));
        }
        let stamp = Stamp::of(&configuration);
        let config = Config::read(&configuration)?;
        let mut adapter = Self {
            name: stem(&source),
            source,
            path: path.clone(),
            files: files.iter().cloned().chain([stamp]).collect(),
            fan_in_fan_out: config.fan_in_fan_out,
            updates: Vec::new(),
            whole: BTreeMap::new(),
        };
        adapter.sort_in(tensors, &config)?;
        Ok(adapter)
    }

    /// Sorts tensors by the modules they belong to.
    fn sort_in<'t>(
        &mut self,
        tensors: impl Iterator<Item = (&'t String, &'t Tensor)>,
        config: &Config,
    ) -> Result<()> {
        let refuse = |problem: String| Error::input(&self.path, problem).help(MERGE);
        let (stored, named): (Vec<_>, Vec<_>) = tensors
            .map(|(name, tensor)| ((name, tensor), names::read(name)))
            .unzip();
        one_adapter(&named, |names| {
            refuse(format!("holds several adapters: {names}"))
        })?;
        let mut modules: BTreeMap<String, BTreeMap<Part, &Tensor>> = BTreeMap::new();
        for ((name, tensor), named) in stored.into_iter().zip(named) {
            let twice = match named {
                Named::Part { module, part, .. } => {
                    let parts = modules.entry(module).or_default();
                    parts.insert(part, tensor).is_some()
                }
                Named::Whole { name, .. } => self.whole.insert(name, tensor.clone()).is_some(),
                Named::Nested { module } => {
                    return Err(refuse(format!(
                        "updates `{module}` within a layer that is updated, too: an \
                         nn.MultiheadAttention, whose output projection PEFT changes by twice the \
                         product, or several parameters of one module"
                    )));
                }
                Named::Replaced => false,
                Named::Unknown => {
                    return Err(refuse(format!(
                        "holds `{name}`, which belongs to a method that is not computed here"
                    )));
                }
            };
            if twice {
                return Err(refuse(format!(
                    "holds two tensors that mean what `{name}` does"
                )));
            }
        }
        let updates = modules.into_iter().map(|(module, parts)| {
            update(&module, &parts, config)
                .map_err(|problem| refuse(format!("`{module}` {problem}")))
        });
        self.updates = updates.collect::<Result<_>>()?;
        if self.updates.is_empty() && self.whole.is_empty() {
            return Err(Error::input(&self.path, "holds no tensor of an adapter"));
        }
        Ok(())
    }
}

/// PEFT gives all files one name, so the folder tells adapters apart.
fn source(path: &Path) -> PathBuf {
    let is_named = path.file_stem().is_some_and(|stem| stem == WEIGHTS);
    match path.parent().filter(|_| is_named) {
        Some(folder) if folder.as_os_str().is_empty() => PathBuf::from("."),
        Some(folder) => folder.to_path_buf(),
        None => path.to_path_buf(),
    }
}

/// Puts the parts of a module together. An error is what is wrong with the module.
fn update(
    module: &str,
    parts: &BTreeMap<Part, &Tensor>,
    config: &Config,
) -> std::result::Result<Update, String> {
    let get = |part: Part| parts.get(&part).map(|tensor| (*tensor).clone());
    let is_embedding =
        parts.contains_key(&Part::EmbeddingA) || parts.contains_key(&Part::EmbeddingB);
    let (first, second) = if is_embedding {
        (Part::EmbeddingA, Part::EmbeddingB)
    } else {
        (Part::A, Part::B)
    };
    let (Some(a), Some(b)) = (get(first), get(second)) else {
        return Err("lacks one of its two factors".to_string());
    };
    if is_embedding && (parts.contains_key(&Part::A) || parts.contains_key(&Part::B)) {
        return Err("has factors of an embedding and of another layer".to_string());
    }
    let update = Update {
        scaling: config.scaling(module),
        module: module.to_string(),
        is_embedding,
        bias: get(Part::FactorBias),
        magnitude: get(Part::Magnitude),
        a,
        b,
    };
    update.check(config, config.rank(module))?;
    Ok(update)
}

impl Update {
    /// Number of rows of A, which are the columns of B.
    pub fn rank(&self) -> usize {
        self.a.shape.first().copied().unwrap_or(0)
    }

    /// Number of outputs: rows of B.
    pub fn outputs(&self) -> usize {
        self.b.shape.first().copied().unwrap_or(0)
    }

    /// Checks the shapes against each other and against the configuration, which gives the rank.
    fn check(&self, config: &Config, rank: i64) -> std::result::Result<(), String> {
        let (a, b) = (&self.a, &self.b);
        let shapes = format!("factors of shape {:?} and {:?}", a.shape, b.shape);
        let parts = [
            Some(a),
            Some(b),
            self.bias.as_ref(),
            self.magnitude.as_ref(),
        ];
        if let Some(other) = parts.iter().flatten().find(|it| !it.dtype.is_float()) {
            return Err(format!("has factors of type {}", other.dtype.name()));
        }
        if a.shape.len() < 2 || b.shape.len() < 2 || a.is_empty() || b.is_empty() {
            return Err(format!(
                "has {shapes}: parts of them are missing, as when DeepSpeed or FSDP saves a shard"
            ));
        }
        let fits = a.shape.len() == b.shape.len()
            && b.shape[1] == a.shape[0]
            && b.shape[2..].iter().all(|&len| len == 1)
            && (!self.is_embedding || a.shape.len() == 2);
        if !fits {
            return Err(format!("has {shapes}, which do not fit together"));
        }
        if i64::try_from(self.rank()).ok() != Some(rank) {
            return Err(format!(
                "has {shapes}, of rank {}, where the configuration says {rank}",
                self.rank()
            ));
        }
        let given = |there: bool| if there { "has" } else { "lacks" };
        for (part, wanted, what) in [
            (
                &self.magnitude,
                config.has_magnitudes,
                "magnitude (`use_dora`)",
            ),
            (
                &self.bias,
                config.has_factor_bias,
                "bias of B (`lora_bias`)",
            ),
        ] {
            if part.is_some() != wanted {
                return Err(format!(
                    "{} a {what}, unlike its configuration",
                    given(part.is_some())
                ));
            }
            let len = part.as_ref().map_or(self.outputs(), Tensor::len);
            if len != self.outputs() {
                return Err(format!(
                    "has a {what} of {len} elements for {} outputs",
                    self.outputs()
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::tensor::Dtype;

    fn tensor(shape: &[usize]) -> Tensor {
        let len: usize = shape.iter().product();
        Tensor {
            dtype: Dtype::F32,
            shape: shape.to_vec(),
            bytes: vec![0; 4 * len].into(),
        }
    }

    /// The adapter with these tensors, and these keys in its configuration.
    fn adapter(tensors: &[(&str, &[usize])], keys: &str) -> Result<Adapter> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("adapter_model.safetensors");
        let config = format!(r#"{{"peft_type":"LORA","r":2,"lora_alpha":4{keys}}}"#);
        std::fs::write(folder.path().join(CONFIGURATION), config).unwrap();
        let tensors = tensors.iter();
        let tensors = tensors.map(|(name, shape)| (name.to_string(), tensor(shape)));
        let checkpoint = Checkpoint {
            name: WEIGHTS.to_string(),
            source: path.clone(),
            files: vec![Stamp::of(&path)],
            path,
            dictionary: None,
            notes: Vec::new(),
            content: Content::StateDict(tensors.collect()),
        };
        assert!(is_adapter(&checkpoint));
        Adapter::of(checkpoint)
    }

    const FACTORS: [(&str, &[usize]); 2] =
        [("q.lora_A.weight", &[2, 3]), ("q.lora_B.weight", &[5, 2])];

    #[test]
    fn factors_are_paired_and_whole_tensors_kept() {
        let tensors: [(&str, &[usize]); 8] = [
            FACTORS[0],
            FACTORS[1],
            ("base_model.model.c.lora_A.weight", &[2, 3, 3, 1]),
            ("base_model.model.c.lora_B.weight", &[4, 2, 1, 1]),
            ("base_model.model.e.lora_embedding_A", &[2, 9]),
            ("base_model.model.e.lora_embedding_B", &[3, 2]),
            ("base_model.model.fc.weight", &[2, 2]),
            ("base_model.model.q.base_layer.bias", &[5]),
        ];
        let adapter = adapter(&tensors, "").unwrap();
        let modules: Vec<_> = adapter
            .updates
            .iter()
            .map(|it| {
                (
                    it.module.as_str(),
                    it.is_embedding,
                    it.outputs(),
                    it.scaling,
                )
            })
            .collect();
        let expected = [
            ("c", false, 4, 2.0),
            ("e", true, 3, 2.0),
            ("q", false, 5, 2.0),
        ];
        assert_eq!(modules, expected);
        assert_eq!(
            adapter.whole.keys().collect::<Vec<_>>(),
            ["fc.weight", "q.bias"]
        );
        assert_eq!(adapter.files.len(), 2);
        assert_ne!(adapter.name, WEIGHTS);
    }

    #[test]
    fn factors_that_do_not_fit_are_refused_by_name() {
        let [a, b] = FACTORS;
        let magnitude: (&str, &[usize]) = ("q.lora_magnitude_vector", &[5]);
        let short: (&str, &[usize]) = ("q.lora_magnitude_vector", &[4]);
        for (tensors, keys, problem) in [
            (vec![a], "", "`q` lacks one of its two factors"),
            (
                vec![a, ("q.lora_B.weight", &[5, 3])],
                "",
                "do not fit together",
            ),
            (
                vec![a, ("q.lora_B.weight", &[5, 2, 1, 1])],
                "",
                "do not fit together",
            ),
            (
                vec![a, ("q.lora_B.weight", &[0])],
                "",
                "parts of them are missing",
            ),
            (
                vec![a, ("q.lora_B.weight", &[10])],
                "",
                "parts of them are missing",
            ),
            (
                vec![("q.lora_A.weight", &[3, 3]), ("q.lora_B.weight", &[5, 3])],
                "",
                "configuration says 2",
            ),
            (
                vec![a, b],
                r#","rank_pattern":{"q":1000000000}"#,
                "says 1000000000",
            ),
            (vec![a, b, magnitude], "", "has a magnitude"),
            (vec![a, b], r#","use_dora":true"#, "lacks a magnitude"),
            (
                vec![a, b, short],
                r#","use_dora":true"#,
                "4 elements for 5 outputs",
            ),
            (vec![a, b, ("q.lora_B.bias", &[5])], "", "has a bias of B"),
            (
                vec![a, b, ("q.lora_E", &[5])],
                "",
                "`q.lora_E`, which belongs to a method",
            ),
            (
                vec![a, b, ("q.lora_A.x.weight", &[2, 3])],
                "",
                "two tensors that mean",
            ),
            (
                vec![
                    ("q.lora_A.x.weight", &[2, 3]),
                    ("q.lora_A.y.weight", &[2, 3]),
                ],
                "",
                "several adapters: `x`, `y`",
            ),
            (
                vec![a, b, ("q.base_layer.out_proj.lora_A.weight", &[2, 3])],
                "",
                "updates `q.out_proj` within a layer",
            ),
            (
                vec![a, b, ("q.lora_embedding_A", &[2, 3])],
                "",
                "lacks one of its two factors",
            ),
            (vec![], "", "no tensor of an adapter"),
        ] {
            let error = adapter(&tensors, keys).unwrap_err().to_string();
            assert!(error.contains(problem), "{problem}: {error}");
        }
    }

    #[test]
    fn a_folder_with_an_adapter_and_a_model_is_a_question() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| std::fs::write(folder.path().join(name), "x").unwrap();
        let found = || weights_in(folder.path());
        assert!(found().unwrap().is_none());
        write(CONFIGURATION);
        assert!(found().unwrap_err().to_string().contains("but neither"));
        write("adapter_model.bin");
        assert!(found().unwrap().unwrap().ends_with("adapter_model.bin"));
        write("adapter_model.safetensors");
        assert!(
            found()
                .unwrap()
                .unwrap()
                .ends_with("adapter_model.safetensors")
        );
        write("model.safetensors");
        let error = found().unwrap_err().to_string();
        assert!(error.contains("and a whole model"), "{error}");
    }
}
