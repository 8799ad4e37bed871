// SPDX-License-Identifier: GPL-2.0-only

//! The migration region of Linux 5.8 to 5.17: header, states, buffers, and what a client may not
//! do.

mod common;

use common::{register, Fake, Op, Side, DATA_OFFSET, OPS};
use kernel::error::{code::*, Result};
use migration::{
    engine::Protocol,
    protocols::{region_2018::state::DeviceState, region_v1::HEADER_LEN, MigrationRegion},
    state::{next, State},
};

/// Offset and bytes of each field.
const STATE: (usize, usize) = (0, 4);
const RESERVED: (usize, usize) = (4, 4);
const PENDING: (usize, usize) = (8, 8);
const OFFSET: (usize, usize) = (16, 8);
const SIZE: (usize, usize) = (24, 8);
const FIELDS: [(usize, usize); 5] = [STATE, RESERVED, PENDING, OFFSET, SIZE];

const STOP: u64 = 0;
const RUNNING: u64 = 1;
const STOP_COPY: u64 = 2;
const PRE_COPY: u64 = 3;
const RESUMING: u64 = 4;
const STATES: [(u64, State); 5] = [
    (STOP, State::Stop),
    (RUNNING, State::Running),
    (STOP_COPY, State::StopCopy),
    (PRE_COPY, State::PreCopy),
    (RESUMING, State::Resuming),
];

/// A client of the region.
struct V1(Side);

impl V1 {
    fn new(device: Fake, window: usize) -> Self {
        Self(Side::new(device, window))
    }

    /// A device with something in it, in `state`; a load has taken the whole image.
    fn at(state: u64) -> Self {
        let mut v1 = Self::new(Fake::filled(200, 64), 4096);
        v1.set(STATE, state).unwrap();
        if state == RESUMING {
            v1.give(&image()).unwrap();
        }
        v1
    }

    fn read(&mut self, offset: usize, out: &mut [u8]) -> Result {
        let side = &mut self.0;
        side.object.region_read(
            MigrationRegion::RegionV1,
            &side.host,
            &side.window,
            offset,
            out,
        )
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) -> Result {
        self.0.write_to(MigrationRegion::RegionV1, offset, bytes)
    }

    fn get(&mut self, field: (usize, usize)) -> Result<u64> {
        let mut bytes = [0; 8];
        self.read(field.0, &mut bytes[..field.1])?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn set(&mut self, field: (usize, usize), value: u64) -> Result {
        self.write(field.0, &value.to_le_bytes()[..field.1])
    }

    fn state(&mut self) -> u64 {
        self.get(STATE).unwrap()
    }

    /// Looks at the staged buffer.
    fn peek(&mut self) -> Result<Vec<u8>> {
        assert_eq!(self.get(OFFSET)?, DATA_OFFSET);
        let size = self.get(SIZE)? as usize;
        Ok(self.0.window.bytes.borrow()[..size].to_vec())
    }

    /// Takes buffers, as QEMU does, until nothing is pending.
    fn drain(&mut self) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        while self.get(PENDING)? != 0 {
            let buffer = self.peek()?;
            assert!(!buffer.is_empty());
            all.extend(buffer);
        }
        Ok(all)
    }

    /// Gives a buffer.
    fn give(&mut self, bytes: &[u8]) -> Result {
        assert_eq!(self.get(OFFSET)?, DATA_OFFSET);
        self.0.window.bytes.borrow_mut()[..bytes.len()].copy_from_slice(bytes);
        self.set(SIZE, bytes.len() as u64)
    }

    fn engine_state(&self) -> State {
        self.0.object.engine().state()
    }

    fn owner(&self) -> Option<Protocol> {
        self.0.object.engine().owner()
    }
}

fn image() -> Vec<u8> {
    let mut v1 = V1::new(Fake::filled(200, 64), 4096);
    v1.set(STATE, STOP_COPY).unwrap();
    v1.drain().unwrap()
}

