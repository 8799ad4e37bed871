// SPDX-License-Identifier: GPL-2.0-only

//! The pure core of rvfio: what migrating a device means, apart from the kernel and the device.
//!
//! [`Migratable`] is the object that a driver keeps, under one lock, for each device. It joins the
//! vendor driver's [`Device`] to an [`Engine`] and puts a front end for each migration protocol
//! before it. The crate uses nothing but `core` and the kernel crate's collections and errors, so
//! the same files are compiled into the kernel module and by `cargo test` on the host.
//!
//! [`Device`]: device::Device
//! [`Engine`]: engine::Engine
//! [`Migratable`]: protocols::Migratable

#![forbid(unsafe_code)]

pub mod checklist;
pub mod container;
pub mod crc32c;
pub mod device;
pub mod dirty;
pub mod engine;
pub mod image;
pub mod iova;
pub mod protocols;
pub mod state;
pub mod trapped;
