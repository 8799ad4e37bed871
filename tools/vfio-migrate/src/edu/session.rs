// SPDX-License-Identifier: GPL-2.0-only

//! The edu that a session has open.

use super::{Edu, Registers, Width};
use crate::error::{Error, Result};
use crate::migrate::session::Session;
use crate::pci::Identity;
use crate::vfio::Bar0;

impl<'a> Edu<'a> {
    /// The session's device as an edu; [`Error::WrongDevice`] if it is none.
    pub fn of(session: &'a Session) -> Result<Self> {
        Ok(Self::new(registers(session)?))
    }
}

/// The registers of the session's edu; [`Error::WrongDevice`] if its device is no edu.
pub fn registers(session: &Session) -> Result<&Bar0> {
    match (session.identity(), session.bar0()) {
        (Some(Identity::EDU), Some(registers)) => Ok(registers),
        (identity, _) => Err(Error::WrongDevice(format!(
            "{} is {}, and this command knows the registers of an edu ({}) only",
            session.address(),
            identity.map_or_else(|| "of unknown kind".into(), |id| id.to_string()),
            Identity::EDU
        ))),
    }
}

impl Registers for Bar0 {
    fn read(&self, offset: u64, width: Width) -> Result<u64> {
        let mut bytes = [0; 8];
        self.read_at(offset, &mut bytes[..width.bytes()])?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<()> {
        self.write_at(offset, &value.to_le_bytes()[..width.bytes()])
    }
}
