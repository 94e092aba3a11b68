use super::*;
use crate::checkpoint::tensor::Dtype;
use crate::space::decode;
use crate::space::stored_tensor::StoredTensor;

fn tensor(shape: &[usize], value: f32) -> Tensor {
    let len: usize = shape.iter().product();
    let bytes: Vec<u8> = (0..len)
        .flat_map(|k| (value + k as f32).to_le_bytes())
        .collect();
    Tensor {
        dtype: Dtype::F32,
        shape: shape.to_vec(),
        bytes: bytes.into(),
    }
}

fn update(module: &str, a: &[usize], b: &[usize]) -> Update {
    Update {
        module: module.into(),
        is_embedding: false,
        a: tensor(a, 1.0),
        b: tensor(b, 1.0),
        bias: None,
        magnitude: None,
        scaling: 2.0,
    }
}

fn adapter(updates: Vec<Update>, whole: &[(&str, Tensor)]) -> Adapter {
    Adapter {
        source: "adapter".into(),
        name: "lora".into(),
        path: "lora/adapter_model.safetensors".into(),
        files: Vec::new(),
        fan_in_fan_out: false,
        updates,
        whole: whole
            .iter()
            .map(|(name, tensor)| (name.to_string(), tensor.clone()))
            .collect(),
    }
}

/// Applies an adapter to a base of these tensors.
fn applied(adapter: &Adapter, tensors: &[(&str, Tensor)]) -> Result<(Checkpoint, Vec<String>)> {
    let tensors = tensors.iter();
    let tensors: BTreeMap<String, Tensor> = tensors
        .map(|(name, tensor)| (name.to_string(), tensor.clone()))
        .collect();
    let base = Base {
        tensors: &tensors,
        path: Path::new("zs.safetensors"),
        is_network: false,
        network: None,
    };
    let plan = Plan::new(adapter, &base)?;
    let mut scratch = Scratch::new(plan.bytes(), Path::new("."))?;
    plan.compute(&mut scratch)?;
    let made = scratch.finish()?;
    let bytes: usize = made.iter().map(Bytes::len).sum();
    assert_eq!(bytes as u64, plan.bytes());
    let checkpoint = plan.apply(&base, &mut made.into_iter());
    Ok((checkpoint, plan.warnings))
}

fn values(checkpoint: &Checkpoint, name: &str) -> Vec<f64> {
    let tensor = &checkpoint.state_dict().unwrap()[name];
    decode::values(&StoredTensor::nameless(tensor, false))
}

#[test]
fn updated_tensors_change_and_all_others_are_the_bases_own() {
    let base = [
        ("m.q.weight", tensor(&[2, 3], 0.0)),
        ("m.q.bias", tensor(&[2], 0.0)),
        ("m.fc.weight", tensor(&[2, 2], 0.0)),
    ];
    let mut q = update("q", &[1, 3], &[2, 1]);
    q.bias = Some(tensor(&[2], 1.0));
    let head = ("fc.weight", tensor(&[2, 2], 7.0));
    let adapter = adapter(vec![q], std::slice::from_ref(&head));
    let (checkpoint, warnings) = applied(&adapter, &base).unwrap();
    // W = [0..6], B = [1, 2], A = [1, 2, 3], s = 2.
    assert_eq!(
        values(&checkpoint, "m.q.weight"),
        [2.0, 5.0, 8.0, 7.0, 12.0, 17.0]
    );
    assert_eq!(values(&checkpoint, "m.q.bias"), [2.0, 5.0]);
    let tensors = checkpoint.state_dict().unwrap();
    assert_eq!(tensors["m.fc.weight"].bytes.as_ptr(), head.1.bytes.as_ptr());
    assert_eq!(tensors.len(), 3);
    assert!(warnings.is_empty());
    let untouched = self::adapter(vec![update("q", &[1, 3], &[2, 1])], &[]);
    let (checkpoint, _) = applied(&untouched, &base).unwrap();
    let same = &checkpoint.state_dict().unwrap()["m.fc.weight"];
    assert_eq!(same.bytes.as_ptr(), base[2].1.bytes.as_ptr());
}

