// SPDX-License-Identifier: GPL-2.0-only

//! A driver's own work queue, which is empty before the driver is unloaded.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use core::ptr::NonNull;

use kernel::{
    bindings::{
        destroy_workqueue,
        drain_workqueue,
        workqueue_struct, //
    },
    prelude::*,
    workqueue::{
        Queue,
        RawWorkItem, //
    }, //
};

use crate::bindings;

/// A work queue; its drop waits for all its items, and for those that they enqueue.
///
/// Items may sleep. They run in parallel, but none in parallel with itself. There are no delayed
/// items: the end of a queue does not wait for their timers, which would find it freed.
///
/// # Invariants
///
/// The pointer owns a work queue.
pub struct WorkQueue(NonNull<workqueue_struct>);

// SAFETY: Work queues may be used, and destroyed, from any thread.
unsafe impl Send for WorkQueue {}

// SAFETY: As above.
unsafe impl Sync for WorkQueue {}

impl WorkQueue {
    /// Creates an empty queue; `ENOMEM` without memory.
    pub fn new(name: &CStr) -> Result<Self> {
        // SAFETY: The name is copied.
        let queue = unsafe { bindings::rvfio_workqueue_alloc(name.as_char_ptr()) };
        // INVARIANT: The queue was just allocated.
        NonNull::new(queue).map(Self).ok_or(ENOMEM)
    }

    /// Enqueues an item; see [`Queue::enqueue`].
    pub fn enqueue<W, const ID: u64>(&self, item: W) -> W::EnqueueOutput
    where
        W: RawWorkItem<ID> + Send + 'static,
    {
        self.queue().enqueue(item)
    }

    /// Returns the queue as the kernel crate has it.
    fn queue(&self) -> &Queue {
        // SAFETY: The queue is valid by the type invariant as long as `self` is.
        unsafe { Queue::from_raw(self.0.as_ptr()) }
    }

    /// Waits until no item runs or is queued.
    ///
    /// Meanwhile only items may enqueue others. An item must not call this. An item must not drop
    /// the last reference to its own queue either, so whoever gives the queue up drains it first.
    pub fn drain(&self) {
        // SAFETY: The queue is valid by the type invariant.
        unsafe { drain_workqueue(self.0.as_ptr()) };
    }
}

impl Drop for WorkQueue {
    fn drop(&mut self) {
        // SAFETY: The queue is owned by the type invariant.
        unsafe { destroy_workqueue(self.0.as_ptr()) };
    }
}

#[kernel::macros::kunit_tests(rvfio_workqueue)]
mod tests {
    use kernel::{
        sync::{
            atomic::{
                Atomic,
                Relaxed, //
            },
            Arc, //
        },
        time::{
            delay::fsleep,
            Delta, //
        }, //
    };

    use super::*;

    const ITEMS: u32 = 20;

    /// Returns a queue with items that take a while, and the number of those that have run.
    fn busy() -> Result<(WorkQueue, Arc<Atomic<u32>>)> {
        let queue = WorkQueue::new(c"rvfio_kunit")?;
        let ran = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        for _ in 0..ITEMS {
            let ran = ran.clone();
            queue.queue().try_spawn(GFP_KERNEL, move || {
                fsleep(Delta::from_millis(1));
                ran.fetch_add(1, Relaxed);
            })?;
        }
        Ok((queue, ran))
    }

    #[test]
    fn a_dropped_queue_has_run_all_items() -> Result {
        let (queue, ran) = busy()?;
        drop(queue);
        assert_eq!(ran.load(Relaxed), ITEMS);
        Ok(())
    }

    #[test]
    fn a_drained_queue_can_be_used_again() -> Result {
        let (queue, ran) = busy()?;
        queue.drain();
        assert_eq!(ran.load(Relaxed), ITEMS);
        let more = ran.clone();
        queue.queue().try_spawn(GFP_KERNEL, move || {
            more.fetch_add(1, Relaxed);
        })?;
        drop(queue);
        assert_eq!(ran.load(Relaxed), ITEMS + 1);
        Ok(())
    }
}
