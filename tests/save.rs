//! Mixes written as files: like the checkpoints they are made of, and read back by everything
//! that reads checkpoints. The networks and exports are those of the PyTorch oracle.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use half::f16;
use landscape::checkpoint::onnx::Model;
use landscape::checkpoint::onnx::proto::{
    DataLocation, ModelProto, StringStringEntryProto, entries,
};
use landscape::checkpoint::safetensors::read_layout;
use landscape::checkpoint::tensor::{Dtype, Tensor};
use landscape::checkpoint::{Checkpoint, Content};
use landscape::error::Result;
use landscape::graph::network::Network;
use landscape::space::matching::{self, Aligned, Options};
use landscape::space::mix::{Mix, mixed_bytes};
use landscape::space::save::{RecipeMetadata, SaveType, check_content, recipe, save};
use prost::Message;
use safetensors::tensor::{Dtype as Stored, SafeTensors, TensorView};

use crate::common::{example, number, program, result, rows};

/// Networks and exports: names kept, or weights transposed and equal tensors merged.
const EXPORTS: [(&str, &str); 8] = [
    ("bn", "noopt"),
    ("bn", "ts_nofold"),
    ("vit", "noopt"),
    ("vit", "ts"),
    ("tied", "noopt"),
    ("tied", "ts"),
    ("mha", "noopt"),
    ("mha", "ts"),
];

#[test]
fn a_tensor_of_a_type_that_is_not_written_is_told_before_the_run() {
    let mut models = Models::named("vit", "noopt");
    let soup = Path::new("soup.safetensors");
    {
        let (_, aligned) = models.aligned();
        check_content(soup, &aligned, &models.checkpoints).unwrap();
    }
    // As a file of PyTorch, whose complex or quantized tensors no .safetensors file can hold.
    let other = &mut models.checkpoints[1];
    other.files.clear();
    let Content::StateDict(tensors) = &mut other.content else {
        panic!("a state dict");
    };
    let phases = Tensor {
        dtype: Dtype::Other("complex64"),
        shape: vec![2],
        bytes: vec![0; 16].into(),
    };
    tensors.insert("phases".to_string(), phases);
    let (_, aligned) = models.aligned();
    let error = check_content(soup, &aligned, &models.checkpoints).unwrap_err();
    let message = error.to_string();
    for words in ["`phases`", "complex64", "an .onnx file holds"] {
        assert!(message.contains(words), "{message}");
    }
    check_content(Path::new("soup.onnx"), &aligned, &models.checkpoints).unwrap();
}

fn oracle(network: &str, file: &str) -> PathBuf {
    common::oracle(network).join(file)
}

/// The origin and checkpoints of a test.
struct Models {
    origin: Model,
    checkpoints: Vec<Checkpoint>,
    ignore: Vec<String>,
}

impl Models {
    fn new(origin: &Path, checkpoints: &[PathBuf]) -> Self {
        let open = |path: &PathBuf| Checkpoint::open(path).unwrap();
        Self {
            origin: Model::read(origin).unwrap(),
            checkpoints: checkpoints.iter().map(open).collect(),
            ignore: Vec::new(),
        }
    }

    /// θ0 in an export beside both fine-tunes under their own names.
    fn named(network: &str, export: &str) -> Self {
        let files = ["ft1.safetensors", "ft2.safetensors"].map(|file| oracle(network, file));
        Self::new(&oracle(network, &format!("zs_{export}.onnx")), &files)
    }

    fn aligned(&self) -> (Network<'_>, Aligned) {
        let network = Network::of(&self.origin);
        let options = Options {
            ignore: self.ignore.clone(),
            ..Options::default()
        };
        let aligned = matching::pool(&network, "zs", &self.checkpoints, None, &options).unwrap();
        (network, aligned)
    }

    fn save(&self, path: &Path, mix: &Mix, recipe: &RecipeMetadata) -> Result<()> {
        let (network, aligned) = self.aligned();
        // The files of these tests hold the checkpoints' types.
        let to = (self.checkpoints.as_slice(), SaveType::Like);
        save(path, mix, &aligned, &network, to, recipe)
    }
}

