// SPDX-License-Identifier: GPL-2.0-only

//! One step of a client, the guest or the device.

use arbitrary::Arbitrary;

/// A step.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum Step {
    /// `VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE`.
    SetState(u8),
    /// The client reads up to that many bytes of the data file.
    Read(Session, u8),
    /// The client writes the next bytes of an image to the data file.
    Write(Session, u8),
    /// The client writes a wrong byte to the data file.
    WriteWrong(Session, u8),
    /// The client polls the data file and calls `VFIO_MIG_GET_PRECOPY_INFO`.
    Poll(Session),
    /// The client reads a field of the region of November 2018.
    Get2018(u8),
    /// The client writes `device_state` of the region of November 2018.
    Enter2018(u8),
    /// The client writes another field of the region of November 2018.
    Set2018(u8, u32),
    /// The client puts the next bytes of an image into the region of November 2018.
    Give2018(u8),
    /// The client takes a buffer out of the region of November 2018.
    Take2018,
    /// The client reads a field of the v1 region.
    GetV1(u8),
    /// The client writes `device_state` of the v1 region.
    EnterV1(u8),
    /// The client puts the next bytes of an image into the v1 region.
    GiveV1(u8),
    /// The client takes a buffer out of the v1 region.
    TakeV1,
    /// The guest writes a register, or starts a transfer.
    Guest(u8, u32),
    /// The device changes its memory by itself, or begins or ends to work on it.
    Poke(u8, u8),
    /// The oldest transfer lands.
    Land,
    /// A client of v2 starts or stops DMA logging.
    Track(bool),
    /// The device is reset, closed and opened, or opened.
    Reset(u8),
    /// An operation of the device fails or is interrupted, after a number of successes; the device
    /// may be lost with it.
    Fault(u8, u8, bool),
    /// An access to the data section fails, after a number of successes.
    WindowFault(u8),
    /// An allocation fails, after a number of successes.
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
