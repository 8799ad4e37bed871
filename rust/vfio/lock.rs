// SPDX-License-Identifier: GPL-2.0-only

//! Names of the locks in generic code, for lockdep.
//!
//! The module of each driver has a copy of generic code, with the literals in it; the key of a
//! lock's class is a static of this module, and there is one. lockdep tells names apart by their
//! addresses and warns when a class has two. So the name comes from a function of this module.

/// Returns the name of a lock's class, at the same address for all modules.
macro_rules! lock_name {
    ($name:literal) => {{
        // Not generic, and not inlined: it is compiled once.
        #[inline(never)]
        fn name() -> &'static ::kernel::str::CStr {
            ::kernel::c_str!($name)
        }
        name()
    }};
}

pub(crate) use lock_name;
