// SPDX-License-Identifier: GPL-2.0-only

//! The migration region of November 2018.

mod client;
mod dirty;
mod header;
mod image;
mod states;

use client::{load, open, save};
use states::NAMES;

use super::Check;
use crate::migrate::region_2018::HEADER;

const INFO: &str = "uapi.rst, Discovery: READ, WRITE, MMAP, one sparse area, the data section, \
    which begins at a page after the header and reaches to the end";
const MMAP: &str = "uapi.rst, Discovery: mappings of the data section are shared and not \
    executable; any other mapping of the region fails";
const ACCESS: &str = "uapi.rst, Access rules: one whole field, several neighbours, or the halves \
    of a 64-bit field in order; everything else is EINVAL and changes nothing";
const READ_ONLY: &str = "uapi.rst, Access rules: a write that touches a read-only field is EINVAL";
const SECTION: &str = "uapi.rst, Access rules: the data section takes any width and alignment; an \
    access beyond its end is shortened, one that begins there is EINVAL";
const STATES: &str =
    "uapi.rst, States: the table of transitions; others are EINVAL and the device \
    stays as it is";
const COMPLETED: &str = "uapi.rst, States: SAVE_COMPLETED and RESUME_COMPLETED are EINVAL until \
    the whole image was handed out or taken";
const PENDING: &str = "uapi.rst, Get pending bytes: 0 unless an image is being produced";
const BUFFER: &str = "uapi.rst, Get a buffer: reading offset and size again returns the same; at \
    most threshold_size bytes";
const ONE_THING: &str = "uapi.rst, What the data section holds: one thing at a time; reading \
    data.offset has no effect; after a query data.size is the length of the bitmap";
const LOAD: &str = "uapi.rst, Set a buffer: the image is a stream of bytes and may be cut anywhere";
const REFUSED: &str = "uapi.rst, Set a buffer: an image that is refused fails that write; only \
    FAILED, CANCELLED or VFIO_DEVICE_RESET leads on";
const DIRTY: &str = "uapi.rst, Get dirty pages: total is EINVAL when no pages are recorded, when \
    it is 0, or when the range leaves the address space; copied reads the same until re-armed";
const CANCEL: &str = "uapi.rst, States: a source that goes back to RUNNING, by FAILED or by \
    CANCELLED, runs on with nothing lost and can be saved again";
const RESET: &str = "uapi.rst, States: VFIO_DEVICE_RESET is allowed in every state and leads to \
    RUNNING; the header then reads as after open";
const OWNER: &str = "uapi.rst, Other protocols: the first protocol that leaves its running state \
    owns the device; meanwhile writes of the others fail with EBUSY";

/// Offsets at which fields begin, and the end.
const BOUNDS: [u64; 11] = [0, 4, 12, 20, 28, 36, 44, 52, 60, 68, HEADER];

/// The checks of this area.
pub fn checks() -> Vec<Check> {
    let mut checks = vec![
        Check::new("region-2018.info", INFO, header::info),
        Check::new("region-2018.mmap-bounds", MMAP, |s| open(s)?.mmap_bounds()),
        Check::new("region-2018.mmap-protection", MMAP, |s| {
            open(s)?.mmap_protection()
        }),
        Check::new("region-2018.mmap-same-bytes", MMAP, |s| {
            open(s)?.mmap_is_the_section()
        }),
        Check::new("region-2018.widths", ACCESS, |s| {
            open(s)?.refuses_other_accesses(HEADER, |at, len| {
                let end = at + len as u64;
                let whole = BOUNDS.contains(&at) && BOUNDS.contains(&end);
                // The next check looks at halves.
                let half = len == 4 && at % 4 == 0 && at < HEADER;
                whole || half
            })
        }),
        Check::new("region-2018.halves", ACCESS, header::halves),
        Check::new("region-2018.gap", ACCESS, header::gap),
        Check::new("region-2018.read-only-fields", READ_ONLY, header::read_only),
        Check::new("region-2018.fields-keep-values", ACCESS, header::keep),
        Check::new("region-2018.data-section", SECTION, header::section),
        Check::new("region-2018.unknown-states", STATES, states::unknown),
        Check::new(
            "region-2018.pending-when-not-saving",
            PENDING,
            image::pending,
        ),
        Check::new("region-2018.staged-buffer-stays", BUFFER, image::staged),
        Check::new("region-2018.threshold", BUFFER, image::threshold),
        Check::new(
            "region-2018.save-completed",
            COMPLETED,
            image::save_completed,
        ),
        Check::new(
            "region-2018.resume-completed",
            COMPLETED,
            image::resume_completed,
        ),
        Check::new("region-2018.truncated", COMPLETED, image::truncated),
        Check::new("region-2018.bit-flips", REFUSED, image::bit_flips),
        Check::new("region-2018.trailing", REFUSED, image::trailing),
        Check::new(
            "region-2018.buffer-arguments",
            LOAD,
            image::buffer_arguments,
        ),
        Check::new("region-2018.dirty-arguments", DIRTY, dirty::dirty_arguments),
        Check::new("region-2018.dirty-query", DIRTY, dirty::dirty_query),
        Check::new(
            "region-2018.queries-between-buffers",
            ONE_THING,
            dirty::between,
        ),
        Check::new("region-2018.owner", OWNER, states::owner),
    ];
    for (from, name) in (0..).zip(NAMES) {
        checks.push(Check::new(
            format!("region-2018.from-{name}"),
            STATES,
            move |subject| states::transitions(subject, from),
        ));
        checks.push(Check::new(
            format!("region-2018.reset-in-{name}"),
            RESET,
            move |subject| states::reset_in(subject, from),
        ));
    }
    for size in [1, 8, 4096, 1 << 20] {
        checks.push(Check::new(
            format!("region-2018.load-by-{size}"),
            LOAD,
            move |subject| {
                let region = open(subject)?;
                let image = save(&region)?;
                load(&region, &image, size)
            },
        ));
    }
    for (value, name) in [(1, "RUNNING"), (8, "FAILED"), (9, "CANCELLED")] {
        checks.push(Check::new(
            format!("region-2018.source-back-by-{name}"),
            CANCEL,
            move |subject| states::back(subject, value),
        ));
    }
    checks
}
