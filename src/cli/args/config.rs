//! `landscape.toml`: data sets, preprocessing, and defaults for flags.
//!
//! A flag overrides the file. Top-level keys are defaults for flags that all commands share; a
//! section such as `[plane]` holds defaults for the flags of one command.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::{Deserialize, Deserializer};

use super::options::{LineOptions, PairsOptions, PlaneOptions, SoupOptions, SpectrumOptions};
use super::run::GpuPrecision;
use crate::base::files;
use crate::checkpoint;
use crate::data::Preprocess;
use crate::error::{Error, Result};
use crate::evaluate::onnx::{BindingChoice, Losses};

/// The file that is read if it exists in the working folder.
pub const DEFAULT: &str = "landscape.toml";

/// The contents of the file; every entry is optional and overridden by its flag.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[allow(missing_docs)] // each is the default of the flag of its name
pub struct Config {
    pub origin: Option<PathBuf>,
    pub origin_weights: Option<PathBuf>,
    pub weights: Option<String>,
    /// A list, or one or more checkpoints and patterns.
    #[serde(default, deserialize_with = "one_or_more")]
    pub models: Vec<PathBuf>,
    /// Used only if the file was named with --config.
    pub onnxruntime: Option<PathBuf>,
    pub output: Option<String>,
    pub out: Option<PathBuf>,
    pub device: Option<String>,
    pub precision: Option<GpuPrecision>,
    pub losses: Option<Losses>,
    pub limit: Option<usize>,
    pub seed: Option<u64>,
    pub batch: Option<usize>,
    pub workers: Option<usize>,
    pub threads: Option<usize>,
    pub binding: Option<BindingChoice>,
    pub bn: Option<String>,
    pub memory: Option<String>,
    pub disk: Option<String>,
    pub max_time: Option<String>,
    pub tolerance: Option<String>,
    #[serde(default)]
    pub ignore: Vec<String>,
    #[serde(default)]
    pub ignore_unused: bool,
    #[serde(default)]
    pub fixed: Vec<String>,
    #[serde(default)]
    pub plane: PlaneOptions,
    #[serde(default)]
    pub line: LineOptions,
    #[serde(default)]
    pub soup: SoupOptions,
    #[serde(default)]
    pub pairs: PairsOptions,
    #[serde(default)]
    pub spectrum: SpectrumOptions,
    #[serde(default)]
    pub data: DataConfig,
    pub preprocess: Option<Preprocess>,
    /// Path of the file, if one was read.
    #[serde(skip)]
    pub path: Option<PathBuf>,
}

/// Data sets by role.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct DataConfig {
    pub train: Option<PathBuf>,
    pub val: Option<PathBuf>,
    pub test: Option<PathBuf>,
    /// Shifted data sets by name, in the order of the file.
    #[serde(default)]
    pub shifts: IndexMap<String, PathBuf>,
    /// Data sets of θ0's own domain by name, in the order of the file.
    #[serde(default)]
    pub sources: IndexMap<String, PathBuf>,
}

impl Config {
    /// Reads `given`, or `landscape.toml` in the working folder if it exists.
    ///
    /// # Errors
    /// When the file cannot be read, or has an unknown key or an invalid value; the message shows
    /// the line.
    pub fn load(given: Option<&Path>) -> Result<Self> {
        let path = match given {
            Some(path) => path.to_path_buf(),
            None if Path::new(DEFAULT).exists() && !Path::new(DEFAULT).is_dir() => {
                PathBuf::from(DEFAULT)
            }
            None => return Ok(Self::default()),
        };
        let text = files::text(&path, files::CONFIGURATION)?;
        let mut config: Self = toml::from_str(&text).map_err(|error| {
            Error::input(&path, "cannot be used:").lines(error.to_string().trim_end().lines())
        })?;
        config.resolve(path.parent().unwrap_or(Path::new("")));
        config.refuse_contradictions(&path)?;
        config.path = Some(path);
        Ok(config)
    }

    /// Resolves paths relative to the file's folder.
    fn resolve(&mut self, folder: &Path) {
        let data = &mut self.data;
        let named = [
            &mut self.origin,
            &mut self.origin_weights,
            &mut self.onnxruntime,
            &mut self.out,
            &mut data.train,
            &mut data.val,
            &mut data.test,
        ];
        let lists = data.shifts.values_mut().chain(data.sources.values_mut());
        let paths = named.into_iter().flatten().chain(lists);
        for path in paths {
            *path = folder.join(&*path);
        }
        for model in &mut self.models {
            // A name before the path stays there. What is a file or a pattern has none.
            let is_path = |text: &&str| {
                text.contains(['*', '?', '[']) || checkpoint::exists(&folder.join(text))
            };
            let text = model.to_str().filter(|text| !is_path(text));
            *model = match text.and_then(|text| text.split_once('=')) {
                Some((name, path)) => format!("{name}={}", folder.join(path).display()).into(),
                None => folder.join(&*model),
            };
        }
        if let Some(list) = &mut self.pairs.pairs
            && list.parse::<usize>().is_err()
        {
            *list = folder.join(&*list).to_string_lossy().into_owned();
        }
    }

    /// Refuses keys of a section that cannot stand together, as the flags do.
    fn refuse_contradictions(&self, path: &Path) -> Result<()> {
        let plane = &self.plane;
        let boxed = plane.steps.is_some() || plane.margin.is_some();
        let problem = if boxed && (plane.x.is_some() || plane.y.is_some()) {
            "[plane]: `steps` and `margin` cannot be combined with `x` and `y`"
        } else if self.line.steps.is_some() && self.line.alpha.is_some() {
            "[line]: `steps` cannot be combined with `alpha`"
        } else if self.soup.rays.is_some() && self.soup.no_rays {
            "[soup]: `rays` cannot be combined with `no-rays`"
        } else {
            return Ok(());
        };
        Err(Error::input(path, problem))
    }
}