/// A copy of a network whose tensors are in a file beside it.
fn with_external_data(from: &Path, folder: &Path) -> PathBuf {
    let mut model = ModelProto::decode(&fs::read(from).unwrap()[..]).unwrap();
    let mut data = Vec::new();
    for tensor in &mut model.graph.as_mut().unwrap().initializer {
        let Some(raw) = tensor.raw_data.take() else {
            continue;
        };
        let entry = |key: &str, value: String| StringStringEntryProto {
            key: Some(key.to_string()),
            value: Some(value),
        };
        tensor.external_data = vec![
            entry("location", "weights.bin".to_string()),
            entry("offset", data.len().to_string()),
            entry("length", raw.len().to_string()),
        ];
        tensor.data_location = Some(DataLocation::External as i32);
        data.extend_from_slice(&raw);
    }
    fs::write(folder.join("weights.bin"), data).unwrap();
    let path = folder.join("zs.onnx");
    fs::write(&path, model.encode_to_vec()).unwrap();
    path
}

#[test]
fn an_origin_with_external_data_gives_a_file_with_external_data() {
    let folder = tempfile::tempdir().unwrap();
    let inside = Models::named("vit", "noopt");
    let origin = with_external_data(&oracle("vit", "zs_noopt.onnx"), folder.path());
    let files = ["ft1.safetensors", "ft2.safetensors"].map(|file| oracle("vit", file));
    let outside = Models::new(&origin, &files);
    let recipe = RecipeMetadata::new();
    let [one, two] = ["one.onnx", "two.onnx"].map(|name| folder.path().join(name));
    inside.save(&one, &half_and_half(), &recipe).unwrap();
    // An older model goes, with its data.
    fs::write(&two, "old").unwrap();
    fs::write(folder.path().join("two.onnx.data"), "old").unwrap();
    outside.save(&two, &half_and_half(), &recipe).unwrap();
    assert!(fs::metadata(&two).unwrap().len() < fs::metadata(&one).unwrap().len() / 2);
    let [one, two] = [one, two].map(|path| Model::read(&path).unwrap());
    let external = |model: &Model| -> Vec<PathBuf> {
        let stamps = model.external.iter();
        stamps.map(|it| it.path().to_path_buf()).collect()
    };
    assert_eq!(external(&one), Vec::<PathBuf>::new());
    assert_eq!(external(&two), [folder.path().join("two.onnx.data")]);
    let tensors = |model: &Model| -> Vec<_> {
        let tensors = model.tensors.iter();
        tensors
            .map(|(name, it)| (name.clone(), it.shape.clone(), it.bytes.clone()))
            .collect()
    };
    assert_eq!(tensors(&one), tensors(&two));
    assert_eq!(one.graph().node, two.graph().node);
    let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    left.retain(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with(".landscape")
    });
    assert!(left.is_empty(), "{left:?}");
}

fn half_and_half() -> Mix {
    Mix::new(vec![0.0, 0.5, 0.5])
}

/// The float32 tensors of a file.
fn floats(path: &Path) -> BTreeMap<String, Vec<f32>> {
    let tensors = read_layout(path).unwrap().tensors.into_iter();
    let tensors = tensors.filter(|(declared, _)| declared.dtype == Stored::F32);
    let values = |bytes: &[u8]| {
        bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect()
    };
    tensors
        .map(|(declared, bytes)| (declared.name, values(&bytes)))
        .collect()
}

/// Type, shape and elements by name.
type Tensors = BTreeMap<String, (Stored, Vec<usize>, Vec<u8>)>;

fn read(path: &Path) -> Tensors {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter()
        .map(|(name, view)| {
            let tensor = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
            (name.to_string(), tensor)
        })
        .collect()
}

fn write(path: &Path, tensors: &Tensors) {
    let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
        let view = TensorView::new(*dtype, shape.clone(), bytes).unwrap();
        (name.as_str(), view)
    });
    safetensors::serialize_to_file(views, None, path).unwrap();
}

