//! A network of one batch norm whose statistics are known in closed form.

use super::*;

/// x [batch, 2] → batch norm → logits, in a folder with two checkpoints and data.
pub struct Closed {
    pub opset: i64,
    pub fixed: Option<i64>,
    /// Whether the running statistics are one tensor.
    pub merged: bool,
}

impl Closed {
    fn write(&self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let names = ["bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"];
        let values = [[1.0, 2.0], [0.5, 0.0], [0.25, -0.5], [1.5, 2.0]];
        let mut inputs: Vec<String> = std::iter::once("x")
            .chain(names)
            .map(String::from)
            .collect();
        if self.merged {
            inputs[4] = inputs[3].clone();
        }
        let tensor = |(name, values): (&str, [f32; 2])| TensorProto {
            name: Some(name.to_string()),
            dims: vec![2],
            data_type: Some(DataType::Float as i32),
            raw_data: Some(bytes(&values).into()),
            ..TensorProto::default()
        };
        let used = names
            .into_iter()
            .zip(values)
            .filter(|(name, _)| inputs.iter().any(|it| it == name));
        let model = ModelProto {
            ir_version: Some(6),
            opset_import: vec![OperatorSetIdProto {
                domain: None,
                version: Some(self.opset),
            }],
            graph: Some(GraphProto {
                name: Some("closed".to_string()),
                node: vec![NodeProto {
                    name: Some("norm".to_string()),
                    op_type: Some("BatchNormalization".to_string()),
                    input: inputs.clone(),
                    output: vec!["logits".to_string()],
                    ..NodeProto::default()
                }],
                initializer: used.clone().map(tensor).collect(),
                input: vec![self.batched("x")],
                output: vec![self.batched("logits")],
                ..GraphProto::default()
            }),
            ..ModelProto::default()
        };
        fs::write(path("zs.onnx"), model.encode_to_vec()).unwrap();
        for (file, shift) in [("ft1", 0.25), ("ft2", 0.75)] {
            let tuned = used
                .clone()
                .map(|(name, values)| (name, bytes(&values.map(|x| x + shift))));
            let tuned: Vec<(&str, Vec<u8>)> = tuned.collect();
            let views = tuned
                .iter()
                .map(|(name, bytes)| (*name, TensorView::new(Dtype::F32, vec![2], bytes).unwrap()));
            let to = path(&format!("{file}.safetensors"));
            safetensors::serialize_to_file(views, None, &to).unwrap();
        }
        // The first channel: 1 to 6, mean 3.5, Σ(x − m)² = 17.5. The second: mean 2, Σ = 120.
        let x: Vec<f32> = (0..6)
            .flat_map(|k| [k as f32 + 1.0, if k == 3 { 12.0 } else { 0.0 }])
            .collect();
        let (x, labels) = (
            bytes(&x),
            [0_i64, 1, 0, 1, 0, 1].map(i64::to_le_bytes).concat(),
        );
        let data = [
            ("x", TensorView::new(Dtype::F32, vec![6, 2], &x).unwrap()),
            (
                "labels",
                TensorView::new(Dtype::I64, vec![6], &labels).unwrap(),
            ),
        ];
        safetensors::serialize_to_file(data, None, &path("data.safetensors")).unwrap();
        fs::write(path("models.csv"), "name,path\nft1,ft1\nft2,ft2\n").unwrap();
        folder
    }

    /// An input or output of [batch, 2].
    fn batched(&self, name: &str) -> ValueInfoProto {
        let mut info = described(name, DataType::Float, &[1, 2]);
        let Some(TypeValue::Tensor(tensor)) = &mut info.r#type.as_mut().unwrap().value else {
            panic!("a tensor");
        };
        let value = match self.fixed {
            Some(batch) => DimensionValue::DimValue(batch),
            None => DimensionValue::DimParam("batch".to_string()),
        };
        tensor.shape.as_mut().unwrap().dim[0] = Dimension {
            value: Some(value),
            ..Dimension::default()
        };
        info
    }

    /// The uniform soup with its statistics re-estimated, saved as `soup.safetensors`.
    pub fn soup(&self, policy: &str) -> (TempDir, Output) {
        self.soup_with(policy, &[])
    }

    /// The same with more flags.
    pub fn soup_with(&self, policy: &str, more: &[&str]) -> (TempDir, Output) {
        let folder = self.write();
        let output = process()
            .current_dir(folder.path())
            .args([
                "soup",
                "--origin",
                "zs.onnx",
                "--models",
                "models.csv",
                "--methods",
                "uniform",
            ])
            .args([
                "--train",
                "data.safetensors",
                "--test",
                "data.safetensors",
                "--bn",
                policy,
            ])
            .args(["--save", "uniform=soup.safetensors"])
            .args(more)
            .output()
            .unwrap();
        (folder, output)
    }
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}
