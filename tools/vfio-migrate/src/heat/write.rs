// SPDX-License-Identifier: GPL-2.0-only

//! The trace event of a write to guest memory.

use migration::iova::{IovaRange, PageRange};

use crate::watch::event::Event;

/// Returns the pages that an event says the device writes; `None` for other events.
pub fn pages(event: &Event) -> Option<PageRange> {
    if event.name != "rvfio_dirty" {
        return None;
    }
    let fields = event.fields();
    let number = |name: &str| fields.get(name)?.as_u64();
    let range = IovaRange::new(number("iova")?, number("bytes")?).ok()?;
    Some(range.pages())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::event::Line;

    fn of(text: &str) -> Option<(u64, u64)> {
        let line = format!("  qemu-7  [000] d..1. 5.000001: {text}");
        match Line::parse(&line) {
            Line::Event(event) => pages(&event).map(|pages| (pages.first(), pages.count())),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn pages_are_those_that_the_bytes_touch() {
        for (text, pages) in [
            ("iova=0x100000 bytes=4096", (0x100, 1)),
            ("iova=0x100fff bytes=2", (0x100, 2)),
            ("iova=0x0 bytes=1", (0, 1)),
            ("iova=0xfffffffffffff001 bytes=4095", ((1 << 52) - 1, 1)),
        ] {
            assert_eq!(
                of(&format!("rvfio_dirty: 0000:00:10.0 {text}")),
                Some(pages)
            );
        }
        for text in [
            "rvfio_dirty: 0000:00:10.0 iova=0x1000 bytes=0",
            "rvfio_dirty: 0000:00:10.0 iova=0xfffffffffffff000 bytes=4097",
            "rvfio_dirty: 0000:00:10.0 iova=x bytes=1",
            "rvfio_dirty: 0000:00:10.0 bytes=1",
            "rvfio_dirty_query: 0000:00:10.0 iova=0x1000 bytes=1",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
