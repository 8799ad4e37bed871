// SPDX-License-Identifier: GPL-2.0-only

//! A device whose callbacks try what a driver must not do, and log the results.

use core::marker::PhantomData;

use kernel::prelude::*;
use migration::{
    container::Container,
    device::{
        Access,
        Amount,
        Device,
        Phase,
        Remaining, //
    },
    dirty::DirtyLog,
    image::{
        Identity,
        Payload,
        Section,
        SectionHead, //
    }, //
};

/// Logs the result of an attempt: 0, or a negative errno.
pub(crate) fn say<T>(what: &str, when: &str, result: Result<T>) {
    let errno = result.map_or_else(|error| error.to_errno(), |_| 0);
    pr_info!("{} in {}: {}\n", what, when, errno);
}

/// The object that a driver's code is given to work with.
pub(crate) trait Victim: Container {
    /// Tries everything that needs an open device.
    fn try_all(&self, when: &str);
}

/// The device.
pub(crate) struct Wrong<V>(PhantomData<fn(&V)>);

impl<V> Wrong<V> {
    /// Returns the device.
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<V: Victim> Device for Wrong<V> {
    type Host = V;

    fn identity(&self) -> Identity {
        Identity {
            vendor: 0,
            device: 0,
            subsystem_vendor: 0,
            subsystem_device: 0,
            revision: 0,
            state_major: 1,
            state_minor: 0,
        }
    }

    fn quiesce(&mut self, _host: &V) -> Result {
        Ok(())
    }

    fn resume(&mut self, _host: &V) -> Result {
        Ok(())
    }

    fn reset(&mut self, host: &V) -> Result {
        host.try_all("reset");
        Ok(())
    }

    fn size(&self, _host: &V) -> Amount {
        Amount::default()
    }

    fn save_begin(&mut self, _host: &V) -> Result {
        Ok(())
    }

    fn remaining(&self, _host: &V) -> Remaining {
        Remaining::default()
    }

    fn save(
        &mut self,
        _host: &V,
        _phase: Phase,
        _payload: &mut Payload,
    ) -> Result<Option<SectionHead>> {
        Ok(None)
    }

    fn load_begin(&mut self, _host: &V) -> Result {
        Ok(())
    }

    fn load(&mut self, _host: &V, _section: &Section<'_>) -> Result {
        Err(EOPNOTSUPP)
    }

    fn load_end(&mut self, _host: &V) -> Result {
        Ok(())
    }

    fn read(&mut self, host: &V, _access: Access) -> Result<u64> {
        host.try_all("read");
        Ok(0)
    }

    fn write(&mut self, _host: &V, _log: &mut DirtyLog, _access: Access, _value: u64) -> Result {
        Ok(())
    }
}
