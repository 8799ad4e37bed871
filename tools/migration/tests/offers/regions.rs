// SPDX-License-Identifier: GPL-2.0-only

//! Both migration regions of a device without pre-copy.

use crate::{
    common::{register, Fake, Host, Op, Window, DATA_OFFSET, DMA},
    part::{Least, Part},
};
use kernel::error::{code::*, Result};
use migration::{
    device::Device,
    engine::Protocol,
    iova::PAGE_SIZE,
    protocols::{
        region_2018::{
            layout::Field,
            state::DeviceState::{self, *},
        },
        window::Progress,
        Migratable, MigrationRegion,
    },
    state::State,
};

const OLD: MigrationRegion = MigrationRegion::Region2018;
const V1: MigrationRegion = MigrationRegion::RegionV1;

/// The values of v1's device_state.
const RUNNING: u64 = 1;
const STOP_COPY: u64 = 2;
const PRE_COPY: u64 = 3;

/// v1's fields.
const STATE: (usize, usize) = (0, 4);
const PENDING: (usize, usize) = (8, 8);
const OFFSET: (usize, usize) = (16, 8);
const SIZE: (usize, usize) = (24, 8);

/// A device with its regions.
struct Side<D: Device<Host = Host>> {
    object: Migratable<D>,
    host: Host,
    window: Window,
}

impl<D: Device<Host = Host>> Side<D> {
    fn new(device: D) -> Self {
        Self {
            object: Migratable::new(device),
            host: Host::default(),
            window: Window::new(4096),
        }
    }

