// SPDX-License-Identifier: GPL-2.0-only

//! Implementation of [`Box`].

use std::{
    fmt,
    marker::PhantomData,
    ops::{
        Deref,
        DerefMut, //
    },
};

use super::{
    permit,
    AllocError,
    Flags, //
};
use crate::zeroable::Zeroable;

/// The kernel's `Box` type: a heap allocation for a single value of type `T`.
pub struct Box<T: ?Sized, A>(std::boxed::Box<T>, PhantomData<A>);

impl<T, A> Box<T, A> {
    /// Creates a new `Box<T, A>` and initializes its contents with `x`.
    pub fn new(x: T, _flags: Flags) -> Result<Self, AllocError> {
        permit()?;
        Ok(Self(std::boxed::Box::new(x), PhantomData))
    }

    /// Creates a new `Box<T, A>` and zeroes its contents.
    pub fn zeroed(_flags: Flags) -> Result<Self, AllocError>
    where
        T: Zeroable,
    {
        permit()?;
        Ok(Self(T::boxed_zero(), PhantomData))
    }

    /// Moves the value out and frees the box.
    pub fn into_inner(b: Self) -> T {
        *b.0
    }
}

impl<T: ?Sized, A> Deref for Box<T, A> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: ?Sized, A> DerefMut for Box<T, A> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: ?Sized + fmt::Debug, A> fmt::Debug for Box<T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
