//! What a stranger's folder, a full disk and a closed terminal may do: nothing but end the run with
//! one message.
#![cfg(unix)]

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use landscape::evaluate::runtime::places::Surroundings;
use landscape::evaluate::runtime::search::Search;

use crate::common::{list, process, program};
use crate::folder::Folder;

/// The library that tests run with; a bare name is the system's.
fn library() -> PathBuf {
    let search = Search::new(None, &Surroundings::of_this_process());
    search.into_found().unwrap().path
}

#[test]
fn a_library_is_loaded_from_no_configuration_that_was_only_found() {
    let folder = Folder::new();
    fs::write(folder.path("weights.bin"), "no library").unwrap();
    let text = "onnxruntime = \"weights.bin\"\n";
    fs::write(folder.path("landscape.toml"), text).unwrap();
    let output = folder.plane(&[]).env_remove("ORT_DYLIB_PATH").output();
    let output = output.unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(
        message.starts_with("error: landscape.toml: names a library to load, weights.bin")
            && message.contains("nothing was loaded")
            && message.contains("--onnxruntime or ORT_DYLIB_PATH")
            && message.contains("--config landscape.toml"),
        "{message}"
    );
    // Named, it counts: the file is opened, and is no library.
    let message = folder.refused(2, &["--config", "landscape.toml"]);
    assert!(
        message.contains("weights.bin: cannot be loaded"),
        "{message}"
    );
    // What the user names beats it.
    let library = library();
    if library.is_absolute() {
        let library = library.to_str().unwrap();
        folder.plane(&["--onnxruntime", library]).assert().success();
        let run = folder.plane(&[]).env("ORT_DYLIB_PATH", library).assert();
        run.success();
    }
}

#[test]
fn locks_follow_no_link() {
    for (link, to, words) in [
        (
            ".landscape/plane.lock",
            "../../victim",
            "plane.lock: cannot be written: it is a symbolic link",
        ),
        (
            ".landscape",
            "../elsewhere",
            "out/.landscape is a symbolic link",
        ),
    ] {
        let folder = Folder::new();
        fs::write(folder.path("victim"), "precious").unwrap();
        fs::create_dir(folder.path("elsewhere")).unwrap();
        fs::create_dir(folder.path("out")).unwrap();
        let link = folder.path("out").join(link);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(to, &link).unwrap();
        let message = folder.refused(1, &[]);
        assert!(message.contains(words), "{message}");
        assert_eq!(fs::read(folder.path("victim")).unwrap(), b"precious");
        assert_eq!(fs::read_dir(folder.path("elsewhere")).unwrap().count(), 0);
    }
}

#[test]
fn an_empty_home_stays_empty() {
    let folder = Folder::new();
    let home = tempfile::tempdir().unwrap();
    let library = library();
    let mut run = folder.plane(&[]);
    run.env("HOME", home.path())
        .env("XDG_CACHE_HOME", home.path())
        .env_remove("ORT_DISABLE_TELEMETRY");
    if library.is_absolute() {
        run.env("ORT_DYLIB_PATH", library);
    }
    run.assert().success();
    let left: Vec<_> = fs::read_dir(home.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Runs the program with another standard output.
fn printing(folder: &Folder, stdout: Stdio, arguments: &[&str]) -> (Option<i32>, String) {
    let run = process()
        .current_dir(folder.path(""))
        .args(arguments)
        .stdout(stdout)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    (run.status.code(), String::from_utf8(run.stderr).unwrap())
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_does_not_get_there_is_a_failure() {
    let folder = Folder::new();
    list(folder.path("models.csv"), &[("one", "ft1"), ("two", "ft2")]);
    let network = [
        "--origin",
        "zs_noopt.onnx",
        "--test",
        "data.npz",
        "--out",
        "out",
    ];
    let plane = [
        "plane",
        "--a",
        "ft1.safetensors",
        "--b",
        "ft2",
        "--steps",
        "3",
    ];
    let plane = [&plane[..], &network].concat();
    let soup = ["soup", "--models", "models.csv", "--methods", "uniform"];
    for arguments in [
        plane.clone(),
        [&plane[..], &["--json"]].concat(),
        [&soup[..], &network].concat(),
        vec!["draw", "out/notebooks-data/plane.csv"],
        vec!["inspect", "zs_noopt.onnx"],
        vec!["inspect", "ft1.safetensors"],
        vec!["doctor"],
        vec!["--help"],
        vec!["--version"],
    ] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let (status, message) = printing(&folder, full.into(), &arguments);
        assert_eq!(status, Some(1), "{arguments:?}: {message}");
        let errors = message.lines().filter(|line| line.starts_with("error: "));
        let errors: Vec<&str> = errors.collect();
        assert!(
            matches!(errors[..], [one] if one.starts_with("error: standard output: cannot be written: No space")),
            "{arguments:?}: {message}"
        );
        // A reader that went away wants no more.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let (status, message) = printing(&folder, writer.into(), &arguments);
        assert_eq!(status, Some(0), "{arguments:?}: {message}");
        assert!(!message.contains("error: "), "{arguments:?}: {message}");
    }
}

#[test]
fn a_signal_that_was_ignored_stays_ignored() {
    let folder = Folder::new();
    let mut run = Command::new("sh")
        .current_dir(folder.path(""))
        .env("PROGRAM", env!("CARGO_BIN_EXE_landscape"))
        .args([
            "-c",
            "trap '' HUP INT; exec $PROGRAM plane --origin zs_noopt.onnx --a ft1.safetensors \
             --b ft2 --test data.npz --steps 900 --out out",
        ])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(run.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("angle")));
    let id = run.id().to_string();
    let send = |signal: &str| {
        let sent = Command::new("kill").args([signal, &id]).status();
        assert!(sent.unwrap().success());
        // Two of one that is not ignored end the program at once.
        std::thread::sleep(Duration::from_millis(500));
    };
    ["-HUP", "-HUP", "-INT", "-INT"].into_iter().for_each(send);
    assert_eq!(run.try_wait().unwrap(), None);
    send("-TERM");
    assert_eq!(run.wait().unwrap().code(), Some(1));
    let rest: Vec<String> = lines.map(|line| line.unwrap()).collect();
    assert!(
        rest.iter()
            .any(|line| line.contains("stopped before the end")),
        "{rest:?}"
    );
}

#[test]
fn a_file_larger_than_the_limit_is_a_failure_with_its_name() {
    let folder = Folder::new();
    // Blocks of 512 or 1024 bytes: room for the numbers, but not for the figures.
    let script = "ulimit -f 16; exec $PROGRAM plane --origin zs_noopt.onnx --a ft1.safetensors \
                  --b ft2 --test data.npz --steps 3 --out out";
    let run = Command::new("sh")
        .current_dir(folder.path(""))
        .env("PROGRAM", env!("CARGO_BIN_EXE_landscape"))
        .args(["-c", script])
        .output()
        .unwrap();
    let message = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(1), "{message}");
    assert!(
        message.contains("cannot be written: File too large"),
        "{message}"
    );
}

