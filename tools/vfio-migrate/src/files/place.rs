// SPDX-License-Identifier: GPL-2.0-only

//! What a file name on the command line stands for.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::sys;

/// `PROC_SUPER_MAGIC`
const PROC_TYPE: u64 = 0x9fa0;
/// Symbolic links that are followed: as many as the kernel follows.
const MOST_LINKS: usize = 40;

/// Whether a name stands for standard output or input.
pub fn is_standard(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Whether an output file is this program's standard output, by whatever name.
pub fn is_standard_output(path: &Path) -> bool {
    is_standard(path) || matches!(Place::of(path), Ok(Place::StandardOutput))
}

/// A file name in words.
pub fn in_words(path: &Path, standard: &'static str) -> PathBuf {
    if is_standard(path) {
        standard.into()
    } else {
        path.to_owned()
    }
}

/// The directory that a name is in.
pub fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Where a name leads.
#[derive(Debug, Eq, PartialEq)]
pub enum Place {
    /// To this program's standard output, as `/dev/stdout` does.
    StandardOutput,
    /// To a name in a directory, which need not exist; its last part is no symbolic link.
    Name(PathBuf),
    /// To what can be opened but has no name that another file could take: a file that a process
    /// has open (`/dev/fd/3`), or a directory.
    Open,
}

impl Place {
    /// Follows the symbolic links of a name's last part.
    pub fn of(path: &Path) -> io::Result<Self> {
        let mut path = path.to_owned();
        for _ in 0..MOST_LINKS {
            let is_name = !path.as_os_str().as_bytes().ends_with(b"/");
            let (Some(name), true) = (path.file_name(), is_name) else {
                return Ok(Self::Open);
            };
            let directory = directory(&path);
            // A link of procfs leads to the open file, whatever name it shows.
            if sys::file_system(directory) == Ok(PROC_TYPE) {
                let own = fs::canonicalize(directory)? == fs::canonicalize("/proc/self/fd")?;
                return Ok(if own && name == "1" {
                    Self::StandardOutput
                } else {
                    Self::Open
                });
            }
            match fs::read_link(&path) {
                Ok(link) => path = directory.join(link),
                // EINVAL: it is no link.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::InvalidInput | io::ErrorKind::NotFound
                    ) =>
                {
                    return Ok(Self::Name(path));
                }
                Err(error) => return Err(error),
            }
        }
        Err(Errno::LOOP.into())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_to_the_name_that_counts() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::create_dir(path("inner")).unwrap();
        fs::write(path("inner/file"), "").unwrap();
        symlink("inner/file", path("relative")).unwrap();
        symlink(path("relative"), path("absolute")).unwrap();
        symlink("inner/none", path("dangling")).unwrap();
        symlink("loop", path("loop")).unwrap();
        symlink("/dev/stdout", path("out")).unwrap();
        for (name, found) in [
            ("file", "file"),
            ("inner/file", "inner/file"),
            ("relative", "inner/file"),
            ("absolute", "inner/file"),
            ("dangling", "inner/none"),
        ] {
            assert_eq!(
                Place::of(&path(name)).unwrap(),
                Place::Name(path(found)),
                "{name}"
            );
        }
        assert_eq!(
            Errno::from_io_error(&Place::of(&path("loop")).unwrap_err()),
            Some(Errno::LOOP)
        );
        for name in ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
            assert!(is_standard_output(Path::new(name)), "{name}");
        }
        assert!(is_standard_output(&path("out")));
        for name in ["./-", "/dev/stderr", "/dev/null", "/proc/1/fd/1"] {
            assert!(!is_standard_output(Path::new(name)), "{name}");
        }
        for name in ["/dev/fd/2", "/proc/self/fd/0", "/", "..", "inner/"] {
            assert_eq!(Place::of(Path::new(name)).unwrap(), Place::Open, "{name}");
        }
    }
}
