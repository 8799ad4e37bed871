// SPDX-License-Identifier: GPL-2.0-only

//! Files that are written: regular ones appear as a whole, all others are written in place.

mod draft;

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files::place::{self, Place};
use crate::sys;

use draft::Draft;

/// A file that is being written.
///
/// A regular file appears under its name only when it is complete ([`Self::persist`]). A file that
/// it replaces passes on its mode and owner, and a symbolic link to it stays. Any other file (a
/// device, a FIFO, `/dev/fd/3`) is written in place. `-` and `/dev/stdout` are standard output.
#[derive(Debug)]
pub struct NewFile {
    way: Way,
    /// The file's name in errors.
    path: PathBuf,
}

#[derive(Debug)]
enum Way {
    /// Beside the place that it will have.
    Whole(Draft),
    /// To where it belongs.
    InPlace(File),
}

impl NewFile {
    /// Begins a file; fails at once if it could not be written.
    ///
    /// Waits until a FIFO has a reader.
    pub fn create(path: &Path) -> Result<Self> {
        let way = if place::is_standard(path) {
            Way::InPlace(standard_output()?)
        } else {
            Self::find(path)?
        };
        Ok(Self {
            way,
            path: place::in_words(path, "standard output"),
        })
    }

    fn find(path: &Path) -> Result<Way> {
        let failed = |error: io::Error| Error::file(path)(error);
        let place = Place::of(path).map_err(failed)?;
        if place == Place::StandardOutput {
            return Ok(Way::InPlace(standard_output()?));
        }
        // Whatever keeps a user from writing to the file keeps them from replacing it: its mode,
        // and the kernel's rules for files and links of others in /tmp.
        let existing = match fs::metadata(path) {
            Ok(_) => Some(File::from(
                sys::open_to_write(path).map_err(|errno| failed(errno.into()))?,
            )),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        let metadata = match &existing {
            Some(file) => Some(file.metadata().map_err(failed)?),
            None => None,
        };
        let is_regular = metadata.as_ref().is_none_or(fs::Metadata::is_file);
        match (place, existing) {
            (Place::Name(name), _) if is_regular => {
                Draft::begin(name, metadata.as_ref()).map(Way::Whole)
            }
            (_, Some(file)) => {
                if is_regular {
                    file.set_len(0).map_err(failed)?;
                }
                Ok(Way::InPlace(file))
            }
            (_, None) => Err(failed(ErrorKind::NotFound.into())),
        }
    }

    /// Makes signals that end the program remove temporary files first, for the rest of its life.
    ///
    /// Only for a program that does not take these signals over otherwise.
    pub fn end_on_signals(&self) -> Result<()> {
        match &self.way {
            Way::Whole(_) => draft::end_on_signals(),
            Way::InPlace(_) => Ok(()),
        }
    }

    /// Adds bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let result = match &mut self.way {
            Way::Whole(draft) => draft.file_mut().write_all(bytes),
            Way::InPlace(file) => file.write_all(bytes),
        };
        result.map_err(Error::file(&self.path))
    }

    /// Flushes what was written to the disk, if the file is on one.
    pub fn sync(&mut self) -> Result<()> {
        let result = match &mut self.way {
            Way::Whole(draft) => draft.file_mut().sync_all(),
            Way::InPlace(file) => file.sync_all().or_else(|error| match error.kind() {
                // A pipe, a terminal: there is no disk.
                ErrorKind::InvalidInput => Ok(()),
                _ => Err(error),
            }),
        };
        result.map_err(Error::file(&self.path))
    }

    /// Gives the file its name and replaces one that has it.
    pub fn persist(self) -> Result<()> {
        match self.way {
            Way::Whole(draft) => draft.persist().map_err(Error::file(&self.path)),
            Way::InPlace(_) => Ok(()),
        }
    }
}

