// SPDX-License-Identifier: GPL-2.0-only

//! Types of which a value is all zeroes.

/// Marker trait for types that can be initialized by writing just zeroes.
///
/// Without unsafe code somebody has to say how; the kernel's trait has no methods.
pub trait Zeroable: Sized {
    #[doc(hidden)]
    fn boxed_zero() -> Box<Self>;
}

/// Bytes in groups, from the allocator's zeroed memory where it has some, not by the stack.
impl<const N: usize, const M: usize> Zeroable for [[u8; N]; M] {
    fn boxed_zero() -> Box<Self> {
        match vec![[0; N]; M].into_boxed_slice().try_into() {
            Ok(array) => array,
            Err(_) => unreachable!("the length is M"),
        }
    }
}