#[test]
fn a_field_is_accessed_as_a_whole_and_by_itself() {
    for (state, _) in STATES {
        for offset in 0..HEADER_LEN + 9 {
            for len in 0..=HEADER_LEN {
                let known = FIELDS.contains(&(offset, len));
                let mut v1 = V1::at(state);
                let staged = v1.peek().unwrap();
                let called = v1.0.host.called().len();
                assert!(called < 20);

                let mut out = [0xcc; HEADER_LEN];
                let result = v1.read(offset, &mut out[..len]);
                if known {
                    assert_eq!(result, Ok(()), "{offset}, {len}");
                } else {
                    assert_eq!(result, Err(EINVAL), "{offset}, {len}");
                    assert_eq!(out, [0xcc; HEADER_LEN]);
                }
                assert!(v1.0.host.called().is_empty());

                let mut v1 = V1::at(state);
                v1.peek().unwrap();
                v1.0.host.called();
                let written = [0; HEADER_LEN];
                let result = v1.write(offset, &written[..len]);
                // 0 stops, or is an empty buffer.
                let takes = (offset, len) == STATE
                    || (offset, len) == SIZE && v1.engine_state() == State::Resuming;
                if takes {
                    assert_eq!(result, Ok(()), "{offset}, {len}");
                    continue;
                }
                // Writes to the reserved field are ignored.
                let refused = if (offset, len) == RESERVED {
                    Ok(())
                } else {
                    Err(EINVAL)
                };
                assert_eq!(result, refused, "{offset}, {len}");
                assert_eq!(v1.get(RESERVED), Ok(0));
                assert_eq!(v1.state(), state);
                assert!(v1.0.host.called().is_empty());
                // Even the staged buffer is the same.
                assert_eq!(v1.peek().unwrap(), staged);
            }
        }
    }
}

#[test]
fn what_the_fields_are_in_each_state() {
    let total = image().len() as u64;
    for (state, _) in STATES {
        let mut v1 = V1::at(state);
        assert_eq!(v1.state(), state);
        assert_eq!(v1.get(RESERVED), Ok(0));
        let (pending, size) = (v1.get(PENDING).unwrap(), v1.get(SIZE).unwrap());
        match state {
            STOP_COPY => assert_eq!((pending, size), (total, total)),
            // Registers and the end cannot go while the device runs.
            PRE_COPY => {
                assert!(pending < total);
                assert_eq!(size, pending);
            }
            _ => assert_eq!((pending, size), (0, 0)),
        }
        assert_eq!(v1.get(OFFSET), Ok(DATA_OFFSET), "the same in every state");
    }
}

#[test]
fn all_pairs_of_states_are_the_engines() {
    for (from, engine_from) in STATES {
        for (to, engine_to) in STATES {
            let mut v1 = V1::at(from);
            assert_eq!(v1.engine_state(), engine_from);
            v1.0.host.called();
            let result = v1.set(STATE, to);
            if next(engine_from, engine_to).is_err() {
                assert_eq!(result, Err(EINVAL), "{from} -> {to}");
                assert_eq!(v1.state(), from);
                assert!(v1.0.host.called().is_empty());
                continue;
            }
            assert_eq!(result, Ok(()), "{from} -> {to}");
            assert_eq!(v1.state(), to);
            assert_eq!(v1.engine_state(), engine_to);
            if from == to {
                assert!(v1.0.host.called().is_empty(), "{from} again");
            }
            let owned = (to != RUNNING).then_some(Protocol::RegionV1);
            assert_eq!(v1.owner(), owned, "{from} -> {to}");
            let running = matches!(to, RUNNING | PRE_COPY);
            assert_eq!(v1.0.device().running, running);
            // Only a load changes what is in the device.
            let fresh = to == RESUMING && from != RESUMING;
            let contents = match fresh {
                true => Fake::new(200, 64),
                false => Fake::filled(200, 64),
            };
            assert_eq!(v1.0.device().contents(), contents.contents());
        }
    }
}

