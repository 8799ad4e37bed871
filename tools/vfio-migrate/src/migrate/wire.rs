// SPDX-License-Identifier: GPL-2.0-only

//! What `send` and `recv` say to each other.
//!
//! Both directions are sequences of frames: a 32-bit type, a 32-bit length of the payload, the
//! payload; little-endian. The source begins:
//!
//! | source | target | meaning |
//! |---|---|---|
//! | HELLO | | version, device, protocol, bytes of memory |
//! | | ACCEPT or REFUSE | the target's device has left RUNNING, or why not |
//! | DATA, PAGE... | | device state in order; pages of memory, the last of a number counts |
//! | END | | the source is stopped, all was sent |
//! | | READY or REFUSE | the state is complete and loaded, or why not |
//! | COMMIT | | the source gives the device up |
//! | | RUNNING or REFUSE | the target runs, or why not |
//!
//! The source may say CANCEL instead of any frame before COMMIT. If the connection breaks before
//! COMMIT, the source runs on and the target is reset.

use std::io::{self, Read, Write};

use crate::error::{Error, Result};
use crate::migrate::dirty::PAGE;
use crate::pci::Identity;

/// Version of this protocol.
const VERSION: u16 = 1;
/// First bytes of a HELLO.
const MAGIC: [u8; 8] = *b"RVFIOMIG";
/// Largest payload: what DATA is cut to.
pub const MAX_DATA: usize = 1 << 20;

/// What the source says first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hello {
    /// The source's device.
    pub identity: Identity,
    /// Number of the migration protocol whose stream DATA carries; 1 is the image of this project.
    pub stream: u16,
    /// Bytes of guest memory, 0 for none.
    pub memory: u64,
}

/// The image stream that all protocols of this project's drivers share.
pub const STREAM_IMAGE: u16 = 1;

/// One message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Frame {
    /// The source's offer.
    Hello(Hello),
    /// The target takes it.
    Accept,
    /// The target refuses it, or gives it up, for this reason.
    Refuse(String),
    /// Device state.
    Data(Vec<u8>),
    /// A page of memory.
    Page(u64, Box<[u8; PAGE]>),
    /// All was sent.
    End,
    /// All was taken.
    Ready,
    /// The source gives the device up.
    Commit,
    /// The target runs.
    Running,
    /// The source does not go on, for this reason.
    Cancel(String),
}

const HELLO: u32 = 1;
const ACCEPT: u32 = 2;
const REFUSE: u32 = 3;
const DATA: u32 = 4;
const PAGE_FRAME: u32 = 5;
const END: u32 = 6;
const READY: u32 = 7;
const COMMIT: u32 = 8;
const RUNNING: u32 = 9;
const CANCEL: u32 = 10;

/// Writes device state as one frame, without copying it.
pub fn write_data(stream: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
    write_frame(stream, DATA, &[bytes])
}

/// Writes a page as one frame, without copying it.
pub fn write_page(stream: &mut dyn Write, number: u64, bytes: &[u8; PAGE]) -> io::Result<()> {
    write_frame(stream, PAGE_FRAME, &[&number.to_le_bytes(), bytes])
}

fn write_frame(stream: &mut dyn Write, kind: u32, parts: &[&[u8]]) -> io::Result<()> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let length = u32::try_from(length).map_err(io::Error::other)?;
    stream.write_all(&kind.to_le_bytes())?;
    stream.write_all(&length.to_le_bytes())?;
    parts.iter().try_for_each(|part| stream.write_all(part))
}

