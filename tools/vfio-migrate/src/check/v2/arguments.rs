// SPDX-License-Identifier: GPL-2.0-only

//! Arguments of v2's features.

use rustix::io::Errno;

use super::client::{
    is_length, State, ARGSZ, GET, MIGRATION, MIG_DATA_SIZE, MIG_DEVICE_STATE, MIG_PRECOPY_INFO_V2,
    PROBE, SET, V2,
};
use crate::check::{ensure, fails, fails_with, succeeds, Check, Subject, Verdict};

const FLAGS: &str = "vfio.h, VFIO_DEVICE_FEATURE_MIGRATION: STOP_COPY alone, or with P2P, \
    PRE_COPY or both; other combinations have no meaning yet";
const FEATURE: &str = "vfio.h, VFIO_DEVICE_FEATURE: GET, SET and PROBE select the operation; GET \
    and SET exclude each other but with PROBE; argsz covers header and data";
const INITIAL: &str = "QEMU, which takes a device that it opened to be RUNNING; vfio.h does not \
    name the first state";
const DATA_FD: &str = "vfio.h, struct vfio_device_feature_mig_state: upon GET data_fd will be -1";
const DATA_SIZE: &str = "vfio.h, VFIO_DEVICE_FEATURE_MIG_DATA_SIZE: can be called on each device \
    state and returns a length, which a number of 2^63 and above, a negative errno in disguise, \
    is not; QEMU sizes its buffer by the length of a running device, so it is not 0";
const PRECOPY_V2: &str = "vfio.h, VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2: enabled by SET";

/// The checks of this area.
pub fn checks() -> Vec<Check> {
    let mut checks = vec![
        Check::new("v2-arguments.migration-flags", FLAGS, migration_flags),
        Check::new("v2-arguments.initial-state", INITIAL, |subject| {
            V2::open_fresh(subject)?.is_in(State::Running, "after open")
        }),
        Check::new("v2-arguments.get-returns-no-fd", DATA_FD, get_returns_no_fd),
        Check::new("v2-arguments.data-size", DATA_SIZE, data_size),
        Check::new("v2-arguments.precopy-info-v2", PRECOPY_V2, precopy_info_v2),
    ];
    for (name, feature, operations) in [
        ("migration", MIGRATION, GET),
        ("device-state", MIG_DEVICE_STATE, GET | SET),
        ("data-size", MIG_DATA_SIZE, GET),
    ] {
        checks.push(Check::new(
            format!("v2-arguments.{name}-probe"),
            FEATURE,
            move |subject| probe(subject, feature, operations),
        ));
        checks.push(Check::new(
            format!("v2-arguments.{name}-operations"),
            FEATURE,
            move |subject| operations_of(subject, feature, operations),
        ));
        checks.push(Check::new(
            format!("v2-arguments.{name}-argsz"),
            FEATURE,
            move |subject| argsz(subject, feature),
        ));
    }
    checks
}

fn migration_flags(subject: &Subject) -> Verdict {
    let flags = V2::open(subject)?.flags();
    ensure(matches!(flags, 1 | 3 | 5 | 7), || {
        format!("the flags are {flags:#x}")
    })
}

fn call(v2: &V2, argsz: u32, flags: u32) -> Result<(), Errno> {
    // The first word is RUNNING, in case the call changes the state.
    let mut data = [0; 64];
    data[0] = 2;
    v2.open.device.raw_feature(argsz, flags, &mut data)
}

/// Opens the device for a feature; only MIG_DATA_SIZE is newer than v2.
fn open_for(subject: &Subject, feature: u32) -> Verdict<V2> {
    let v2 = V2::open(subject)?;
    if feature == MIG_DATA_SIZE {
        v2.knows(feature, "MIG_DATA_SIZE, which came with Linux 6.2")?;
    }
    Ok(v2)
}

fn probe(subject: &Subject, feature: u32, operations: u32) -> Verdict {
    let v2 = open_for(subject, feature)?;
    for flags in [0, GET, SET, GET | SET] {
        let result = call(&v2, ARGSZ, feature | PROBE | flags);
        let what = format!("PROBE with flags {:#x}", flags >> 16);
        if flags & !operations == 0 {
            succeeds(result, &what)?;
        } else {
            fails(result, &what)?;
        }
        v2.is_in(State::Running, "after a probe")?;
    }
    // PROBE carries no data.
    succeeds(call(&v2, 8, feature | PROBE), "PROBE without data")
}

