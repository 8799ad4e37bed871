// SPDX-License-Identifier: GPL-2.0-only

//! Kernel errors.

use std::{
    fmt,
    num::NonZeroI32, //
};

use crate::alloc::AllocError;

/// Contains the C-compatible error codes.
pub mod code {
    use super::{
        Error,
        NonZeroI32, //
    };

    macro_rules! codes {
        ($($name:ident = $number:literal, $doc:literal;)*) => {
            $(
                #[doc = $doc]
                pub const $name: Error = match NonZeroI32::new(-$number) {
                    Some(number) => Error(number),
                    None => panic!("an errno is not 0"),
                };
            )*

            /// Names of the codes, for `Debug`.
            pub(super) const NAMES: &[(Error, &str)] = &[$(($name, stringify!($name)),)*];
        };
    }

    codes! {
        EPERM = 1, "Operation not permitted.";
        ENOENT = 2, "No such file or directory.";
        EINTR = 4, "Interrupted system call.";
        EIO = 5, "I/O error.";
        ENXIO = 6, "No such device or address.";
        E2BIG = 7, "Argument list too long.";
        EAGAIN = 11, "Try again.";
        ENOMEM = 12, "Out of memory.";
        EACCES = 13, "Permission denied.";
        EFAULT = 14, "Bad address.";
        EBUSY = 16, "Device or resource busy.";
        EEXIST = 17, "File exists.";
        ENODEV = 19, "No such device.";
        EINVAL = 22, "Invalid argument.";
        ENOSPC = 28, "No space left on device.";
        ESPIPE = 29, "Illegal seek.";
        ERANGE = 34, "Math result not representable.";
        ENOMSG = 42, "No message of desired type.";
        ENODATA = 61, "No data available.";
        EOVERFLOW = 75, "Value too large for defined data type.";
        EMSGSIZE = 90, "Message too long.";
        EOPNOTSUPP = 95, "Operation not supported on transport endpoint.";
        ETIMEDOUT = 110, "Connection timed out.";
        ESTALE = 116, "Stale file handle.";
        ECANCELED = 125, "Operation Canceled.";
        ERESTARTSYS = 512, "Restart the system call.";
    }
}

/// Generic integer kernel error.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Error(NonZeroI32);

impl Error {
    /// Creates an [`Error`] from a negative kernel error code; `EINVAL` if `errno` is none.
    pub fn from_errno(errno: i32) -> Error {
        match NonZeroI32::new(errno) {
            Some(number) if (-4095..0).contains(&errno) => Error(number),
            _ => code::EINVAL,
        }
    }

    /// Returns the kernel error code, a negative number.
    pub fn to_errno(self) -> i32 {
        self.0.get()
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match code::NAMES.iter().find(|(error, _)| error == self) {
            Some((_, name)) => f.write_str(name),
            None => f.debug_tuple("Error").field(&-self.0.get()).finish(),
        }
    }
}

impl From<AllocError> for Error {
    fn from(_: AllocError) -> Error {
        code::ENOMEM
    }
}

impl From<std::num::TryFromIntError> for Error {
    fn from(_: std::num::TryFromIntError) -> Error {
        code::EINVAL
    }
}

impl From<fmt::Error> for Error {
    fn from(_: fmt::Error) -> Error {
        code::EINVAL
    }
}

impl From<std::convert::Infallible> for Error {
    fn from(error: std::convert::Infallible) -> Error {
        match error {}
    }
}

/// A [`Result`] with an [`Error`] error type.
pub type Result<T = (), E = Error> = core::result::Result<T, E>;