#[test]
fn a_member_alone_is_its_own_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.safetensors");
    for (network, export) in EXPORTS {
        let models = Models::named(network, export);
        for member in [1, 2] {
            let mix = Mix::unit(member, 3);
            models.save(&path, &mix, &RecipeMetadata::new()).unwrap();
            let (written, own) = (
                read_layout(&path).unwrap(),
                read_layout(&models.checkpoints[member - 1].path).unwrap(),
            );
            assert_eq!(written.tensors, own.tensors, "{network} {export}");
        }
    }
}

#[test]
fn a_mix_is_the_sum_of_what_has_one_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("soup.safetensors");
    for (network, export) in EXPORTS {
        let models = Models::named(network, export);
        let mix = Mix::new(vec![0.0, 0.3, 0.7]);
        models.save(&path, &mix, &RecipeMetadata::new()).unwrap();
        let [a, b] = [0, 1].map(|index| floats(&models.checkpoints[index].path));
        let soup = floats(&path);
        assert!(soup.keys().eq(a.keys()), "{network} {export}");
        for (name, values) in &soup {
            for (k, value) in values.iter().enumerate() {
                let sum = 0.3 * f64::from(a[name][k]) + 0.7 * f64::from(b[name][k]);
                assert_eq!(*value, sum as f32, "{network} {export} {name}");
            }
        }
    }
}

#[test]
fn the_template_says_what_is_written_beside_the_parameters_and_in_which_type() {
    let folder = tempfile::tempdir().unwrap();
    let (template, path) = (
        folder.path().join("half.safetensors"),
        folder.path().join("soup.safetensors"),
    );
    let mut tensors = read(&oracle("bn", "ft1.safetensors"));
    for (dtype, _, bytes) in tensors.values_mut() {
        if *dtype == Stored::F32 {
            let values = bytes.as_chunks::<4>().0.iter();
            let halves = values.flat_map(|b| f16::from_f32(f32::from_le_bytes(*b)).to_le_bytes());
            (*dtype, *bytes) = (Stored::F16, halves.collect());
        }
    }
    let extra = |dtype, bytes: Vec<u8>| (dtype, vec![bytes.len()], bytes);
    tensors.insert("mask".into(), extra(Stored::F8_E4M3, vec![1, 2, 3]));
    let ignored = (Stored::F32, vec![1], 2.5_f32.to_le_bytes().to_vec());
    tensors.insert("ema.decay".into(), ignored);
    write(&template, &tensors);
    let mut models = Models::new(
        &oracle("bn", "zs_noopt.onnx"),
        &[template.clone(), oracle("bn", "ft2.safetensors")],
    );
    models.ignore.push("ema.*".into());
    models
        .save(&path, &Mix::unit(1, 3), &RecipeMetadata::new())
        .unwrap();
    assert_eq!(read(&path), tensors);

    models
        .save(&path, &half_and_half(), &RecipeMetadata::new())
        .unwrap();
    let soup = read(&path);
    let other = floats(&models.checkpoints[1].path);
    assert!(soup.keys().eq(tensors.keys()));
    for (name, (dtype, shape, bytes)) in &soup {
        let (own_dtype, own_shape, own) = &tensors[name];
        assert_eq!((dtype, shape), (own_dtype, own_shape));
        if *dtype != Stored::F16 {
            assert_eq!(bytes, own, "{name}");
            continue;
        }
        let halves = |bytes: &[u8]| -> Vec<f16> {
            let chunks = bytes.as_chunks::<2>().0.iter();
            chunks.map(|b| f16::from_le_bytes(*b)).collect()
        };
        for ((soup, own), other) in halves(bytes).iter().zip(halves(own)).zip(&other[name]) {
            let sum = 0.5 * own.to_f64() + 0.5 * f64::from(*other);
            assert_eq!(*soup, f16::from_f64(sum), "{name}");
        }
    }
}

