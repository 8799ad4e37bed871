// SPDX-License-Identifier: GPL-2.0-only

//! The engine over a device in memory.

mod common;

use common::{register, write_all, Fake, Host, Op, DMA, IDENTITY, OPS};
use kernel::{
    alloc,
    error::{code::*, Result},
};
use migration::{
    dirty::granule::Granule,
    engine::{Engine, Pending, Protocol},
    image::{format::END_LEN, Reason},
    iova::{IovaRange, PageRange, PAGES},
    state::{next, State},
};
use proptest::prelude::*;

const V2: Protocol = Protocol::V2;

fn engine(device: Fake) -> (Engine<Fake>, Host) {
    (Engine::new(device), Host::default())
}

/// Hands out all that there is, in pieces.
fn read_all(engine: &mut Engine<Fake>, host: &Host, piece: usize) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut out = vec![0; piece];
    loop {
        let count = engine.read(host, &mut out)?;
        if count == 0 {
            return Ok(all);
        }
        all.extend_from_slice(&out[..count]);
    }
}

/// An image of a device with something in it, saved while stopped.
fn image(memory: usize, chunk: usize) -> Vec<u8> {
    let (mut engine, host) = engine(Fake::filled(memory, chunk));
    engine.set_state(&host, V2, State::StopCopy).unwrap();
    read_all(&mut engine, &host, 999).unwrap()
}

fn page(first: u64, count: u64) -> PageRange {
    PageRange::new(first, count).unwrap()
}

/// The pages that a query reports.
fn query(engine: &mut Engine<Fake>, host: &Host, range: PageRange) -> Result<Vec<u64>> {
    let mut pages = Vec::new();
    let any = engine.dirty_query(host, range, Granule::PAGE, &mut |offset, bytes| {
        for (byte, bits) in bytes.iter().enumerate() {
            let first = range.first() + 8 * (offset + byte) as u64;
            pages.extend(
                (0..8)
                    .filter(|bit| (bits >> bit) & 1 != 0)
                    .map(|bit| first + bit),
            );
        }
        Ok(())
    })?;
    assert_eq!(any, !pages.is_empty());
    Ok(pages)
}

#[test]
fn every_arc_from_every_state() {
    for from in &State::ALL[1..] {
        for to in State::ALL {
            let (mut engine, host) = engine(Fake::filled(100, 30));
            engine.set_state(&host, V2, *from).unwrap();
            assert_eq!(engine.state(), *from);
            let running = matches!(*from, State::Running | State::PreCopy);
            assert_eq!(engine.device().running, running);
            let result = engine.set_state(&host, V2, to);
            match next(*from, to) {
                // The image is not complete.
                Ok(_) if *from == State::Resuming && to != State::Resuming => {
                    assert_eq!(result, Err(EINVAL));
                    assert_eq!(engine.state(), State::Resuming);
                    assert_eq!(engine.last_refusal().unwrap().reason, Reason::Truncated);
                }
                Ok(_) => {
                    assert_eq!(result, Ok(()), "{from} -> {to}");
                    assert_eq!(engine.state(), to);
                }
                Err(error) => {
                    assert_eq!(result, Err(error));
                    assert_eq!(engine.state(), *from);
                }
            }
            let free = engine.state() == State::Running;
            assert_eq!(engine.owner(), (!free).then_some(V2));
        }
    }
}

#[test]
fn every_operation_failing_on_every_way() {
    for lose in [false, true] {
        for op in OPS {
            for skip in 0..3 {
                for from in &State::ALL[1..] {
                    for to in &State::ALL[1..] {
                        one_failure(lose, op, skip, *from, *to);
                    }
                }
            }
        }
    }
}

fn one_failure(lose: bool, op: Op, skip: u32, from: State, to: State) {
    let (mut engine, host) = engine(Fake::filled(100, 30));
    engine.set_state(&host, V2, from).unwrap();
    if from == State::Resuming {
        write_all(&mut engine, &host, &image(100, 30)).unwrap();
    }
    host.called();
    host.fail.set(Some((op, skip, ETIMEDOUT)));
    host.lose.set(lose);
    let result = engine.set_state(&host, V2, to);
    let failed = host.fail.get().is_none();
    if !failed {
        assert_eq!(result.is_ok(), next(from, to).is_ok());
        return;
    }
    assert_eq!(result, Err(ETIMEDOUT));
    assert_eq!(engine.status().counters.last_error, Some(ETIMEDOUT));
    if lose {
        assert_eq!(engine.state(), State::Error);
        assert_eq!(engine.set_state(&host, V2, State::Running), Err(EINVAL));
        assert_eq!(engine.read(&host, &mut [0; 4]), Err(EINVAL));
    } else {
        // A state on the way.
        let mut on_the_way = vec![from];
        while on_the_way.last() != Some(&to) {
            on_the_way.push(next(*on_the_way.last().unwrap(), to).unwrap());
        }
        assert!(
            on_the_way.contains(&engine.state()),
            "{from} -> {to}: {}",
            engine.state()
        );
        assert_ne!(engine.state(), to);
        // And from there it works at the second try.
        assert_eq!(
            engine.set_state(&host, V2, to),
            Ok(()),
            "{from} -> {to} by {op:?}"
        );
    }
    host.lose.set(false);
    engine.reset(&host).unwrap();
    assert_eq!(engine.state(), State::Running);
    assert_eq!(engine.owner(), None);
    assert!(engine.device().running);
}

