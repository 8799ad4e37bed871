// SPDX-License-Identifier: GPL-2.0-only

//! Images that are saved, shown, checked and restored.

use super::fake::FakeEdu;
use super::{save, set_up};
use crate::edu::{Edu, BUFFER_SIZE};
use crate::error::{Error, Result};
use crate::image::{EndInfo, Image, SectionInfo, Show, Unseen};
use crate::migrate::protocol::{Migration, Phase};
use crate::migrate::target::{Resuming, Target};
use crate::pci::Identity;

fn restore(device: &FakeEdu, bytes: &[u8], chunk: Option<usize>) -> Result<()> {
    let mut migration = device.migration();
    let mut owner = device.clone();
    let mut target = Resuming::new(&mut migration, &mut owner, None, chunk)?;
    let result = target
        .device(bytes)
        .and_then(|()| target.ready())
        .and_then(|()| target.start());
    if result.is_err() {
        target.abort("");
    }
    result
}

/// Remembers the parts of an image.
#[derive(Default)]
struct Parts {
    sections: Vec<SectionInfo>,
    end: Option<EndInfo>,
}

impl Show for Parts {
    fn section(&mut self, section: &SectionInfo, payload: &[u8]) -> Result<()> {
        assert_eq!(payload.len(), section.length);
        self.sections.push(section.clone());
        Ok(())
    }
    fn end(&mut self, end: &EndInfo) -> Result<()> {
        self.end = Some(*end);
        Ok(())
    }
}

/// Reads an image at once and says what is wrong with it.
fn check(bytes: &[u8], device: Option<Identity>) -> Result<()> {
    let mut image = Image::new()?;
    image.feed(bytes, &mut Unseen)?;
    image.check(device)
}

#[test]
fn what_is_saved_is_restored_in_pieces_of_any_size() {
    let source = FakeEdu::new(65536, None);
    let edu = Edu::new(&source);
    set_up(&edu);
    let content: [u8; BUFFER_SIZE] = std::array::from_fn(|n| (n * 7 + n / 256) as u8);
    edu.fill_buffer(&source.page(), &content).unwrap();
    let registers = edu.snapshot().unwrap();

    for (out, chunk) in [(None, None), (Some(1), Some(1)), (Some(100), Some(4096))] {
        let (image, statistics) = save(&source, out);
        assert_eq!(statistics.state_bytes(), image.len() as u64);
        assert!(statistics.precopy_bytes > 4096 && statistics.stopped_bytes < 4096);
        assert_eq!(edu.snapshot().unwrap(), registers);
        assert_eq!(source.migration().phase().unwrap(), Phase::Running);

        let target = FakeEdu::new(4096, None);
        restore(&target, &image, chunk).unwrap();
        let edu = Edu::new(&target);
        assert!(registers.differences(&edu.snapshot().unwrap()).is_empty());
        assert_eq!(*edu.dump_buffer(&target.page()).unwrap(), content);
    }
}

#[test]
fn the_image_is_shown_in_words_and_checked() {
    let source = FakeEdu::new(65536, None);
    set_up(&Edu::new(&source));
    let (bytes, _) = save(&source, None);
    for size in [1, 100, bytes.len()] {
        let (mut image, mut parts) = (Image::new().unwrap(), Parts::default());
        for piece in bytes.chunks(size) {
            image.feed(piece, &mut parts).unwrap();
        }
        assert_eq!(image.final_refusal(), None);
        let names: Vec<_> = parts.sections.iter().map(|section| section.name).collect();
        assert_eq!(names, [Some("internal buffer"), Some("registers")]);
        let registers = parts.sections[1].registers.unwrap().to_string();
        assert!(registers.contains("12! = 0x1c8cfc00"), "{registers}");
        assert_eq!(parts.end.unwrap().total, bytes.len() as u64);
    }

    check(&bytes, Some(Identity::EDU)).unwrap();
    let other = Identity {
        vendor: 0x8086,
        device: 0x10ca,
    };
    let error = check(&bytes, Some(other)).unwrap_err();
    assert!(error.to_string().contains("1234:11e8 instead of 8086:10ca"));
    let error = check(&bytes[..bytes.len() - 1], None).unwrap_err();
    assert!(error.to_string().contains("incomplete"));
}

#[test]
fn a_damaged_image_is_refused_and_the_target_is_like_a_fresh_one() {
    let source = FakeEdu::new(65536, None);
    set_up(&Edu::new(&source));
    let (bytes, _) = save(&source, None);
    let fresh = Edu::new(&FakeEdu::new(4096, None)).snapshot().unwrap();
    for at in (0..bytes.len()).step_by(97) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        let target = FakeEdu::new(65536, None);
        let error = restore(&target, &damaged, None).unwrap_err();
        assert_eq!(error.exit_code(), 4, "{error}");
        let error = error.because(|| check(&damaged, None).unwrap_err().to_string());
        assert!(
            error.to_string().contains("the image is refused"),
            "{error}"
        );
        assert_eq!(Edu::new(&target).snapshot().unwrap(), fresh);
        assert_eq!(target.migration().phase().unwrap(), Phase::Running);
        // Then it takes the right one.
        restore(&target, &bytes, None).unwrap();
    }
    let target = FakeEdu::new(65536, None);
    let error = restore(&target, &bytes[..bytes.len() - 3], None).unwrap_err();
    assert!(matches!(
        error,
        Error::Refused {
            errno: rustix::io::Errno::INVAL,
            ..
        }
    ));
}
