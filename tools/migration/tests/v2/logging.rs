// SPDX-License-Identifier: GPL-2.0-only

//! DMA logging.

use crate::{
    common::{register, Fake, DMA},
    User, CHUNK, MEMORY,
};
use kernel::error::{code::*, Result};
use migration::{engine::Protocol, iova::IovaRange};

/// The parts of the first 64 KiB that a report tells of, as first and last address.
fn report(user: &mut User) -> Result<Vec<(u64, u64)>> {
    let mut parts = Vec::new();
    let range = IovaRange::new(0, 0x10000)?;
    user.v2
        .log_report(&mut user.engine, &user.host, range, |part| {
            parts.push((part.start(), part.last()));
            Ok(())
        })?;
    Ok(parts)
}

#[test]
fn pages_are_reported_while_logging_is_on() {
    let mut user = User::new(Fake::filled(MEMORY, CHUNK));
    for _ in 0..2 {
        assert_eq!(report(&mut user), Err(EINVAL));
        user.v2.log_start(&mut user.engine, &user.host).unwrap();
        assert_eq!(report(&mut user), Ok(vec![]));
        user.engine
            .write_register(&user.host, register(DMA), 3)
            .unwrap();
        user.engine.device_mut().land(&user.host);
        // Starting again would forget it.
        let again = user.v2.log_start(&mut user.engine, &user.host);
        assert_eq!(again, Err(EBUSY));
        assert_eq!(report(&mut user), Ok(vec![(0x3000, 0x3fff)]));
        assert_eq!(report(&mut user), Ok(vec![]));
        user.v2.log_stop(&mut user.engine, &user.host);
        user.v2.log_stop(&mut user.engine, &user.host);
    }
}

#[test]
fn another_protocols_tracking_is_left_alone() {
    let mut user = User::new(Fake::filled(MEMORY, CHUNK));
    let tracker = Protocol::Region2018;
    user.engine.dirty_start(&user.host, tracker).unwrap();
    let start = user.v2.log_start(&mut user.engine, &user.host);
    assert_eq!(start, Err(EBUSY));
    assert_eq!(report(&mut user), Err(EINVAL));
    user.v2.log_stop(&mut user.engine, &user.host);
    assert_eq!(user.engine.dirty_tracker(), Some(tracker));
}