#[test]
fn values_that_there_are_not() {
    for (state, _) in STATES {
        let mut v1 = V1::at(state);
        let staged = v1.peek().unwrap();
        v1.0.host.called();
        let upper = (3..32).flat_map(|bit| (0..8).map(move |low| low | (1 << bit)));
        for value in [5, 6, 7, u32::MAX.into()].into_iter().chain(upper) {
            assert_eq!(v1.set(STATE, value), Err(EINVAL), "{state} -> {value:#x}");
            assert_eq!(v1.state(), state);
        }
        assert!(v1.0.host.called().is_empty());
        assert_eq!(v1.peek().unwrap(), staged);
    }
}

#[test]
fn the_read_modify_writes_of_qemu() {
    // vfio_save_setup, vfio_vmstate_change, vfio_save_complete_precopy, vfio_save_cleanup; the
    // bits that QEMU does not know stay as QEMU read them.
    let mut v1 = V1::new(Fake::filled(200, 64), 100);
    let mut image = Vec::new();
    for (mask, value) in [(!0u64, PRE_COPY), (!RUNNING, 0), (!RUNNING, STOP_COPY)] {
        let state = v1.state() & mask | value;
        v1.set(STATE, state).unwrap();
        image.extend(v1.drain().unwrap());
    }
    assert_eq!(image, self::image());
    let state = v1.state() & !STOP_COPY;
    v1.set(STATE, state).unwrap();
    assert_eq!(v1.state(), STOP);

    // Cancelled in every phase of a save.
    for state in [PRE_COPY, STOP_COPY, STOP] {
        v1.set(STATE, RUNNING).unwrap();
        v1.set(STATE, state).unwrap();
        v1.peek().unwrap();
        let cancelled = v1.state() & !(STOP_COPY | RESUMING) | RUNNING;
        v1.set(STATE, cancelled).unwrap();
        assert_eq!((v1.state(), v1.owner()), (RUNNING, None));
        assert_eq!(v1.get(PENDING), Ok(0));
        assert_eq!(v1.0.device().contents(), Fake::filled(200, 64).contents());
    }

    // A target goes from running to resuming to running.
    let mut target = V1::new(Fake::new(200, 64), 100);
    target.set(STATE, RESUMING).unwrap();
    for chunk in image.chunks(100) {
        target.give(chunk).unwrap();
    }
    target.set(STATE, RUNNING).unwrap();
    assert_eq!(
        target.0.device().contents(),
        Fake::filled(200, 64).contents()
    );
}

#[test]
fn a_staged_buffer_stays_until_it_is_consumed() {
    let mut v1 = V1::new(Fake::filled(200, 64), 50);
    let mut all = Vec::new();
    for state in [PRE_COPY, STOP_COPY] {
        v1.set(STATE, state).unwrap();
        loop {
            let pending = v1.get(PENDING).unwrap();
            assert_eq!(v1.get(PENDING), Ok(pending), "reading it again");
            let buffer = v1.peek().unwrap();
            for _ in 0..3 {
                v1.state();
                v1.get(RESERVED).unwrap();
                assert_eq!(v1.get(SIZE), Ok(buffer.len() as u64));
                assert_eq!(v1.peek().unwrap(), buffer);
            }
            assert_eq!(buffer.len() as u64, pending.min(50));
            all.extend_from_slice(&buffer);
            assert_eq!(v1.get(PENDING), Ok(pending - buffer.len() as u64));
            if buffer.is_empty() {
                break;
            }
        }
    }
    assert_eq!(all, image());
}

#[test]
fn a_buffer_that_nobody_asked_for_is_not_staged() {
    let mut v1 = V1::new(Fake::filled(200, 64), 4096);
    v1.set(STATE, STOP_COPY).unwrap();
    v1.0.host.called();
    for _ in 0..3 {
        v1.state();
        v1.get(PENDING).unwrap();
    }
    assert!(v1.0.host.called().is_empty());
    assert_eq!(*v1.0.window.bytes.borrow(), [0xee; 4096]);
    // By the uAPI a read of the offset blocks until there is data.
    v1.get(OFFSET).unwrap();
    assert!(v1.0.host.called().contains(&Op::Save));
}