/// Standard output as a file, to which the program then writes nothing else.
fn standard_output() -> Result<File> {
    let failed = Error::file("standard output");
    if sys::stdout_was_closed() {
        return Err(failed(io::Error::other("it is closed")));
    }
    let file = io::stdout().as_fd().try_clone_to_owned().map_err(failed)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::{symlink, FileTypeExt, MetadataExt, PermissionsExt};

    use super::*;

    fn write(path: &Path, bytes: &[u8]) -> Result<()> {
        let mut file = NewFile::create(path)?;
        file.write(bytes)?;
        file.sync()?;
        file.persist()
    }

    #[test]
    fn a_file_appears_complete_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        let mut file = NewFile::create(&path).unwrap();
        file.write(b"abc").unwrap();
        drop(file);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);

        let mut file = NewFile::create(&path).unwrap();
        file.write(b"abc").unwrap();
        file.sync().unwrap();
        assert!(!path.exists());
        file.persist().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"abc");
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_directory_is_told_with_the_remedy() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("none");
        let error = NewFile::create(&missing.join("image")).unwrap_err();
        assert_eq!(error.exit_code(), 1);
        let remedy = error.remedy().unwrap();
        assert!(remedy.contains(&format!("mkdir -p {}", missing.display())));
        // A directory is no file.
        let error = NewFile::create(directory.path()).unwrap_err();
        assert!(error.to_string().contains("directory"), "{error}");
    }

    #[test]
    fn a_regular_file_is_replaced_with_its_mode_and_links() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("inner")).unwrap();
        fs::write(path("inner/file"), "something longer").unwrap();
        fs::set_permissions(path("inner/file"), fs::Permissions::from_mode(0o640)).unwrap();
        symlink("inner/file", path("link")).unwrap();
        symlink("inner/new", path("dangling")).unwrap();

        let before = path("inner/file").metadata().unwrap();
        let mut file = NewFile::create(&path("link")).unwrap();
        file.write(b"abc").unwrap();
        // A reader meanwhile finds the old one.
        assert_eq!(fs::read(path("link")).unwrap(), b"something longer");
        file.persist().unwrap();
        assert_eq!(fs::read(path("inner/file")).unwrap(), b"abc");
        assert!(path("link").is_symlink());
        let after = path("inner/file").metadata().unwrap();
        let owner = |of: &fs::Metadata| (of.mode(), of.uid(), of.gid());
        assert_eq!(owner(&after), owner(&before));
        assert_ne!(after.ino(), before.ino());

        write(&path("dangling"), b"new").unwrap();
        assert!(path("dangling").is_symlink());
        assert_eq!(fs::read(path("inner/new")).unwrap(), b"new");
        assert_eq!(fs::read_dir(path("inner")).unwrap().count(), 2);
    }

    #[test]
    fn the_owner_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "old").unwrap();
        // Only root can give a file away; anyone else's stays their own.
        let owner = match std::os::unix::fs::chown(&path, Some(1234), Some(4321)) {
            Ok(()) => (1234, 4321),
            Err(_) => {
                let metadata = path.metadata().unwrap();
                (metadata.uid(), metadata.gid())
            }
        };
        write(&path, b"new").unwrap();
        let metadata = path.metadata().unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), owner);
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn a_fifo_stays_and_its_reader_gets_the_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        let status = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(status.unwrap().success());
        let reader = std::thread::spawn({
            let path = path.clone();
            move || {
                let mut bytes = Vec::new();
                File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
                bytes
            }
        });
        write(&path, b"abc").unwrap();
        assert_eq!(reader.join().unwrap(), b"abc");
        assert!(path.symlink_metadata().unwrap().file_type().is_fifo());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn devices_open_files_and_sockets_are_not_replaced() {
        let device = || Path::new("/dev/null").metadata().unwrap();
        let before = device();
        write(Path::new("/dev/null"), b"abc").unwrap();
        assert_eq!(
            (device().ino(), device().mode()),
            (before.ino(), before.mode())
        );
        assert!(device().file_type().is_char_device());
        let error = write(Path::new("/dev/full"), b"abc").unwrap_err();
        assert!(error.to_string().starts_with("/dev/full: No space left"));
        assert!(error.remedy().is_some());

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "something longer").unwrap();
        let open = File::options().write(true).open(&path).unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&open);
        let before = path.metadata().unwrap().ino();
        write(Path::new(&format!("/dev/fd/{number}")), b"abc").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"abc");
        assert_eq!(path.metadata().unwrap().ino(), before);

        let path = directory.path().join("socket");
        let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(NewFile::create(&path).is_err());
        assert!(path.symlink_metadata().unwrap().file_type().is_socket());
    }
}
