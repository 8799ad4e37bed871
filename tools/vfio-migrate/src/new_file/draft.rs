// SPDX-License-Identifier: GPL-2.0-only

//! A regular file that has no name until it is complete.

use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{fchown, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use tempfile::NamedTempFile;

use crate::error::{Error, Result};
use crate::place;
use crate::sys;

/// A file beside the place that it will have.
#[derive(Debug)]
pub struct Draft {
    file: Unplaced,
    place: PathBuf,
    names: Names,
}

#[derive(Debug)]
enum Unplaced {
    /// Without a name: whatever ends the program, nothing is left.
    Unnamed(File),
    /// With another name, where the file system knows no files without one.
    Named(NamedTempFile),
}

/// The temporary name that the program must not leave behind.
///
/// Locked while names change, so that no signal ends the program in between.
#[derive(Clone, Debug, Default)]
struct Names(Arc<Mutex<Option<PathBuf>>>);

impl Names {
    fn lock(&self) -> MutexGuard<'_, Option<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
                let named = builder().tempfile_in(directory);
                Unplaced::Named(named.map_err(Error::file(directory))?)
            }
            Err(errno) => return Err(Error::file(directory)(errno.into())),
        };
        Self::with(file, place, existing)
    }

    fn with(file: Unplaced, place: PathBuf, existing: Option<&Metadata>) -> Result<Self> {
        let names = Names::default();
        if let Unplaced::Named(named) = &file {
            *names.lock() = Some(named.path().to_owned());
        }
        let mut draft = Self { file, place, names };
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

    /// Has signals end the program with no temporary name left.
    pub fn end_on_signals(&self) -> Result<()> {
        let names = self.names.clone();
        let ending = sys::before_signals_end(move || {
            let name = names.lock();
            if let Some(path) = &*name {
                // The program ends; there is nobody to tell.
                let _ = std::fs::remove_file(path);
            }
            // No name is made any more.
            std::mem::forget(name);
        });
        ending.map_err(Error::step("taking over signals"))
    }

    /// Gives the file its name.
    pub fn persist(self) -> io::Result<()> {
        let Self { file, place, names } = self;
        let mut name = names.lock();
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
                named.persist(&place).map_err(|error| error.error)?;
            }
        }
        *name = None;
        Ok(())
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
            let named = builder().tempfile_in(&directory).unwrap();
            let draft = Draft::with(Unplaced::Named(named), directory.join("file"), None).unwrap();
            draft.end_on_signals().unwrap();
            eprintln!("begun");
            std::thread::sleep(Duration::from_secs(60));
            unreachable!("a signal ends it");
        }
        for signal in [SIGINT, SIGTERM] {
            let directory = tempfile::tempdir().unwrap();
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "--nocapture"])
                .arg("new_file::draft::tests::a_signal_leaves_no_name")
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
            let named = builder().tempfile_in(directory.path()).unwrap();
            Draft::with(
                Unplaced::Named(named),
                place.clone(),
                place.metadata().ok().as_ref(),
            )
            .unwrap()
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