impl Frame {
    /// Writes the frame and flushes the stream.
    pub fn write(&self, stream: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Hello(hello) => write_frame(stream, HELLO, &[&hello.encode()]),
            Self::Accept => write_frame(stream, ACCEPT, &[]),
            Self::Refuse(reason) => write_frame(stream, REFUSE, &[cut(reason)]),
            Self::Data(bytes) => write_data(stream, bytes),
            Self::Page(number, bytes) => write_page(stream, *number, bytes),
            Self::End => write_frame(stream, END, &[]),
            Self::Ready => write_frame(stream, READY, &[]),
            Self::Commit => write_frame(stream, COMMIT, &[]),
            Self::Running => write_frame(stream, RUNNING, &[]),
            Self::Cancel(reason) => write_frame(stream, CANCEL, &[cut(reason)]),
        }?;
        stream.flush()
    }

    /// Reads a frame and checks all that it says.
    pub fn read(stream: &mut dyn Read) -> Result<Self> {
        let mut head = [0; 8];
        let mut fill = |bytes: &mut [u8]| {
            stream
                .read_exact(bytes)
                .map_err(Error::network("receiving from the other side"))
        };
        fill(&mut head)?;
        let kind = u32::from_le_bytes(head[..4].try_into().expect("four bytes"));
        let length = u32::from_le_bytes(head[4..].try_into().expect("four bytes")) as usize;
        if length > MAX_DATA {
            return Err(Error::Protocol(format!("a frame of {length} bytes")));
        }
        let mut payload = vec![0; length];
        fill(&mut payload)?;
        Self::decode(kind, payload)
            .ok_or_else(|| Error::Protocol(format!("a frame of type {kind}, {length} bytes")))?
    }

    /// Reads the first frame of a connection: [`Error::Stranger`] unless it is an offer, of
    /// whatever version.
    pub fn read_hello(stream: &mut dyn Read) -> Result<Hello> {
        let stranger = |reason: &str| Error::Stranger(reason.into());
        let mut fill = |bytes: &mut [u8]| {
            stream
                .read_exact(bytes)
                .map_err(|error| match error.kind() {
                    io::ErrorKind::UnexpectedEof => stranger("it has closed the connection"),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                        stranger("it does not say what it wants")
                    }
                    _ => stranger(&error.to_string()),
                })
        };
        let mut head = [0; 8];
        fill(&mut head)?;
        let [kind, length] = [&head[..4], &head[4..]]
            .map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four bytes")));
        // An offer of another version may be longer, but not much.
        let length = length as usize;
        if kind != HELLO || !(MAGIC.len()..=PAGE).contains(&length) {
            return Err(stranger("it is no vfio-migrate"));
        }
        let mut payload = vec![0; length];
        fill(&mut payload)?;
        if !payload.starts_with(&MAGIC) {
            return Err(stranger("it is no vfio-migrate"));
        }
        Hello::decode(&payload)
    }

    /// The frame of a type and payload; `None` if there is no such frame.
    fn decode(kind: u32, payload: Vec<u8>) -> Option<Result<Self>> {
        let words = |payload: &[u8]| String::from_utf8_lossy(payload).into_owned();
        Some(Ok(match (kind, payload.len()) {
            (HELLO, _) => return Some(Hello::decode(&payload).map(Self::Hello)),
            (ACCEPT, 0) => Self::Accept,
            (REFUSE, _) => Self::Refuse(words(&payload)),
            (DATA, _) => Self::Data(payload),
            (PAGE_FRAME, _) => {
                let (number, bytes) = payload.split_first_chunk::<8>()?;
                Self::Page(
                    u64::from_le_bytes(*number),
                    Box::new(bytes.try_into().ok()?),
                )
            }
            (END, 0) => Self::End,
            (READY, 0) => Self::Ready,
            (COMMIT, 0) => Self::Commit,
            (RUNNING, 0) => Self::Running,
            (CANCEL, _) => Self::Cancel(words(&payload)),
            _ => return None,
        }))
    }
}

/// As much of a reason as fits into a frame.
fn cut(reason: &str) -> &[u8] {
    &reason.as_bytes()[..reason.len().min(MAX_DATA)]
}

