// SPDX-License-Identifier: GPL-2.0-only

//! Producing an image.

use crate::{
    common::{read, register, write_all, Fake, Op},
    engine, image, read_all, V2,
};
use kernel::error::code::*;
use migration::{engine::Pending, state::State};

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

        // A part that changed while the device ran goes again.
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
    while read(&mut engine, &host, &mut [0]).unwrap() == 1 {
        left.precopy_only -= 1;
        left.available -= 1;
        assert_eq!(engine.pending(&host), left);
    }
    assert_eq!(left.precopy_only, 0);
    engine.set_state(&host, V2, State::StopCopy).unwrap();
    while read(&mut engine, &host, &mut [0]).unwrap() == 1 {
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
    assert_eq!(read(&mut engine, &host, &mut bytes), Ok(70));
    engine.set_state(&host, V2, State::StopCopy).unwrap();
    bytes.extend(read_all(&mut engine, &host, 11).unwrap());
    assert_eq!(bytes, image(200, 64));
    // Another save begins at the beginning.
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
        let first = read(&mut engine, &host, &mut bytes);
        // The bytes before the error are handed out: at least the header.
        let mut all = bytes[..first.unwrap()].to_vec();
        all.extend(read_all(&mut engine, &host, 4096).unwrap());
        assert_eq!(all, image(200, 64));
    }
}