#[test]
fn what_is_equal_in_every_checkpoint_is_written_under_all_its_names() {
    let folder = tempfile::tempdir().unwrap();
    // At θ0 these two are one initializer; training moved them alike.
    let (one, other) = ("b.0.ln1.weight", "b.0.ln2.weight");
    let alike = ["ft1.safetensors", "ft2.safetensors"].map(|file| {
        let mut tensors = read(&oracle("vit", file));
        tensors.insert(other.into(), tensors[one].clone());
        let path = folder.path().join(file);
        write(&path, &tensors);
        path
    });
    let models = Models::new(&oracle("vit", "zs_ts.onnx"), &alike);
    let parameters = models.aligned().1.pool.parameters;
    assert!(parameters.iter().all(|parameter| parameter.name != other));
    let path = folder.path().join("soup.safetensors");
    models
        .save(&path, &half_and_half(), &RecipeMetadata::new())
        .unwrap();
    let soup = read(&path);
    assert_eq!(soup[one], soup[other]);
    assert_ne!(soup[other], read(&alike[0])[other]);
}

#[test]
fn one_tensor_that_stands_for_two_is_refused() {
    // θ0 once more as a checkpoint: what its exporter merged, the fine-tune tells apart.
    let files = ["zs_ts.onnx", "ft1_ts.onnx"].map(|file| oracle("vit", file));
    let models = Models::new(&oracle("vit", "zs_ts.onnx"), &files);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("soup.safetensors");
    let error = models.save(&path, &half_and_half(), &RecipeMetadata::new());
    let message = error.unwrap_err().to_string();
    assert!(message.contains("has one tensor `"), "{message}");
    assert!(
        message.contains("help: an .onnx file holds both"),
        "{message}"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let alone = Mix::unit(2, 3);
    models.save(&path, &alone, &RecipeMetadata::new()).unwrap();
}

#[test]
fn graphs_alone_give_their_own_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("soup.safetensors");
    let files = ["ft1_noopt.onnx", "ft2_noopt.onnx"].map(|file| oracle("vit", file));
    let models = Models::new(&oracle("vit", "zs_noopt.onnx"), &files);
    models
        .save(&path, &Mix::unit(1, 3), &RecipeMetadata::new())
        .unwrap();
    assert_eq!(read(&path), read(&oracle("vit", "ft1.safetensors")));
}

#[test]
fn the_recipe_is_read_back_and_the_same_mix_gives_the_same_bytes() {
    let models = Models::named("bn", "noopt");
    let (_, aligned) = models.aligned();
    let mix = half_and_half();
    let recipe = recipe("uniform", &mix, None, &aligned.pool, &[]);
    let folder = tempfile::tempdir().unwrap();
    for ending in ["safetensors", "onnx"] {
        let at = |stem: &str| folder.path().join(stem).with_extension(ending);
        models.save(&at("one"), &mix, &recipe).unwrap();
        models.save(&at("two"), &mix, &recipe).unwrap();
        assert_eq!(fs::read(at("one")).unwrap(), fs::read(at("two")).unwrap());
    }
    let mut expected = recipe.clone();
    expected.insert("format".into(), "pt".into());
    let named = read_layout(&folder.path().join("one.safetensors")).unwrap();
    assert_eq!(named.metadata, expected);
    let model = Model::read(&folder.path().join("one.onnx")).unwrap();
    let metadata = entries(&model.proto.metadata_props);
    for (key, value) in &recipe {
        assert_eq!(metadata[key.as_str()], value);
    }
}