#[test]
fn a_device_that_runs_after_a_reset_is_quiesced_before_it_is_used() {
    let (mut engine, host) = engine(Fake::filled(100, 30));
    engine.set_state(&host, V2, State::Stop).unwrap();
    host.called();
    host.fail(Op::Quiesce, EINTR);
    assert_eq!(engine.set_state(&host, V2, State::Resuming), Err(EINTR));
    assert_eq!(engine.state(), State::Stop);
    assert_eq!(host.called(), [Op::Reset, Op::Quiesce]);
    engine.set_state(&host, V2, State::StopCopy).unwrap();
    assert_eq!(host.called(), [Op::Quiesce, Op::SaveBegin]);
    engine.set_state(&host, V2, State::Running).unwrap();
    assert_eq!(host.called(), [Op::Resume]);

    // By the other way to a stopped device.
    engine.set_state(&host, V2, State::Stop).unwrap();
    host.fail(Op::Quiesce, EINTR);
    assert_eq!(engine.set_state(&host, V2, State::Resuming), Err(EINTR));
    engine.set_state(&host, V2, State::PreCopyP2p).unwrap();
    host.called();
    engine.set_state(&host, V2, State::StopCopy).unwrap();
    assert_eq!(host.called(), [Op::Quiesce]);
}

#[test]
fn saved_and_loaded_in_pieces_of_every_size() {
    for piece in [1, 3, 64, 100, 5000] {
        let (mut source, host) = engine(Fake::filled(1000, 300));
        source.device_mut().note = true;
        source.set_state(&host, V2, State::PreCopy).unwrap();
        let before = source.pending(&host);
        let mut bytes = read_all(&mut source, &host, piece).unwrap();
        assert_eq!(before.precopy_only, bytes.len() as u64);
        assert!(!source.is_saved());

        // What changed while it ran goes again.
        source.device_mut().poke(333, 0xcc);
        source.write_register(&host, register(4), 77).unwrap();
        let again = source.pending(&host);
        assert_eq!(again.postcopy_only, before.postcopy_only);
        source.set_state(&host, V2, State::StopCopy).unwrap();
        let rest = read_all(&mut source, &host, piece).unwrap();
        assert_eq!(again.total(), rest.len() as u64);
        assert!(source.is_saved());
        assert_eq!(source.pending(&host), Pending::default());
        bytes.extend(rest);

        let (mut target, there) = engine(Fake::new(1000, 300));
        target.set_state(&there, V2, State::Resuming).unwrap();
        let (last, most) = bytes.split_last().unwrap();
        for chunk in most.chunks(piece) {
            write_all(&mut target, &there, chunk).unwrap();
            assert!(!target.is_loaded());
        }
        assert_eq!(write_all(&mut target, &there, &[*last]), Ok(()));
        assert!(target.is_loaded());
        assert_eq!(there.called().last(), Some(&Op::LoadEnd));
        target.set_state(&there, V2, State::Running).unwrap();
        assert_eq!(target.device().contents(), source.device().contents());
        assert_eq!(target.last_refusal(), None);

        let saved = source.status().counters;
        let loaded = target.status().counters;
        assert_eq!(
            (saved.images_saved, saved.bytes_saved),
            (1, bytes.len() as u64)
        );
        assert_eq!(
            (loaded.images_loaded, loaded.bytes_loaded),
            (1, bytes.len() as u64)
        );

        // The source goes on with nothing lost.
        source.set_state(&host, V2, State::Running).unwrap();
        assert!(source.device().running);
        assert_eq!(source.device().registers[1], 77);
    }
}