#[test]
fn writing_the_state_consumes_and_a_refused_write_does_not() {
    let mut v1 = V1::new(Fake::filled(200, 64), 64);
    v1.set(STATE, PRE_COPY).unwrap();
    let mut all = v1.peek().unwrap();
    assert_eq!(v1.set(STATE, 6), Err(EINVAL));
    assert_eq!(v1.set(STATE, 8 | STOP_COPY), Err(EINVAL));
    v1.0.host.fail(Op::Quiesce, ETIMEDOUT);
    assert_eq!(v1.set(STATE, STOP_COPY), Err(ETIMEDOUT));
    assert_eq!(v1.state(), PRE_COPY);
    assert_eq!(v1.peek().unwrap(), all);

    // The same holds for the same state again.
    for state in [PRE_COPY, STOP_COPY, STOP_COPY] {
        v1.set(STATE, state).unwrap();
        all.extend(v1.peek().unwrap());
    }
    v1.get(PENDING).unwrap();
    all.extend(v1.drain().unwrap());
    assert_eq!(all, image());
}

#[test]
fn what_is_staged_belongs_to_one_session() {
    let mut v1 = V1::new(Fake::filled(200, 64), 64);
    let first = image()[..64].to_vec();
    for end in [false, true] {
        v1.set(STATE, STOP_COPY).unwrap();
        assert_eq!(v1.peek().unwrap(), first);
        if end {
            v1.set(STATE, RUNNING).unwrap();
        } else {
            let side = &mut v1.0;
            side.object.engine_mut().reset(&side.host).unwrap();
        }
        assert_eq!((v1.get(PENDING), v1.get(SIZE)), (Ok(0), Ok(0)));
    }

    // Another protocol's session in between is invisible.
    v1.set(STATE, STOP_COPY).unwrap();
    v1.peek().unwrap();
    let side = &mut v1.0;
    side.object.engine_mut().reset(&side.host).unwrap();
    side.enter(DeviceState::Stopncopy).unwrap();
    let taken = side.take().unwrap();
    assert_eq!((v1.get(PENDING), v1.get(SIZE)), (Ok(0), Ok(0)));
    assert_eq!(v1.0.pending(), (image().len() - taken.len()) as u64);
}

#[test]
fn an_error_loses_no_bytes() {
    for fail_window in [false, true] {
        for at in 0..20 {
            let mut v1 = V1::new(Fake::filled(200, 64), 50);
            v1.set(STATE, STOP_COPY).unwrap();
            if fail_window {
                v1.0.window.fail.set(Some(at));
            } else {
                v1.0.host.fail.set(Some((Op::Save, at, EIO)));
            }
            let mut all = Vec::new();
            let mut errors = 0;
            while v1.get(PENDING).unwrap() != 0 {
                match v1.peek() {
                    Ok(buffer) => all.extend(buffer),
                    Err(_) => errors += 1,
                }
                assert!(errors < 3);
            }
            assert_eq!(all, image());
        }
    }
}

#[test]
fn loaded_in_buffers_of_every_size() {
    let image = image();
    for size in (1..image.len()).step_by(5).chain([image.len()]) {
        let mut v1 = V1::new(Fake::new(200, 64), 4096);
        v1.set(STATE, RESUMING).unwrap();
        for chunk in image.chunks(size) {
            // An empty one in between changes nothing.
            v1.give(&[]).unwrap();
            v1.give(chunk).unwrap();
        }
        v1.set(STATE, STOP).unwrap();
        assert_eq!(v1.0.device().contents(), Fake::filled(200, 64).contents());
    }
}

