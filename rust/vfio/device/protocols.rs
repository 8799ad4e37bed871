// SPDX-License-Identifier: GPL-2.0-only

//! Which migration protocols a driver offers.

use migration::protocols::MigrationRegion;

/// Which migration protocols a driver offers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Protocols {
    /// The region of November 2018.
    pub region_2018: bool,
    /// The region of Linux 5.8 to 5.17.
    pub region_v1: bool,
    /// The migration features of Linux 5.18 and later.
    pub v2: bool,
}

impl Protocols {
    /// Returns the migration regions that are offered, in the order of their indices.
    pub(crate) fn regions(self) -> impl Iterator<Item = MigrationRegion> {
        [
            self.region_2018.then_some(MigrationRegion::Region2018),
            self.region_v1.then_some(MigrationRegion::RegionV1),
        ]
        .into_iter()
        .flatten()
    }
}
