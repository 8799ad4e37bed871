// SPDX-License-Identifier: GPL-2.0-only

//! Accesses of any offset, length and content to the headers of both migration regions.
//!
//! Tables of the fields, written here by hand from the uAPI headers, tell what an access is. A
//! refused access changes nothing.

use arbitrary::{Arbitrary, Unstructured};
use kernel::error::{code::*, Result};
use migration::{protocols::MigrationRegion as Header, state::State};

use crate::common::{Fake, Side, DATA_OFFSET};

/// Offset, width, whether writable.
type Field = (usize, usize, bool);

/// `struct vfio_device_migration_info` of 2018.
const FIELDS_2018: [Field; 10] = [
    (0, 4, true),
    (4, 8, false),
    (12, 8, false),
    (20, 8, false),
    (28, 8, true),
    (36, 8, true),
    (44, 8, true),
    (52, 8, true),
    (60, 8, true),
    (68, 8, false),
];

/// `struct vfio_device_migration_info` of Linux 5.8.
const FIELDS_V1: [Field; 5] = [
    (0, 4, true),
    (4, 4, true),
    (8, 8, false),
    (16, 8, false),
    (24, 8, true),
];

/// Most bytes of an access.
const MOST: usize = 96;

/// Bytes of the data section.
const WINDOW: usize = 128;

/// Which header an access goes to.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Region {
    Region2018,
    V1,
}

impl Region {
    fn header(self) -> Header {
        match self {
            Region::Region2018 => Header::Region2018,
            Region::V1 => Header::RegionV1,
        }
    }
}

/// An access.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Access {
    Read(u8, u8),
    Write(u8, u8, [u8; 16]),
    /// An access to a whole field, with a value that may make sense.
    Get(u8),
    Set(u8, Value),
}

/// A value for a field.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Value {
    Small(u8),
    Window,
    Page(u8),
    Any(u64),
}

impl Value {
    fn number(self) -> u64 {
        match self {
            Value::Small(value) => value.into(),
            Value::Window => DATA_OFFSET,
            Value::Page(page) => u64::from(page) << 12,
            Value::Any(value) => value,
        }
    }
}

/// What an access is by a field table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Whole { writable: bool },
    Half { writable: bool },
    Wrong,
}

/// Runs the target.
pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let mut side = Side::new(Fake::filled(200, 64), WINDOW);
    for _ in 0..64 {
        let Ok((region, access)) = <(Region, Access)>::arbitrary(&mut input) else {
            return;
        };
        step(&mut side, region, access);
        if input.is_empty() {
            return;
        }
    }
}

/// Makes one access and checks its effects.
fn step(side: &mut Side, region: Region, access: Access) {
    let fields: &[Field] = match region {
        Region::Region2018 => &FIELDS_2018,
        Region::V1 => &FIELDS_V1,
    };
    let field = |index: u8| fields[usize::from(index) % fields.len()];
    match access {
        Access::Read(offset, len) => {
            let (offset, len) = (offset.into(), usize::from(len) % MOST);
            read(side, region, offset, len, kind(region, fields, offset, len));
        }
        Access::Get(index) => {
            let (offset, width, writable) = field(index);
            read(side, region, offset, width, Kind::Whole { writable });
        }
        Access::Write(offset, len, bytes) => {
            let (offset, len) = (usize::from(offset), usize::from(len) % MOST);
            let bytes: Vec<u8> = bytes.into_iter().cycle().take(len).collect();
            write(
                side,
                region,
                offset,
                &bytes,
                kind(region, fields, offset, len),
            );
        }
        Access::Set(index, value) => {
            let (offset, width, writable) = field(index);
            let bytes = &value.number().to_le_bytes()[..width];
            write(side, region, offset, bytes, Kind::Whole { writable });
        }
    }
}

/// Returns what an access is.
fn kind(region: Region, fields: &[Field], offset: usize, len: usize) -> Kind {
    let inside = |field: &&Field| field.0 >= offset && field.0 + field.1 <= offset + len;
    let covered: Vec<&Field> = fields.iter().filter(inside).collect();
    let bytes: usize = covered.iter().map(|field| field.1).sum();
    let several = matches!(region, Region::Region2018);
    match covered.first() {
        Some(first) if first.0 == offset && bytes == len && (several || covered.len() == 1) => {
            let writable = covered.iter().all(|field| field.2);
            return Kind::Whole { writable };
        }
        _ => {}
    }
    let half = |field: &&Field| {
        several && len == 4 && field.1 == 8 && (offset == field.0 || offset == field.0 + 4)
    };
    match fields.iter().find(half) {
        Some(field) => Kind::Half { writable: field.2 },
        None => Kind::Wrong,
    }
}