impl Hello {
    fn encode(&self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.identity.vendor.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.identity.device.to_le_bytes());
        bytes[14..16].copy_from_slice(&self.stream.to_le_bytes());
        bytes[16..].copy_from_slice(&self.memory.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let short = |at: usize| {
            bytes
                .get(at..at + 2)
                .map_or(0, |b| u16::from_le_bytes([b[0], b[1]]))
        };
        if !bytes.starts_with(&MAGIC) {
            return Err(Error::Protocol("the other side is no vfio-migrate".into()));
        }
        if short(8) != VERSION {
            return Err(Error::Protocol(format!(
                "the other side speaks version {}, this program {VERSION}",
                short(8)
            )));
        }
        let memory = bytes.get(16..24).and_then(|b| b.try_into().ok());
        match memory {
            Some(memory) if bytes.len() == 24 => Ok(Self {
                identity: Identity {
                    vendor: short(10),
                    device: short(12),
                },
                stream: short(14),
                memory: u64::from_le_bytes(memory),
            }),
            _ => Err(Error::Protocol(format!(
                "a greeting of {} bytes",
                bytes.len()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames() -> Vec<Frame> {
        let hello = Hello {
            identity: Identity {
                vendor: 0x1234,
                device: 0x11e8,
            },
            stream: STREAM_IMAGE,
            memory: 1 << 24,
        };
        vec![
            Frame::Hello(hello),
            Frame::Accept,
            Frame::Refuse("no".into()),
            Frame::Data(vec![1, 2, 3]),
            Frame::Data(Vec::new()),
            Frame::Page(7, Box::new([9; PAGE])),
            Frame::End,
            Frame::Ready,
            Frame::Commit,
            Frame::Running,
            Frame::Cancel(String::new()),
        ]
    }

    #[test]
    fn every_frame_comes_back() {
        let mut bytes = Vec::new();
        for frame in frames() {
            frame.write(&mut bytes).unwrap();
        }
        let mut stream = bytes.as_slice();
        for frame in frames() {
            assert_eq!(Frame::read(&mut stream).unwrap(), frame);
        }
        assert!(stream.is_empty());
    }

    #[test]
    fn a_cut_stream_is_an_error_at_every_byte() {
        for frame in frames() {
            let mut bytes = Vec::new();
            frame.write(&mut bytes).unwrap();
            for len in 0..bytes.len() {
                assert!(Frame::read(&mut &bytes[..len]).is_err());
            }
        }
    }

    #[test]
    fn only_an_offer_begins_a_migration() {
        let read = |mut bytes: &[u8]| Frame::read_hello(&mut bytes);
        let mut offer = Vec::new();
        frames()[0].write(&mut offer).unwrap();
        assert_eq!(Frame::Hello(read(&offer).unwrap()), frames()[0]);
        for len in 0..offer.len() {
            assert!(matches!(read(&offer[..len]), Err(Error::Stranger(_))));
        }
        for frame in &frames()[1..] {
            let mut bytes = Vec::new();
            frame.write(&mut bytes).unwrap();
            assert!(matches!(read(&bytes), Err(Error::Stranger(_))), "{frame:?}");
        }
        for bytes in [
            &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
            b"\x01\0\0\0\x18\0\0\0RVFIOMIX\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        ] {
            assert!(matches!(read(bytes), Err(Error::Stranger(_))));
        }
        // The version is the first field after the magic.
        offer[16] += 1;
        let error = read(&offer).unwrap_err();
        assert!(error.to_string().contains("speaks version 2"), "{error}");
    }

    #[test]
    fn nonsense_is_refused() {
        let read = |kind: u32, payload: &[u8]| {
            let mut bytes = Vec::new();
            write_frame(&mut bytes, kind, &[payload]).unwrap();
            Frame::read(&mut bytes.as_slice())
        };
        assert!(read(0, &[]).is_err());
        assert!(read(11, &[]).is_err());
        assert!(read(ACCEPT, &[0]).is_err());
        assert!(read(PAGE_FRAME, &[0; 100]).is_err());
        assert!(read(HELLO, &[0; 24]).is_err());
        assert!(read(HELLO, b"RVFIOMIG\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0").is_err());
        assert!(read(HELLO, b"RVFIOMIG\x01\0").is_err());
        assert!(Frame::read(&mut [4, 0, 0, 0, 0xff, 0xff, 0xff, 0xff].as_slice()).is_err());
    }
}
