// SPDX-License-Identifier: GPL-2.0-only

//! Whole migrations, against the migration core that the kernel module has.

mod fake;
mod image;
mod live;
mod tcp;

use std::time::Duration;

use crate::edu::{Edu, Register, Workload};
use crate::error::Result;
use crate::migrate::dirty::PAGE;
use crate::migrate::live::{migrate, Event, Observer, Options, Statistics};
use crate::migrate::protocol::{Migration, Phase};
use crate::migrate::target::Target;
use fake::FakeEdu;

const OPTIONS: Options = Options {
    rounds: 3,
    chunk: None,
};

/// Sets a device up so that nothing is as after a reset.
fn set_up(edu: &Edu<'_>) {
    edu.write(Register::LIVENESS, 0x1234_5678).unwrap();
    edu.factorial(12).unwrap();
    edu.write(Register::STATUS, 0x80).unwrap();
    edu.write(Register::IRQ_RAISE, 0x5a).unwrap();
}

/// Takes a state into memory.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Target for Bytes {
    fn device(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.extend(bytes);
        Ok(())
    }
    fn page(&mut self, _: usize, _: &[u8; PAGE]) -> Result<()> {
        Ok(())
    }
    fn ready(&mut self) -> Result<()> {
        Ok(())
    }
    fn start(&mut self) -> Result<()> {
        Ok(())
    }
    fn abort(&mut self, _: &str) {
        self.0.clear();
    }
}

/// Records events, and stops a workload at the end.
#[derive(Default)]
struct Host {
    workload: Option<Workload>,
    events: Vec<Event>,
}

impl Observer for Host {
    fn event(&mut self, event: Event) {
        self.events.push(event);
    }
    fn between_rounds(&mut self) -> Result<()> {
        self.workload
            .as_ref()
            .map_or(Ok(()), |it| it.wait_for(2, Duration::from_secs(10)))
    }
    fn before_stop(&mut self) -> Result<()> {
        self.workload
            .take()
            .map_or(Ok(()), |mut it| it.halt().map(drop))
    }
}

fn save(device: &FakeEdu, chunk: Option<u64>) -> (Vec<u8>, Statistics) {
    let mut bytes = Bytes::default();
    let mut source = device.migration();
    let options = Options { rounds: 1, chunk };
    let statistics = migrate(&mut source, None, &mut bytes, &mut Host::default(), options).unwrap();
    source.enter(Phase::Running).unwrap();
    (bytes.0, statistics)
}
