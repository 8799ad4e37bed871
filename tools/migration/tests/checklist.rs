// SPDX-License-Identifier: GPL-2.0-only

//! The list of sections that were saved or loaded.

use kernel::error::{code::*, Result};
use migration::{
    checklist::{Checklist, Item, Sections},
    device::{Amount, Phase, Remaining},
    image::{format::TYPE_DRIVER_MAX, Section, SectionHead, MAX_PAYLOAD},
};

/// Two sections that a running device can be asked for, then two that it cannot.
const MEMORY: u16 = 4;
const TABLE: u16 = 3;
const REGISTERS: u16 = 2;
const MAILBOX: u16 = TYPE_DRIVER_MAX;

const SECTIONS: Sections = Sections::new(&[
    Item::running(MEMORY, MAX_PAYLOAD as u64),
    Item::running(TABLE, 100),
    Item::stopped(REGISTERS, 10),
    Item::stopped(MAILBOX, 1),
]);

const ALL: [u16; 4] = [MEMORY, TABLE, REGISTERS, MAILBOX];

fn list() -> Checklist {
    Checklist::new(SECTIONS)
}

fn amount(bytes: u64, sections: u64) -> Amount {
    Amount { bytes, sections }
}

fn section(kind: u16, offset: u64) -> Section<'static> {
    Section {
        head: SectionHead::mandatory(kind, offset),
        payload: &[],
    }
}

/// Loads a section as a driver does.
fn load(list: &mut Checklist, kind: u16) -> Result {
    list.check(&section(kind, 0))?;
    list.take(&section(kind, 0));
    Ok(())
}

#[test]
fn the_size_is_that_of_all_sections() {
    assert_eq!(SECTIONS.size(), amount(65536 + 100 + 10 + 1, 4));
    assert_eq!(Sections::new(&[]).size(), Amount::default());
}

#[test]
fn what_remains_is_sorted_by_when_it_can_go() {
    let mut list = list();
    let stopped = amount(11, 2);
    let memory = amount(65536, 1);
    let table = amount(100, 1);
    assert_eq!(
        list.remaining(&[]),
        Remaining {
            running: amount(65636, 2),
            later: Amount::default(),
            stopped,
        }
    );
    assert_eq!(
        list.remaining(&[MEMORY]),
        Remaining {
            running: table,
            later: memory,
            stopped,
        }
    );
    // What needs a stopped device is never busy.
    assert_eq!(
        list.remaining(&[MEMORY, TABLE, REGISTERS]),
        Remaining {
            running: Amount::default(),
            later: amount(65636, 2),
            stopped,
        }
    );
    list.put(MEMORY);
    list.put(REGISTERS);
    assert_eq!(
        list.remaining(&[MEMORY]),
        Remaining {
            running: table,
            later: Amount::default(),
            stopped: amount(1, 1),
        }
    );
}

#[test]
fn a_section_may_have_another_size_than_in_the_list() {
    let mut list = list();
    let varying = [(TABLE, 7), (MAILBOX, 0), (9, 1000)];
    assert_eq!(SECTIONS.size_with(&varying), amount(65536 + 7 + 10, 4));
    let left = list.remaining_with(&[TABLE], &varying);
    assert_eq!(
        left,
        Remaining {
            running: amount(65536, 1),
            later: amount(7, 1),
            stopped: amount(10, 2),
        }
    );
    list.put(TABLE);
    assert_eq!(list.remaining_with(&[], &varying).running, left.running);
}

#[test]
fn sections_are_saved_in_their_order_and_only_when_they_can_be() {
    let mut list = list();
    assert_eq!(list.next(Phase::Running, &[MEMORY, TABLE]), None);
    assert_eq!(list.next(Phase::Running, &[MEMORY]), Some(TABLE));
    assert_eq!(list.put(TABLE), SectionHead::mandatory(TABLE, 0));
    assert_eq!(list.next(Phase::Running, &[MEMORY]), None);
    assert_eq!(list.next(Phase::Running, &[]), Some(MEMORY));
    list.put(MEMORY);
    assert_eq!(list.next(Phase::Running, &[]), None);

    list.changed(TABLE);
    assert_eq!(list.next(Phase::Running, &[]), Some(TABLE));
    assert_eq!(list.remaining(&[]).running, amount(100, 1));
    // A stopped device is not busy, whatever the driver says.
    for kind in [TABLE, REGISTERS, MAILBOX] {
        assert_eq!(list.next(Phase::Stopped, &ALL), Some(kind));
        assert!(!list.is_done(kind));
        list.put(kind);
        assert!(list.is_done(kind));
    }
    assert_eq!(list.next(Phase::Stopped, &[]), None);
    assert_eq!(list.remaining(&[]), Remaining::default());
    list.clear();
    assert_eq!(list.next(Phase::Stopped, &[]), Some(MEMORY));
    assert_eq!(list.remaining(&[]).running, amount(65636, 2));
}

