// SPDX-License-Identifier: GPL-2.0-only

//! The kinds of calls, and the errors that each may end with.
//!
//! An error that is not in the list is a finding. The lists follow uapi.rst, `<linux/vfio.h>` and
//! the manual pages.

use libc::{
    E2BIG, EACCES, EAGAIN, EBADF, EBUSY, EEXIST, EFAULT, EINTR, EINVAL, EIO, ENODEV, ENOENT,
    ENOMEM, ENOMSG, ENOSPC, ENOTTY, EOPNOTSUPP, EOVERFLOW, EPERM, ERANGE, ESPIPE, ESRCH, ETIMEDOUT,
};

macro_rules! kinds {
    ($($name:ident, $text:literal, [$($errno:ident),*];)*) => {
        /// What a call is.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Kind { $(#[doc = $text] $name,)* }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The errors that are documented for it.
            pub fn errors(self) -> &'static [i32] {
                match self { $(Self::$name => &[$($errno),*],)* }
            }
        }
    };
}

kinds! {
    // The guest's accesses. EBUSY: a write to a stopped device.
    RegisterRead, "register read", [EINVAL, EIO, EFAULT];
    RegisterWrite, "register write", [EINVAL, EIO, EFAULT, EBUSY, ENOMEM];
    ConfigRead, "config read", [EINVAL, EFAULT, EIO];
    ConfigWrite, "config write", [EINVAL, EFAULT, EIO];
    // The migration regions are among them.
    OtherRead, "other region read", [EINVAL, EFAULT, EIO, ENOMEM, ENODEV];
    OtherWrite, "other region write", [EINVAL, EFAULT, EIO, ENOMEM, ENODEV, EBUSY, ETIMEDOUT, EINTR];
    // Migration regions.
    Region2018Read, "region-2018 header read", [EINVAL, EIO, EFAULT, ENOMEM, ENODEV];
    Region2018Write, "region-2018 header write", [EINVAL, EIO, EFAULT, ENOMEM, ENODEV, EBUSY, ETIMEDOUT, EINTR];
    DataRead, "data section read", [EINVAL, EFAULT, ENOMEM];
    DataWrite, "data section write", [EINVAL, EFAULT, ENOMEM];
    RegionV1Read, "region-v1 header read", [EINVAL, EIO, EFAULT, ENOMEM, ENODEV];
    RegionV1Write, "region-v1 header write", [EINVAL, EIO, EFAULT, ENOMEM, ENODEV, EBUSY, ETIMEDOUT, EINTR];
    // Ioctls of the device.
    Info, "GET_INFO", [EINVAL, EFAULT];
    RegionInfo, "GET_REGION_INFO", [EINVAL, EFAULT];
    IrqInfo, "GET_IRQ_INFO", [EINVAL, EFAULT];
    // ERANGE: from the PCI core, for MSI without vectors.
    SetIrqs, "SET_IRQS", [ERANGE, EINVAL, EFAULT, ENOTTY, EBADF, EBUSY, ENOSPC, EIO];
    Reset, "RESET", [ETIMEDOUT, EIO, ENODEV];
    HotResetInfo, "GET_PCI_HOT_RESET_INFO", [EINVAL, EFAULT, ENOSPC, ENODEV, ENOTTY];
    // EBUSY: the vfio-pci core does not wait for those who access the device.
    HotReset, "PCI_HOT_RESET", [EBUSY, EINVAL, EFAULT, ENODEV, EBADF, ENOTTY, EAGAIN];
    IoEventFd, "IOEVENTFD", [ENOTTY];
    // E2BIG: too many ranges for a DMA log. EOVERFLOW: one beyond the last address. EBADF: the
    // eventfd of LOW_POWER_ENTRY_WITH_WAKEUP.
    Feature, "DEVICE_FEATURE", [E2BIG, EBADF, EINVAL, EFAULT, ENOTTY, EBUSY, EIO, ENODEV, EPERM, EOPNOTSUPP, EOVERFLOW];
    MigrationState, "MIG_DEVICE_STATE set", [EINVAL, EFAULT, EBUSY, EIO, ENODEV, ETIMEDOUT, EINTR, ENOMEM];
    // Either of the two above, depending on what is at the address.
    Elsewhere, "DEVICE_FEATURE elsewhere", [E2BIG, EBADF, EBUSY, EFAULT, EINTR, EINVAL, EIO, ENODEV, ENOMEM, ENOTTY, EOPNOTSUPP, EOVERFLOW, EPERM, ETIMEDOUT];
    // E2BIG: an argument of BIND_IOMMUFD that is longer than the kernel knows.
    OtherIoctl, "other ioctl", [E2BIG, EINVAL, EFAULT, ENOTTY];
    // The device's file.
    Seek, "lseek", [EINVAL, ESPIPE];
    Poll, "poll", [EINTR];
    Map, "mmap", [EINVAL, ENOMEM, EACCES, EPERM];
    Unmap, "munmap", [];
    Protect, "mprotect", [EACCES, EINVAL, ENOMEM];
    // EFAULT: MADV_POPULATE_*, after MADV_DONTNEED has taken pages of the data section away.
    Advise, "madvise", [EFAULT, ENODEV, EINVAL, ENOMEM, EBUSY, EBADF, EAGAIN];
    Touch, "access to a mapping", [EFAULT, EIO];
    Splice, "vmsplice", [EFAULT, EAGAIN, EIO];
    // Data files of v2.
    StreamRead, "data file read", [EFAULT, ENOMSG, ENODEV, EIO, EBADF, ENOMEM];
    StreamWrite, "data file write", [EFAULT, ENODEV, EIO, EBADF, EINVAL, ENOMEM, ETIMEDOUT];
    StreamAt, "data file pread, pwrite", [ESPIPE, EBADF, EINVAL];
    PrecopyInfo, "GET_PRECOPY_INFO", [EINVAL, EFAULT, ENOTTY, ENODEV];
    // Container and group.
    DmaMap, "MAP_DMA", [ENOENT, EINVAL, EFAULT, EEXIST, ENOMEM, ENOSPC, EBUSY, EPERM, EOVERFLOW];
    DmaUnmap, "UNMAP_DMA", [EINVAL, EFAULT, ENOENT, EBUSY, ENOMEM, EOVERFLOW];
    Dirty, "DIRTY_PAGES", [EINVAL, EFAULT, ENOENT, ENOMEM, EOVERFLOW];
    ContainerOther, "container ioctl", [EINVAL, EFAULT, ENOTTY, EBUSY];
    // EBADF: the container's descriptor is whatever is at an address.
    Group, "group ioctl", [EBADF, EINVAL, EFAULT, ENOTTY, EBUSY, EPERM];
    GroupOpen, "second open of the group", [EBUSY];
    Open, "open", [ENOMEM, EIO, ETIMEDOUT];
    Close, "close", [];
    // Others.
    // ESRCH: the thread has just ended.
    Interrupt, "signal to a thread", [ESRCH];
    HostLooks, "debugfs read", [ENOENT, ENODEV, EIO];
}