#[test]
fn an_image_is_applied_by_the_write_that_completes_it() {
    let image = image();
    let (last, most) = image.split_last().unwrap();
    let mut v1 = V1::new(Fake::new(200, 64), 4096);
    v1.set(STATE, RESUMING).unwrap();
    v1.give(most).unwrap();
    for state in [STOP, RUNNING, STOP_COPY, PRE_COPY] {
        assert_eq!(v1.set(STATE, state), Err(EINVAL));
        assert_eq!(v1.state(), RESUMING);
    }
    // A second RESUMING keeps the bytes so far.
    v1.set(STATE, RESUMING).unwrap();
    v1.0.host.called();
    v1.give(&[*last]).unwrap();
    assert_eq!(v1.0.host.called(), [Op::LoadEnd]);
    assert_eq!(v1.0.device().contents(), Fake::filled(200, 64).contents());

    // One byte too many is refused as well.
    assert_eq!(v1.give(&[0]), Err(EINVAL));
    assert_eq!(v1.set(STATE, RUNNING), Err(EINVAL));
}

#[test]
fn a_damaged_stream_is_refused_by_the_write() {
    let image = image();
    for at in 0..image.len() {
        let mut bad = image.clone();
        bad[at] ^= 0x10;
        let mut v1 = V1::new(Fake::new(200, 64), 4096);
        v1.set(STATE, RESUMING).unwrap();
        assert!(v1.give(&bad).is_err(), "byte {at}");
        assert!(v1.0.object.engine().last_refusal().is_some());
        assert_eq!(v1.0.device().contents(), Fake::new(200, 64).contents());
        // No state can be entered, and no client sees state 6.
        for (state, _) in STATES {
            let result = v1.set(STATE, state);
            assert_eq!(result.is_ok(), state == RESUMING, "{state}");
            assert_eq!(v1.state(), RESUMING);
        }
        assert!(v1.give(&image).is_err());
        let side = &mut v1.0;
        side.object.engine_mut().reset(&side.host).unwrap();
        assert_eq!((v1.state(), v1.owner()), (RUNNING, None));
        v1.set(STATE, RESUMING).unwrap();
        v1.give(&image).unwrap();
        v1.set(STATE, RUNNING).unwrap();
        assert_eq!(v1.0.device().contents(), Fake::filled(200, 64).contents());
    }
}

#[test]
fn an_interrupted_buffer_is_given_again_and_goes_on() {
    let mut source = V1::new(Fake::filled(2000, 500), 4096);
    source.set(STATE, STOP_COPY).unwrap();
    let image = source.drain().unwrap();
    for (op, skip, error) in [
        (Some(Op::Load), 0, EINTR),
        (Some(Op::Load), 3, ERESTARTSYS),
        (Some(Op::LoadEnd), 0, EINTR),
        (None, 0, EFAULT),
        (None, 4, EFAULT),
    ] {
        let mut v1 = V1::new(Fake::new(2000, 500), 4096);
        v1.set(STATE, RESUMING).unwrap();
        v1.0.host.called();
        match op {
            Some(op) => {
                v1.0.host.fail.set(Some((op, skip, error)));
                // A signal stays until the call returns.
                v1.0.host.again.set(1);
            }
            None => v1.0.window.fail.set(Some(skip)),
        }
        assert_eq!(v1.give(&image), Err(error));
        v1.0.host.fail.set(None);
        v1.0.host.again.set(0);
        assert_eq!(v1.state(), RESUMING);
        assert_eq!(v1.set(STATE, RUNNING), Err(EINVAL), "bytes are missing");
        if v1.0.object.engine().counters().bytes_loaded != 0 {
            assert_eq!(
                v1.set(SIZE, 7),
                Err(EINVAL),
                "the rest of this one comes next"
            );
        }
        v1.give(&image).unwrap();
        assert!(!v1.0.host.called().contains(&Op::Reset));
        v1.set(STATE, RUNNING).unwrap();
        assert_eq!(v1.0.device().contents(), Fake::filled(2000, 500).contents());
    }
}

