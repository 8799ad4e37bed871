// SPDX-License-Identifier: GPL-2.0-only

//! Reading the region's header.

use kernel::prelude::*;

use super::{
    layout::{
        Access,
        Field, //
    },
    state::DeviceState,
    Half,
    Region2018, //
};
use crate::{
    device::Device,
    engine::Pending,
    protocols::window::Side,
    state::State, //
};

/// What one access needs to read fields.
struct Reading<'a, D: Device> {
    /// What the access works on.
    side: Side<'a, D>,
    /// The pending counts, the same for every field of the access.
    pending: Option<Pending>,
    /// The access covers `dirty_pfns.copied`.
    copied: bool,
}

/// Returns the bytes of a read of half a field; `EINVAL` if it has another length.
fn half_of(out: &mut [u8]) -> Result<&mut [u8; 4]> {
    out.try_into().map_err(|_| EINVAL)
}

impl Region2018 {
    /// Reads the fields of `access` into `out`.
    pub(super) fn read_access<D: Device>(
        &mut self,
        side: Side<'_, D>,
        access: Access,
        out: &mut [u8],
    ) -> Result {
        let mut reading = Reading {
            side,
            pending: None,
            copied: matches!(access, Access::Fields(fields) if fields.contains(&Field::Copied)),
        };
        let half = match access {
            Access::Fields(fields) => {
                let mut bytes: super::Bytes = [0; super::HEADER_LEN];
                let mut rest = bytes.as_mut_slice();
                for field in fields {
                    let value = self.get(&mut reading, *field)?.to_le_bytes();
                    let (to, more) = rest.split_at_mut_checked(field.width()).ok_or(EINVAL)?;
                    to.copy_from_slice(value.get(..field.width()).ok_or(EINVAL)?);
                    rest = more;
                }
                out.copy_from_slice(bytes.get(..out.len()).ok_or(EINVAL)?);
                Half::None
            }
            Access::Low(field) => {
                let value = self.get(&mut reading, field)?;
                // CAST: the halves of the number, each of 32 bits.
                let (low, high) = (value as u32, (value >> 32) as u32);
                *half_of(out)? = low.to_le_bytes();
                Half::Read(field, high)
            }
            Access::High(field) => match self.half {
                Half::Read(begun, high) if begun == field => {
                    *half_of(out)? = high.to_le_bytes();
                    Half::None
                }
                _ => return Err(EINVAL),
            },
        };
        self.half = half;
        Ok(())
    }

    /// Returns the value of `field`, with the effects of reading it.
    fn get<D: Device>(&mut self, reading: &mut Reading<'_, D>, field: Field) -> Result<u64> {
        if field.is_pending() {
            self.done(&mut reading.side);
        }
        Ok(match field {
            Field::DeviceState => self.view(reading.side.engine)?.number().into(),
            Field::PrecopyOnly => self.pending(reading).precopy_only,
            Field::Compatible => self.pending(reading).compatible,
            Field::PostcopyOnly => self.pending(reading).postcopy_only,
            Field::ThresholdSize => self.threshold,
            Field::DataOffset => reading.side.window.offset(),
            Field::DataSize => {
                // If the access runs a query, its `data.size` is that of the bitmap.
                if reading.copied {
                    self.query(&mut reading.side)?;
                }
                self.data_size(&mut reading.side)?
            }
            Field::StartAddr => self.start,
            Field::Total => self.total,
            Field::Copied => self.query(&mut reading.side)?,
        })
    }

    /// Returns the pending counts; nothing is pending in another protocol's migration.
    fn pending<D: Device>(&self, reading: &mut Reading<'_, D>) -> Pending {
        if !self.is_owner(reading.side.engine) {
            return Pending::default();
        }
        let (engine, host) = (&*reading.side.engine, reading.side.host);
        let in_precopy = matches!(self.view(engine), Ok(DeviceState::Precopy));
        *reading.pending.get_or_insert_with(|| match engine.state() {
            // The image of a device without pre-copy has not begun.
            State::Running if in_precopy => Pending {
                postcopy_only: engine.size(host),
                ..Pending::default()
            },
            _ => engine.pending(host),
        })
    }
}
