// SPDX-License-Identifier: GPL-2.0-only

//! The bytes of the image, out of the device and into it.

use kernel::prelude::*;

use super::{
    Engine,
    Loading,
    Mode,
    Partial,
    Saving, //
};
use crate::{
    device::{
        Amount,
        Device,
        Phase, //
    },
    image::{
        format::{
            End,
            END_LEN,
            FRAMING,
            HEADER_LEN, //
        },
        Halt,
        Refusal,
        Section,
        Sink, //
    }, //
};

/// Bytes of the image that are left to hand out, by when they can go.
///
/// The counts include the image's framing, so they are as exact as the device's own.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Pending {
    /// What can go while the device runs. The target must have it before it starts.
    pub precopy_only: u64,
    /// How much of `precopy_only` can go now. The rest waits until the device has finished its
    /// work.
    pub available: u64,
    /// What can go at any time, even after the target has started.
    ///
    /// Always 0: a device needs all of its state before it starts.
    pub compatible: u64,
    /// What can go only after the device has stopped, the end of the image included.
    pub postcopy_only: u64,
}

impl Pending {
    /// Returns what is left of the image under way.
    pub(super) fn of<D: Device>(saving: &Saving, device: &D, host: &D::Host) -> Self {
        // CAST: a section's length and a small constant.
        let staged = saving.writer.staged().len() as u64;
        let mut pending = Self::default();
        if saving.staged_stopped {
            pending.postcopy_only = staged;
        } else {
            pending.available = staged;
            pending.precopy_only = staged;
        }
        if saving.writer.ended() {
            return pending;
        }
        let left = device.remaining(host);
        pending.available = pending.available.saturating_add(framed(left.running));
        pending.precopy_only = pending.available.saturating_add(framed(left.later));
        pending.postcopy_only = pending
            .postcopy_only
            .saturating_add(framed(left.stopped))
            // CAST: a small constant.
            .saturating_add(END_LEN as u64);
        pending
    }

    /// Returns all that is left, in bytes.
    pub fn total(&self) -> u64 {
        self.precopy_only
            .saturating_add(self.compatible)
            .saturating_add(self.postcopy_only)
    }
}

/// How much the engine took of the bytes that it was given.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Taken {
    /// How many bytes.
    pub bytes: usize,
    /// The bytes completed a section, or the image, and the device was given it.
    pub section: bool,
}

/// Returns the bytes of the image that carry `amount`.
fn framed(amount: Amount) -> u64 {
    // CAST: a small constant.
    let framing = amount.sections.saturating_mul(FRAMING as u64);
    amount.bytes.saturating_add(framing)
}

/// Hands the sections of an image to a device.
struct Load<'a, D: Device> {
    /// The device.
    device: &'a mut D,
    /// What the device works with.
    host: &'a D::Host,
    /// The device was given a section or the end, which may have taken long.
    called: bool,
}

impl<D: Device> Sink for Load<'_, D> {
    fn section(&mut self, section: &Section<'_>) -> Result {
        self.called = true;
        self.device.load(self.host, section)
    }

    fn end(&mut self, _end: &End) -> Result {
        self.called = true;
        self.device.load_end(self.host)
    }
}

impl<D: Device> Engine<D> {
    /// Returns what is left of the image; nothing if none is being produced.
    pub fn pending(&self, host: &D::Host) -> Pending {
        match self.mode.saving() {
            Some(saving) => Pending::of(saving, &self.device, host),
            None => Pending::default(),
        }
    }

    /// Stages the next bytes of the image and returns them.
    ///
    /// No bytes mean nothing now while the device runs, and nothing more once it is stopped. The
    /// bytes stay the same until [`Engine::consume`] says that they went out. `EINVAL` if no image
    /// is being produced. After an error of the device the image can be continued, unless the
    /// device is lost.
    pub fn stage(&mut self, host: &D::Host) -> Result<&[u8]> {
        let result = self.prepare(host);
        self.check(result)?;
        Ok(match self.mode.saving() {
            Some(saving) => saving.writer.staged(),
            None => &[],
        })
    }

    /// Has the writer stage the next bytes, if there are any.
    fn prepare(&mut self, host: &D::Host) -> Result {
        let (saving, phase) = match &mut self.mode {
            Mode::PreCopy(saving) | Mode::PreCopyP2p(saving) => (saving, Phase::Running),
            Mode::StopCopy(saving) => (saving, Phase::Stopped),
            _ => return Err(EINVAL),
        };
        if saving.writer.ended() || !saving.writer.staged().is_empty() {
            return Ok(());
        }
        let device = &mut self.device;
        let more = saving
            .writer
            .section(|payload| device.save(host, phase, payload))?;
        if !more && phase == Phase::Stopped {
            saving.writer.end()?;
        }
        saving.staged_stopped = phase == Phase::Stopped;
        Ok(())
    }