#[test]
fn pending_is_exact_at_every_byte() {
    let (mut engine, host) = engine(Fake::filled(200, 64));
    assert_eq!(engine.pending(&host), Pending::default());
    engine.set_state(&host, V2, State::PreCopy).unwrap();
    let mut left = engine.pending(&host);
    while engine.read(&host, &mut [0]).unwrap() == 1 {
        left.precopy_only -= 1;
        left.available -= 1;
        assert_eq!(engine.pending(&host), left);
    }
    assert_eq!(left.precopy_only, 0);
    engine.set_state(&host, V2, State::StopCopy).unwrap();
    while engine.read(&host, &mut [0]).unwrap() == 1 {
        left.postcopy_only -= 1;
        assert_eq!(engine.pending(&host), left);
    }
    assert_eq!(left, Pending::default());
}

#[test]
fn an_image_that_was_not_drained_goes_on_in_the_next_state() {
    let (mut engine, host) = engine(Fake::filled(200, 64));
    engine.set_state(&host, V2, State::PreCopy).unwrap();
    let mut bytes = vec![0; 70];
    assert_eq!(engine.read(&host, &mut bytes), Ok(70));
    engine.set_state(&host, V2, State::StopCopy).unwrap();
    bytes.extend(read_all(&mut engine, &host, 11).unwrap());
    assert_eq!(bytes, image(200, 64));
    // A save that is begun anew begins anew.
    engine.set_state(&host, V2, State::Running).unwrap();
    engine.set_state(&host, V2, State::StopCopy).unwrap();
    assert_eq!(read_all(&mut engine, &host, 1000).unwrap(), image(200, 64));
}

#[test]
fn an_error_in_the_middle_of_a_save_loses_nothing() {
    for skip in 0..6 {
        let (mut engine, host) = engine(Fake::filled(200, 64));
        engine.set_state(&host, V2, State::StopCopy).unwrap();
        host.fail.set(Some((Op::Save, skip, EINTR)));
        let mut bytes = vec![0; 4096];
        let first = engine.read(&host, &mut bytes);
        // What came before the error is handed out, the header at least.
        let mut all = bytes[..first.unwrap()].to_vec();
        all.extend(read_all(&mut engine, &host, 4096).unwrap());
        assert_eq!(all, image(200, 64));
    }
}

#[test]
fn wrong_images_are_refused_and_the_device_is_reset_at_once() {
    let good = image(200, 64);
    let last = good.len() - 1;
    let end = good.len() - END_LEN;
    let foreign = {
        let mut device = Fake::filled(200, 64);
        device.identity.device = 0x11e9;
        let (mut engine, host) = engine(device);
        engine.set_state(&host, V2, State::StopCopy).unwrap();
        read_all(&mut engine, &host, 100).unwrap()
    };
    let damaged = |at: usize| {
        let mut image = good.clone();
        image[at] ^= 4;
        image
    };
    let trailing = [&good[..], &[0]].concat();
    // A device with less memory has no place for the last section.
    for (bytes, memory, reason) in [
        (damaged(0), 200, Reason::Magic),
        (damaged(100), 200, Reason::PayloadChecksum),
        (damaged(last), 200, Reason::PayloadChecksum),
        (damaged(end + 8), 200, Reason::HeadChecksum),
        (trailing, 200, Reason::Trailing),
        (good.clone(), 199, Reason::Section(1, EINVAL)),
        (
            foreign,
            200,
            Reason::Device(migration::image::Identity {
                device: 0x11e9,
                ..IDENTITY
            }),
        ),
    ] {
        let (mut engine, host) = engine(Fake::filled(memory, 64));
        engine.set_state(&host, V2, State::Resuming).unwrap();
        host.called();
        assert_eq!(write_all(&mut engine, &host, &bytes), Err(EINVAL));
        assert_eq!(engine.last_refusal().unwrap().reason, reason);
        let calls = host.called();
        assert_eq!(calls[calls.len() - 2..], [Op::Reset, Op::Quiesce]);
        assert_eq!(engine.device().contents(), Fake::new(memory, 64).contents());
        assert!(!engine.device().running);

        // It stays refused, without touching the device again.
        assert_eq!(write_all(&mut engine, &host, &good), Err(EINVAL));
        assert_eq!(engine.set_state(&host, V2, State::Running), Err(EINVAL));
        assert_eq!(engine.state(), State::Resuming);
        assert!(host.called().is_empty());
        engine.reset(&host).unwrap();
        assert_eq!(engine.last_refusal().unwrap().reason, reason);
        engine.set_state(&host, V2, State::Resuming).unwrap();
        assert_eq!(engine.last_refusal(), None);
    }
}

