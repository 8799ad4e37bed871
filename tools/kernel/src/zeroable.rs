// SPDX-License-Identifier: GPL-2.0-only

//! Types that have an all-zero value.

/// Marker trait for types that can be initialized by writing just zeroes.
///
/// The kernel's trait has no methods. Without unsafe code a type has to tell how.
pub trait Zeroable: Sized {
    #[doc(hidden)]
    fn boxed_zero() -> Box<Self>;
}

/// Groups of bytes: taken from the allocator as zeroed memory, not built on the stack.
impl<const N: usize, const M: usize> Zeroable for [[u8; N]; M] {
    fn boxed_zero() -> Box<Self> {
        match vec![[0; N]; M].into_boxed_slice().try_into() {
            Ok(array) => array,
            Err(_) => unreachable!("the length is M"),
        }
    }
}
