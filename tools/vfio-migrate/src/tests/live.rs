// SPDX-License-Identifier: GPL-2.0-only

//! Migrations of a device that works, with its memory.

use super::fake::FakeEdu;
use super::{save, set_up, Host, OPTIONS};
use crate::edu::{Direction, Edu, Registers, Transfer, Width, Workload, BUFFER_SIZE};
use crate::migrate::dirty::{Bitmap, PAGE};
use crate::migrate::live;
use crate::migrate::memory::GuestMemory;
use crate::migrate::protocol::{Migration, Phase};
use crate::migrate::target::Resuming;

#[test]
fn a_busy_device_loses_no_page() {
    for seed in 0..20 {
        let memory = GuestMemory::new(64 * PAGE as u64).unwrap();
        memory.randomize(&mut fastrand::Rng::with_seed(seed));
        let copy = GuestMemory::new(64 * PAGE as u64).unwrap();
        let source = FakeEdu::new(8192, Some(&memory));
        let target = FakeEdu::new(65536, Some(&copy));
        let edu = Edu::new(&source);
        set_up(&edu);

        let (mut from, mut to) = (source.migration(), target.migration());
        let mut owner = target.clone();
        let mut resuming = Resuming::new(&mut to, &mut owner, Some(copy.clone()), None).unwrap();
        let mut host = Host {
            workload: Some(Workload::start(
                Box::new(source.clone()),
                memory.pages(),
                seed,
            )),
            ..Host::default()
        };
        let statistics =
            live::migrate(&mut from, Some(&memory), &mut resuming, &mut host, OPTIONS).unwrap();
        assert_eq!(statistics.rounds, 3);
        assert_eq!(statistics.dirty_pages.len(), 3);
        assert!(statistics.dirty_total() > 0);
        assert_eq!(memory.differences(&copy), [] as [usize; 0]);

        assert_eq!(from.phase().unwrap(), Phase::SaveCompleted);
        assert_eq!(to.phase().unwrap(), Phase::Running);
        let registers = edu.snapshot().unwrap();
        let edu = Edu::new(&target);
        assert!(registers.differences(&edu.snapshot().unwrap()).is_empty());
    }
}

#[test]
fn a_transfer_under_way_at_the_stop_arrives() {
    let memory = GuestMemory::new(8 * PAGE as u64).unwrap();
    let source = FakeEdu::new(8192, Some(&memory));
    let edu = Edu::new(&source);
    edu.fill_buffer(&source.page(), &[7; BUFFER_SIZE]).unwrap();
    let mut migration = source.migration();
    migration.enter(Phase::Setup).unwrap();
    let transfer = Transfer {
        direction: Direction::ToMemory,
        iova: GuestMemory::IOVA + 5 * PAGE as u64,
        buffer: 0,
        count: 16,
        interrupt: false,
    };
    edu.start(transfer).unwrap();
    migration.enter(Phase::PreCopy).unwrap();
    migration.enter(Phase::StopAndCopy).unwrap();
    let mut dirty = Bitmap::new(8);
    migration
        .query_dirty(GuestMemory::IOVA, &mut dirty)
        .unwrap();
    assert_eq!(dirty.marked().collect::<Vec<_>>(), [5]);
    let mut page = [0; PAGE];
    memory.read_page(5, &mut page);
    assert_eq!(page[..17], [[7; 16].as_slice(), &[0]].concat());
}

#[test]
fn a_query_larger_than_the_data_section_comes_in_parts() {
    // A section of 4 KiB holds 32768 bits; the memory has more pages.
    let pages = 50_000;
    let source = FakeEdu::new(4096, None);
    let mut migration = source.migration();
    migration.enter(Phase::Setup).unwrap();
    let wanted = [0, 1, 32_767, 32_768, 49_999];
    for page in wanted {
        source
            .write(0x88, Width::B8, 0x2000_0000 + page * PAGE as u64)
            .unwrap();
        source.write(0x90, Width::B8, 1).unwrap();
        source.write(0x98, Width::B8, 3).unwrap();
    }
    let mut dirty = Bitmap::new(pages);
    migration.query_dirty(0x2000_0000, &mut dirty).unwrap();
    assert_eq!(
        dirty.marked().map(|page| page as u64).collect::<Vec<_>>(),
        wanted
    );
    let mut again = Bitmap::new(pages);
    migration.query_dirty(0x2000_0000, &mut again).unwrap();
    // The last transfer is still under way.
    assert_eq!(again.marked().collect::<Vec<_>>(), [49_999]);
}

#[test]
fn queries_between_buffers_are_in_nobodys_way() {
    let memory = GuestMemory::new(8 * PAGE as u64).unwrap();
    let source = FakeEdu::new(4096, Some(&memory));
    set_up(&Edu::new(&source));
    let (expected, _) = save(&source, Some(100));

    let mut migration = source.migration();
    migration.limit_buffer(100).unwrap();
    migration.enter(Phase::Setup).unwrap();
    let mut image = Vec::new();
    for phase in [Phase::PreCopy, Phase::StopAndCopy] {
        migration.enter(phase).unwrap();
        loop {
            let mut dirty = Bitmap::new(8);
            migration
                .query_dirty(GuestMemory::IOVA, &mut dirty)
                .unwrap();
            if migration.take_buffer(&mut image).unwrap() == 0 {
                break;
            }
        }
    }
    migration.enter(Phase::SaveCompleted).unwrap();
    assert_eq!(image, expected);
}
