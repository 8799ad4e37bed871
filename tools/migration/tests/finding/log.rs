// SPDX-License-Identifier: GPL-2.0-only

//! The engine's own log, through each front end that has one.

use crate::{
    common::Window,
    device::{Op, Ring},
    engine, post, query, write, Host, SPACE, V2,
};
use kernel::error::{code::*, Result};
use migration::{
    engine::{Engine, Protocol},
    iova::{IovaRange, PAGE_SIZE},
    protocols::{
        region_2018::{layout::Field, state::DeviceState},
        v2, Migratable, MigrationRegion,
    },
    state::State,
};

#[test]
fn a_posted_buffer_is_reported_once_it_is_filled() {
    let (mut engine, host) = engine();
    post(&mut engine, &host, 3);
    write(&mut engine, &host, &[]);
    engine.dirty_start(&host, V2).unwrap();
    post(&mut engine, &host, 5);
    assert_eq!(query(&mut engine, &host), Ok(vec![]));
    engine.device_mut().fill(&host);
    // It was posted before tracking began.
    assert_eq!(query(&mut engine, &host), Ok(vec![3]));
    assert_eq!(query(&mut engine, &host), Ok(vec![]));
    // The next is filled while the device stops.
    engine.set_state(&host, V2, State::Stop).unwrap();
    assert_eq!(query(&mut engine, &host), Ok(vec![5]));
    assert_eq!(query(&mut engine, &host), Ok(vec![]));
    // Nobody has told the container, which takes all memory for dirty.
    assert!(!host.is_narrow.get());
}

#[test]
fn the_device_tracks_as_long_as_it_is_asked() {
    let (mut engine, host) = engine();
    write(&mut engine, &host, &[1]);
    assert!(!engine.device().tracks);
    for _ in 0..2 {
        engine.dirty_start(&host, V2).unwrap();
        // A second start does not begin anew.
        engine.dirty_start(&host, V2).unwrap();
        write(&mut engine, &host, &[2]);
        assert_eq!(query(&mut engine, &host), Ok(vec![2]));
        engine.dirty_stop(&host, Protocol::Region2018);
        assert!(engine.device().tracks);
        engine.dirty_stop(&host, V2);
        assert!(!engine.device().tracks);
    }
    engine.dirty_start(&host, V2).unwrap();
    engine.reset(&host).unwrap();
    assert!(!engine.device().tracks);
    assert_eq!(engine.dirty_tracker(), None);

    host.fail.set(Some((Op::Begin, EOPNOTSUPP)));
    assert_eq!(engine.dirty_start(&host, V2), Err(EOPNOTSUPP));
    assert_eq!(engine.dirty_tracker(), None);
    assert!(!engine.device().tracks);
}

#[test]
fn a_query_fails_if_pages_cannot_be_found() {
    let (mut engine, host) = engine();
    engine.dirty_start(&host, V2).unwrap();
    write(&mut engine, &host, &[7]);
    host.fail.set(Some((Op::Find, EIO)));
    assert_eq!(query(&mut engine, &host), Err(EIO));
    assert_eq!(query(&mut engine, &host), Ok(vec![7]));
}

#[test]
fn a_device_whose_pages_cannot_be_found_goes_on() {
    let (mut engine, host) = engine();
    for from in [State::Running, State::PreCopy] {
        engine.set_state(&host, V2, from).unwrap();
        engine.dirty_start(&host, V2).unwrap();
        write(&mut engine, &host, &[7]);
        host.fail.set(Some((Op::Find, EIO)));
        assert_eq!(engine.set_state(&host, V2, State::StopCopy), Err(EIO));
        assert_eq!(engine.state(), from);
        assert!(engine.device().running);
        write(&mut engine, &host, &[8]);
        engine.set_state(&host, V2, State::StopCopy).unwrap();
        assert_eq!(query(&mut engine, &host), Ok(vec![7, 8]));
        engine.set_state(&host, V2, State::Running).unwrap();
        engine.dirty_stop(&host, V2);
    }
}

#[test]
fn a_device_that_does_not_go_on_is_stopped() {
    let (mut engine, host) = engine();
    engine.dirty_start(&host, V2).unwrap();
    engine.set_state(&host, V2, State::PreCopy).unwrap();
    write(&mut engine, &host, &[7]);
    // Both the search and the resume fail.
    host.fail.set(Some((Op::Find, EIO)));
    host.fail_next.set(Some((Op::Resume, EIO)));
    assert_eq!(engine.set_state(&host, V2, State::StopCopy), Err(EIO));
    assert_eq!(engine.state(), State::PreCopyP2p);
    // No arc leads on until the pages are found.
    host.fail.set(Some((Op::Find, EIO)));
    assert_eq!(engine.set_state(&host, V2, State::StopCopy), Err(EIO));
    assert_eq!(engine.state(), State::PreCopyP2p);
    engine.set_state(&host, V2, State::StopCopy).unwrap();
    assert_eq!(query(&mut engine, &host), Ok(vec![7]));
}

