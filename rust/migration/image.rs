// SPDX-License-Identifier: GPL-2.0-only

//! The image: a device's state as a stream of bytes, the same for every protocol.
//!
//! [`format`](mod@format) says what the bytes are, [`writer`] makes them and [`reader`] takes them.

mod buffer;
pub mod format;
pub mod payload;
pub mod reader;
pub mod refusal;
pub mod writer;

pub use buffer::Buffer;
pub use format::{
    Header,
    Identity,
    Section,
    SectionHead,
    MAX_PAYLOAD, //
};
pub use payload::{
    Fields,
    Payload, //
};
pub use reader::{
    Halt,
    Reader,
    Sink, //
};
pub use refusal::{
    Reason,
    Refusal, //
};
pub use writer::Writer;