fn operations_of(subject: &Subject, feature: u32, operations: u32) -> Verdict {
    let v2 = open_for(subject, feature)?;
    fails_with(
        call(&v2, ARGSZ, feature),
        Errno::INVAL,
        "neither GET nor SET",
    )?;
    fails_with(
        call(&v2, ARGSZ, feature | GET | SET),
        Errno::INVAL,
        "GET with SET",
    )?;
    for operation in [GET, SET] {
        if operations & operation == 0 {
            let result = call(&v2, ARGSZ, feature | operation);
            fails_with(result, Errno::INVAL, "an operation that the feature lacks")?;
        }
    }
    for bit in 19..32 {
        let result = call(&v2, ARGSZ, feature | GET | (1 << bit));
        fails_with(
            result,
            Errno::INVAL,
            &format!("GET with bit {bit} of the flags"),
        )?;
    }
    v2.is_in(State::Running, "after wrong operations")
}

fn argsz(subject: &Subject, feature: u32) -> Verdict {
    let v2 = open_for(subject, feature)?;
    for argsz in 0..ARGSZ {
        let result = call(&v2, argsz, feature | GET);
        fails_with(result, Errno::INVAL, &format!("GET with argsz {argsz}"))?;
        if feature == MIG_DEVICE_STATE {
            let result = call(&v2, argsz, feature | SET);
            fails_with(result, Errno::INVAL, &format!("SET with argsz {argsz}"))?;
        }
    }
    for argsz in [ARGSZ, ARGSZ + 1, 72] {
        let what = format!("GET with argsz {argsz}");
        succeeds(call(&v2, argsz, feature | GET), &what)?;
    }
    v2.is_in(State::Running, "after wrong lengths")
}

fn get_returns_no_fd(subject: &Subject) -> Verdict {
    let v2 = V2::open(subject)?;
    for state in v2.states().collect::<Vec<_>>() {
        let _session = v2.go(subject, state)?;
        let mut data = [0x55; 64];
        let flags = GET | MIG_DEVICE_STATE;
        let result = v2.open.device.raw_feature(ARGSZ, flags, &mut data);
        succeeds(result, "reading the state")?;
        ensure(data[4..8] == [0xff; 4], || {
            format!("in {state} data_fd reads {:02x?}", &data[4..8])
        })?;
        v2.reset()?;
    }
    Ok(())
}

fn data_size(subject: &Subject) -> Verdict {
    let v2 = open_for(subject, MIG_DATA_SIZE)?;
    for state in v2.states().collect::<Vec<_>>() {
        let _session = v2.go(subject, state)?;
        let size = succeeds(v2.data_size(), &format!("MIG_DATA_SIZE in {state}"))?;
        can_be_a_size(state, size)?;
        v2.reset()?;
    }
    Ok(())
}

fn can_be_a_size(state: State, size: u64) -> Verdict {
    ensure(state != State::Running || size != 0, || {
        format!("MIG_DATA_SIZE is 0 in {state}")
    })?;
    ensure(is_length(size), || {
        // CAST: it is read as the negative number that it is.
        let negative = size as i64;
        format!("MIG_DATA_SIZE is {size} in {state}, which is {negative}")
    })
}

fn precopy_info_v2(subject: &Subject) -> Verdict {
    let v2 = V2::open(subject)?;
    v2.needs(State::PreCopy)?;
    let set = |flags| call(&v2, 8, MIG_PRECOPY_INFO_V2 | flags);
    v2.knows(MIG_PRECOPY_INFO_V2, "MIG_PRECOPY_INFOv2")?;
    succeeds(set(PROBE | SET), "PROBE with SET")?;
    fails_with(set(GET), Errno::INVAL, "GET")?;
    v2.opt_in_to_precopy_info_v2()?;
    let session = v2.begin(State::PreCopy)?;
    succeeds(session.precopy_info(24), "VFIO_MIG_GET_PRECOPY_INFO").map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Finding;

    #[test]
    fn a_negative_errno_is_no_length() {
        assert_eq!(can_be_a_size(State::Stop, 0), Ok(()));
        assert_eq!(can_be_a_size(State::Running, 1), Ok(()));
        assert!(can_be_a_size(State::Running, 0).is_err());
        for state in [State::Running, State::Stop] {
            // -ENODEV from a function that should have returned a length.
            let found = can_be_a_size(state, -19_i64 as u64);
            assert!(matches!(found, Err(Finding::Fail(text)) if text.ends_with(", which is -19")));
            assert!(can_be_a_size(state, 1 << 63).is_err());
        }
    }
}
