//! Files that mean harm: nothing is executed, and neither time, memory nor stack run out.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use landscape::checkpoint::Checkpoint;

use super::files::{assert_holds, expected, file, folder, refused};
use super::pickles::{Pickle, archive, written};

/// What a file may take to be refused, on a slow machine too.
const PATIENCE: Duration = Duration::from_secs(60);

fn told_soon(path: &Path) -> String {
    let start = Instant::now();
    let message = refused(path, None);
    let size = fs::metadata(path).unwrap().len();
    assert!(
        start.elapsed() < PATIENCE,
        "{:?} for {size} bytes",
        start.elapsed()
    );
    message
}

#[test]
fn nothing_is_executed() {
    // `torch.load(…, weights_only=False)` would make this file.
    let made = Path::new("executed");
    for name in ["payload.pt", "payload-build.pt"] {
        let found = Checkpoint::open(&file(name)).unwrap();
        assert_holds(&found, &expected(name));
    }
    assert!(!made.exists() && !file("executed").exists());
    // The command is the whole pickle.
    let (folder, path) = written(b"cos\nsystem\n(S'touch executed'\ntR.");
    assert!(refused(&path, None).contains("is no file of PyTorch"));
    let whole = Pickle::new()
        .global("os", "system")
        .code(b"(")
        .text("touch executed");
    fs::write(&path, whole.code(b"tR").stop()).unwrap();
    let message = refused(&path, None);
    assert!(
        message.contains("holds an object of the class os.system"),
        "{message}"
    );
    assert!(!made.exists() && !folder.path().join("executed").exists());
}

#[test]
fn depth_does_not_overflow_the_stack() {
    let deep = 300_000;
    let nested = Pickle::new().repeat(b"]", deep).repeat(b"a", deep - 1);
    let (_folder, path) = written(&nested.stop());
    assert!(told_soon(&path).contains("holds a list of 1 items"));
    let tuples = Pickle::new().code(b")").repeat(b"\x85", deep);
    let (_folder, path) = written(&tuples.stop());
    assert!(told_soon(&path).contains("holds a tuple of 1 items"));
    let dictionaries = Pickle::new()
        .repeat(b"}U\x01a", 60_000)
        .code(b"N")
        .repeat(b"s", 60_000);
    let (_folder, path) = written(&dictionaries.stop());
    assert!(told_soon(&path).contains("a dictionary of 1 entries without tensors"));
}