#[test]
fn what_remains_and_what_is_next_agree() {
    for saved in 0..1 << ALL.len() {
        for busy in [&[][..], &[MEMORY], &[TABLE], &[MEMORY, TABLE]] {
            let mut list = list();
            for (at, kind) in ALL.into_iter().enumerate() {
                if saved & (1 << at) != 0 {
                    list.put(kind);
                }
            }
            let left = list.remaining(busy);
            let running = left.running != Amount::default();
            assert_eq!(list.next(Phase::Running, busy).is_some(), running);
            let any = left != Remaining::default();
            assert_eq!(list.next(Phase::Stopped, busy).is_some(), any);
        }
    }
}

#[test]
fn an_image_that_lacks_a_section_is_refused() {
    for missing in ALL {
        let mut list = list();
        for kind in ALL.into_iter().filter(|kind| *kind != missing) {
            assert_eq!(load(&mut list, kind), Ok(()));
        }
        assert_eq!(list.end(), Err(EINVAL));
        list.take(&section(missing, 0));
        assert_eq!(list.end(), Ok(()));
        list.clear();
        assert_eq!(list.end(), Err(EINVAL));
    }
}

#[test]
fn only_what_the_guest_can_have_changed_comes_again() {
    let mut list = list();
    for kind in [MEMORY, TABLE, MEMORY, TABLE, TABLE, MAILBOX] {
        assert_eq!(load(&mut list, kind), Ok(()));
    }
    for kind in [MEMORY, TABLE, MAILBOX] {
        assert_eq!(load(&mut list, kind), Err(EINVAL));
    }
    assert_eq!(load(&mut list, REGISTERS), Ok(()));
    assert_eq!(list.end(), Ok(()));
    for kind in ALL {
        assert_eq!(load(&mut list, kind), Err(EINVAL));
    }
}

#[test]
fn a_section_that_failed_for_a_signal_comes_again() {
    let mut list = list();
    for kind in ALL {
        assert_eq!(list.check(&section(kind, 0)), Ok(()));
        assert_eq!(load(&mut list, kind), Ok(()));
    }
    assert_eq!(list.end(), Ok(()));
}

#[test]
fn other_types_and_places_are_refused() {
    let mut list = list();
    for kind in [0, 1, 5, TYPE_DRIVER_MAX - 1, u16::MAX] {
        assert_eq!(list.check(&section(kind, 0)), Err(EOPNOTSUPP));
        // The engine skips an optional one, at any place.
        assert_eq!(list.check(&section(kind, 1)), Err(EOPNOTSUPP));
        list.take(&section(kind, 0));
        list.changed(kind);
        assert!(!list.is_done(kind));
    }
    for kind in ALL {
        for offset in [1, 4096, u64::MAX] {
            assert_eq!(list.check(&section(kind, offset)), Err(EINVAL));
        }
    }
    assert_eq!(list.remaining(&[]).running, amount(65636, 2));
}

#[test]
fn a_list_can_be_long() {
    const MOST: [Item; Sections::MAX] = {
        let mut items = [Item::running(1, 1); Sections::MAX];
        let mut at = 0;
        while at < items.len() {
            items[at] = Item::running(at as u16 + 1, 1);
            at += 1;
        }
        items
    };
    let mut list = Checklist::new(Sections::new(&MOST));
    while let Some(kind) = list.next(Phase::Running, &[]) {
        assert_eq!(list.remaining(&[]).running.sections, 65 - u64::from(kind));
        list.put(kind);
    }
    assert_eq!(list.end(), Ok(()));
}

#[test]
fn lists_that_the_compiler_refuses() {
    const TOO_MANY: [Item; Sections::MAX + 1] = [Item::stopped(1, 1); Sections::MAX + 1];
    for items in [
        &[Item::stopped(0, 1)][..],
        &[Item::stopped(TYPE_DRIVER_MAX + 1, 1)],
        &[Item::stopped(1, MAX_PAYLOAD as u64 + 1)],
        &[Item::running(1, 1), Item::stopped(1, 1)],
        &[Item::stopped(1, 1), Item::running(2, 1)],
        &TOO_MANY,
    ] {
        let items: &'static [Item] = items.to_vec().leak();
        assert!(std::panic::catch_unwind(|| Sections::new(items)).is_err());
    }
}
