// SPDX-License-Identifier: GPL-2.0-only

//! Files that are read, a piece at a time.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files::place;

/// Bytes that are read at a time by default.
pub const PIECE: usize = 64 << 10;

/// A file that is being read; `-` is standard input.
#[derive(Debug)]
pub struct Input {
    file: File,
    /// The file's name in errors.
    path: PathBuf,
    /// Position of a regular file when it was opened, in bytes. Only a regular file can be read
    /// again.
    start: Option<u64>,
    /// Bytes of a regular file from there on.
    length: Option<u64>,
}

impl Input {
    /// Opens a file.
    pub fn open(path: &Path) -> Result<Self> {
        let shown = place::in_words(path, "standard input");
        let open = || {
            let mut file = if place::is_standard(path) {
                io::stdin().as_fd().try_clone_to_owned()?.into()
            } else {
                File::open(path)?
            };
            let metadata = file.metadata()?;
            let start = match metadata.is_file() {
                true => Some(file.stream_position()?),
                false => None,
            };
            let length = start.map(|start| metadata.len().saturating_sub(start));
            Ok((file, start, length))
        };
        let (file, start, length) = open().map_err(Error::input(&shown))?;
        Ok(Self {
            file,
            path: shown,
            start,
            length,
        })
    }

    /// Bytes of the file, if it is regular.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Whether it can be read again from the start.
    pub fn can_rewind(&self) -> bool {
        self.start.is_some()
    }

    /// Goes back to the start; `EINVAL` if the file is not regular.
    pub fn rewind(&mut self) -> Result<()> {
        let start = self
            .start
            .ok_or_else(|| io::ErrorKind::InvalidInput.into())
            .and_then(|start| self.file.seek(SeekFrom::Start(start)));
        start.map(drop).map_err(Error::input(&self.path))
    }

    /// Reads until `bytes` is full or the file ends; returns the number of bytes read.
    pub fn read(&mut self, bytes: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.file.read(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::input(&self.path)(error)),
            }
        }
        Ok(filled)
    }

    /// Reads a file that must have exactly `N` bytes; of a longer one, one byte more is read.
    pub fn read_exactly<const N: usize>(&mut self) -> Result<Box<[u8; N]>> {
        let mut bytes = vec![0; N + 1];
        let found = self.read(&mut bytes)?;
        bytes.truncate(found);
        bytes.into_boxed_slice().try_into().map_err(|_| {
            let found = if found > N {
                "more".into()
            } else {
                found.to_string()
            };
            let error = io::Error::other(format!("has {found} bytes instead of {N}"));
            Error::input(&self.path)(error)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_in_pieces_and_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "0123456789").unwrap();
        let mut input = Input::open(&path).unwrap();
        assert_eq!((input.length(), input.can_rewind()), (Some(10), true));
        for _ in 0..2 {
            let mut bytes = [0; 7];
            assert_eq!(input.read(&mut bytes).unwrap(), 7);
            assert_eq!(&bytes, b"0123456");
            assert_eq!(input.read(&mut bytes).unwrap(), 3);
            assert_eq!(input.read(&mut bytes).unwrap(), 0);
            input.rewind().unwrap();
        }
        let error = Input::open(&directory.path().join("none")).unwrap_err();
        assert!(error.to_string().contains("none"));
        assert!(error.remedy().is_some());
    }

    #[test]
    fn no_more_is_read_than_there_should_be() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let mut zero = Input::open(Path::new("/dev/zero")).unwrap();
        assert!(!zero.can_rewind() && zero.rewind().is_err());
        let error = zero.read_exactly::<4096>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "/dev/zero: has more bytes instead of 4096"
        );
        for (length, right) in [(0, false), (3, false), (4, true), (5, false)] {
            std::fs::write(&path, vec![7; length]).unwrap();
            let read = Input::open(&path).unwrap().read_exactly::<4>();
            assert_eq!(read.is_ok(), right, "{length}");
        }
    }
}