#[test]
fn a_device_that_refuses_says_so_with_the_byte() {
    let good = image(200, 64);
    for (op, expected) in [
        (Op::Load, Reason::Section(1, ETIMEDOUT)),
        (Op::LoadEnd, Reason::Apply(ETIMEDOUT)),
    ] {
        let (mut engine, host) = engine(Fake::new(200, 64));
        engine.set_state(&host, V2, State::Resuming).unwrap();
        host.fail(op, ETIMEDOUT);
        let mut result = Ok(());
        for byte in &good {
            assert_eq!(result, Ok(()));
            result = write_all(&mut engine, &host, &[*byte]);
            if result.is_err() {
                break;
            }
        }
        assert_eq!(result, Err(ETIMEDOUT));
        assert_eq!(engine.last_refusal().unwrap().reason, expected);
    }
}

#[test]
fn an_interrupted_load_takes_nothing_of_its_piece() {
    let good = image(200, 64);
    for op in [Op::Load, Op::LoadEnd] {
        for skip in 0..if op == Op::Load { 5 } else { 1 } {
            for error in [EINTR, ERESTARTSYS] {
                for piece in [1, 5, 24, 64, 150, good.len()] {
                    let (mut engine, host) = engine(Fake::new(200, 64));
                    engine.set_state(&host, V2, State::Resuming).unwrap();
                    host.called();
                    host.fail.set(Some((op, skip, error)));
                    let (mut given, mut interrupted) = (0, 0);
                    while given < good.len() {
                        let end = good.len().min(given + piece);
                        let loaded = engine.counters().bytes_loaded;
                        assert_eq!(loaded, given as u64);
                        match engine.write(&host, &good[given..end]) {
                            Ok(taken) => given += taken.bytes,
                            Err(found) => {
                                assert_eq!(found, error);
                                interrupted += 1;
                                assert_eq!(engine.state(), State::Resuming);
                                assert_eq!(engine.last_refusal(), None);
                                assert_eq!(engine.counters().bytes_loaded, given as u64);
                                let result = engine.set_state(&host, V2, State::Running);
                                assert_eq!(result, Err(EINVAL), "bytes are missing");
                            }
                        }
                    }
                    // Where other bytes of the call were taken before, the call says so instead.
                    assert!(interrupted <= 1 && (piece > 1 || interrupted == 1));
                    assert!(engine.is_loaded());
                    assert!(!host.called().contains(&Op::Reset));
                    engine.set_state(&host, V2, State::Running).unwrap();
                    assert_eq!(
                        engine.device().contents(),
                        Fake::filled(200, 64).contents(),
                        "{op:?} {skip} {piece}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_call_gives_the_device_one_section() {
    let good = image(200, 64);
    let (mut engine, host) = engine(Fake::new(200, 64));
    engine.set_state(&host, V2, State::Resuming).unwrap();
    host.called();
    let (mut given, mut calls) = (0, Vec::new());
    while given < good.len() {
        let taken = engine.write(&host, &good[given..]).unwrap();
        given += taken.bytes;
        let called = host.called();
        assert_eq!(called.len(), 1);
        assert!(taken.section);
        calls.extend(called);
    }
    let mut expected = vec![Op::Load; 5];
    expected.push(Op::LoadEnd);
    assert_eq!(calls, expected);
}

#[test]
fn a_refusal_whose_reset_fails() {
    let (mut engine, host) = engine(Fake::new(200, 64));
    engine.set_state(&host, V2, State::Resuming).unwrap();
    host.fail(Op::Reset, EIO);
    assert_eq!(write_all(&mut engine, &host, &[0; 16]), Err(EINVAL));
    assert_eq!(engine.state(), State::Resuming);
    engine.reset(&host).unwrap();

    engine.set_state(&host, V2, State::Resuming).unwrap();
    host.fail(Op::Reset, EIO);
    host.lose.set(true);
    assert_eq!(write_all(&mut engine, &host, &[0; 16]), Err(EINVAL));
    assert_eq!(engine.state(), State::Error);
    assert_eq!(write_all(&mut engine, &host, &[0; 16]), Err(EINVAL));
    host.lose.set(false);
    engine.reset(&host).unwrap();
    assert_eq!(engine.state(), State::Running);
}

#[test]
fn close_ends_every_session_even_where_the_reset_fails() {
    for state in &State::ALL[1..] {
        let (mut engine, host) = engine(Fake::filled(100, 30));
        engine.set_state(&host, V2, *state).unwrap();
        engine.dirty_start(&host, V2).unwrap();
        host.fail(Op::Reset, EIO);
        assert_eq!(engine.close(&host), Err(EIO));
        assert_eq!((engine.state(), engine.session()), (State::Error, None));
        assert_eq!(engine.owner(), None);
        assert!(!engine.log().is_tracking());
        assert_eq!(engine.stage(&host).err(), Some(EINVAL));
        assert_eq!(write_all(&mut engine, &host, &[0]), Err(EINVAL));
        engine.open(&host).unwrap();
        assert_eq!(engine.state(), State::Running);
    }
}

#[test]
fn a_reset_by_others_that_fails_ends_every_session() {
    for state in &State::ALL[1..] {
        let (mut engine, host) = engine(Fake::filled(100, 30));
        engine.set_state(&host, V2, *state).unwrap();
        engine.dirty_start(&host, V2).unwrap();
        host.fail(Op::Reset, ENOMEM);
        assert_eq!(engine.reset_by_others(&host), Err(ENOMEM));
        assert_eq!((engine.state(), engine.session()), (State::Error, None));
        assert!(!engine.log().is_tracking());
        assert_eq!(engine.stage(&host).err(), Some(EINVAL));
        engine.reset(&host).unwrap();
        assert_eq!(engine.state(), State::Running);
    }
}

#[test]
fn one_protocol_at_a_time() {
    let (mut engine, host) = engine(Fake::filled(100, 30));
    let others = [Protocol::Region2018, Protocol::RegionV1];
    engine.set_state(&host, V2, State::PreCopy).unwrap();
    for other in others {
        for to in State::ALL {
            assert_eq!(engine.set_state(&host, other, to), Err(EBUSY));
        }
        assert_eq!(engine.claim(other), Err(EBUSY));
        engine.release(other);
        assert_eq!(engine.owner(), Some(V2));
    }
    engine.set_state(&host, V2, State::Running).unwrap();
    assert_eq!(engine.owner(), None);

    engine.claim(Protocol::Region2018).unwrap();
    assert_eq!(engine.set_state(&host, V2, State::PreCopy), Err(EBUSY));
    // A claim outlives a failed start, and a reset ends it.
    host.fail(Op::SaveBegin, EIO);
    let start = engine.set_state(&host, Protocol::Region2018, State::PreCopy);
    assert_eq!(start, Err(EIO));
    assert_eq!(engine.owner(), Some(Protocol::Region2018));
    engine.reset(&host).unwrap();
    assert_eq!(engine.owner(), None);
    // No claim, no trace of a failed start.
    host.fail(Op::Quiesce, EIO);
    assert_eq!(engine.set_state(&host, V2, State::Stop), Err(EIO));
    assert_eq!(engine.owner(), None);
}

#[test]
fn registers_of_a_stopped_device_are_not_written() {
    for state in &State::ALL[1..] {
        let (mut engine, host) = engine(Fake::filled(100, 30));
        engine.set_state(&host, V2, *state).unwrap();
        let runs = matches!(state, State::Running | State::PreCopy);
        let expected = if runs { Ok(()) } else { Err(EBUSY) };
        assert_eq!(engine.write_register(&host, register(0), 5), expected);
        assert!(engine.read_register(&host, register(0)).is_ok());
        assert_eq!(engine.read_register(&host, register(0x4000)), Err(EINVAL));
    }
}

#[test]
fn reset_leaves_every_state_and_a_failed_one_changes_nothing() {
    for state in &State::ALL[1..] {
        let (mut engine, host) = engine(Fake::filled(100, 30));
        engine.set_state(&host, V2, *state).unwrap();
        engine.dirty_start(&host, V2).unwrap();
        let epoch = engine.epoch();
        host.fail(Op::Reset, EIO);
        assert_eq!(engine.reset(&host), Err(EIO));
        assert_eq!((engine.state(), engine.epoch()), (*state, epoch));
        engine.reset(&host).unwrap();
        assert_eq!(
            (engine.state(), engine.epoch()),
            (State::Running, epoch + 1)
        );
        assert_eq!(engine.owner(), None);
        assert!(!engine.log().is_tracking());
        assert_eq!(engine.device().contents(), Fake::new(100, 30).contents());
    }
}

#[test]
fn transfers_in_the_wrong_state() {
    let (mut engine, host) = engine(Fake::filled(100, 30));
    for state in &State::ALL[1..] {
        engine.reset(&host).unwrap();
        engine.set_state(&host, V2, *state).unwrap();
        assert_eq!(engine.read(&host, &mut [0; 9]).is_ok(), state.is_saving());
        let writes = *state == State::Resuming;
        assert_eq!(write_all(&mut engine, &host, b"RVFIO").is_ok(), writes);
    }
}

/// The parts of a range that a report tells of, as first and last address.
fn report(engine: &mut Engine<Fake>, host: &Host, start: u64, len: u64) -> Vec<(u64, u64)> {
    let mut parts = Vec::new();
    let range = IovaRange::new(start, len).unwrap();
    let any = engine.dirty_report(host, range, |part| {
        parts.push((part.start(), part.last()));
        Ok(())
    });
    assert_eq!(any, Ok(!parts.is_empty()));
    parts
}

/// Has the device write pages, and be done.
fn write_pages(engine: &mut Engine<Fake>, host: &Host, pages: &[u32]) {
    for page in pages {
        let result = engine.write_register(host, register(DMA), u64::from(*page));
        result.unwrap();
        engine.device_mut().land(host);
    }
}

#[test]
fn a_report_keeps_the_pages_of_which_it_tells_a_part() {
    let (mut engine, host) = engine(Fake::new(100, 30));
    engine.dirty_start(&host, V2).unwrap();
    for (start, len, told, kept) in [
        // From page to page.
        (0x1000, 0x3000, vec![(0x1000, 0x3fff)], vec![4]),
        (0x1000, 0x1000, vec![(0x1000, 0x1fff)], vec![2, 3, 4]),
        // Beginning, ending, or both, within a page.
        (0x1800, 0x1800, vec![(0x1800, 0x2fff)], vec![1, 3, 4]),
        (0x1000, 0x2800, vec![(0x1000, 0x37ff)], vec![3, 4]),
        (0x1800, 0x2000, vec![(0x1800, 0x37ff)], vec![1, 3, 4]),
        (0x1001, 0x1ffe, vec![(0x1001, 0x2ffe)], vec![1, 2, 3, 4]),
        // Within one page, or one of the client's that is larger than ours.
        (0x1400, 0x400, vec![(0x1400, 0x17ff)], vec![1, 2, 3, 4]),
        (0x1000, 0xfff, vec![(0x1000, 0x1ffe)], vec![1, 2, 3, 4]),
        (0x1fff, 2, vec![(0x1fff, 0x2000)], vec![1, 2, 3, 4]),
        (0x5000, 0x800, vec![], vec![1, 2, 3, 4]),
        (0, 0x1800, vec![(0x1000, 0x17ff)], vec![1, 2, 3, 4]),
    ] {
        engine.dirty_start(&host, V2).unwrap();
        write_pages(&mut engine, &host, &[1, 2, 3, 4]);
        let what = format!("{start:#x}, {len:#x}");
        assert_eq!(report(&mut engine, &host, start, len), told, "{what}");
        assert_eq!(
            query(&mut engine, &host, page(0, 10)).unwrap(),
            kept,
            "{what}"
        );
    }
    // What fails is not forgotten.
    write_pages(&mut engine, &host, &[7]);
    let range = IovaRange::new(0, 0x10000).unwrap();
    let result = engine.dirty_report(&host, range, |_| Err(EFAULT));
    assert_eq!(result, Err(EFAULT));
    assert_eq!(query(&mut engine, &host, page(0, 10)).unwrap(), [7]);
}

proptest! {
    #[test]
    fn no_page_is_lost_whatever_the_reports_ask_for(
        pages in proptest::collection::btree_set(0u32..12, 0..12),
        asked in proptest::collection::vec((0u64..0xd000, 1u64..0x5000), 0..8),
    ) {
        let (mut engine, host) = engine(Fake::new(100, 30));
        engine.dirty_start(&host, V2).unwrap();
        write_pages(&mut engine, &host, &pages.iter().copied().collect::<Vec<_>>());
        // What the client knows, byte by byte.
        let mut told = vec![false; 0x20000];
        for (start, len) in asked {
            for (first, last) in report(&mut engine, &host, start, len) {
                assert!(first >= start && last < start + len);
                told[first as usize..=last as usize].fill(true);
            }
        }
        for (first, last) in report(&mut engine, &host, 0, 0x20000) {
            told[first as usize..=last as usize].fill(true);
        }
        for (address, told) in told.iter().enumerate() {
            assert_eq!(*told, pages.contains(&(address as u32 >> 12)), "{address:#x}");
        }
        assert!(report(&mut engine, &host, 0, 0x20000).is_empty());
    }
}

#[test]
fn the_pages_at_the_ends_of_the_space() {
    let whole = |start, len| {
        let pages = IovaRange::new(start, len).unwrap().whole_pages();
        pages.map(|pages| (pages.first(), pages.count()))
    };
    let end = u64::MAX;
    assert_eq!(whole(end - 0xfff, 0x1000), Some((PAGES - 1, 1)));
    assert_eq!(whole(end - 0x1fff, 0x1fff), Some((PAGES - 2, 1)));
    assert_eq!(whole(end - 0xffe, 0xfff), None);
    assert_eq!(whole(end, 1), None);
    assert_eq!(whole(0, 0xfff), None);
    assert_eq!(whole(0, end), Some((0, PAGES - 1)));
    assert_eq!(whole(1, end), Some((1, PAGES - 1)));
}

#[test]
fn a_transfer_in_flight_is_reported_until_it_has_landed() {
    let (mut engine, host) = engine(Fake::new(100, 30));
    let space = page(0, 100);
    engine.write_register(&host, register(DMA), 7).unwrap();
    assert_eq!(engine.log().table().err(), Some(EINVAL));
    assert_eq!(query(&mut engine, &host, space), Err(EINVAL));

    engine.dirty_start(&host, V2).unwrap();
    engine.write_register(&host, register(DMA), 9).unwrap();
    assert_eq!(query(&mut engine, &host, space), Ok(vec![7, 9]));
    assert_eq!(query(&mut engine, &host, space), Ok(vec![7, 9]));
    engine.device_mut().land(&host);
    // It landed since the last query.
    assert_eq!(query(&mut engine, &host, space), Ok(vec![7, 9]));
    assert_eq!(query(&mut engine, &host, space), Ok(vec![9]));
    engine.set_state(&host, V2, State::Stop).unwrap();
    assert_eq!(query(&mut engine, &host, space), Ok(vec![9]));
    assert_eq!(query(&mut engine, &host, space), Ok(vec![]));

    // Another protocol's tracking is neither restarted nor stopped.
    assert_eq!(engine.dirty_start(&host, Protocol::Region2018), Err(EBUSY));
    engine.dirty_stop(Protocol::Region2018);
    assert_eq!(engine.dirty_tracker(), Some(V2));
    engine.dirty_stop(V2);
    assert_eq!(engine.dirty_tracker(), None);
}

#[test]
fn more_transfers_than_are_remembered() {
    let (mut engine, host) = engine(Fake::new(100, 30));
    engine.dirty_start(&host, V2).unwrap();
    for at in 0..40 {
        engine.write_register(&host, register(DMA), at).unwrap();
    }
    let all: Vec<u64> = (0..40).collect();
    for _ in 0..2 {
        assert_eq!(query(&mut engine, &host, page(0, 64)).unwrap(), all);
    }
    for _ in 0..40 {
        engine.device_mut().land(&host);
    }
    assert_eq!(query(&mut engine, &host, page(0, 64)).unwrap(), all);
    assert_eq!(query(&mut engine, &host, page(0, 64)).unwrap(), []);
}

#[test]
fn a_query_that_fails_forgets_nothing() {
    let (mut engine, host) = engine(Fake::new(100, 30));
    engine.dirty_start(&host, V2).unwrap();
    for at in [3, 900] {
        engine.write_register(&host, register(DMA), at).unwrap();
        engine.device_mut().land(&host);
    }
    host.fail(Op::InFlight, EIO);
    assert_eq!(query(&mut engine, &host, page(0, 1000)), Err(EIO));
    let mut calls = 0;
    let failing = engine.dirty_query(&host, page(0, 1000), Granule::PAGE, &mut |_, _| {
        calls += 1;
        if calls == 2 {
            Err(EFAULT)
        } else {
            Ok(())
        }
    });
    assert_eq!(failing, Err(EFAULT));
    assert_eq!(query(&mut engine, &host, page(0, 1000)), Ok(vec![3, 900]));

    // A start that fails leaves tracking off.
    host.fail(Op::InFlight, EIO);
    assert_eq!(engine.dirty_start(&host, V2), Err(EIO));
    assert!(!engine.log().is_tracking());
    assert_eq!(engine.dirty_tracker(), None);
}

#[test]
fn everything_dirty_is_reported_once() {
    let (mut engine, host) = engine(Fake::new(100, 30));
    engine.dirty_start(&host, V2).unwrap();
    alloc::fail_after(0);
    engine.write_register(&host, register(DMA), 7).unwrap();
    alloc::succeed();
    assert_eq!(engine.status().dirty_pages, Some(PAGES));
    let pages = query(&mut engine, &host, page(0, 20)).unwrap();
    assert_eq!(pages, (0..20).collect::<Vec<_>>());
    // What may still land is told again, and what comes.
    assert_eq!(query(&mut engine, &host, page(0, 20)), Ok(vec![7]));
    engine.device_mut().land(&host);
    engine.write_register(&host, register(DMA), 9).unwrap();
    engine.device_mut().land(&host);
    assert_eq!(query(&mut engine, &host, page(0, 20)), Ok(vec![7, 9]));
    assert_eq!(query(&mut engine, &host, page(0, 20)), Ok(vec![]));
    // Nobody has asked for the others.
    assert_eq!(query(&mut engine, &host, page(18, 4)), Ok(vec![20, 21]));
}

#[derive(Clone, Debug)]
enum Step {
    Transfer(u64),
    Land,
    Query(u64, u64),
}

proptest! {
    /// A client that copies what each query reports ends with what the device wrote.
    #[test]
    fn no_page_is_lost(
        early in prop::collection::vec(0u64..40, 0..4),
        steps in prop::collection::vec(
            prop_oneof![
                (0u64..40).prop_map(Step::Transfer),
                Just(Step::Land),
                (0u64..40, 1u64..40).prop_map(|(first, count)| Step::Query(first, count)),
            ],
            0..60,
        ),
        short_of_memory in prop::option::of(0u64..6),
    ) {
        let (mut engine, host) = engine(Fake::new(100, 30));
        for at in early {
            engine.write_register(&host, register(DMA), at).unwrap();
        }
        engine.dirty_start(&host, V2).unwrap();
        // The first pass of a migration copies everything.
        let mut copy = host.guest.borrow().clone();
        if let Some(successes) = short_of_memory {
            alloc::fail_after(successes);
        }
        let mut copied = |engine: &mut Engine<Fake>, range| {
            for at in query(engine, &host, range).unwrap() {
                if let Some(version) = host.guest.borrow().get(&at) {
                    copy.insert(at, *version);
                }
            }
        };
        for step in steps {
            match step {
                Step::Transfer(at) => engine.write_register(&host, register(DMA), at).unwrap(),
                Step::Land => engine.device_mut().land(&host),
                Step::Query(first, count) => copied(&mut engine, page(first, count)),
            }
        }
        alloc::succeed();
        engine.set_state(&host, V2, State::StopCopy).unwrap();
        copied(&mut engine, page(0, 80));
        prop_assert_eq!(&copy, &*host.guest.borrow());
    }
}

#[test]
fn allocation_failures_leave_a_sane_state() {
    let good = image(200, 64);
    for successes in 0..8 {
        let (mut source, host) = engine(Fake::filled(200, 64));
        alloc::fail_after(successes);
        let mut bytes = Vec::new();
        for state in [State::PreCopy, State::StopCopy] {
            if source.set_state(&host, V2, state).is_err() {
                assert_eq!(source.state(), State::Running);
                assert_eq!(source.owner(), None);
                source.set_state(&host, V2, state).unwrap();
            }
            bytes.extend(read_all(&mut source, &host, 50).unwrap());
        }
        alloc::succeed();
        assert_eq!(bytes, good);

        let (mut target, there) = engine(Fake::new(200, 64));
        alloc::fail_after(successes);
        if target.set_state(&there, V2, State::Resuming).is_err() {
            // The device was not reset for nothing.
            assert_eq!(target.state(), State::Stop);
            assert_eq!(there.called(), [Op::Quiesce]);
            target.set_state(&there, V2, State::Resuming).unwrap();
        }
        write_all(&mut target, &there, &bytes).unwrap();
        alloc::succeed();
        target.set_state(&there, V2, State::Running).unwrap();
        assert_eq!(target.device().contents(), source.device().contents());
    }
}

#[test]
fn an_open_device_migrates_without_more_memory() {
    let good = image(200, 64);
    let (mut engine, host) = engine(Fake::new(200, 64));
    alloc::fail_from(0);
    assert_eq!(engine.open(&host), Err(ENOMEM));
    alloc::succeed();
    host.fail(Op::Reset, EIO);
    assert_eq!(engine.open(&host), Err(EIO));
    engine.open(&host).unwrap();

    alloc::fail_from(0);
    for end in 0..4 {
        engine.set_state(&host, V2, State::Resuming).unwrap();
        if end == 0 {
            // Refused: the reset below drops it.
            write_all(&mut engine, &host, &[0; 16]).unwrap_err();
        } else {
            write_all(&mut engine, &host, &good).unwrap();
            engine.set_state(&host, V2, State::Running).unwrap();
        }
        if end < 2 {
            engine.reset(&host).unwrap();
        } else {
            engine.set_state(&host, V2, State::PreCopy).unwrap();
            let mut bytes = read_all(&mut engine, &host, 50).unwrap();
            engine.set_state(&host, V2, State::StopCopy).unwrap();
            bytes.extend(read_all(&mut engine, &host, 50).unwrap());
            assert_eq!(bytes, good);
            engine.set_state(&host, V2, State::Stop).unwrap();
        }
    }

    // The memory goes with the user.
    engine.close(&host).unwrap();
    assert_eq!(engine.set_state(&host, V2, State::PreCopy), Err(ENOMEM));
    alloc::succeed();
    engine.set_state(&host, V2, State::PreCopy).unwrap();
}
