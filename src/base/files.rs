//! Opens input files and the program's own files safely.
//!
//! A folder that was cloned or unpacked may hold anything: a symbolic link in place of one of our
//! files, or a FIFO that never ends in place of an input. Both are checked before anything is read
//! or written.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::{Error, Result};

/// Maximum size of a configuration file, in bytes.
pub const CONFIGURATION: u64 = 1 << 20;

/// Maximum size of a list (of models, of pairs), in bytes.
pub const LIST: u64 = 1 << 26;

/// Maximum size of a result, in bytes: a thousand models in all pairs take several hundred MB.
pub const RESULT: u64 = 1 << 32;

/// Opens an input, which may be reached through links but must be a regular file.
///
/// # Errors
/// When the file does not exist or cannot be read, or is a folder, a FIFO or a device, which might
/// never end.
pub fn open(path: &Path) -> Result<File> {
    let fail = |error: io::Error| Error::read(path, &error);
    regular(path, &fs::metadata(path).map_err(fail)?)?;
    let mut options = OpenOptions::new();
    options.read(true);
    // Something else may have taken its place meanwhile: never wait for a FIFO.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    let file = options.open(path).map_err(fail)?;
    regular(path, &file.metadata().map_err(fail)?)?;
    Ok(file)
}

/// Opens an input to be read from its beginning, up to `most` bytes.
///
/// # Errors
/// When [`open`] fails, or the file is larger than `most` bytes.
pub fn reader(path: &Path, most: u64) -> Result<impl Read + use<>> {
    let file = open(path)?;
    let len = file.metadata().map_err(|error| Error::read(path, &error))?;
    if len.len() > most {
        return Err(Error::input(
            path,
            format!("has {} bytes; at most {most} are read", len.len()),
        ));
    }
    // If the file grows meanwhile, the rest is not read.
    Ok(file.take(most))
}

/// Reads the text of a file of at most `most` bytes.
///
/// # Errors
/// When [`reader`] fails, or the text is not UTF-8.
pub fn text(path: &Path, most: u64) -> Result<String> {
    let mut text = String::new();
    let read = reader(path, most)?.read_to_string(&mut text);
    read.map_err(|error| Error::read(path, &error))?;
    Ok(text)
}

/// Refuses anything but a regular file.
fn regular(path: &Path, metadata: &Metadata) -> Result<()> {
    if metadata.is_dir() {
        return Err(Error::input(path, "is a folder; a file is needed"));
    }
    if metadata.is_file() {
        Ok(())
    } else {
        Err(Error::input(
            path,
            "is a FIFO, a socket or a device; a regular file is needed",
        ))
    }
}

/// A file's identity and state, to detect changes in place while it is in use.
///
/// It is taken before the file is read: what is written to the file later shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    path: PathBuf,
    state: Option<State>,
}

/// The state of a file that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    len: u64,
    modified: Option<SystemTime>,
    #[cfg(unix)]
    inode: (u64, u64),
}

impl Stamp {
    /// Takes the stamp of a file. If there is none, reading it fails and says so.
    pub fn of(path: &Path) -> Self {
        let found = fs::metadata(path).ok();
        let state = found.map(|found| State {
            len: found.len(),
            modified: found.modified().ok(),
            #[cfg(unix)]
            inode: {
                use std::os::unix::fs::MetadataExt;
                (found.dev(), found.ino())
            },
        });
        Self {
            path: path.to_path_buf(),
            state,
        }
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Checks that the file was not written to since. Replacing or removing it is harmless: the old
    /// file stays mapped.
    ///
    /// # Errors
    /// When the file was written to.
    pub fn check(&self) -> Result<()> {
        let (Some(then), Some(now)) = (&self.state, Self::of(&self.path).state) else {
            return Ok(());
        };
        #[cfg(unix)]
        if now.inode != then.inode {
            return Ok(());
        }
        if now == *then {
            return Ok(());
        }
        Err(Error::runtime(
            self.path.display(),
            "changed while the run read it, so its values belong to no single file; no result is kept",
        )
        .help("repeat the run; a training run that writes a new file and renames it does no harm"))
    }
}

/// Opens one of the program's own files for reading and writing, or creates it; it is not
/// truncated.
///
/// Neither the file nor a folder below `root` may be a symbolic link, and the file may have no
/// other hard link: otherwise whoever made the folder could have us write to another file.
///
/// # Errors
/// When the path contains such a link, is no regular file, or cannot be opened.
pub fn own(root: &Path, path: &Path) -> io::Result<File> {
    let folders = path.ancestors().skip(1);
    for folder in folders.take_while(|folder| *folder != root) {
        let linked = fs::symlink_metadata(folder).is_ok_and(|found| found.is_symlink());
        if linked {
            let folder = folder.display();
            return Err(io::Error::other(format!(
                "{folder} is a symbolic link, which is not followed; remove it"
            )));
        }
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        &mut options,
        libc::O_NOFOLLOW | libc::O_NONBLOCK,
    );
    let file = options.open(path).map_err(|error| {
        if fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) {
            io::Error::other("it is a symbolic link, which is not followed; remove it")
        } else {
            error
        }
    })?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file; remove it"));
    }
    #[cfg(unix)]
    if std::os::unix::fs::MetadataExt::nlink(&metadata) > 1 {
        return Err(io::Error::other(
            "it is a hard link to another file; remove it",
        ));
    }
    Ok(file)
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn own_files_are_reached_through_no_link() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let victim = root.join("victim");
        fs::write(&victim, "precious").unwrap();
        let opened = |name: &str| own(root, &root.join(name));
        fs::create_dir(root.join("a")).unwrap();
        symlink("../victim", root.join("a/soft")).unwrap();
        symlink("nowhere", root.join("a/dangling")).unwrap();
        fs::hard_link(&victim, root.join("a/hard")).unwrap();
        symlink("a", root.join("b")).unwrap();
        for (name, words) in [
            ("a/soft", "it is a symbolic link"),
            ("a/dangling", "it is a symbolic link"),
            ("a/hard", "it is a hard link"),
            ("b/new", "b is a symbolic link"),
            ("b/c/new", "b is a symbolic link"),
        ] {
            let error = opened(name).unwrap_err().to_string();
            assert!(error.contains(words), "{name}: {error}");
        }
        assert!(!root.join("a/new").exists() && !root.join("a/c").exists());
        opened("d/e").unwrap().write_all(b"ours").unwrap();
        assert_eq!(text(&root.join("d/e"), 10).unwrap(), "ours");
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
    }

    #[test]
    fn what_never_ends_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let message = |path: &Path| text(path, 4).unwrap_err().to_string();
        assert!(message(Path::new("/dev/zero")).contains("a regular file is needed"));
        assert!(message(folder.path()).contains("is a folder; a file is needed"));
        let long = folder.path().join("long");
        fs::write(&long, "12345").unwrap();
        assert!(message(&long).ends_with("has 5 bytes; at most 4 are read"));
        // A link to a regular file is an ordinary input.
        let link = folder.path().join("link");
        symlink("long", &link).unwrap();
        assert_eq!(text(&link, 5).unwrap(), "12345");
    }
}