#[test]
fn pending_bytes_of_a_running_device_are_those_that_can_go_now() {
    let mut v1 = V1::new(Fake::filled(200, 64), 4096);
    v1.set(STATE, PRE_COPY).unwrap();
    v1.0.device().busy = true;
    assert_eq!(v1.get(PENDING), Ok(64), "the header");
    assert_eq!(v1.get(SIZE), Ok(64));
    assert_eq!(v1.get(PENDING), Ok(0));
    assert_eq!(v1.get(SIZE), Ok(0));
    v1.0.device().busy = false;
    let now = v1.get(PENDING).unwrap();
    assert!(now > 200);
    assert_eq!(v1.get(SIZE), Ok(now));
    v1.get(PENDING).unwrap();

    // A stopped device is no longer at work: all that is left can go.
    v1.0.device().poke(3, 1);
    v1.0.device().busy = true;
    assert_eq!(v1.get(PENDING), Ok(0));
    v1.set(STATE, STOP_COPY).unwrap();
    let left = v1.get(PENDING).unwrap();
    assert!(left > 64);
    assert_eq!(v1.drain().unwrap().len() as u64, left);
}

#[test]
fn data_size_is_written_only_while_resuming_and_within_the_section() {
    for (state, _) in STATES {
        for size in [0, 1, 4096, 4097, 1 << 32, u64::MAX] {
            let mut v1 = V1::at(state);
            let staged = v1.peek().unwrap();
            v1.0.host.called();
            let result = v1.set(SIZE, size);
            if state == RESUMING && size <= 4096 {
                // The image is complete: another byte is too much.
                assert_eq!(result.is_ok(), size == 0);
                continue;
            }
            assert_eq!(result, Err(EINVAL), "{state}, {size}");
            assert!(v1.0.host.called().is_empty());
            assert_eq!(v1.state(), state);
            assert_eq!(v1.peek().unwrap(), staged);
        }
    }
}

/// Fails every operation on every way between two states.
#[test]
fn no_client_ever_reads_the_error_state() {
    for lose in [false, true] {
        for op in OPS {
            for skip in 0..3 {
                for (from, _) in STATES {
                    for (to, _) in STATES {
                        one_failure(lose, op, skip, from, to);
                    }
                }
            }
        }
    }
}

fn one_failure(lose: bool, op: Op, skip: u32, from: u64, to: u64) {
    let mut v1 = V1::at(from);
    v1.0.host.lose.set(lose);
    v1.0.host.fail.set(Some((op, skip, EIO)));
    let result = v1.set(STATE, to);
    // What a client does next.
    let _ = v1.peek();
    let _ = v1.give(&[1]);
    let failed = v1.0.host.fail.take().is_none();
    let what = format!("{op:?} {skip} {from} -> {to}, lose {lose}");

    // QEMU reads the state after a failed write, and aborts if that fails or finds an error.
    let state = v1.state();
    assert!([0, 1, 2, 3, 4].contains(&state), "{what}: {state}");
    if result.is_ok() {
        assert_eq!(state, to, "{what}");
    }
    if v1.engine_state() == State::Error {
        assert!(failed && lose, "{what}");
        let last = if result.is_ok() { to } else { from };
        assert_eq!(state, last, "{what}");
        // Only a reset leads out of it.
        for (other, _) in STATES {
            assert!(v1.set(STATE, other).is_err(), "{what}");
            assert_eq!(v1.state(), last, "{what}");
        }
        assert_eq!(v1.get(PENDING), Ok(0), "{what}");
        assert_eq!(v1.get(SIZE), Ok(0), "{what}");
        v1.0.host.lose.set(false);
        v1.0.device().lost = false;
    } else {
        assert!(result.is_ok() || state == from || state == STOP || state == RUNNING);
    }
    let side = &mut v1.0;
    side.object.engine_mut().reset(&side.host).unwrap();
    assert_eq!((v1.state(), v1.owner()), (RUNNING, None), "{what}");
}

#[test]
fn a_stopped_device_gets_no_command() {
    for (state, _) in STATES {
        let mut v1 = V1::at(state);
        let side = &mut v1.0;
        let result = side
            .object
            .engine_mut()
            .write_register(&side.host, register(0), 7);
        match state {
            RUNNING | PRE_COPY => assert_eq!(result, Ok(())),
            _ => assert_eq!(result, Err(EBUSY)),
        }
    }
}
