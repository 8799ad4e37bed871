// SPDX-License-Identifier: GPL-2.0-only

//! The file that a picture goes to.

use std::path::{Path, PathBuf};

use super::picture::{Picture, HEIGHT, WIDTH};
use super::png::Png;
use super::svg::Svg;
use crate::error::Result;
use crate::files::new_file::NewFile;
use crate::files::place;

/// A format of pictures.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Format {
    /// Portable network graphics.
    Png,
    /// Scalable vector graphics.
    Svg,
}

/// The name of a picture, which tells the format.
#[derive(Clone, Debug)]
pub struct Name {
    path: PathBuf,
    format: Format,
}

impl Name {
    /// Reads the name on the command line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let path = PathBuf::from(text);
        if place::is_standard(&path) {
            return Ok(Self {
                path,
                format: Format::Png,
            });
        }
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        let format = match extension.to_str() {
            Some("png") => Format::Png,
            Some("svg") => Format::Svg,
            _ => return Err("the name of a picture ends in .png or .svg".into()),
        };
        Ok(Self { path, format })
    }

    /// Where the picture will be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Begins the file.
    pub fn create(&self) -> Result<Target> {
        Ok(Target {
            file: NewFile::create(&self.path)?,
            format: self.format,
        })
    }
}

/// A file that waits for its picture; without one it is not kept.
#[derive(Debug)]
pub struct Target {
    file: NewFile,
    format: Format,
}

impl Target {
    /// Writes the picture and replaces a regular file of that name.
    pub fn write(mut self, picture: &Picture<'_>) -> Result<()> {
        self.file.write(&draw(picture, self.format)?)?;
        self.file.sync()?;
        self.file.persist()
    }
}

/// The bytes of a file.
fn draw(picture: &Picture<'_>, format: Format) -> Result<Vec<u8>> {
    match format {
        Format::Svg => {
            let mut canvas = Svg::new(WIDTH, HEIGHT);
            picture.draw(&mut canvas);
            Ok(canvas.finish())
        }
        Format::Png => {
            let mut canvas = Png::new(WIDTH, HEIGHT);
            picture.draw(&mut canvas);
            canvas.finish()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heat::picture::tests::with_pictures;

    #[test]
    fn the_name_tells_the_format() {
        for (name, format) in [
            ("a.png", Format::Png),
            ("x/y.b.SVG", Format::Svg),
            ("./.a.Png", Format::Png),
            ("-", Format::Png),
        ] {
            assert_eq!(Name::parse(name).unwrap().format, format);
        }
        for wrong in ["", "png", ".png", "a.jpg", "a.png/", "svg/a"] {
            let parsed = Name::parse(wrong);
            // A directory of that name is found out when the file is made.
            assert!(parsed.is_err() || wrong == "a.png/", "{wrong}");
        }
    }

    #[test]
    fn a_picture_is_in_its_place_when_it_is_done() {
        let directory = tempfile::tempdir().unwrap();
        for (name, start) in [("a.png", &b"\x89PNG\r\n\x1a\n"[..]), ("a.svg", b"<?xml ")] {
            let path = directory.path().join(name);
            let name = Name::parse(path.to_str().unwrap()).unwrap();
            with_pictures(|_, picture| {
                let target = name.create().unwrap();
                target.write(picture).unwrap();
                assert!(std::fs::read(&path).unwrap().starts_with(start));
            });
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
        let name = Name::parse("/nonexistent/a.png").unwrap();
        assert_eq!(name.create().unwrap_err().exit_code(), 1);
    }
}