impl Kind {
    /// The kind of an ioctl whose structure is at another address than the one that was filled in.
    ///
    /// The number of a feature is in the structure, so it may be any.
    pub fn elsewhere(self) -> Self {
        match self {
            Self::Feature | Self::MigrationState => Self::Elsewhere,
            kind => kind,
        }
    }
}

/// The name of an errno.
pub fn errno_name(errno: i32) -> String {
    const NAMES: &[(i32, &str)] = &[
        (E2BIG, "E2BIG"),
        (EACCES, "EACCES"),
        (EAGAIN, "EAGAIN"),
        (EBADF, "EBADF"),
        (EBUSY, "EBUSY"),
        (EEXIST, "EEXIST"),
        (EFAULT, "EFAULT"),
        (EINTR, "EINTR"),
        (EINVAL, "EINVAL"),
        (EIO, "EIO"),
        (ENODEV, "ENODEV"),
        (ENOENT, "ENOENT"),
        (ENOMEM, "ENOMEM"),
        (ENOMSG, "ENOMSG"),
        (ENOSPC, "ENOSPC"),
        (ENOTTY, "ENOTTY"),
        (EOPNOTSUPP, "EOPNOTSUPP"),
        (EOVERFLOW, "EOVERFLOW"),
        (EPERM, "EPERM"),
        (ERANGE, "ERANGE"),
        (ESPIPE, "ESPIPE"),
        (ESRCH, "ESRCH"),
        (ETIMEDOUT, "ETIMEDOUT"),
    ];
    match NAMES.iter().find(|(number, _)| *number == errno) {
        Some((_, name)) => (*name).into(),
        None => format!("errno {errno}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{errno_name, Kind};

    #[test]
    fn what_is_elsewhere_may_be_any_feature() {
        for kind in [Kind::Feature, Kind::MigrationState] {
            for errno in kind.errors() {
                assert!(
                    kind.elsewhere().errors().contains(errno),
                    "{kind:?} {errno}"
                );
            }
        }
        assert_eq!(Kind::SetIrqs.elsewhere(), Kind::SetIrqs);
    }

    #[test]
    fn every_error_has_a_name() {
        for errno in Kind::ALL.iter().flat_map(|kind| kind.errors()) {
            assert!(!errno_name(*errno).starts_with("errno"), "{errno}");
        }
    }
}
