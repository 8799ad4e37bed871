// SPDX-License-Identifier: GPL-2.0-only

//! A regular file that has no name until it is complete.

use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{fchown, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use tempfile::NamedTempFile;

use crate::error::{Error, Result};
use crate::files::place;
use crate::sys;

/// A file beside the place that it will have.
#[derive(Debug)]
pub struct Draft {
    file: Unplaced,
    place: PathBuf,
}

#[derive(Debug)]
enum Unplaced {
    /// Without a name: whatever ends the program, nothing is left.
    Unnamed(File),
    /// With another name, if the file system does not support files without one.
    Named(NamedTempFile),
}

/// The temporary names that the program must not leave behind.
///
/// Locked while names change, so that no signal ends the program in between.
static NAMES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn names() -> MutexGuard<'static, Vec<PathBuf>> {
    NAMES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes signals that end the program remove temporary names first, for the rest of its life.
pub fn end_on_signals() -> Result<()> {
    static TAKEN_OVER: Mutex<bool> = Mutex::new(false);
    let mut taken_over = TAKEN_OVER.lock().unwrap_or_else(PoisonError::into_inner);
    if !*taken_over {
        let ending = sys::before_signals_end(|| {
            let names = names();
            for path in names.iter() {
                // The program ends; there is nobody to tell.
                let _ = std::fs::remove_file(path);
            }
            // Keeping the lock prevents new names.
            std::mem::forget(names);
        });
        ending.map_err(Error::step("taking over signals"))?;
        *taken_over = true;
    }
    Ok(())
}

impl Draft {
    /// Begins a file that will be at `place`, with the mode and owner of the one that is there.
    ///
    /// A new file is for its owner only: an image holds what a guest had in its device.
    pub fn begin(place: PathBuf, existing: Option<&Metadata>) -> Result<Self> {
        let directory = place::directory(&place);
        let file = match sys::unnamed_file(directory) {
            Ok(file) => Unplaced::Unnamed(file.into()),
            Err(Errno::NOENT) if !directory.exists() => {
                return Err(Error::NoDirectory(directory.to_owned()));
            }
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                Unplaced::named(directory).map_err(Error::file(directory))?
            }
            Err(errno) => return Err(Error::file(directory)(errno.into())),
        };
        Self::with(file, place, existing)
    }

    fn with(file: Unplaced, place: PathBuf, existing: Option<&Metadata>) -> Result<Self> {
        let mut draft = Self { file, place };
        if let Some(existing) = existing {
            draft.be_like(existing)?;
        }
        Ok(draft)
    }

    /// Takes the mode and owner of a file.
    fn be_like(&mut self, existing: &Metadata) -> Result<()> {
        let take = |file: &File| {
            let own = file.metadata()?;
            let (uid, gid) = (existing.uid(), existing.gid());
            if (own.uid(), own.gid()) != (uid, gid) {
                fchown(file, Some(uid), Some(gid))?;
            }
            file.set_permissions(Permissions::from_mode(existing.mode() & 0o7777))
        };
        take(self.file_mut()).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => Error::OwnerLost(self.place.clone()),
            _ => Error::file(&self.place)(error),
        })
    }

    /// The file itself.
    pub fn file_mut(&mut self) -> &mut File {
        match &mut self.file {
            Unplaced::Unnamed(file) => file,
            Unplaced::Named(named) => named.as_file_mut(),
        }
    }

    /// Gives the file its name.
    pub fn persist(self) -> io::Result<()> {
        let Self { file, place } = self;
        let mut names = names();
        match file {
            Unplaced::Unnamed(file) => match sys::name_file(file.as_fd(), &place) {
                // A file takes another's place by renaming only, and for that it needs a name.
                Err(Errno::EXIST) => {
                    let named = builder().make_in(place::directory(&place), |path: &Path| {
                        Ok(sys::name_file(file.as_fd(), path)?)
                    })?;
                    named.persist(&place).map_err(|error| error.error)?;
                }
                result => result?,
            },
            Unplaced::Named(named) => {
                let path = named.path().to_owned();
                let result = named.persist(&place);
                names.retain(|name| *name != path);
                result.map_err(|error| error.error)?;
            }
        }
        Ok(())
    }
}

impl Unplaced {
    /// Makes a file with a temporary name.
    fn named(directory: &Path) -> io::Result<Self> {
        let mut names = names();
        let named = builder().tempfile_in(directory)?;
        names.push(named.path().to_owned());
        Ok(Self::Named(named))
    }
}

/// Names of files that are not complete.
fn builder() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".vfio-migrate-");
    builder
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use signal_hook::consts::{SIGINT, SIGTERM};

    use super::*;

    /// Set in a process that begins a file in that directory and waits for its end.
    const DIRECTORY: &str = "VFIO_MIGRATE_TEST_DRAFT";

    #[test]
    fn a_signal_leaves_no_name() {
        if let Some(directory) = std::env::var_os(DIRECTORY) {
            let directory = PathBuf::from(directory);
            let named = Unplaced::named(&directory).unwrap();
            let _draft = Draft::with(named, directory.join("file"), None).unwrap();
            end_on_signals().unwrap();
            eprintln!("begun");
            std::thread::sleep(Duration::from_secs(60));
            unreachable!("a signal ends it");
        }
        for signal in [SIGINT, SIGTERM] {
            let directory = tempfile::tempdir().unwrap();
            // A shell's job in the background has SIGINT ignored, and so have its children.
            let mut child = Command::new("env")
                .arg("--default-signal")
                .arg(std::env::current_exe().unwrap())
                .args(["--exact", "--nocapture"])
                .arg("files::new_file::draft::tests::a_signal_leaves_no_name")
                .env(DIRECTORY, directory.path())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
            assert!(lines.any(|line| line.unwrap() == "begun"));
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
            let pid = rustix::process::Pid::from_child(&child);
            let number = rustix::process::Signal::from_named_raw(signal).unwrap();
            rustix::process::kill_process(pid, number).unwrap();
            // It ends as if nothing had taken the signal over.
            assert_eq!(child.wait().unwrap().signal(), Some(signal));
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn a_file_system_without_unnamed_files_does_as_well() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("file");
        let draft = || {
            let named = Unplaced::named(directory.path()).unwrap();
            Draft::with(named, place.clone(), place.metadata().ok().as_ref()).unwrap()
        };
        let dropped = draft();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        drop(dropped);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        for content in ["first", "second"] {
            let mut draft = draft();
            draft.file_mut().write_all(content.as_bytes()).unwrap();
            draft.persist().unwrap();
            assert_eq!(fs::read_to_string(&place).unwrap(), content);
            fs::set_permissions(&place, Permissions::from_mode(0o644)).unwrap();
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
