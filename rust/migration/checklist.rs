// SPDX-License-Identifier: GPL-2.0-only

//! Which sections of an image were saved or loaded, for a device whose state is a list of sections.
//!
//! Each section of the list has one payload, at offset 0. Memory that goes in several sections of
//! one type needs a record of the driver's own besides.

use kernel::prelude::*;

use crate::{
    device::{
        Amount,
        Phase,
        Remaining, //
    },
    image::{
        format::TYPE_DRIVER_MAX,
        Section,
        SectionHead,
        MAX_PAYLOAD, //
    }, //
};

/// A section that every image of a device has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Item {
    /// Type of the section.
    kind: u16,
    /// Bytes of its payload; the most, if that varies.
    bytes: u64,
    /// The earliest phase in which it can be saved.
    phase: Phase,
}

impl Item {
    /// Returns a section that can be saved while the device runs, and again if the guest has
    /// changed its content.
    pub const fn running(kind: u16, bytes: u64) -> Self {
        Self {
            kind,
            bytes,
            phase: Phase::Running,
        }
    }

    /// Returns a section that is saved once the device is stopped.
    pub const fn stopped(kind: u16, bytes: u64) -> Self {
        Self {
            kind,
            bytes,
            phase: Phase::Stopped,
        }
    }

    /// Adds the section to an amount; `varying` are the present sizes of sections.
    fn add_to(&self, amount: &mut Amount, varying: &[(u16, u64)]) {
        let present = varying.iter().find(|(kind, _)| *kind == self.kind);
        let bytes = present.map_or(self.bytes, |(_, bytes)| *bytes);
        amount.bytes = amount.bytes.saturating_add(bytes);
        amount.sections = amount.sections.saturating_add(1);
    }

    /// Returns whether the section needs a stopped device.
    const fn is_stopped(&self) -> bool {
        matches!(self.phase, Phase::Stopped)
    }
}