#[test]
fn what_is_shared_or_circular_is_not_expanded() {
    // Each holds the one before twice.
    let mut lists = Pickle::new().code(b"]q\x01");
    let mut dictionaries = Pickle::new().code(b"}q\x01");
    for _ in 0..64 {
        lists = lists.code(b"](h\x01h\x01eq\x01");
        dictionaries = dictionaries.code(b"}(U\x01ah\x01U\x01bh\x01uq\x01");
    }
    let itself = Pickle::new().code(b"}q\x01U\x01ah\x01s");
    for (pickle, words) in [
        (lists, "holds a list of 2 items"),
        (dictionaries, "a dictionary of 2 entries"),
        (itself, "a dictionary of 1 entries"),
    ] {
        let (_folder, path) = written(&pickle.stop());
        let message = told_soon(&path);
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn modules_that_are_shared_without_end() {
    let module = |pickle: Pickle, inner: &[u8]| {
        pickle
            .code(b"h\x05)\x81}(U\x0b_parameters}U\x08_modules}(")
            .code(inner)
            .code(b"uubq\x01")
    };
    let class = Pickle::new().global("a", "B").code(b"q\x050");
    let mut many = module(class.clone(), b"");
    for _ in 0..60 {
        many = module(many.code(b"0"), b"U\x01ah\x01U\x01bh\x01");
    }
    let circle = class.code(b"h\x05)\x81q\x01}(U\x0b_parameters}U\x08_modules}U\x01ah\x01sub");
    for pickle in [many, circle] {
        let (_folder, path) = written(&pickle.stop());
        let message = told_soon(&path);
        assert!(
            message.contains("nested too deep") || message.contains("more memory"),
            "{message}"
        );
    }
}

#[test]
fn memory_is_bounded_by_the_file() {
    let many = 3_000_000;
    let key = "k".repeat(1 << 20);
    let long_key = Pickle::new().text(&key).code(b"q\x010}(");
    let tall = Pickle::new().repeat(b"N", 100_000).repeat(b"(Nl0", 100_000);
    for (pickle, words) in [
        (
            Pickle::new().repeat(b"]", many),
            "more memory than the whole file",
        ),
        (
            Pickle::new().repeat(b"}", many),
            "more memory than the whole file",
        ),
        (
            Pickle::new().code(b"]").repeat(b"\x94", many),
            "more memory than the whole file",
        ),
        (
            long_key.repeat(b"h\x01N", 200_000).code(b"u"),
            "more memory than the whole file",
        ),
        (
            Pickle::new().code(b"](").repeat(b"N", many).code(b"e"),
            "more memory than the whole file",
        ),
        (tall, "no object"),
    ] {
        let (_folder, path) = written(&pickle.stop());
        let message = told_soon(&path);
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn work_is_bounded_by_the_file() {
    // A long list that is copied, or looked through, again and again.
    let list = Pickle::new()
        .code(b"](")
        .repeat(b"N", 500_000)
        .code(b"eq\x01");
    for name in ["OrderedDict", "set"] {
        let module = if name == "set" {
            "builtins"
        } else {
            "collections"
        };
        let calls = list.clone().global(module, name).code(b"q\x02");
        let calls = calls.repeat(b"h\x02h\x01\x85R0", 100_000);
        let (_folder, path) = written(&calls.stop());
        assert!(told_soon(&path).contains("more memory than the whole file"));
    }
    // A long state that many objects share.
    let state = Pickle::new()
        .code(b"}(")
        .repeat(b"NN", 300_000)
        .code(b"uq\x01");
    let objects = state.global("a", "B").code(b"q\x02}(");
    let objects = objects.repeat(b"Nh\x02)\x81h\x01b", 50_000).code(b"u");
    let (_folder, path) = written(&objects.stop());
    assert!(!told_soon(&path).is_empty());
}

#[test]
fn views_beyond_their_storage() {
    let most = i64::MAX;
    for (len, offset, shape, strides, words) in [
        (
            4,
            0,
            vec![5],
            vec![1],
            "reaches element 5 of a storage of 4",
        ),
        (4, 4, vec![1], vec![1], "reaches element 5"),
        (4, most, vec![2], vec![1], "tensor `w` "),
        (4, 0, vec![2], vec![most], "tensor `w` "),
        (4, 0, vec![most, most], vec![0, 0], "impossible shape"),
        (4, 0, vec![1 << 40], vec![0], "repeats its elements"),
        (4, 0, vec![2, 2], vec![1], "2 axes and 1 strides"),
        (4, -1, vec![2], vec![1], "in an unknown way"),
        (4, 0, vec![-2], vec![1], "in an unknown way"),
        (4, 0, vec![1; 65], vec![1; 65], "in an unknown way"),
        (-1, 0, vec![1], vec![1], "in an unknown way"),
    ] {
        let pickle = Pickle::new().code(b"}").text("w");
        let pickle = pickle.tensor(len, offset, &shape, &strides).code(b"s");
        let (_folder, path) = archive(&pickle.stop(), &[0; 16], false);
        let message = told_soon(&path);
        assert!(message.contains(words), "{message}");
    }
    let pickle = Pickle::new().code(b"}").text("w");
    let pickle = pickle.tensor(4, 1, &[3], &[1]).code(b"s");
    let (_folder, path) = archive(&pickle.stop(), &[1; 16], false);
    let found = Checkpoint::open(&path).unwrap();
    assert_eq!(found.state_dict().unwrap()["w"].bytes[..], [1; 12]);
}

#[test]
fn an_archive_that_expands_without_end() {
    let pickle = Pickle::new().code(b"}").text("w");
    let len = 20 << 20;
    let pickle = pickle.tensor(len / 4, 0, &[len / 4], &[1]).code(b"s");
    let (_folder, path) = archive(&pickle.stop(), &vec![0; len as usize], true);
    let message = told_soon(&path);
    assert!(
        message.contains("many times the size of the file"),
        "{message}"
    );
}

#[test]
fn an_archive_of_countless_files() {
    let number = |of: u64, size: usize| of.to_le_bytes()[..size].to_vec();
    let large = |count: u64| {
        let start = [
            b"PK\x06\x06",
            &number(44, 8)[..],
            &[0; 12],
            &number(count, 8),
            &number(count, 8),
        ];
        let locator = [b"PK\x06\x07", &[0; 4][..], &number(4, 8), &number(1, 4)];
        let end = [b"PK\x05\x06", &[0; 4][..], &[0xff; 12], &[0; 2]];
        [
            b"PK\x03\x04".to_vec(),
            start.concat(),
            vec![0; 16],
            locator.concat(),
            end.concat(),
        ]
        .concat()
    };
    for (count, words) in [
        (1 << 18, "is a zip archive of 262144 files, too many"),
        (u64::MAX, "is a zip archive of 18446744073709551615 files"),
        (2, "is a damaged zip archive"),
    ] {
        let (_folder, path) = written(&large(count));
        let message = told_soon(&path);
        assert!(message.contains(words), "{message}");
    }
}

/// Mutates the files of PyTorch at random: whatever they become, they are read or refused.
/// `LANDSCAPE_MUTATIONS` sets how many times in all.
#[test]
fn no_mutation_makes_it_panic() {
    let times = std::env::var("LANDSCAPE_MUTATIONS").map_or(4_000, |text| text.parse().unwrap());
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        // xorshift
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    let mut files: Vec<_> = fs::read_dir(folder())
        .unwrap()
        .map(|it| it.unwrap().path())
        .collect();
    files.sort();
    for path in files.iter().filter(|path| path.is_file()) {
        seeds.push(fs::read(path).unwrap());
    }
    let (_folder, path) = written(&[]);
    let mut read = 0;
    for _ in 0..times {
        let mut bytes = seeds[random(seeds.len())].clone();
        for _ in 0..1 + random(4) {
            let at = random(bytes.len());
            match random(20) {
                0..6 => bytes[at] = random(256) as u8,
                6..12 => bytes[at] ^= 1 << random(8),
                12 => bytes.truncate(at + 1),
                13 => {
                    bytes.remove(at);
                }
                14..17 => bytes.insert(at, b"(.]})Rbt0q\x80\x85\x81\xff"[random(14)]),
                _ => {
                    let end = (at + random(64)).min(bytes.len());
                    let part = bytes[at..end].to_vec();
                    let to = random(bytes.len());
                    bytes.splice(to..to, part);
                }
            }
            if bytes.is_empty() {
                bytes.push(0);
            }
        }
        fs::write(&path, &bytes).unwrap();
        if let Ok(found) = Checkpoint::open(&path) {
            read += 1;
            let tensors = found.state_dict().into_iter().flatten();
            for (name, tensor) in tensors.filter(|(_, tensor)| tensor.dtype.is_float()) {
                let size = tensor.dtype.size().unwrap_or(0);
                assert_eq!(tensor.bytes.len(), tensor.len() * size, "{name}");
            }
        }
    }
    println!("{read} of {times} mutated files could still be read");
    assert!(read > 0);
}
