// SPDX-License-Identifier: GPL-2.0-only

//! Files that the user names: what is read, what is written, and where a name leads.

pub mod input;
pub mod new_file;
pub mod place;
