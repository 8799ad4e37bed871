// SPDX-License-Identifier: GPL-2.0-only

//! What can be done to a device, in one step.

use arbitrary::Arbitrary;

/// A step.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum Step {
    /// `VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE`.
    SetState(u8),
    /// The data file is read, as far as the number of bytes.
    Read(Session, u8),
    /// The data file is written, with the next bytes of an image.
    Write(Session, u8),
    /// The data file is written, with a byte that is wrong.
    WriteWrong(Session, u8),
    /// The data file is polled and asked for `VFIO_MIG_GET_PRECOPY_INFO`.
    Poll(Session),
    /// A field of the 2018 region is read.
    Get2018(u8),
    /// `device_state` of the 2018 region is written.
    Enter2018(u8),
    /// Another field of the 2018 region is written.
    Set2018(u8, u32),
    /// The next bytes of an image are put into the 2018 region.
    Give2018(u8),
    /// A buffer is taken out of the 2018 region.
    Take2018,
    /// A field of the v1 region is read.
    GetV1(u8),
    /// `device_state` of the v1 region is written.
    EnterV1(u8),
    /// The next bytes of an image are put into the v1 region.
    GiveV1(u8),
    /// A buffer is taken out of the v1 region.
    TakeV1,
    /// The guest writes a register, or starts a transfer.
    Guest(u8, u32),
    /// The device changes its memory by itself, or begins or ends to work on it.
    Poke(u8, u8),
    /// The oldest transfer lands.
    Land,
    /// Tracking for a client of v2 starts or stops.
    Track(bool),
    /// The device is reset, closed and opened, or opened.
    Reset(u8),
    /// An operation of the device fails or is interrupted, after how many, and perhaps the device
    /// is lost with it.
    Fault(u8, u8, bool),
    /// An access to the data section fails, after how many.
    WindowFault(u8),
    /// An allocation fails, after how many.
    Starve(u8),
}

/// Which session a data file belongs to.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum Session {
    /// The one under way.
    Current,
    /// One before it.
    Former,
}
