// SPDX-License-Identifier: GPL-2.0-only

//! The rules of a writer, of its payload and of its memory.

use crate::{common::IDENTITY, read, write};
use kernel::{alloc, error::code::*};
use migration::image::{
    format::{END_LEN, FRAMING, HEADER_LEN, MAX_PAYLOAD, TYPE_END},
    Payload, Reader, Section, SectionHead, Writer,
};

#[test]
fn writer_keeps_its_rules() {
    let mut writer = Writer::new(IDENTITY, None).unwrap();
    let fill = |_: &mut Payload| Ok(Some(SectionHead::mandatory(1, 0)));
    assert_eq!(writer.section(fill), Err(EBUSY));
    assert_eq!(writer.end(), Err(EBUSY));
    writer.drain(10);
    assert_eq!(writer.staged().len(), HEADER_LEN - 10);
    writer.drain(usize::MAX);
    assert!(writer.staged().is_empty());
    assert_eq!(writer.section(|_| Ok(None)), Ok(false));
    for kind in [0, 0x8000, TYPE_END] {
        let bad = |_: &mut Payload| Ok(Some(SectionHead::mandatory(kind, 0)));
        assert_eq!(writer.section(bad), Err(EINVAL));
    }
    let failed = writer.section(|payload| {
        payload.put_u64(1)?;
        Err(ETIMEDOUT)
    });
    assert_eq!(failed, Err(ETIMEDOUT));
    // A failed put left nothing behind.
    assert_eq!(writer.section(fill), Ok(true));
    assert_eq!(writer.staged().len(), FRAMING);
    writer.drain(FRAMING);
    writer.end().unwrap();
    writer.drain(END_LEN);
    assert_eq!(writer.end(), Err(EINVAL));
    assert_eq!(writer.section(fill), Err(EINVAL));
    assert!(writer.finished());
}

#[test]
fn payload_is_bounded_and_fields_are_read_back() {
    let mut payload = Payload::new().unwrap();
    payload.put_u8(0x11).unwrap();
    payload.put_u16(0x2222).unwrap();
    payload.put_u32(0x3333_3333).unwrap();
    payload.put_u64(0x4444_4444_4444_4444).unwrap();
    payload.put_slice(b"abc").unwrap();
    let section = Section {
        head: SectionHead::mandatory(1, 0),
        payload: payload.bytes(),
    };
    let mut fields = section.fields();
    assert_eq!(fields.take_u8(), Ok(0x11));
    assert_eq!(fields.take_u16(), Ok(0x2222));
    assert_eq!(fields.take_u32(), Ok(0x3333_3333));
    assert_eq!(fields.finish(), Err(EINVAL));
    assert_eq!(fields.take_u64(), Ok(0x4444_4444_4444_4444));
    assert_eq!(fields.take_u32(), Err(EINVAL));
    assert_eq!(fields.take_slice(4), Err(EINVAL));
    assert_eq!(fields.take_slice(3), Ok(b"abc".as_slice()));
    assert_eq!(fields.finish(), Ok(()));
    assert_eq!(fields.take_u8(), Err(EINVAL));

    let before = alloc::total();
    let room = payload.room();
    payload.put_slice(&vec![0; room - 3]).unwrap();
    assert_eq!(payload.put_u32(1), Err(EMSGSIZE));
    assert_eq!(payload.room(), 3);
    payload.put_u16(1).unwrap();
    payload.put_u8(1).unwrap();
    assert_eq!(payload.len(), MAX_PAYLOAD);
    assert_eq!(payload.put_u8(1), Err(EMSGSIZE));
    assert_eq!(alloc::total(), before);
}

#[test]
fn memory_is_taken_once() {
    alloc::fail_after(0);
    assert_eq!(Writer::new(IDENTITY, None).err(), Some(ENOMEM));
    alloc::fail_after(0);
    assert_eq!(Reader::new(None).err(), Some(ENOMEM));

    let largest = vec![(SectionHead::mandatory(1, 0), vec![5; MAX_PAYLOAD]); 2];
    alloc::fail_from(1);
    let image = write(&largest);
    alloc::succeed();
    alloc::fail_from(1);
    let (keep, result) = read(&image, 1000);
    alloc::succeed();
    assert_eq!(result, Ok(()));
    assert_eq!(keep.sections, largest);
}
