// SPDX-License-Identifier: GPL-2.0-only

//! Code that the types of `rust/vfio` must refuse, because it would break memory safety, or could.
//!
//! `scripts/misuse` compiles this file as it is, which must succeed. Then it compiles it once for
//! each case, named by a `cfg`, which must fail with the error in the comment above it and with no
//! other.

#![forbid(unsafe_code)]
#![allow(
    dead_code,
    missing_docs,
    non_snake_case,
    unreachable_code,
    unused_imports,
    unused_variables
)]

use kernel::{
    device::{
        Bound,
        Core,
        Device, //
    },
    device_id,
    dma::Coherent,
    io::{
        Io,
        IoBase,
        Mmio,
        Region, //
    },
    pci,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        Mutex, //
    },
    workqueue::{
        Queue,
        RawDelayedWorkItem, //
    },
    ThisModule, //
};
use migration::trapped::Traps;
use vfio::{
    mdev::{
        Driver,
        Handle,
        Operations,
        VirtualDevice, //
    },
    pci::{
        CoreDevice,
        DeviceId,
        Registers,
        Registration,
        ScratchPage,
        Trapped, //
    },
    physical::DmaMemory,
    workqueue::WorkQueue, //
};

/// A reference to a passed-through device, or to its registers, outlives the call that it came
/// with.
fn kept_core_device(
    core: &CoreDevice,
    devices: &Mutex<KVec<&'static CoreDevice>>,
    registers: &Mutex<KVec<Registers<'static>>>,
) -> Result {
    // wants: borrowed data escapes outside of function
    #[cfg(core_device_is_kept)]
    devices.lock().push(core, GFP_KERNEL)?;
    // wants: AlwaysRefCounted` is not satisfied
    #[cfg(core_device_is_counted)]
    let kept: ARef<CoreDevice> = core.into();
    // wants: borrowed data escapes outside of function
    #[cfg(registers_are_kept)]
    registers.lock().push(core.registers(0)?, GFP_KERNEL)?;
    // wants: temporary value dropped while borrowed
    #[cfg(registers_are_left_behind)]
    let view: Mmio<'_, Region> = core.registers(0)?.as_view();
    #[cfg(registers_are_left_behind)]
    view.try_read8(0)?;
    // wants: borrowed data escapes outside of function
    #[cfg(core_device_goes_to_a_thread)]
    kernel::workqueue::system().try_spawn(GFP_KERNEL, move || drop(core.registers(0)))?;
    Ok(())
}

/// A pass's registers are used after it, or the page that the device accesses is used in it.
fn kept_pass(core: &CoreDevice, page: &mut ScratchPage) -> Result {
    let mut iova = None;
    // wants: lifetime may not live long enough
    #[cfg(registers_leave_a_pass)]
    let registers = core.with_private_dma(0, page, |registers, _| Ok(registers))?;
    core.with_private_dma(0, page, |_, at| {
        iova = Some(at);
        // wants: closure requires unique access
        #[cfg(page_is_used_in_a_pass)]
        page.write(&[1])?;
        Ok(())
    })?;
    Ok(())
}

/// An object that is not a table of devices.
struct Table;

impl device_id::IdTable<DeviceId, ()> for Table {
    fn as_ptr(&self) -> *const kernel::bindings::pci_device_id {
        core::ptr::null()
    }
}

/// The PCI core is given any memory as the table of devices.
fn bad_table<T: vfio::pci::Operations>(module: &'static ThisModule) {
    // wants: mismatched types
    #[cfg(table_is_no_array)]
    let registration = Registration::<T>::new(module, &Table);
}

/// A driver's table of what it traps is wrong; `pci::Operations::TRAPPED` goes through this check.
mod wrong_traps {
    use super::*;

    const TABLE: Traps = Traps::new(&[Trapped::pages(0, 0..0x1000), Trapped::bar(5)], 0x1000);

    // wants: a trapped range is not whole pages
    #[cfg(trapped_is_half_a_page)]
    const HALF: Traps = Traps::new(&[Trapped::pages(0, 0..0x800)], 0x1000);
    // wants: a trapped range is empty
    #[cfg(trapped_is_empty)]
    const EMPTY: Traps = Traps::new(&[Trapped::pages(0, 0x1000..0x1000)], 0x1000);
    // wants: two trapped ranges overlap
    #[cfg(trapped_overlaps)]
    const TWICE: Traps = Traps::new(&[Trapped::pages(1, 0..0x1000), Trapped::bar(1)], 0x1000);
    // wants: a trapped BAR is none of the six
    #[cfg(trapped_is_no_bar)]
    const SEVENTH: Traps = Traps::new(&[Trapped::bar(6)], 0x1000);
}