    fn get_at(&mut self, region: MigrationRegion, field: (usize, usize)) -> Result<u64> {
        let mut bytes = [0; 8];
        let (host, window) = (&self.host, &self.window);
        self.object
            .region_read(region, host, window, field.0, &mut bytes[..field.1])?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn set_at(&mut self, region: MigrationRegion, field: (usize, usize), value: u64) -> Result {
        let bytes = &value.to_le_bytes()[..field.1];
        let (host, window) = (&self.host, &self.window);
        while self
            .object
            .region_write(region, host, window, field.0, bytes)?
            == Progress::More
        {}
        Ok(())
    }

    fn get(&mut self, field: Field) -> Result<u64> {
        self.get_at(OLD, (field.offset(), field.width()))
    }

    fn set(&mut self, field: Field, value: u64) -> Result {
        self.set_at(OLD, (field.offset(), field.width()), value)
    }

    fn enter(&mut self, state: DeviceState) -> Result {
        self.set(Field::DeviceState, state.number().into())
    }

    fn is_in(&mut self, state: DeviceState) -> bool {
        self.get(Field::DeviceState) == Ok(state.number().into())
    }

    fn pending(&mut self) -> (u64, u64) {
        let running = self.get(Field::PrecopyOnly).unwrap();
        assert_eq!(self.get(Field::Compatible), Ok(0));
        (running, self.get(Field::PostcopyOnly).unwrap())
    }

    /// Takes all buffers that there are.
    fn take_all(&mut self) -> Vec<u8> {
        let mut image = Vec::new();
        loop {
            assert_eq!(self.get(Field::DataOffset), Ok(DATA_OFFSET));
            let size = self.get(Field::DataSize).unwrap() as usize;
            if size == 0 {
                return image;
            }
            image.extend_from_slice(&self.window.bytes.borrow()[..size]);
            self.pending();
        }
    }

    /// As [`Self::take_all`], by v1.
    fn take_all_v1(&mut self) -> Vec<u8> {
        let mut image = Vec::new();
        while self.get_at(V1, PENDING).unwrap() > 0 {
            assert_eq!(self.get_at(V1, OFFSET), Ok(DATA_OFFSET));
            let size = self.get_at(V1, SIZE).unwrap() as usize;
            image.extend_from_slice(&self.window.bytes.borrow()[..size]);
        }
        image
    }

    /// Asserts that another protocol does not get the device.
    fn is_taken(&mut self) {
        let (v2, engine) = self.object.v2();
        let result = v2.set_state(engine, &self.host, State::Stop);
        assert_eq!(result, Err(EBUSY));
    }
}

/// Asserts that the image is that of a filled device.
fn check(image: &[u8]) {
    let mut target = Side::new(Least::blank());
    target.enter(Resume).unwrap();
    target.window.bytes.borrow_mut()[..image.len()].copy_from_slice(image);
    target.set(Field::DataSize, image.len() as u64).unwrap();
    target.enter(ResumeCompleted).unwrap();
    target.enter(Running).unwrap();
    let found = target.object.engine().device().0.contents();
    assert_eq!(found, Fake::filled(200, 64).contents());
}

#[test]
fn precopy_of_2018_hands_out_nothing() {
    let mut side = Side::new(Least::filled());
    side.enter(Setup).unwrap();
    for _ in 0..2 {
        side.enter(Precopy).unwrap();
        assert!(side.is_in(Precopy));
        assert_eq!(side.object.engine().state(), State::Running);
        side.is_taken();
        let (running, stopped) = side.pending();
        assert_eq!(running, 0);
        assert_eq!(stopped, side.object.engine().size(&side.host));
        assert_eq!(side.take_all(), []);
        // The guest uses the device.
        let host = &side.host;
        let engine = side.object.engine_mut();
        engine.write_register(host, register(DMA), 7).unwrap();
    }
    assert!(!side.host.called().contains(&Op::SaveBegin));
    side.enter(Stopncopy).unwrap();
    assert!(side.pending().1 > 0);
    let image = side.take_all();
    side.enter(SaveCompleted).unwrap();
    check(&image);
}

#[test]
fn precopy_of_2018_is_given_up() {
    for end in [Running, Cancelled, Failed] {
        let mut side = Side::new(Least::filled());
        side.enter(Setup).unwrap();
        side.enter(Precopy).unwrap();
        side.enter(end).unwrap();
        assert!(side.is_in(Running));
        assert_eq!(side.pending(), (0, 0));
        assert_eq!(side.object.engine().owner(), Option::None);
        assert_eq!(side.object.engine().dirty_tracker(), Option::None);
    }
    // A stop that fails leaves the state.
    let mut side = Side::new(Least::filled());
    side.enter(Setup).unwrap();
    side.enter(Precopy).unwrap();
    side.host.fail(Op::Quiesce, ETIMEDOUT);
    assert_eq!(side.enter(Stopncopy), Err(ETIMEDOUT));
    assert!(side.is_in(Precopy));
    side.is_taken();
    // A reset ends it.
    side.object.engine_mut().reset(&side.host).unwrap();
    assert!(side.is_in(Running));
}

#[test]
fn queries_of_2018_have_every_page() {
    let mut side = Side::new(Least::filled());
    side.enter(Setup).unwrap();
    for state in [Setup, Precopy, Stopncopy] {
        side.enter(state).unwrap();
        for (first, total, copied) in [(0, 1, 1), (5, 9, 9), (0, 1 << 40, 4096 * 8)] {
            for _ in 0..2 {
                side.window.bytes.borrow_mut().fill(0);
                side.set(Field::StartAddr, first * PAGE_SIZE).unwrap();
                side.set(Field::Total, total).unwrap();
                assert_eq!(side.get(Field::Copied), Ok(copied));
                assert_eq!(side.get(Field::DataSize), Ok(copied.div_ceil(8)));
                let bytes = side.window.bytes.borrow();
                let ones: u64 = bytes.iter().map(|byte| u64::from(byte.count_ones())).sum();
                assert_eq!(ones, copied);
            }
        }
        side.pending();
    }
    let image = side.take_all();
    check(&image);
}

#[test]
fn precopy_of_v1_hands_out_nothing() {
    let mut side = Side::new(Least::filled());
    for _ in 0..2 {
        side.set_at(V1, STATE, PRE_COPY).unwrap();
        assert_eq!(side.get_at(V1, STATE), Ok(PRE_COPY));
        assert_eq!(side.object.engine().state(), State::Running);
        assert_eq!(side.object.engine().owner(), Some(Protocol::RegionV1));
        side.is_taken();
        assert_eq!(side.get_at(V1, PENDING), Ok(0));
        assert_eq!(side.get_at(V1, SIZE), Ok(0));
    }
    side.set_at(V1, STATE, STOP_COPY).unwrap();
    assert_eq!(side.get_at(V1, STATE), Ok(STOP_COPY));
    // Pre-copy does not follow, as with a device that has it.
    assert_eq!(side.set_at(V1, STATE, PRE_COPY), Err(EINVAL));
    assert_eq!(side.get_at(V1, STATE), Ok(STOP_COPY));
    let image = side.take_all_v1();
    check(&image);

    side.set_at(V1, STATE, RUNNING).unwrap();
    side.set_at(V1, STATE, PRE_COPY).unwrap();
    side.set_at(V1, STATE, RUNNING).unwrap();
    assert_eq!(side.get_at(V1, STATE), Ok(RUNNING));
    assert_eq!(side.object.engine().owner(), Option::None);
}

#[test]
fn precopy_of_v1_begins_in_a_stopped_device() {
    let mut side = Side::new(Least::filled());
    side.set_at(V1, STATE, 0).unwrap();
    side.host.fail(Op::Resume, EIO);
    assert_eq!(side.set_at(V1, STATE, PRE_COPY), Err(EIO));
    assert_eq!(side.get_at(V1, STATE), Ok(0));
    side.set_at(V1, STATE, PRE_COPY).unwrap();
    assert_eq!(side.get_at(V1, STATE), Ok(PRE_COPY));
    assert!(side.object.engine().device().0.running);
    // Nobody else's device.
    side.set_at(V1, STATE, RUNNING).unwrap();
    side.enter(Setup).unwrap();
    assert_eq!(side.set_at(V1, STATE, PRE_COPY), Err(EBUSY));
    assert_eq!(side.get_at(V1, STATE), Ok(RUNNING));
}

#[test]
fn precopy_without_p2p_hands_out_the_image() {
    let mut side = Side::new(Part::<false, true, true>::filled());
    side.enter(Setup).unwrap();
    side.enter(Precopy).unwrap();
    assert!(side.pending().0 > 0);
    let mut image = side.take_all();
    assert!(!image.is_empty());
    side.enter(Stopncopy).unwrap();
    image.extend(side.take_all());
    check(&image);
}
