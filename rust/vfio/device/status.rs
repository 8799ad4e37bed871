// SPDX-License-Identifier: GPL-2.0-only

//! What the operator sees of a device's migration, in debugfs.
//!
//! The files are described in `Documentation/ABI/debugfs-rvfio`.

use kernel::{
    fmt,
    prelude::*,
    sync::aref::ARef, //
};
use migration::{
    container::Container,
    device::Device,
    dirty::snapshot::Snapshot,
    engine::Protocol, //
};

use super::{
    DirtyScope,
    Flavour,
    Host,
    VfioDevice, //
};
use crate::debugfs::{
    Directory,
    File,
    Show, //
};

impl<F: Flavour> VfioDevice<F> {
    /// Shows the device in the driver's directory of debugfs; `ENOMEM` without memory.
    pub(crate) fn show_status(&self, driver: &Directory) -> Result {
        let status = Status::new(self, driver)?;
        *self.inner.status.lock() = Some(status);
        Ok(())
    }

    /// Removes what [`Self::show_status`] has added.
    pub(crate) fn hide_status(&self) {
        let status = self.inner.status.lock().take();
        drop(status);
    }
}

/// The files of a device that its driver has bound.
pub(super) struct Status<F: Flavour> {
    /// `migration`.
    _migration: File<View<F>>,
    /// `dirty`.
    _dirty: File<Dirty<F>>,
    /// `device`, if the driver has anything to show.
    _device: Option<File<State<F>>>,
}

impl<F: Flavour> Status<F> {
    /// Adds the files to the driver's directory.
    ///
    /// `ENOMEM` without memory; a failure of debugfs itself is no error.
    pub(super) fn new(device: &VfioDevice<F>, driver: &Directory) -> Result<Self> {
        let directory = driver.subdirectory(device.host().as_ref().name())?;
        let view = View(device.into());
        let dirty = Dirty(device.into());
        let state = State(device.into());
        Ok(Self {
            _migration: File::new(&directory, c"migration", view)?,
            _dirty: File::new(&directory, c"dirty", dirty)?,
            _device: match F::Device::SHOWS {
                true => Some(File::new(&directory, c"device", state)?),
                false => None,
            },
        })
    }
}

/// What the file `migration` shows.
struct View<F: Flavour>(ARef<VfioDevice<F>>);

impl<F: Flavour> Show for View<F> {
    type OwnerModule = F::OwnerModule;

    fn show(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = &self.0;
        let host = device.host();
        let state = device.peek_killable().map_err(|_| fmt::Error)?;
        let engine = state.engine();
        let status = engine.status();

        let protocol = match status.owner {
            None => "none",
            Some(Protocol::Region2018) => "region-2018",
            Some(Protocol::RegionV1) => "region-v1",
            Some(Protocol::V2) => "v2",
        };
        writeln!(to, "state: {}", format_args!("{}", status.state))?;
        writeln!(to, "protocol: {}", protocol)?;
        writeln!(to, "pending_bytes: {}", engine.pending(host).total())?;
        match status.dirty_pages {
            Some(pages) => writeln!(to, "dirty_pages: {}", pages)?,
            None => writeln!(to, "dirty_pages: not tracked")?,
        }
        let scope = match host.is_open() {
            false => DirtyScope::Unknown,
            true if engine.may_tell() => host.dirty_scope(),
            true if host.counts_pages() => DirtyScope::Everything,
            true => DirtyScope::NotAsked,
        };
        let scope = match scope {
            DirtyScope::Unknown => "unknown",
            DirtyScope::Written => "written",
            DirtyScope::Everything | DirtyScope::Unrecorded => "everything",
            DirtyScope::NotAsked => "not asked",
        };
        writeln!(to, "container_dirty: {}", scope)?;
        let counters = status.counters;
        writeln!(to, "images_saved: {}", counters.images_saved)?;
        writeln!(to, "bytes_saved: {}", counters.bytes_saved)?;
        writeln!(to, "images_loaded: {}", counters.images_loaded)?;
        writeln!(to, "bytes_loaded: {}", counters.bytes_loaded)?;
        match (status.last_refusal, counters.last_error) {
            (Some(refusal), _) => writeln!(
                to,
                "last_error: image refused: {}",
                format_args!("{}", refusal)
            ),
            (None, Some(error)) => writeln!(to, "last_error: {:?}", error),
            (None, None) => writeln!(to, "last_error: none"),
        }
    }
}

/// What the file `dirty` shows.
struct Dirty<F: Flavour>(ARef<VfioDevice<F>>);

impl<F: Flavour> Show for Dirty<F> {
    type OwnerModule = F::OwnerModule;

    fn show(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The text is written to kernel memory in one hold of the lock; the user gets it later.
        let state = self.0.peek_killable().map_err(|_| fmt::Error)?;
        let pages = Snapshot(state.engine().log());
        write!(to, "{}", format_args!("{}", pages))
    }
}

/// What the file `device` shows.
struct State<F: Flavour>(ARef<VfioDevice<F>>);

impl<F: Flavour> Show for State<F> {
    type OwnerModule = F::OwnerModule;

    fn show(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = &self.0;
        let state = device.peek_killable().map_err(|_| fmt::Error)?;
        state.engine().device().show(device.host(), to)
    }
}
