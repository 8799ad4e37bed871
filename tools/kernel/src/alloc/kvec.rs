// SPDX-License-Identifier: GPL-2.0-only

//! Implementation of [`Vec`].

use std::{
    fmt,
    marker::PhantomData,
    ops::{
        Deref,
        DerefMut, //
    },
    slice, //
};

use super::{
    permit,
    AllocError,
    Flags, //
};
use crate::error::{
    code::EINVAL,
    Error, //
};

/// Error type for [`Vec::push_within_capacity`].
pub struct PushError<T>(pub T);

impl<T> fmt::Debug for PushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Not enough capacity")
    }
}

impl<T> From<PushError<T>> for Error {
    fn from(_: PushError<T>) -> Error {
        EINVAL
    }
}

/// Error type for [`Vec::remove`].
#[derive(Debug)]
pub struct RemoveError;

impl From<RemoveError> for Error {
    fn from(_: RemoveError) -> Error {
        EINVAL
    }
}

/// Error type for [`Vec::insert_within_capacity`].
pub enum InsertError<T> {
    /// The value could not be inserted because the index is out of bounds.
    IndexOutOfBounds(T),
    /// The value could not be inserted because the vector is out of capacity.
    OutOfCapacity(T),
}

impl<T> fmt::Debug for InsertError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IndexOutOfBounds(_) => "Index out of bounds",
            Self::OutOfCapacity(_) => "Not enough capacity",
        })
    }
}

impl<T> From<InsertError<T>> for Error {
    fn from(_: InsertError<T>) -> Error {
        EINVAL
    }
}

/// The kernel's `Vec` type: a contiguous growable array whose growth may fail.
pub struct Vec<T, A> {
    /// The elements; only `reserve` makes them grow.
    elements: std::vec::Vec<T>,
    /// The allocator's type.
    allocator: PhantomData<A>,
}

impl<T, A> Vec<T, A> {
    /// Creates a new, empty `Vec<T, A>`.
    pub const fn new() -> Self {
        Self {
            elements: std::vec::Vec::new(),
            allocator: PhantomData,
        }
    }

    /// Creates a new, empty `Vec` instance with at least the specified capacity.
    pub fn with_capacity(capacity: usize, flags: Flags) -> Result<Self, AllocError> {
        let mut v = Self::new();
        v.reserve(capacity, flags)?;
        Ok(v)
    }

    /// Returns the number of elements that can be stored without allocating additional memory.
    pub fn capacity(&self) -> usize {
        self.elements.capacity()
    }

    /// Returns the number of elements stored within the vector.
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// Returns `true` if the vector contains no elements.
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// Returns a slice of the entire vector.
    pub fn as_slice(&self) -> &[T] {
        &self.elements
    }

    /// Returns a mutable slice of the entire vector.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.elements
    }

    /// Ensures that the capacity exceeds the length by at least `additional` elements.
    pub fn reserve(&mut self, additional: usize, _flags: Flags) -> Result<(), AllocError> {
        let needed = self.len().checked_add(additional).ok_or(AllocError)?;
        if needed <= self.capacity() {
            return Ok(());
        }
        permit()?;
        let capacity = needed.max(self.capacity().saturating_mul(2));
        self.elements
            .try_reserve_exact(capacity - self.len())
            .map_err(|_| AllocError)
    }

    /// Appends an element to the back of the vector.
    pub fn push(&mut self, v: T, flags: Flags) -> Result<(), AllocError> {
        self.reserve(1, flags)?;
        self.elements.push(v);
        Ok(())
    }

    /// Appends an element to the back of the vector without reallocating.
    pub fn push_within_capacity(&mut self, v: T) -> Result<(), PushError<T>> {
        if self.len() == self.capacity() {
            return Err(PushError(v));
        }
        self.elements.push(v);
        Ok(())
    }

    /// Inserts an element at the given index without reallocating.
    pub fn insert_within_capacity(
        &mut self,
        index: usize,
        element: T,
    ) -> Result<(), InsertError<T>> {
        if index > self.len() {
            return Err(InsertError::IndexOutOfBounds(element));
        }
        if self.len() == self.capacity() {
            return Err(InsertError::OutOfCapacity(element));
        }
        self.elements.insert(index, element);
        Ok(())
    }

    /// Removes the last element from a vector and returns it, or `None` if it is empty.
    pub fn pop(&mut self) -> Option<T> {
        self.elements.pop()
    }

    /// Removes the element at the given index.
    pub fn remove(&mut self, i: usize) -> Result<T, RemoveError> {
        if i >= self.len() {
            return Err(RemoveError);
        }
        Ok(self.elements.remove(i))
    }

    /// Clears the vector, removing all values.
    pub fn clear(&mut self) {
        self.elements.clear();
    }

    /// Shortens the vector, setting the length to `len` and drops the removed values.
    pub fn truncate(&mut self, len: usize) {
        self.elements.truncate(len);
    }

    /// Removes all elements that don't match the provided closure.
    pub fn retain(&mut self, f: impl FnMut(&mut T) -> bool) {
        self.elements.retain_mut(f);
    }
}

impl<T: Clone, A> Vec<T, A> {
    /// Extend the vector by `n` clones of `value`.
    pub fn extend_with(&mut self, n: usize, value: T, flags: Flags) -> Result<(), AllocError> {
        self.reserve(n, flags)?;
        self.elements.resize(self.len() + n, value);
        Ok(())
    }

    /// Pushes clones of the elements of slice into the vector.
    pub fn extend_from_slice(&mut self, other: &[T], flags: Flags) -> Result<(), AllocError> {
        self.reserve(other.len(), flags)?;
        self.elements.extend_from_slice(other);
        Ok(())
    }

    /// Create a new `Vec<T, A>` and extend it by `n` clones of `value`.
    pub fn from_elem(value: T, n: usize, flags: Flags) -> Result<Self, AllocError> {
        let mut v = Self::new();
        v.extend_with(n, value, flags)?;
        Ok(v)
    }

    /// Resizes the vector so that `len` is equal to `new_len`.
    pub fn resize(&mut self, new_len: usize, value: T, flags: Flags) -> Result<(), AllocError> {
        match new_len.checked_sub(self.len()) {
            Some(n) => self.extend_with(n, value, flags),
            None => {
                self.truncate(new_len);
                Ok(())
            }
        }
    }
}

impl<T, A> Default for Vec<T, A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug, A> fmt::Debug for Vec<T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.elements, f)
    }
}

impl<T, A> Deref for Vec<T, A> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.elements
    }
}

impl<T, A> DerefMut for Vec<T, A> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.elements
    }
}

impl<'a, T, A> IntoIterator for &'a Vec<T, A> {
    type Item = &'a T;
    type IntoIter = slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.elements.iter()
    }
}

impl<'a, T, A> IntoIterator for &'a mut Vec<T, A> {
    type Item = &'a mut T;
    type IntoIter = slice::IterMut<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.elements.iter_mut()
    }
}