/// The sections of a complete image, in the order in which they are saved.
#[derive(Clone, Copy, Debug)]
pub struct Sections(&'static [Item]);

impl Sections {
    /// The most sections in a list.
    pub const MAX: usize = u64::BITS as usize;

    /// Returns a list of sections. It is to be a constant, so that the compiler checks it.
    ///
    /// # Panics
    ///
    /// If there are more than [`Sections::MAX`], a type is not from 1 to [`TYPE_DRIVER_MAX`] or
    /// comes twice, a payload is longer than [`MAX_PAYLOAD`], or a section that can be saved while
    /// the device runs stands after one that cannot.
    pub const fn new(items: &'static [Item]) -> Self {
        assert!(items.len() <= Self::MAX, "too many sections");
        let mut at = 0;
        while at < items.len() {
            let item = items[at];
            assert!(
                item.kind >= 1 && item.kind <= TYPE_DRIVER_MAX,
                "not a type of a driver's section"
            );
            // CAST: A small constant.
            assert!(item.bytes <= MAX_PAYLOAD as u64, "too long for one section");
            let mut before = 0;
            while before < at {
                assert!(items[before].kind != item.kind, "a type comes twice");
                assert!(
                    item.is_stopped() || !items[before].is_stopped(),
                    "a section that needs a stopped device is not at the end"
                );
                before += 1;
            }
            at += 1;
        }
        Self(items)
    }

    /// Returns the amount of a complete image.
    pub fn size(&self) -> Amount {
        self.size_with(&[])
    }

    /// Returns the amount of a complete image in which some sections have these types and bytes of
    /// payload. The others are as in the list.
    pub fn size_with(&self, varying: &[(u16, u64)]) -> Amount {
        let mut size = Amount::default();
        for item in self.0 {
            item.add_to(&mut size, varying);
        }
        size
    }
}

/// The sections that a driver has put into the image that it saves, or taken from the one that it
/// loads.
///
/// `busy` of the methods are the types of sections whose content the running device is changing.
#[derive(Clone, Debug)]
pub struct Checklist {
    sections: Sections,
    /// One bit for each of `sections`.
    done: u64,
}

impl Checklist {
    /// Returns a list of which nothing is saved or loaded.
    pub const fn new(sections: Sections) -> Self {
        Self { sections, done: 0 }
    }

    /// Begins anew: nothing is saved or loaded.
    pub fn clear(&mut self) {
        self.done = 0;
    }

    /// Returns whether the section of a type is saved or loaded.
    pub fn is_done(&self, kind: u16) -> bool {
        self.find(kind).is_some_and(|(bit, _)| self.done & bit != 0)
    }

    /// Returns what is left to save: see [`Device::remaining`](crate::device::Device::remaining).
    pub fn remaining(&self, busy: &[u16]) -> Remaining {
        self.remaining_with(busy, &[])
    }

    /// Returns what is left to save, for sections whose size varies as [`Sections::size_with`].
    pub fn remaining_with(&self, busy: &[u16], varying: &[(u16, u64)]) -> Remaining {
        let mut left = Remaining::default();
        for item in self.left() {
            let is_busy = busy.contains(&item.kind);
            let amount = match (item.is_stopped(), is_busy) {
                (true, _) => &mut left.stopped,
                (false, true) => &mut left.later,
                (false, false) => &mut left.running,
            };
            item.add_to(amount, varying);
        }
        left
    }

    /// Returns the type of the section that is to be saved next.
    ///
    /// `None` if there is nothing to save now ([`Phase::Running`]) or any more
    /// ([`Phase::Stopped`], in which nothing is busy).
    pub fn next(&self, phase: Phase, busy: &[u16]) -> Option<u16> {
        self.left()
            .find(|item| {
                phase == Phase::Stopped || !(item.is_stopped() || busy.contains(&item.kind))
            })
            .map(|item| item.kind)
    }

    /// Notes that a section is saved, and returns its head.
    pub fn put(&mut self, kind: u16) -> SectionHead {
        self.mark(kind);
        SectionHead::mandatory(kind, 0)
    }

    /// Notes that the content of a section has changed: it is to be saved again.
    pub fn changed(&mut self, kind: u16) {
        if let Some((bit, _)) = self.find(kind) {
            self.done &= !bit;
        }
    }

    /// Checks that a section can be loaded.
    ///
    /// `EOPNOTSUPP` if the list does not have its type, `EINVAL` for an offset other than 0. A
    /// section that needs a stopped device comes once, and ends the others: `EINVAL` if it comes
    /// again, or one of the others after it.
    pub fn check(&self, section: &Section<'_>) -> Result {
        let (bit, item) = self.find(section.head.kind).ok_or(EOPNOTSUPP)?;
        let has_ended = match item.is_stopped() {
            true => self.done & bit != 0,
            false => self
                .items()
                .any(|(bit, item)| item.is_stopped() && self.done & bit != 0),
        };
        if section.head.offset != 0 || has_ended {
            return Err(EINVAL);
        }
        Ok(())
    }

    /// Notes that a section is loaded, or that its content is kept until the image has ended.
    ///
    /// To be called when nothing can fail any more: what fails for a signal comes again.
    pub fn take(&mut self, section: &Section<'_>) {
        self.mark(section.head.kind);
    }

    /// Checks that nothing is missing from an image that has ended; `EINVAL` if something is.
    pub fn end(&self) -> Result {
        match self.left().next() {
            None => Ok(()),
            Some(_) => Err(EINVAL),
        }
    }

    /// Notes that a section is saved or loaded.
    fn mark(&mut self, kind: u16) {
        if let Some((bit, _)) = self.find(kind) {
            self.done |= bit;
        }
    }

    /// Returns the sections and their bits.
    fn items(&self) -> impl Iterator<Item = (u64, &'static Item)> {
        // No overflow: there are at most as many as there are bits.
        self.sections
            .0
            .iter()
            .enumerate()
            .map(|(at, item)| (1 << at, item))
    }

    /// Returns a type's section and its bit.
    fn find(&self, kind: u16) -> Option<(u64, &'static Item)> {
        self.items().find(|(_, item)| item.kind == kind)
    }

    /// Returns the sections that are neither saved nor loaded.
    fn left(&self) -> impl Iterator<Item = &'static Item> + '_ {
        self.items()
            .filter(|(bit, _)| self.done & bit == 0)
            .map(|(_, item)| item)
    }
}