#[test]
fn a_reset_that_fails_loses_no_page() {
    let (mut engine, host) = engine();
    engine.dirty_start(&host, V2).unwrap();
    write(&mut engine, &host, &[7]);
    host.fail.set(Some((Op::Reset, EIO)));
    assert_eq!(engine.reset(&host), Err(EIO));
    assert!(engine.device().running);
    write(&mut engine, &host, &[8]);
    assert_eq!(query(&mut engine, &host), Ok(vec![7, 8]));

    // If the pages cannot be found before it, all count as dirty.
    write(&mut engine, &host, &[9]);
    host.fail.set(Some((Op::Find, EIO)));
    host.fail_next.set(Some((Op::Reset, EIO)));
    assert_eq!(engine.reset(&host), Err(EIO));
    assert_eq!(query(&mut engine, &host).unwrap().len() as u64, SPACE);
    assert_eq!(query(&mut engine, &host), Ok(vec![]));
}

#[test]
fn logging_of_v2_finds_pages() {
    let (mut engine, host) = engine();
    let mut front = v2::V2::new();
    let report = |front: &mut v2::V2, engine: &mut Engine<Ring>| -> Result<Vec<u64>> {
        let mut pages = Vec::new();
        let range = IovaRange::new(0, SPACE * PAGE_SIZE)?;
        front.log_report(engine, &host, range, |part| {
            pages.extend(part.pages().first()..=part.pages().last());
            Ok(())
        })?;
        Ok(pages)
    };
    front.log_start(&mut engine, &host).unwrap();
    write(&mut engine, &host, &[2, 3, 9]);
    assert_eq!(report(&mut front, &mut engine), Ok(vec![2, 3, 9]));
    assert_eq!(report(&mut front, &mut engine), Ok(vec![]));
    post(&mut engine, &host, 4);
    front
        .set_state(&mut engine, &host, State::StopCopy)
        .unwrap();
    assert_eq!(report(&mut front, &mut engine), Ok(vec![4]));
    front.log_stop(&mut engine, &host);
    assert!(!engine.device().tracks);
}

/// A client of the region of 2018 with a data section of `room` bytes.
struct Region {
    object: Migratable<Ring>,
    host: Host,
    window: Window,
}

impl Region {
    fn set(&mut self, field: Field, value: u64) -> Result {
        let bytes = &value.to_le_bytes()[..field.width()];
        let region = MigrationRegion::Region2018;
        self.object
            .region_write(region, &self.host, &self.window, field.offset(), bytes)
            .map(|_| ())
    }

    fn enter(&mut self, state: DeviceState) -> Result {
        self.set(Field::DeviceState, state.number().into())
    }

    fn copied(&mut self) -> Result<u64> {
        let mut bytes = [0; 8];
        let (region, offset) = (MigrationRegion::Region2018, Field::Copied.offset());
        self.object
            .region_read(region, &self.host, &self.window, offset, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Asks for all pages, in as many queries as the section needs.
    fn pages(&mut self) -> Result<Vec<u64>> {
        let (mut pages, mut first) = (Vec::new(), 0);
        while first < SPACE {
            self.set(Field::StartAddr, first * PAGE_SIZE)?;
            self.set(Field::Total, SPACE - first)?;
            let copied = self.copied()?;
            if copied == 0 {
                break;
            }
            let bitmap = self.window.bytes.borrow();
            let is_dirty = |bit: &u64| (bitmap[*bit as usize / 8] >> (bit % 8)) & 1 != 0;
            pages.extend((0..copied).filter(is_dirty).map(|bit| first + bit));
            first += copied;
        }
        Ok(pages)
    }

    fn write(&mut self, pages: &[u64]) {
        write(self.object.engine_mut(), &self.host, pages);
    }
}

#[test]
fn queries_of_the_region_find_pages() {
    for room in [1, 2, 4096] {
        let mut client = Region {
            object: Migratable::new(Ring::new()),
            host: Host::default(),
            window: Window::new(room),
        };
        client.enter(DeviceState::Setup).unwrap();
        client.write(&[1, 40, 63]);
        assert_eq!(client.pages(), Ok(vec![1, 40, 63]));
        client.enter(DeviceState::Precopy).unwrap();
        client.write(&[17]);
        client.host.fail.set(Some((Op::Find, EIO)));
        assert_eq!(client.pages(), Err(EIO));
        assert_eq!(client.pages(), Ok(vec![17]));
        assert_eq!(client.pages(), Ok(vec![]));
        post(client.object.engine_mut(), &client.host, 5);
        client.enter(DeviceState::Stopncopy).unwrap();
        assert_eq!(client.pages(), Ok(vec![5]));
        assert_eq!(client.pages(), Ok(vec![]));
        client.enter(DeviceState::Cancelled).unwrap();
        assert!(!client.object.engine().device().tracks);
    }
}