#[test]
fn a_whole_tensor_is_updated_after_it_is_replaced() {
    let base = [("e.weight", tensor(&[3, 2], 0.0))];
    let mut embedding = update("e", &[1, 3], &[2, 1]);
    embedding.is_embedding = true;
    let adapter = adapter(vec![embedding], &[("e.weight", tensor(&[3, 2], 100.0))]);
    let (checkpoint, _) = applied(&adapter, &base).unwrap();
    // (B·A)ᵀ = [[1, 2], [2, 4], [3, 6]].
    let expected = [102.0, 105.0, 106.0, 111.0, 110.0, 117.0];
    assert_eq!(values(&checkpoint, "e.weight"), expected);
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let integers = Tensor {
        dtype: Dtype::I8,
        shape: vec![2, 3],
        bytes: vec![0; 6].into(),
    };
    let linear = || update("q", &[1, 3], &[2, 1]);
    let convolution = || update("q", &[2, 4, 3, 3], &[4, 2, 1, 1]);
    let mut biased = linear();
    biased.bias = Some(tensor(&[2], 0.0));
    let mut embedding = linear();
    embedding.is_embedding = true;
    let weight = |shape: &[usize]| vec![("q.weight", tensor(shape, 0.0))];
    for (update, base, problem) in [
        (
            linear(),
            vec![("k.weight", tensor(&[2, 3], 0.0))],
            "not in its base, zs.safetensors",
        ),
        (
            linear(),
            weight(&[2, 4]),
            "do not fit the base's shape [2, 4]",
        ),
        (linear(), weight(&[6]), "do not fit the base's shape [6]"),
        (
            embedding,
            weight(&[2, 3]),
            "do not fit the base's shape [2, 3]",
        ),
        (
            convolution(),
            weight(&[4, 2, 3, 3]),
            "a convolution in groups",
        ),
        (
            linear(),
            vec![("q.weight", integers)],
            "of type i8, as quantized",
        ),
        (biased, weight(&[2, 3]), "q.bias"),
        (
            linear(),
            vec![
                ("a.q.weight", tensor(&[2, 3], 0.0)),
                ("b.q.weight", tensor(&[2, 3], 0.0)),
            ],
            "could mean `a.q.weight` or `b.q.weight`",
        ),
    ] {
        let error = applied(&adapter(vec![update], &[]), &base).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(problem), "{problem}: {error}");
        assert!(error.contains("help: "), "{error}");
    }
    let resized = adapter(vec![linear()], &[("fc.weight", tensor(&[5, 2], 0.0))]);
    let base = [
        ("q.weight", tensor(&[2, 3], 0.0)),
        ("fc.weight", tensor(&[4, 2], 0.0)),
    ];
    let error = applied(&resized, &base).unwrap_err().to_string();
    assert!(
        error.contains("`fc.weight` by a tensor of shape [5, 2]"),
        "{error}"
    );
}

#[test]
fn the_layout_of_a_square_matrix_is_that_of_the_configuration() {
    let base = [
        ("s.weight", tensor(&[2, 2], 0.0)),
        ("w.weight", tensor(&[2, 3], 0.0)),
    ];
    let square = || update("s", &[1, 2], &[2, 1]);
    let of = |updates: Vec<Update>, fan_in_fan_out: bool| {
        let adapter = Adapter {
            fan_in_fan_out,
            ..adapter(updates, &[])
        };
        applied(&adapter, &base).map(|(checkpoint, _)| checkpoint)
    };
    // B·A = [[1, 2], [2, 4]] is symmetric; A = [1, 2] and B = [3, 4] are not.
    let mut skew = square();
    skew.b = tensor(&[2, 1], 3.0);
    let plain = of(vec![skew.clone()], false).unwrap();
    assert_eq!(values(&plain, "s.weight"), [6.0, 13.0, 10.0, 19.0]);
    let turned = of(vec![skew], true).unwrap();
    assert_eq!(values(&turned, "s.weight"), [6.0, 9.0, 14.0, 19.0]);
    // Another matrix shows that not all are as the configuration says.
    let conv1d = || update("w", &[1, 2], &[3, 1]);
    assert!(of(vec![conv1d()], false).is_ok());
    assert!(of(vec![conv1d(), square()], true).is_ok());
    let error = of(vec![conv1d(), square()], false).unwrap_err().to_string();
    assert!(error.contains("square matrix `s.weight`"), "{error}");
    assert!(
        error.contains("`w.weight` is held the other way"),
        "{error}"
    );
}

#[test]
fn tied_matrices_are_told() {
    let base = [
        ("head.weight", tensor(&[2, 3], 0.0)),
        ("wte.weight", tensor(&[2, 3], 0.0)),
    ];
    let both = ["head", "wte"].map(|it| update(it, &[1, 3], &[2, 1]));
    let (_, warnings) = applied(&adapter(both[..1].to_vec(), &[]), &base).unwrap();
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].contains("`head.weight` and `wte.weight` are equal"),
        "{warnings:?}"
    );
    let (_, warnings) = applied(&adapter(both.to_vec(), &[]), &base).unwrap();
    assert!(warnings.is_empty());
}