/// A reference to a virtual device outlives the call that it came with, or the closure.
fn kept_virtual_device(
    host: &VirtualDevice,
    handle: &Handle,
    devices: &Mutex<KVec<&'static VirtualDevice>>,
) -> Result {
    // wants: borrowed data escapes outside of function
    #[cfg(virtual_device_is_kept)]
    devices.lock().push(host, GFP_KERNEL)?;
    // wants: AlwaysRefCounted` is not satisfied
    #[cfg(virtual_device_is_counted)]
    let kept: ARef<VirtualDevice> = host.into();
    // wants: lifetime may not live long enough
    #[cfg(virtual_device_leaves_a_handle)]
    let kept = handle.with(|host| host);
    // A handle can be kept.
    let kept: Handle = host.handle();
    Ok(())
}

/// A reference to the mediated device outlives its parent's registration, which its release uses.
fn kept_mediated_device(host: &VirtualDevice) {
    // wants: AsRef<kernel::device::Device>` is not satisfied
    #[cfg(mediated_device_is_counted)]
    let kept: ARef<Device> = AsRef::<Device>::as_ref(host).into();
    // wants: the method `as_ref` exists for reference `&VirtualDevice`, but its trait bounds were
    #[cfg(mediated_device_is_borrowed)]
    let kept: ARef<Device> = host.as_ref().into();
    vfio::dev_warn_ratelimited!(host, "a message\n");
}

/// A device that has no driver becomes a parent, whose unbinding would never come.
fn unbound_parent<T: Operations>(
    device: &Device,
    bound: &Device<Bound>,
    data: T::Parent,
) -> Result {
    // wants: mismatched types
    #[cfg(parent_is_not_bound)]
    let registration = vfio::mdev::Registration::<T>::new(device, data)?;
    #[cfg(not(parent_is_not_bound))]
    let registration = vfio::mdev::Registration::<T>::new(bound, data)?;
    Ok(())
}

/// A driver is dropped while it is registered.
fn local_driver<T: Operations>() -> Result {
    let driver = Driver::<T>::new();
    // wants: `driver` does not live long enough
    #[cfg(driver_is_no_static)]
    let registration = driver.register()?;
    Ok(())
}

/// Memory for DMA is used although the driver does not have the function, or is taken out of the
/// object that ends with the binding.
fn kept_memory(
    pdev: &pci::Device,
    core: &pci::Device<Core<'_>>,
    memories: &Mutex<KVec<&'static Coherent<[u8]>>>,
) -> Result {
    // wants: mismatched types
    #[cfg(memory_is_of_any_function)]
    let memory = DmaMemory::new(pdev, 32, 4096)?;
    let memory = DmaMemory::new(core, 32, 4096)?;
    // wants: mismatched types
    #[cfg(memory_is_taken_out)]
    let inner: &Coherent<[u8]> = &memory;
    // The object can be kept, because it ends by itself.
    let memory = Arc::new(memory, GFP_KERNEL)?;
    memory.write(&[0; 4096])
}

/// A timer enqueues an item on a queue that is gone.
fn delayed_item<W: RawDelayedWorkItem<0> + Send + 'static>(queue: &WorkQueue, item: W) {
    // wants: no method named `enqueue_delayed` found
    #[cfg(queue_has_delayed_items)]
    queue.enqueue_delayed(item, 1000);
    // wants: mismatched types
    #[cfg(queue_is_taken_out)]
    let inner: &Queue = queue;
}

/// A pattern names an error constant that the tree's kernel crate lacks, and so takes every error.
fn unknown_error(error: Error) -> i32 {
    // wants: unreachable pattern
    #[cfg(unknown_error_in_a_match)]
    return match error {
        EMADEUP => 1,
        EINVAL => 2,
        _ => 3,
    };
    // wants: irrefutable `if let` pattern
    #[cfg(unknown_error_in_a_let)]
    if let EMADEUP = error {
        return 1;
    }
    0
}
