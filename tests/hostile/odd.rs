//! Odd files that once made the program panic, hang or steer the terminal.

use std::fs;
use std::io::Write;
use std::time::Duration;

use landscape::checkpoint::onnx::proto::{AttributeProto, GraphProto, NodeProto};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize_to_file};

use crate::common::program;
use crate::folder::Folder;

/// Status and both outputs of the program in a folder.
fn run(folder: &Folder, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = program();
    let command = command.current_dir(folder.path("")).args(arguments);
    let output = command.timeout(Duration::from_secs(60)).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn node(op_type: &str, inputs: &[&str], output: &str) -> NodeProto {
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    NodeProto {
        op_type: Some(op_type.to_string()),
        input: names(inputs),
        output: names(&[output]),
        ..NodeProto::default()
    }
}

#[test]
fn a_node_without_its_input_is_no_panic() {
    for op_type in ["Shape", "Size", "Identity", "Cast", "Add", "MatMul"] {
        let folder = Folder::new();
        folder.edit_model(|model| {
            let graph = model.graph.as_mut().unwrap();
            graph.node.insert(0, node(op_type, &[], "odd"));
        });
        let (status, _, message) = run(&folder, &["inspect", "zs_noopt.onnx", "ft1.safetensors"]);
        assert_eq!(status, Some(0), "{op_type}: {message}");
        // ONNX Runtime checks nodes.
        let message = folder.refused(1, &[]);
        assert!(message.contains("error: "), "{op_type}: {message}");
    }
}

#[test]
fn parameters_in_the_body_of_a_branch_are_matched_there() {
    let folder = Folder::new();
    folder.edit_model(|model| {
        let graph = model.graph.as_mut().unwrap();
        let floats = graph
            .initializer
            .iter()
            .filter(|tensor| tensor.dims.len() == 2);
        let names: Vec<String> = floats.map(|tensor| tensor.name().to_string()).collect();
        let body = |output: &str| GraphProto {
            node: vec![node("MatMul", &[&names[0], &names[1]], output)],
            ..GraphProto::default()
        };
        let branch = |name: &str| AttributeProto {
            name: Some(name.to_string()),
            g: Some(body(name)),
            ..AttributeProto::default()
        };
        let mut choice = node("If", &["condition"], "chosen");
        choice.attribute = vec![branch("then_branch"), branch("else_branch")];
        graph.node.push(choice);
    });
    for other in ["ft1.safetensors", "zs_noopt.onnx"] {
        let (status, _, message) = run(&folder, &["inspect", "zs_noopt.onnx", other]);
        assert_eq!(status, Some(0), "{message}");
    }
}

#[test]
fn a_circle_of_identities_is_told() {
    for circle in [&["a", "b", "a"][..], &["a", "a"]] {
        let folder = Folder::new();
        folder.edit_model(|model| {
            let graph = model.graph.as_mut().unwrap();
            let steps = circle.windows(2);
            graph
                .node
                .extend(steps.map(|step| node("Identity", &[step[0]], step[1])));
            graph.output[0].name = Some("a".to_string());
        });
        let (status, _, message) = run(&folder, &["inspect", "zs_noopt.onnx", "zs_noopt.onnx"]);
        assert_eq!(status, Some(2), "{message}");
        assert!(
            message.contains("is made from itself by Identity nodes"),
            "{message}"
        );
    }
}

#[test]
fn names_of_any_length_and_kind_are_drawn() {
    let folder = Folder::new();
    let files = [
        "--origin",
        "zs_noopt.onnx",
        "--a",
        "ft1.safetensors",
        "--b",
        "ft2",
    ];
    let data = [
        "--test",
        "data.npz",
        "--shift",
        "s=data.npz",
        "--steps",
        "3",
        "--out",
        "out",
    ];
    let (status, _, message) = run(&folder, &[&["line"], &files[..], &data].concat());
    assert_eq!(status, Some(0), "{message}");
    let json = folder.path("out/notebooks-data/line.json");
    let plain = fs::read_to_string(&json).unwrap();
    for name in [
        "W".repeat(20),
        "x".repeat(60_000),
        "a\u{1b}[31m\u{0}\u{ffff}<&".to_string(),
    ] {
        let name = serde_json::to_string(&name).unwrap();
        let spoilt = plain.replace("\"ft1\"", &name).replace("\"s\"", &name);
        assert_ne!(spoilt, plain);
        fs::write(&json, spoilt).unwrap();
        let csv = folder.path("out/notebooks-data/line.csv");
        let drawn = [
            "draw",
            csv.to_str().unwrap(),
            "--panels",
            "all",
            "--out",
            "plots",
        ];
        // The data set's name stands in the CSV, too.
        let rows = fs::read_to_string(&csv).unwrap();
        let (status, _, message) = match rows.contains(",s,") && name.len() < 20_000 {
            true => {
                let mut writer = csv::Writer::from_path(&csv).unwrap();
                let mut reader = csv::Reader::from_reader(rows.as_bytes());
                writer.write_record(reader.headers().unwrap()).unwrap();
                for record in reader.records() {
                    let name: String = serde_json::from_str(&name).unwrap();
                    let record = record.unwrap();
                    let cells = record.iter().map(|cell| match cell {
                        "s" => name.as_str(),
                        cell => cell,
                    });
                    writer.write_record(cells).unwrap();
                }
                drop(writer);
                let drawn = run(&folder, &drawn);
                fs::write(&csv, rows).unwrap();
                drawn
            }
            false => {
                let only = plain.replace("\"ft1\"", &name);
                fs::write(&json, only).unwrap();
                run(&folder, &drawn)
            }
        };
        assert_eq!(status, Some(0), "{message}");
        let svg = fs::read_to_string(folder.path("plots/line.svg")).unwrap();
        assert!(!svg.contains(|c: char| c.is_control() && c != '\n'));
        assert!(!svg.contains('\u{ffff}'));
        let png = fs::metadata(folder.path("plots/line.png")).unwrap();
        assert!(png.len() < 5_000_000, "{}", png.len());
    }
}

#[test]
fn a_list_of_many_arrays_is_cut() {
    let folder = Folder::new();
    let names: Vec<String> = (0..20_000).map(|k| format!("array{k:05}")).collect();
    let empty = || TensorView::new(Dtype::F32, vec![0], &[]).unwrap();
    let arrays = names.iter().map(|name| (name, empty()));
    serialize_to_file(arrays, None, &folder.path("many.safetensors")).unwrap();
    let message = folder.refused(2, &["--shift", "s=many.safetensors"]);
    assert!(
        message.contains("`array00000`")
            && message.contains(", and 19980 more")
            && message.len() < 4_000,
        "{message}"
    );
}

#[test]
fn headers_of_npy_arrays_take_no_time() {
    let folder = Folder::new();
    let file = fs::File::create(folder.path("slow.npz")).unwrap();
    let mut archive = zip::ZipWriter::new(file);
    let options = zip::write::SimpleFileOptions::default();
    let header = format!("{}{}\n", "{".repeat(8), "1,".repeat(4_900));
    for name in ["labels.npy", "input.npy"] {
        archive.start_file(name, options).unwrap();
        archive.write_all(b"\x93NUMPY\x01\x00").unwrap();
        let length = u16::try_from(header.len()).unwrap();
        archive.write_all(&length.to_le_bytes()).unwrap();
        archive.write_all(header.as_bytes()).unwrap();
    }
    archive.finish().unwrap();
    // Exponential in the depth, it took ten minutes.
    let message = folder.refused(2, &["--shift", "s=slow.npz"]);
    assert!(
        message.contains("nested deeper than 4 brackets"),
        "{message}"
    );
}

#[test]
fn names_do_not_steer_the_terminal() {
    let folder = Folder::new();
    let name = "\u{1b}]0;title\u{7}\u{9b}31m\u{202e}\nerror: forged";
    let tensor = TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap();
    serialize_to_file([(name, tensor)], None, &folder.path("odd.safetensors")).unwrap();
    let (status, text, _) = run(&folder, &["inspect", "odd.safetensors"]);
    assert_eq!(status, Some(0));
    let (status, _, message) = run(&folder, &["inspect", "zs_noopt.onnx", "odd.safetensors"]);
    assert_eq!(status, Some(2));
    for shown in [&text, &message] {
        let hidden = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!shown.contains(hidden), "{shown:?}");
        assert!(!shown.contains("\nerror: forged"), "{shown}");
        assert!(shown.contains("\\u{1b}]0;title\\u{7}\\u{9b}31m"), "{shown}");
    }
}