#[test]
fn what_never_ends_is_no_input() {
    let folder = Folder::new();
    for name in [
        "f.onnx",
        "f.safetensors",
        "f.npz",
        "f",
        "p.csv",
        "q.json",
        "libonnxruntime.so",
    ] {
        let made = Command::new("mkfifo").arg(folder.path(name)).status();
        assert!(made.unwrap().success());
    }
    fs::write(folder.path("p.json"), "{}").unwrap();
    fs::write(folder.path("q.csv"), "rank,end,eigenvalue\n").unwrap();
    list(folder.path("fifo.csv"), &[("a", "f.onnx")]);
    list(folder.path("models.csv"), &[("one", "ft1"), ("two", "ft2")]);
    let origin = [
        "--origin",
        "zs_noopt.onnx",
        "--test",
        "data.npz",
        "--out",
        "out",
    ];
    let plane = [
        &["plane", "--a", "ft1.safetensors", "--b", "ft2"][..],
        &origin,
    ]
    .concat();
    let soup = [
        &["soup", "--methods", "uniform"][..],
        &origin,
        &["--models"],
    ]
    .concat();
    let pairs = [
        &["pairs", "--models", "models.csv"][..],
        &origin,
        &["--pairs"],
    ]
    .concat();
    let more = |before: &[&'static str], more: &[&'static str]| [before, more].concat();
    for arguments in [
        vec!["inspect", "f.onnx"],
        vec!["inspect", "f.safetensors"],
        vec!["inspect", "zs_noopt.onnx", "f"],
        more(&plane, &["--origin-weights", "f.safetensors"]),
        more(&plane, &["--shift", "s=f.npz"]),
        more(&plane, &["--config", "f"]),
        more(&plane, &["--config", "/dev/zero"]),
        more(&plane, &["--onnxruntime", "f"]),
        more(&plane, &["--onnxruntime", "."]),
        more(&soup, &["f"]),
        more(&soup, &["/dev/zero"]),
        more(&soup, &["fifo.csv"]),
        more(&pairs, &["f"]),
        vec!["draw", "p.csv"],
        vec!["draw", "q.csv"],
    ] {
        let mut run = program();
        let run = run.current_dir(folder.path("")).args(&arguments);
        let output = run.timeout(Duration::from_secs(20)).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
        let words = match arguments[arguments.len() - 2..] {
            [_, "."] => "no libonnxruntime.so in it",
            ["--onnxruntime", _] => "this is no regular file",
            ["draw", "p.csv"] => "is no plane's summary",
            _ => "a regular file is needed",
        };
        assert!(message.contains(words), "{arguments:?}: {message}");
    }
    // Found, not named.
    fs::rename(folder.path("f"), folder.path("landscape.toml")).unwrap();
    let message = folder.refused(2, &[]);
    assert!(message.contains("landscape.toml: is a FIFO"), "{message}");
}

#[test]
fn an_empty_configuration_says_nothing() {
    let folder = Folder::new();
    let expected = folder.losses();
    fs::write(folder.path("landscape.toml"), "").unwrap();
    assert_eq!(folder.losses(), expected);
}

#[test]
fn an_argument_that_is_no_text_is_written_as_well_as_it_can_be() {
    let folder = Folder::new();
    let out = OsStr::from_bytes(b"o\xff");
    let mut run = process();
    run.current_dir(folder.path(""))
        .args([
            "plane",
            "--origin",
            "zs_noopt.onnx",
            "--a",
            "ft1.safetensors",
        ])
        .args(["--b", "ft2", "--test", "data.npz", "--steps", "3", "--out"])
        .arg(out);
    let run = run.output().unwrap();
    let message = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(0), "{message}");
    let json = folder.path("").join(out).join("notebooks-data/plane.json");
    let json = fs::read_to_string(json).unwrap();
    assert!(json.contains("\"o\u{fffd}\""), "{json}");
}