#[test]
fn a_written_network_is_read_as_checkpoint_and_as_origin() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("soup.onnx");
    for (network, export) in EXPORTS {
        let place = format!("{network} {export}");
        let mut models = Models::named(network, export);
        models
            .save(&path, &half_and_half(), &RecipeMetadata::new())
            .unwrap();
        let soup = Checkpoint::open(&path).unwrap();
        let Content::Network(origin) = soup.content.clone() else {
            panic!("{place}");
        };

        models.checkpoints.push(soup);
        let (_, aligned) = models.aligned();
        let bytes = |aligned: &Aligned, index, mix: &Mix| {
            mixed_bytes(&aligned.pool, index, mix, Dtype::F32, false)
        };
        let mut expected = BTreeMap::new();
        for index in 0..aligned.pool.parameters.len() {
            let mix = Mix::new(vec![0.0, 0.5, 0.5, 0.0]);
            let own = bytes(&aligned, index, &Mix::unit(3, 4));
            assert_eq!(own, bytes(&aligned, index, &mix), "{place} {index}");
            // Tied: one name, once as it is and once transposed.
            let parameter = &aligned.pool.parameters[index];
            expected.insert((parameter.name.clone(), parameter.shape.clone()), own);
        }

        models.checkpoints.pop();
        models.origin = *origin;
        let (_, aligned) = models.aligned();
        for (index, parameter) in aligned.pool.parameters.iter().enumerate() {
            let key = (parameter.name.clone(), parameter.shape.clone());
            let own = bytes(&aligned, index, &Mix::unit(0, 3));
            assert_eq!(expected.remove(&key), Some(own), "{place} {key:?}");
        }
        assert!(expected.is_empty(), "{place}");
    }
}

#[test]
fn a_soup_of_checkpoints_with_tensors_of_no_use_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let at = |file: &str| folder.path().join(file);
    let mut command = program();
    for (k, name) in ["ft1", "ft2"].iter().enumerate() {
        let mut tensors = read(&example().join(format!("{name}.safetensors")));
        let weight = tensors["fc2.bias"].clone();
        tensors.insert("criterion.weight".to_string(), weight);
        let path = at(&format!("{k}.safetensors"));
        write(&path, &tensors);
        if k == 0 {
            command.current_dir(example()).args(["soup", "--models"]);
        }
        command.arg(path);
    }
    let save = |of: &str, file: &str| format!("{of}={}", at(file).display());
    command
        .args(["--origin", "zs.onnx", "--val", "val.npz", "--limit", "100"])
        .args(["--ignore", "criterion.*", "--methods", "uniform,greedy"])
        .args(["--save", &save("uniform", "soup.safetensors")])
        .args(["--save", &save("greedy", "soup.onnx")])
        .arg("--out")
        .arg(at("out"))
        .assert()
        .success()
        .stdout(predicates::str::contains("read back").count(2));
    // It is a slip where nothing was written with the pattern.
    program()
        .current_dir(example())
        .args(["soup", "--models", "ft1", "ft2", "--origin", "zs.onnx"])
        .args(["--val", "val.npz", "--ignore", "criterion.*"])
        .assert()
        .code(2)
        .stderr(predicates::str::contains("matches no tensor"));
}

/// The soup's loss on the line between two models, and at the end of a line from its own file.
#[test]
fn a_written_soup_is_evaluated_as_the_mix_was() {
    let folder = tempfile::tempdir().unwrap();
    let at = |file: &str| example().join(file);
    let files = ["ft1.safetensors", "ft2.safetensors"].map(at);
    let models = Models::new(&at("zs.onnx"), &files);
    let losses = |a: &Path, b: &Path| -> Vec<f64> {
        let out = folder.path().join("out");
        program()
            .current_dir(example())
            .args(["line", "--origin", "zs.onnx", "--alpha=0:1:3", "--limit"])
            .args(["200", "--fresh", "--a"])
            .arg(a)
            .arg("--b")
            .arg(b)
            .arg("--out")
            .arg(&out)
            .assert()
            .success();
        let rows = rows(result(&out, "line.csv"));
        rows.iter()
            .filter(|row| row["dataset"] == "test")
            .map(|row| number(row, "soup_loss"))
            .collect()
    };
    let middle = losses(&files[0], &files[1])[1];
    for name in ["soup.onnx", "soup.safetensors"] {
        let path = folder.path().join(name);
        models
            .save(&path, &half_and_half(), &RecipeMetadata::new())
            .unwrap();
        let first = losses(&path, &files[1])[0];
        assert!((first / middle - 1.0).abs() < 1e-6, "{first} {middle}");
    }
}