/// Reads one path or a list of paths.
fn one_or_more<'d, D: Deserializer<'d>>(from: D) -> std::result::Result<Vec<PathBuf>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a path, or a list of paths")]
    enum Paths {
        One(PathBuf),
        More(Vec<PathBuf>),
    }
    Ok(match Paths::deserialize(from)? {
        Paths::One(path) => vec![path],
        Paths::More(paths) => paths,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        std::fs::write(&path, text).unwrap();
        let mut config = Config::load(Some(&path))?;
        // Normalizes the paths: the folder differs on every run.
        let data = &mut config.data;
        for path in data.shifts.values_mut().chain(data.sources.values_mut()) {
            *path = path.strip_prefix(folder.path()).unwrap().to_path_buf();
        }
        config.path = None;
        Ok(config)
    }

    #[test]
    fn shifts_and_sources_keep_their_order_and_paths_are_relative_to_the_file() {
        let shifts = "limit = 5\n[data.shifts]\nz = \"z.npz\"\na = \"d/a.npz\"\n";
        let config = load(&format!("{shifts}[data.sources]\nf = \"f.npz\"\n")).unwrap();
        assert_eq!(config.data.sources["f"], PathBuf::from("f.npz"));
        let shifts: Vec<_> = config.data.shifts.iter().collect();
        assert_eq!(shifts[0], (&"z".to_string(), &PathBuf::from("z.npz")));
        assert_eq!(shifts[1], (&"a".to_string(), &PathBuf::from("d/a.npz")));
        assert_eq!(config.limit, Some(5));
    }

    #[test]
    fn every_command_has_a_section_and_enums_have_the_names_of_their_flags() {
        let text = "binding = \"in-graph\"\nlosses = \"graph\"\nprecision = \"tf32\"\n\
                    [line]\nsteps = 5\npanels = \"all\"\n[soup]\nrule = \"gt\"\n\
                    [soup.learn]\npreset = \"paper\"\nlearn-batch = 8\n\
                    [pairs]\nby-layer = true\n[spectrum]\nprobe-steps = 9\n";
        let config = load(text).unwrap();
        assert_eq!(config.binding, Some(BindingChoice::InGraph));
        assert_eq!(config.precision, Some(GpuPrecision::Tf32));
        assert_eq!(config.losses, Some(Losses::Graph));
        let written = format!("{:?} {:?}", config.line, config.soup);
        assert!(
            written.contains("steps: Some(5)") && written.contains("Above"),
            "{written}"
        );
        assert!(written.contains("Paper") && written.contains("learn_batch: Some(8)"));
        let message = load("[soup]\nrule = \"ne\"\n").unwrap_err().to_string();
        assert!(
            message.contains("line 2") && message.contains("`ge` or `gt`"),
            "{message}"
        );
    }

    #[test]
    fn a_list_of_pairs_is_relative_to_the_file_and_a_number_is_not() {
        let list = load("[pairs]\npairs = \"p.csv\"\n")
            .unwrap()
            .pairs
            .pairs
            .unwrap();
        assert!(list.len() > 5 && list.ends_with("p.csv"), "{list}");
        let number = load("[pairs]\npairs = \"12\"\n").unwrap().pairs.pairs;
        assert_eq!(number.as_deref(), Some("12"));
    }

    #[test]
    fn models_are_one_path_or_more_and_keep_their_names() {
        let models = |text: &str| load(text).map(|config| config.models);
        let one = models("models = \"runs/*/m.pt\"\nweights = \"ema\"\n").unwrap();
        assert!(one.len() == 1 && one[0].ends_with("runs/*/m.pt"), "{one:?}");
        let one = models("models = \"runs/lr=*/m.pt\"\n").unwrap();
        assert!(one[0].ends_with("runs/lr=*/m.pt"), "{one:?}");
        let more = models("models = [\"a.pt\", \"b=d/b.pt\"]\n").unwrap();
        assert!(more[0].ends_with("a.pt") && more[0].is_absolute());
        let named = more[1].to_str().unwrap();
        assert!(
            named.starts_with("b=/") && named.ends_with("d/b.pt"),
            "{named}"
        );
        let message = models("models = 3\n").unwrap_err().to_string();
        assert!(message.contains("expected a path"), "{message}");
    }

    #[test]
    fn keys_that_cannot_stand_together_are_told() {
        for (text, words) in [
            (
                "[plane]\nsteps = 3\nx = \"0:1:2\"\ny = \"0:1:2\"\n",
                "[plane]: `steps`",
            ),
            ("[line]\nsteps = 3\nalpha = \"0:1:2\"\n", "[line]: `steps`"),
            ("[soup]\nrays = 3\nno-rays = true\n", "[soup]: `rays`"),
        ] {
            let message = load(text).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
    }

    #[test]
    fn unknown_keys_and_wrong_types_name_the_line() {
        let message = load("limit = 5\nlimt = 6\n").unwrap_err().to_string();
        assert!(
            message.contains("unknown field `limt`") && message.contains("line 2"),
            "{message}"
        );
        let message = load("[plane]\nsteps = \"many\"\n").unwrap_err().to_string();
        assert!(
            message.contains("line 2") && message.contains("invalid type"),
            "{message}"
        );
    }

    #[test]
    fn an_empty_file_says_nothing() {
        for text in ["", "\n", "# nothing\n"] {
            assert_eq!(load(text).unwrap(), Config::default());
        }
    }

    #[test]
    fn a_named_file_must_exist() {
        let error = Config::load(Some(Path::new("nowhere.toml"))).unwrap_err();
        assert_eq!(error.to_string(), "nowhere.toml: there is no such file");
    }
}
