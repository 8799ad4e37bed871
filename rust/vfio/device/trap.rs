// SPDX-License-Identifier: GPL-2.0-only

//! Trapped BARs: every access is decoded by the driver.

use kernel::prelude::*;
use migration::device::{
    Access,
    Width, //
};

use super::{
    trace,
    Call,
    Flavour,
    Host,
    Moment,
    VfioDevice, //
};

/// Returns the widest naturally aligned access at `offset` that moves at most `left` bytes.
///
/// The same split as `vfio_pci_core_do_io_rw()`.
#[inline]
fn width_at(offset: u64, left: usize) -> Width {
    [(Width::B8, 8), (Width::B4, 4), (Width::B2, 2)]
        .into_iter()
        .find(|(_, bytes)| left >= *bytes && offset % *bytes as u64 == 0)
        .map_or(Width::B1, |(width, _)| width)
}

impl<F: Flavour> VfioDevice<F> {
    /// Moves bytes between the user and a trapped BAR, access by access.
    ///
    /// Calls `access` with each access and its place in the user's buffer. Returns how many bytes
    /// were moved, and the error that ended the call, if one did.
    fn for_each_access(
        &self,
        bar: u8,
        call: &mut Call,
        mut access: impl FnMut(&Self, usize, Access) -> Result,
    ) -> (usize, Result) {
        let start = call.offset();
        let Some(room) = self
            .host()
            .bar_len(bar)
            .checked_sub(start)
            .filter(|room| *room > 0)
        else {
            return (0, Err(EINVAL));
        };
        call.truncate(usize::try_from(room).unwrap_or(usize::MAX));

        let mut moved = 0;
        while moved < call.len() {
            // CAST: Widening.
            let offset = start + moved as u64;
            let width = width_at(offset, call.len() - moved);
            if let Err(error) = access(self, moved, Access { bar, offset, width }) {
                return (moved, Err(error));
            }
            // CAST: The enum's values are the widths in bytes.
            moved += width as usize;
        }
        (moved, Ok(()))
    }

    /// Answers a read of a trapped BAR.
    pub(crate) fn trapped_read(&self, bar: u8, mut call: Call) -> isize {
        let user = call.user();
        let (moved, result) = self.for_each_access(bar, &mut call, |this, at, access| {
            user.put(at, access.width, this.read_register(access)?)
        });
        call.finish(moved, result)
    }

    /// Answers a write to a trapped BAR.
    pub(crate) fn trapped_write(&self, bar: u8, mut call: Call) -> isize {
        let user = call.user();
        let (moved, result) = self.for_each_access(bar, &mut call, |this, at, access| {
            this.write_register(access, user.get(at, access.width)?)
        });
        call.finish(moved, result)
    }

    /// Reads a register for the guest.
    fn read_register(&self, access: Access) -> Result<u64> {
        let mut state = self.lock()?;
        let result = state.engine_mut().read_register(self.host(), access);
        self.see_to_container(&mut state, Moment::Access);
        result
    }

    /// Writes a register for the guest.
    fn write_register(&self, access: Access, value: u64) -> Result {
        let mut state = self.lock()?;
        let result = state
            .engine_mut()
            .write_register(self.host(), access, value)
            .inspect_err(|error| trace::refused(self.host().as_ref(), access, value, *error));
        self.see_to_container(&mut state, Moment::Access);
        let is_saving = state.engine().session().is_some();
        drop(state);
        if is_saving {
            // The write may have changed what is to be saved.
            self.progress().notify_all();
        }
        result
    }
}
