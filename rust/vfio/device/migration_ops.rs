// SPDX-License-Identifier: GPL-2.0-only

//! The migration operations of the v2 protocol.
//!
//! C header: `struct vfio_migration_ops` in
//! [`include/linux/vfio.h`](srctree/include/linux/vfio.h)

use core::marker::PhantomData;

use kernel::{
    bindings::file,
    error::from_result,
    prelude::*, //
};
use migration::{
    device::Device,
    state::State, //
};

use super::{
    data_file_ops::{
        Direction,
        OwnedFile, //
    },
    Flavour,
    VfioDevice, //
};
use crate::bindings;

impl<F: Flavour> VfioDevice<F> {
    /// Offers the protocol, with the states that the device has.
    ///
    /// # Safety
    ///
    /// `vdev` must be valid and not registered yet.
    pub(super) unsafe fn offer_v2(vdev: *mut bindings::vfio_device) {
        let states = <F::Device as Device>::STATES;
        let mut flags = bindings::VFIO_MIGRATION_STOP_COPY;
        if states.p2p {
            flags |= bindings::VFIO_MIGRATION_P2P;
        }
        if states.pre_copy {
            flags |= bindings::VFIO_MIGRATION_PRE_COPY;
        }
        // SAFETY: The caller vouches for the device.
        unsafe {
            (*vdev).migration_flags = flags;
            (*vdev).mig_ops = &MigrationOps::<F>::OPS;
        }
    }

    /// Moves the device to `target`, and returns a data file if that begins a session.
    fn set_state(&self, target: State) -> Result<Option<OwnedFile>> {
        let mut file = None;
        self.load(|state| {
            // The file is made before anything happens, so that a failure leaves nothing to undo.
            if let Some(session) = state.engine().session_of(target) {
                let direction = match target {
                    State::Resuming => Direction::Load,
                    _ => Direction::Save,
                };
                file = Some(self.data_file(session, direction)?);
            }
            let (v2, engine) = state.v2();
            v2.set_state(engine, self.host(), target)
        })?;
        self.progress().notify_all();
        Ok(file)
    }
}

/// The operations of a driver's devices.
struct MigrationOps<F>(PhantomData<F>);

impl<F: Flavour> MigrationOps<F> {
    /// What the VFIO core calls.
    const OPS: bindings::vfio_migration_ops = bindings::vfio_migration_ops {
        migration_set_state: Some(Self::set_state),
        migration_get_state: Some(Self::get_state),
        migration_get_data_size: Some(Self::get_data_size),
    };

    /// # Safety
    ///
    /// Called by the VFIO core with an open device of this driver.
    unsafe extern "C" fn set_state(
        vdev: *mut bindings::vfio_device,
        target: bindings::vfio_device_mig_state,
    ) -> *mut file {
        // SAFETY: The caller vouches for the device.
        let this = unsafe { VfioDevice::<F>::from_vdev(vdev) };
        match State::try_from(target).and_then(|target| this.set_state(target)) {
            Ok(Some(file)) => file.into_raw(),
            Ok(None) => core::ptr::null_mut(),
            // CAST: An errno as an error pointer.
            Err(error) => error.to_ptr(),
        }
    }

    /// # Safety
    ///
    /// Called by the VFIO core with an open device of this driver and a place for the state.
    unsafe extern "C" fn get_state(
        vdev: *mut bindings::vfio_device,
        current: *mut bindings::vfio_device_mig_state,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The caller vouches for the device.
            let this = unsafe { VfioDevice::<F>::from_vdev(vdev) };
            let state = this.state()?.engine().state();
            // CAST: The enum's values are those of the uAPI.
            // SAFETY: The caller vouches for the place.
            unsafe { *current = state as u32 };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the VFIO core with an open device of this driver and a place for the size.
    unsafe extern "C" fn get_data_size(
        vdev: *mut bindings::vfio_device,
        size: *mut c_ulong,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The caller vouches for the device.
            let this = unsafe { VfioDevice::<F>::from_vdev(vdev) };
            let mut state = this.state()?;
            let (v2, engine) = state.v2();
            let bytes = v2.data_size(engine, this.host());
            drop(state);
            // SAFETY: The caller vouches for the place.
            unsafe { *size = usize::try_from(bytes)? };
            Ok(0)
        })
    }
}
