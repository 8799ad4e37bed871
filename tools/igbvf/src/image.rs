// SPDX-License-Identifier: GPL-2.0-only

//! The sections of an image.

use kernel::prelude::{
    Result,
    EINVAL, //
};
use migration::image::{
    Payload,
    Section,
    SectionHead, //
};

use super::*;
use crate::{
    history::MAX,
    image,
    state::{
        RegisterState,
        ENABLE, //
    }, //
};

/// Returns a section.
fn section(kind: u16, payload: &[u8]) -> Section<'_> {
    Section {
        head: SectionHead::mandatory(kind, 0),
        payload,
    }
}

/// Returns the payload that `write` writes.
fn written(write: impl FnOnce(&mut Payload) -> Result) -> Vec<u8> {
    let mut payload = Payload::new().unwrap();
    write(&mut payload).unwrap();
    payload.bytes().to_vec()
}

/// Returns registers that differ from each other.
fn registers() -> RegisterState {
    let mut state = RegisterState {
        split_types: 1,
        enabled: 5,
        auto_clear: 7,
        auto_mask: 6,
        throttling: [10, 11, 12],
        vectors: 0x8081,
        mailbox_vector: 0x82,
        statistics: core::array::from_fn(|index| 100 + index as u32),
        ..RegisterState::after_reset()
    };
    state.mailbox.sticky = 0x90;
    state.mailbox.is_owned = true;
    state.mailbox.words = core::array::from_fn(|index| 200 + index as u32);
    for (index, queue) in state.receive.iter_mut().enumerate() {
        queue.buffers = 2 + index as u32;
        queue.ring.base_low = 0x1000;
        queue.ring.base_high = 1;
        queue.ring.length = 0x1000;
        queue.ring.head = 3;
        queue.ring.tail = 255;
        queue.ring.control |= ENABLE;
    }
    for queue in &mut state.transmit {
        queue.ring.base_low = 0x2000;
        queue.write_back_low = 0x3001;
        queue.write_back_high = 9;
    }
    state
}

#[test]
fn registers_are_read_as_they_were_written() {
    for state in [
        registers(),
        RegisterState::after_reset(),
        RegisterState::default(),
    ] {
        let bytes = written(|payload| state.write(payload));
        assert_eq!(bytes.len() as u64, RegisterState::SIZE);
        let section = section(image::REGISTERS, &bytes);
        assert_eq!(RegisterState::read(&section), Ok(state));
    }
}

#[test]
fn registers_of_another_size_are_refused() {
    let mut bytes = written(|payload| registers().write(payload));
    bytes.push(0);
    for len in 0..=bytes.len() {
        let result = RegisterState::read(&section(image::REGISTERS, &bytes[..len]));
        assert_eq!(result.is_ok(), len as u64 == RegisterState::SIZE, "{len}");
    }
}

#[test]
fn what_a_function_cannot_have_is_refused() {
    let changes: [fn(&mut RegisterState); 12] = [
        |state| state.enabled = 8,
        |state| state.mailbox.sticky = 1,
        |state| state.receive[0].ring.base_low = 64,
        |state| state.receive[1].ring.length = 64,
        |state| state.receive[1].ring.length = 0x10_0000,
        |state| state.receive[0].ring.length = 0,
        |state| state.receive[0].ring.head = 256,
        |state| state.receive[0].ring.tail = 256,
        |state| state.transmit[0].ring.head = 0x1_0000,
        |state| state.transmit[0].ring.tail = u32::MAX,
        |state| state.transmit[1].ring.control = ENABLE,
        |state| state.transmit[1].ring.base_low = 1,
    ];
    for (index, change) in changes.iter().enumerate() {
        let mut state = registers();
        assert!(state.is_possible());
        change(&mut state);
        let bytes = written(|payload| state.write(payload));
        let read = RegisterState::read(&section(image::REGISTERS, &bytes));
        assert_eq!(read, Err(EINVAL), "change {index}");
    }
    // The owner of the mailbox is a truth value.
    let mut bytes = written(|payload| registers().write(payload));
    bytes[4 * 10] = 2;
    let read = RegisterState::read(&section(image::REGISTERS, &bytes));
    assert_eq!(read, Err(EINVAL));
}

#[test]
fn a_history_is_read_as_it_was_written() {
    let mut full = started();
    for vlan in 1.. {
        if full.exchanges().len() == MAX {
            break;
        }
        record(&mut full, add_vlan(vlan), Verdict::Accepted);
    }
    let mut reset = started();
    record(&mut reset, Request::reset(), Verdict::Accepted);
    for history in [History::new().unwrap(), started(), reset, full] {
        let bytes = written(|payload| history.write(payload));
        assert_eq!(bytes.len() as u64, history.size());
        let read = History::read(&section(image::REQUESTS, &bytes)).unwrap();
        assert_eq!(read.exchanges(), history.exchanges());
        for len in 0..bytes.len() {
            assert!(History::read(&section(image::REQUESTS, &bytes[..len])).is_err());
        }
    }
}

#[test]
fn a_history_that_nobody_can_have_is_refused() {
    let bytes = written(|payload| started().write(payload));
    let word = |index: usize, value: u32| {
        let mut bytes = bytes.clone();
        bytes[4 * index..][..4].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    // Words of the section: the count; then for each its length, flags, two words of an address,
    // and the request, of which the first has one word and the second three.
    for (what, changed) in [
        ("fewer than there are", word(0, 4)),
        ("more than there are", word(0, 6)),
        ("very many", word(0, u32::MAX)),
        ("too long", word(1, 2)),
        ("longer than a mailbox", word(1, 17)),
        ("unknown flags", word(2, 4)),
        ("an answer", word(5, 0x8000_0001)),
        ("an unknown request", word(5, 0x55)),
        ("a second reset", word(10, 1)),
    ] {
        let read = History::read(&section(image::REQUESTS, &changed));
        assert_eq!(read.unwrap_err(), EINVAL, "{what}");
    }
    // The same request twice.
    let mut twice = 2_u32.to_le_bytes().to_vec();
    for _ in 0..2 {
        for field in [2, 3, 0, 0, 0x05, 1522_u32] {
            twice.extend(field.to_le_bytes());
        }
    }
    let read = History::read(&section(image::REQUESTS, &twice));
    assert_eq!(read.unwrap_err(), EINVAL);
}

#[test]
fn the_size_of_an_image_is_that_of_its_sections() {
    let history = started();
    let size = image::SECTIONS.size_with(&[(image::REQUESTS, history.size())]);
    assert_eq!(size.sections, 2);
    assert_eq!(size.bytes, history.size() + RegisterState::SIZE);
    assert!(size.bytes < 1024);
    assert!(image::SECTIONS.size().bytes < 64 << 10);
}