    /// Notes that the first `count` of the bytes that [`Engine::stage`] returned went out.
    pub fn consume(&mut self, count: usize) {
        let Some(saving) = self.mode.saving_mut() else {
            return;
        };
        let count = count.min(saving.writer.staged().len());
        let before = saving.writer.finished();
        saving.writer.drain(count);
        if !before && saving.writer.finished() {
            self.counters.images_saved = self.counters.images_saved.saturating_add(1);
        }
        // CAST: a section's length.
        self.counters.bytes_saved = self.counters.bytes_saved.saturating_add(count as u64);
    }

    /// Returns about how many bytes a whole image of the device has. Never 0.
    pub fn size(&self, host: &D::Host) -> u64 {
        // CAST: small constants.
        framed(self.device.size(host)).saturating_add((HEADER_LEN + END_LEN) as u64)
    }

    /// Returns whether the whole image has been handed out.
    pub fn is_saved(&self) -> bool {
        self.mode
            .saving()
            .is_some_and(|saving| saving.writer.finished())
    }

    /// Takes the next bytes of an image, up to the end of a section; the bytes that complete the
    /// image apply it.
    ///
    /// Returns how many bytes were taken, at least one unless `bytes` is empty. The device gets at
    /// most one section, so the caller can let others have the device before the next one. `EINVAL`
    /// unless the device is in [`State::Resuming`], and for a wrong image (see [`Refusal`]); errors
    /// of the device. After a refusal the device is reset, [`Engine::last_refusal`] tells the
    /// reason, and only a reset leads out of the state. `EINTR` or `ERESTARTSYS` from the device is
    /// no refusal: nothing was taken, and the same bytes may come again.
    ///
    /// [`State::Resuming`]: crate::state::State::Resuming
    pub fn write(&mut self, host: &D::Host, bytes: &[u8]) -> Result<Taken> {
        let Mode::Resuming(loading) = &mut self.mode else {
            return Err(EINVAL);
        };
        let reader = &mut loading.reader;
        if let Some(refusal) = reader.refusal() {
            return Err(refusal.into());
        }
        let complete = reader.finish().is_ok();
        let mut sink = Load {
            device: &mut self.device,
            host,
            called: false,
        };
        let mut taken = 0;
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            match reader.take(rest, &mut sink) {
                Ok(count) => taken = taken.saturating_add(count),
                Err(Halt::Interrupted(error)) if taken == 0 => return self.check(Err(error)),
                // The bytes before the signal were taken; the next call meets the signal again.
                Err(Halt::Interrupted(_)) => break,
                Err(Halt::Refused(refusal)) => return self.refused(host, refusal),
            }
            if sink.called {
                break;
            }
        }
        let section = sink.called;
        if !complete && reader.finish().is_ok() {
            self.counters.images_loaded = self.counters.images_loaded.saturating_add(1);
        }
        // CAST: a length in memory always fits in 64 bits.
        self.counters.bytes_loaded = self.counters.bytes_loaded.saturating_add(taken as u64);
        Ok(Taken {
            bytes: taken,
            section,
        })
    }

    /// Returns how many bytes have been taken of the buffer of `size` bytes that a client of a
    /// migration region gives: 0, unless the client gave the buffer before and a part was left.
    ///
    /// `EINVAL` if a part of a buffer of another size is left, which has to come first.
    pub(crate) fn taken_of(&self, size: usize) -> Result<usize> {
        match &self.mode {
            Mode::Resuming(Loading {
                partial: Some(partial),
                ..
            }) => (partial.size == size)
                .then_some(partial.taken)
                .ok_or(EINVAL),
            _ => Ok(0),
        }
    }

    /// Notes that `taken` bytes of the client's buffer of `size` bytes have been taken.
    pub(crate) fn set_taken_of(&mut self, size: usize, taken: usize) {
        if let Mode::Resuming(loading) = &mut self.mode {
            let partial = (1..size).contains(&taken);
            loading.partial = partial.then_some(Partial { size, taken });
        }
    }

    /// Returns whether an image has been taken and applied as a whole.
    pub fn is_loaded(&self) -> bool {
        match &self.mode {
            Mode::Resuming(loading) => loading.reader.finish().is_ok(),
            _ => false,
        }
    }

    /// Undoes what the refused image did to the device, and returns the refusal's errno.
    fn refused<T>(&mut self, host: &D::Host, refusal: Refusal) -> Result<T> {
        self.refusal = Some(refusal);
        // The client hears why the image was refused, not what else went wrong.
        self.set_taken_of(0, 0);
        let cleaned = self.reset_quiesced(host);
        let _ = self.check(cleaned);
        self.check(Err(refusal.into()))
    }
}
