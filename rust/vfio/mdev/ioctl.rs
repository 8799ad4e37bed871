// SPDX-License-Identifier: GPL-2.0-only

//! The ioctls of a mediated device.
//!
//! uAPI: [`include/uapi/linux/vfio.h`](srctree/include/uapi/linux/vfio.h)

use kernel::{
    error::to_result,
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice,
        UserSliceReader, //
    }, //
};

use super::{
    interrupts::{
        self,
        Data, //
    },
    mediated_device::MediatedDevice,
    operations::Operations, //
};
use crate::{
    bindings,
    device::vfio_ioctl, //
};

/// `VFIO_DEVICE_GET_INFO` of the uAPI.
const GET_INFO: u32 = vfio_ioctl(7);

/// `VFIO_DEVICE_GET_IRQ_INFO` of the uAPI.
const GET_IRQ_INFO: u32 = vfio_ioctl(9);

/// `VFIO_DEVICE_SET_IRQS` of the uAPI.
const SET_IRQS: u32 = vfio_ioctl(10);

/// Reads a 32-bit field.
fn field(from: &mut UserSliceReader) -> Result<u32> {
    from.read::<u32>()
}

/// Returns the first `N` 32-bit fields of an argument; the very first is `argsz`.
///
/// `EINVAL` if `argsz` does not cover them.
fn fields<const N: usize>(arg: UserPtr) -> Result<[u32; N]> {
    let mut from = UserSlice::new(arg, N * size_of::<u32>()).reader();
    let mut fields = [0; N];
    for place in &mut fields {
        *place = field(&mut from)?;
    }
    match fields.first() {
        // CAST: An argument's size is 32 bits wide.
        Some(argsz) if *argsz as usize >= N * size_of::<u32>() => Ok(fields),
        _ => Err(EINVAL),
    }
}

/// Writes the first fields of an argument back.
fn put<const N: usize>(arg: UserPtr, fields: [u32; N]) -> Result {
    let mut to = UserSlice::new(arg, N * size_of::<u32>()).writer();
    for field in &fields {
        to.write::<u32>(field)?;
    }
    Ok(())
}

impl<T: Operations> MediatedDevice<T> {
    /// Answers an ioctl; `ENOTTY` if the device does not know it.
    pub(super) fn user_ioctl(&self, cmd: u32, arg: UserPtr) -> Result {
        match cmd {
            GET_INFO => {
                let [argsz, ..] = fields::<4>(arg)?;
                let flags = bindings::VFIO_DEVICE_FLAGS_PCI | bindings::VFIO_DEVICE_FLAGS_RESET;
                put(
                    arg,
                    [argsz, flags, Self::regions(), bindings::VFIO_PCI_NUM_IRQS],
                )
            }
            GET_IRQ_INFO => {
                let [argsz, _, index, _] = fields::<4>(arg)?;
                let (flags, count) = interrupts::info(index)?;
                put(arg, [argsz, flags, index, count])
            }
            SET_IRQS => self.set_irqs(arg),
            _ => Err(ENOTTY),
        }
    }

    /// `VFIO_DEVICE_SET_IRQS`.
    fn set_irqs(&self, arg: UserPtr) -> Result {
        let [argsz, flags, index, start, count] = fields::<5>(arg)?;
        let (_, available) = interrupts::info(index)?;
        let mut header = bindings::vfio_irq_set {
            argsz,
            flags,
            index,
            start,
            count,
            ..Default::default()
        };
        let mut len = 0;
        // SAFETY: Header and length are valid for the call, which only looks at the header.
        to_result(unsafe {
            bindings::vfio_set_irqs_validate_and_prepare(
                &mut header,
                // CAST: There is at most one.
                available as c_int,
                // CAST: A small constant.
                bindings::VFIO_PCI_NUM_IRQS as c_int,
                &mut len,
            )
        })?;

        let mut bytes = [0; 4];
        let data = bytes.get_mut(..len).ok_or(EINVAL)?;
        let mut from = UserSlice::new(arg, 5 * size_of::<u32>() + len).reader();
        from.skip(5 * size_of::<u32>())?;
        from.read_slice(data)?;
        let action = flags & bindings::VFIO_IRQ_SET_ACTION_TYPE_MASK;
        self.host()
            .set_interrupts(index, action, count, Data::new(flags, count, bytes))
    }
}
