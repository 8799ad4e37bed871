// SPDX-License-Identifier: GPL-2.0-only

//! Files that appear as a whole.

use std::io::Write;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{Error, Result};

/// A file that appears under its name only when it is complete.
#[derive(Debug)]
pub struct NewFile {
    file: NamedTempFile,
    path: PathBuf,
}

impl NewFile {
    /// Begins a file; fails at once where it could not be put in its directory.
    pub fn create(path: &Path) -> Result<Self> {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let file = tempfile::Builder::new()
            .prefix(".vfio-migrate-")
            .tempfile_in(directory)
            .map_err(Error::file(directory))?;
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    /// Adds bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(Error::file(&self.path))
    }

    /// Has what was written reach the disk.
    pub fn sync(&self) -> Result<()> {
        self.file
            .as_file()
            .sync_all()
            .map_err(Error::file(&self.path))
    }

    /// Gives the file its name, in the place of one that has it.
    pub fn persist(self) -> Result<()> {
        self.file
            .persist(&self.path)
            .map(drop)
            .map_err(|error| Error::file(&self.path)(error.error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_complete_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        let mut file = NewFile::create(&path).unwrap();
        file.write(b"abc").unwrap();
        drop(file);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);

        let mut file = NewFile::create(&path).unwrap();
        file.write(b"abc").unwrap();
        file.sync().unwrap();
        assert!(!path.exists());
        file.persist().unwrap();
        assert_eq!(std::fs::read(path).unwrap(), b"abc");
        assert!(NewFile::create(&directory.path().join("none/image")).is_err());
    }
}