/// Returns all that a refused access must leave alone.
fn snapshot(side: &Side) -> String {
    format!("{:?} {:?}", side.object, side.window.bytes)
}

/// Returns the state of a migration, without the notes on what failed.
fn essence(side: &Side) -> impl PartialEq + std::fmt::Debug {
    let engine = side.object.engine();
    let device = engine.device().contents();
    let migration = (
        engine.state(),
        engine.owner(),
        engine.session(),
        engine.epoch(),
    );
    (
        migration,
        engine.dirty_tracker(),
        engine.device().running,
        device,
    )
}

fn read(side: &mut Side, region: Region, offset: usize, len: usize, kind: Kind) {
    let mut out = vec![0xa5; len];
    follow(side, region);
    let before = snapshot(side);
    let section = side.window.bytes.borrow().clone();
    let result =
        side.object
            .region_read(region.header(), &side.host, &side.window, offset, &mut out);
    match kind {
        Kind::Wrong => assert_eq!(result, Err(EINVAL), "{offset} {len}"),
        Kind::Whole { .. } => assert_eq!(result, Ok(()), "{offset} {len}"),
        Kind::Half { .. } => {}
    }
    if result.is_err() {
        assert_eq!(before, snapshot(side), "a refused read has no effect");
        assert!(out.iter().all(|byte| *byte == 0xa5));
    } else if let Kind::Whole { .. } = kind {
        plausible(side, region, offset, &out);
    }
    if let Region::Region2018 = region {
        let covers = |field: usize| offset < field + 8 && field < offset + len;
        if !covers(44) && !covers(68) {
            assert_eq!(section, *side.window.bytes.borrow(), "{offset} {len}");
        }
    }
}

/// Checks a value that was read.
fn plausible(side: &Side, region: Region, offset: usize, out: &[u8]) {
    let number = |out: &[u8]| out.iter().rev().fold(0u64, |n, b| (n << 8) | u64::from(*b));
    let state = side.object.engine().state();
    match (region, offset, out.len()) {
        (Region::Region2018, 0, 4) => assert!(number(out) <= 7),
        (Region::V1, 0, 4) => assert!([0, 1, 2, 3, 4].contains(&number(out))),
        (Region::V1, 4, 4) => assert_eq!(number(out), 0),
        (Region::Region2018, 36, 8) | (Region::V1, 16, 8) => assert_eq!(number(out), DATA_OFFSET),
        (Region::Region2018, 44, 8) | (Region::V1, 24, 8) => assert!(number(out) <= WINDOW as u64),
        (Region::V1, 8, 8) if !state.is_saving() => assert_eq!(number(out), 0),
        (Region::Region2018, 12, 8) => assert_eq!(number(out), 0),
        _ => {}
    }
}

fn write(side: &mut Side, region: Region, offset: usize, bytes: &[u8], kind: Kind) {
    follow(side, region);
    let (before, essence_before) = (snapshot(side), essence(side));
    side.host.called();
    let result: Result = side.write_to(region.header(), offset, bytes);
    match kind {
        Kind::Wrong | Kind::Half { writable: false } | Kind::Whole { writable: false } => {
            // The first refused field gives the error. If another protocol owns the device, that
            // may be the state before a read-only field.
            let first = matches!(kind, Kind::Whole { .. }) && result == Err(EBUSY);
            assert!(first || result == Err(EINVAL), "{offset} {}", bytes.len());
            assert_eq!(before, snapshot(side), "a refused write has no effect");
        }
        _ => {}
    }
    if matches!((region, offset, bytes.len()), (Region::V1, 4, 4)) {
        assert_eq!(result, Ok(()));
        assert_eq!(before, snapshot(side), "the reserved field ignores a write");
    }
    if let (Region::Region2018, 0, [8 | 9, 0, 0, 0]) = (region, offset, bytes) {
        let engine = side.object.engine();
        let gave_up = engine.state() == State::Running && engine.dirty_tracker().is_none();
        assert!(gave_up || result == Err(EBUSY), "{result:?}");
    }
    match result {
        Ok(()) => {}
        Err(EBUSY) => assert_eq!(before, snapshot(side), "the device is another's"),
        Err(EINVAL) if side.object.engine().state() != State::Resuming => {
            assert!(side.host.called().is_empty());
            assert_eq!(essence_before, essence(side));
        }
        Err(EINVAL) => {}
        Err(error) => panic!("{error:?} for {offset} {}", bytes.len()),
    }
}

/// Makes an access, so that the header notices what the other one did.
fn follow(side: &mut Side, region: Region) {
    let refused = side
        .object
        .region_read(region.header(), &side.host, &side.window, 1, &mut [0]);
    assert_eq!(refused, Err(EINVAL));
}
