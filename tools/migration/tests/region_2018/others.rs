// SPDX-License-Identifier: GPL-2.0-only

//! Resets, and clients of other protocols.

use crate::{
    at,
    common::{Fake, Side, DATA_OFFSET},
};
use kernel::error::{code::*, Result};
use migration::{
    engine::Protocol,
    protocols::region_2018::{
        layout::Field,
        state::DeviceState::{self, *},
    },
    state::State,
};

#[test]
fn a_reset_behind_its_back_starts_afresh() {
    for state in [
        None,
        Setup,
        Precopy,
        Stopncopy,
        SaveCompleted,
        Resume,
        ResumeCompleted,
    ] {
        let resets: [fn(&mut Side) -> Result; 3] = [
            |side| side.object.engine_mut().reset(&side.host),
            |side| side.object.engine_mut().open(&side.host),
            |side| side.object.engine_mut().close(&side.host),
        ];
        for reset in resets {
            let mut side = at(state);
            side.set(Field::ThresholdSize, 9).unwrap();
            side.set(Field::StartAddr, 0x5000).unwrap();
            reset(&mut side).unwrap();
            let mut header = [0xff; 76];
            side.read(0, &mut header).unwrap();
            let mut expected = [0; 76];
            expected[0] = 1;
            expected[36..44].copy_from_slice(&DATA_OFFSET.to_le_bytes());
            assert_eq!(header, expected, "{state:?}");
            assert_eq!(side.device().contents(), Fake::new(200, 64).contents());
        }
    }
}

#[test]
fn another_protocol_owns_the_device() {
    for (state, seen) in [
        (State::PreCopy, Running),
        (State::Stop, None),
        (State::StopCopy, None),
        (State::Resuming, None),
    ] {
        let mut side = Side::new(Fake::filled(200, 64), 100);
        let engine = side.object.engine_mut();
        engine.set_state(&side.host, Protocol::V2, state).unwrap();
        side.host.called();
        let mut header = [0; 76];
        side.read(0, &mut header).unwrap();
        assert_eq!(u32::from(header[0]), seen.number());
        assert_eq!(header[4..36], [0; 32]);
        assert_eq!(header[44..], [0; 32]);
        for to in DeviceState::ALL {
            assert_eq!(side.enter(to), Err(EBUSY));
        }
        for field in Field::ALL {
            let expected = if field.is_writable() { EBUSY } else { EINVAL };
            if field.width() == 8 {
                assert_eq!(side.set(field, 4096), Err(expected), "{field:?}");
                let half = side.write(field.offset(), &[0; 4]);
                assert_eq!(half, Err(expected), "{field:?}");
                assert_eq!(side.write(field.offset() + 4, &[0; 4]), Err(EINVAL));
            }
        }
        assert!(side.host.called().is_empty());
        let mut after = [0; 76];
        side.read(0, &mut after).unwrap();
        assert_eq!(header, after);

        side.object.engine_mut().reset(&side.host).unwrap();
        side.enter(Setup).unwrap();
        let other = side
            .object
            .engine_mut()
            .set_state(&side.host, Protocol::V2, state);
        assert_eq!(other, Err(EBUSY));
    }
}

#[test]
fn another_protocols_tracking_is_left_alone() {
    let mut side = Side::new(Fake::filled(200, 64), 100);
    let engine = side.object.engine_mut();
    engine.dirty_start(&side.host, Protocol::V2).unwrap();
    assert_eq!(side.enter(Setup), Err(EBUSY));
    assert_eq!(side.state(), Running.number());
    assert_eq!(side.set(Field::Total, 1), Err(EINVAL));
    side.enter(Running).unwrap();
    side.enter(None).unwrap();
    side.enter(Running).unwrap();
    let tracker = side.object.engine().dirty_tracker();
    assert_eq!(tracker, Some(Protocol::V2));
}
