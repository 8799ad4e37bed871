// SPDX-License-Identifier: GPL-2.0-only

//! Copies between user memory and a transfer's staging, in a work of each virtual device.
//!
//! An access to user memory may take long, or for ever if the memory's owner wants that. A virtual
//! device waits for its own memory alone: the physical device does not wait, and the copies of
//! other virtual devices run meanwhile.

use core::ops::Range;

use kernel::{
    prelude::*,
    sync::Arc,
    workqueue::{
        impl_has_work,
        WorkItem, //
    }, //
};
use vfio::mdev::Handle;

use super::{
    Slot,
    Stage, //
};
use crate::transfer::{
    DmaRegisters,
    Transfer, //
};

impl_has_work! {
    impl HasWork<Self> for Slot { self.work }
}

impl WorkItem for Slot {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let state = this.lock();
        let Some(under_way) = &state.transfer else {
            return;
        };
        let (stage, dma, host) = (under_way.stage, under_way.dma, under_way.host.clone());
        drop(state);

        let done = match stage {
            Stage::Fetch => Self::fetch(&this, &host, &dma),
            Stage::Deliver => this.deliver(&host, &dma).map(|()| true),
            Stage::Device => Ok(false),
        };
        match done {
            Ok(false) => {}
            Ok(true) => this.transferred(Ok(())),
            Err(error) => this.transferred(Err(error)),
        }
    }
}

impl Slot {
    /// Reads guest memory and hands the transfer to the physical device.
    ///
    /// Returns whether the transfer is done. It is no error if the device cannot reach the memory:
    /// the transfer then moves nothing, as with a physical device behind an IOMMU.
    fn fetch(this: &Arc<Self>, host: &Handle, dma: &DmaRegisters) -> Result<bool> {
        let part = Transfer::buffer_part(dma)?;
        let mut staging = this.staging();
        let bytes = staging.get_mut(part).ok_or(EINVAL)?;
        let is_fetched =
            host.with(|host| host.is_master() && host.read_memory(dma.source, bytes).is_ok());
        if is_fetched != Some(true) {
            return Ok(true);
        }
        drop(staging);
        if let Some(under_way) = &mut this.lock().transfer {
            under_way.stage = Stage::Device;
        }
        this.physical().transfer(this, host.clone())?;
        Ok(false)
    }

    /// Writes guest memory.
    fn deliver(&self, host: &Handle, dma: &DmaRegisters) -> Result {
        let part: Range<usize> = Transfer::buffer_part(dma)?;
        let staging = self.staging();
        let bytes = staging.get(part).ok_or(EINVAL)?;
        host.with(|host| {
            if host.is_master() {
                // A device cannot write memory that its user has not mapped, and reports no error.
                let _ = host.write_memory(dma.destination, bytes);
            }
        });
        Ok(())
    }
}
