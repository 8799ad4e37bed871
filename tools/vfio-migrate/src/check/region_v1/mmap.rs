// SPDX-License-Identifier: GPL-2.0-only

//! Mappings of region v1.

use super::client::{open, put_by, save, save_and, Mapped, HEADER};
use crate::check::region::lies_in;
use crate::check::{ensure, fails, not_applicable, succeeds, Check, Subject, Verdict};
use crate::sys::{page_size, How};

const MMAP: &str = "vfio.h of Linux 5.8 to 5.17: the header is trapped, the data section may be \
    mapped as the sparse mmap capability tells; QEMU 7.2 maps what it names, the whole region \
    without it";
const EITHER: &str =
    "vfio.h of Linux 5.8 to 5.17: the user is not required to access through mmap \
    regardless of the capabilities; QEMU 7.2 accesses what is mapped so";

/// The checks of this area that map.
pub fn checks() -> Vec<Check> {
    vec![
        Check::new("region-v1.mmap-bounds", MMAP, mmap_bounds),
        Check::new("region-v1.mmap-same-bytes", EITHER, mmap_same_bytes),
    ]
}

fn mmap_bounds(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    let (info, page) = (&region.info, page_size());
    let map = |at: u64, len| {
        region
            .open
            .device
            .try_map(info.offset + at, len, How::Shared)
    };
    fails(map(0, page), "mapping the header")?;
    for area in info.sparse.iter().flatten() {
        lies_in(area, info)?;
        let aligned = [area.offset, area.size]
            .iter()
            // CAST: widening.
            .all(|number| number % page as u64 == 0);
        ensure(aligned && area.offset >= HEADER, || {
            format!("the area is {} bytes at {}", area.size, area.offset)
        })?;
        Mapped::new(&region, *area)?;
    }
    Ok(())
}

/// Saves and loads through a mapping, and compares with what calls see.
fn mmap_same_bytes(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    let mut areas = Vec::new();
    for area in region.info.sparse.iter().flatten() {
        lies_in(area, &region.info)?;
        areas.push(Mapped::new(&region, *area)?);
    }
    let find = |offset, length| {
        let mut areas = areas.iter();
        areas.find_map(|area| Some((area.memory(), area.find(offset, length)?)))
    };
    let mut any = false;
    let image = save_and(&region, |buffer, bytes| {
        let Some((memory, at)) = find(buffer.offset, bytes.len()) else {
            return Ok(());
        };
        any = true;
        let mut found = vec![0; bytes.len()];
        memory.read(at, &mut found);
        ensure(found == bytes, || {
            "the mapping shows other bytes of a buffer than a read".into()
        })
    })?;
    if !any {
        return not_applicable("no buffer is where the region can be mapped");
    }
    region.set(4)?;
    for bytes in &image {
        let done = put_by(&region, bytes, |offset| match find(offset, bytes.len()) {
            Some((memory, at)) => {
                memory.write(at, bytes);
                Ok(())
            }
            None => region.write(offset, bytes),
        });
        succeeds(done, "handing a buffer over by the mapping")?;
    }
    region.set(1)?;
    save(&region).map(drop)
}
