// SPDX-License-Identifier: GPL-2.0-only

//! How many virtual devices there can be, and of which types.
//!
//! A type divides the physical device into a number of equal shares. All virtual devices of a
//! physical device are of one type: the first that is created decides.

use kernel::{
    prelude::*,
    sync::{
        new_mutex,
        Arc,
        Mutex, //
    }, //
};
use vfio::mdev::Type;

/// The types.
pub(crate) const TYPES: &[Type] = &[
    Type {
        name: c"1",
        pretty_name: c"edu, whole",
        description: c"edu with a 4 KiB buffer; one of 1 on the physical device",
    },
    Type {
        name: c"2",
        pretty_name: c"edu, half",
        description: c"edu with a 4 KiB buffer; one of 2 that share the physical device fairly",
    },
    Type {
        name: c"4",
        pretty_name: c"edu, quarter",
        description: c"edu with a 4 KiB buffer; one of 4 that share the physical device fairly",
    },
    Type {
        name: c"8",
        pretty_name: c"edu, eighth",
        description: c"edu with a 4 KiB buffer; one of 8 that share the physical device fairly",
    },
];

/// Virtual devices of each of [`TYPES`] on one physical device.
const SHARES: [u32; 4] = [1, 2, 4, 8];

/// The most virtual devices of any type.
pub(crate) const MOST: usize = 8;

const _: () = assert!(TYPES.len() == SHARES.len());

/// The virtual devices on a physical device.
#[pin_data]
pub(crate) struct Instances {
    /// Their type and number, if there are any.
    #[pin]
    used: Mutex<Option<(usize, u32)>>,
}

impl Instances {
    /// Returns the record of a physical device without virtual ones.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                used <- new_mutex!(None, "edu_instances"),
            }),
            GFP_KERNEL,
        )
    }

    /// Returns how many more of a type there can be.
    pub(crate) fn available(&self, type_: usize) -> u32 {
        let shares = SHARES.get(type_).copied().unwrap_or(0);
        match *self.used.lock() {
            None => shares,
            Some((used, count)) if used == type_ => shares.saturating_sub(count),
            Some(_) => 0,
        }
    }

    /// Takes one of a type; `ENOSPC` if none is left, `EINVAL` for a type that does not exist.
    pub(super) fn take(this: &Arc<Self>, type_: usize) -> Result<Instance> {
        let shares = SHARES.get(type_).copied().ok_or(EINVAL)?;
        let mut used = this.used.lock();
        let count = match *used {
            None => 1,
            Some((used, count)) if used == type_ && count < shares => count + 1,
            Some(_) => return Err(ENOSPC),
        };
        *used = Some((type_, count));
        drop(used);
        Ok(Instance(this.clone()))
    }
}

/// One of the virtual devices. When this is dropped, there can be another.
pub(super) struct Instance(Arc<Instances>);

impl Drop for Instance {
    fn drop(&mut self) {
        let mut used = self.0.used.lock();
        *used = match *used {
            Some((type_, count)) if count > 1 => Some((type_, count - 1)),
            _ => None,
        };
    }
}
