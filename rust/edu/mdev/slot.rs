// SPDX-License-Identifier: GPL-2.0-only

//! The part of a virtual device that its commands work on: registers, buffer and what is under way.
//!
//! The virtual device shares it with the works that carry out its commands. They must not take the
//! state lock, which is held while the device waits for its commands.

mod copies;

use kernel::{
    new_work,
    prelude::*,
    sync::{
        lock::mutex::MutexGuard,
        new_condvar,
        new_mutex,
        Arc,
        CondVar,
        CondVarTimeoutResult,
        Mutex, //
    },
    time::Delta,
    workqueue::Work, //
};
use vfio::{
    mdev::{
        Handle,
        VirtualDevice, //
    },
    wait::Signals, //
};

use super::transfers::Content;
use crate::{
    image::RegisterState,
    registers::*,
    transfer::{
        DmaRegisters,
        Transfer, //
    }, //
};

/// The stages of a transfer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// Guest memory is to be read.
    Fetch,
    /// The transfer waits for the physical device, or the device does it.
    Device,
    /// Guest memory is to be written.
    Deliver,
}

/// A transfer that the guest has started.
pub(super) struct UnderWay {
    pub(super) transfer: Transfer,
    /// The registers with which it was started.
    pub(super) dma: DmaRegisters,
    pub(super) stage: Stage,
    /// The virtual device. It stays open until the transfer is done, because closing waits for
    /// that.
    pub(super) host: Handle,
}

/// The registers that the works read or change.
#[derive(Clone, Copy)]
pub(super) struct CommandRegisters {
    /// The status, only what the guest can change.
    pub(super) status: STATUS,
    /// Operand of the last factorial.
    pub(super) operand: u32,
    /// Its result; the operand during a computation.
    pub(super) factorial: u32,
    /// Interrupts raised and not acknowledged.
    pub(super) interrupts: INTERRUPT_STATUS,
}

impl CommandRegisters {
    /// The values of the registers after a reset.
    pub(super) const RESET: Self = Self {
        status: RegisterState::RESET.status,
        operand: RegisterState::RESET.operand,
        factorial: RegisterState::RESET.factorial,
        interrupts: RegisterState::RESET.interrupts,
    };
}

/// The state of a virtual device, without the registers that only its guest changes.
pub(super) struct SlotState {
    /// The registers.
    pub(super) registers: CommandRegisters,
    /// The internal buffer.
    pub(super) buffer: KBox<[u8; BUFFER_SIZE]>,
    /// The mark of its content.
    pub(super) content: Content,
    /// A factorial waits for the physical device, or the device computes it.
    pub(super) computing: bool,
    /// A transfer has begun and is not done.
    pub(super) transfer: Option<UnderWay>,
    /// The physical device has failed to carry out a command. The command had no effect.
    pub(super) failed: bool,
}

impl SlotState {
    /// Returns whether no command is under way.
    fn is_idle(&self) -> bool {
        !self.computing && self.transfer.is_none()
    }

    /// Returns the transfer under way.
    pub(super) fn transfer(&self) -> Option<Transfer> {
        self.transfer.as_ref().map(|under_way| under_way.transfer)
    }

    /// Sets interrupts, and raises the device's interrupt if any is set.
    pub(super) fn raise(&mut self, host: &VirtualDevice, interrupts: INTERRUPT_STATUS) {
        self.registers.interrupts = self.registers.interrupts.raised(interrupts);
        if !self.registers.interrupts.is_empty() {
            host.raise_interrupt();
        }
    }

    /// Clears interrupts, and lowers the device's interrupt if none is set any more.
    pub(super) fn acknowledge(&mut self, host: &VirtualDevice, interrupts: INTERRUPT_STATUS) {
        self.registers.interrupts = self.registers.interrupts.cleared(interrupts);
        if self.registers.interrupts.is_empty() {
            host.lower_interrupt();
        }
    }
}

/// The work that the physical device does for a virtual one.
pub(super) trait Physical: Send + Sync {
    /// Returns the mark of a new content of a buffer.
    fn new_content(&self) -> Content;

    /// Has a virtual device's factorial computed when its turn comes; `ENOMEM` without memory.
    fn compute(&self, slot: &Arc<Slot>, host: Handle) -> Result;

    /// Has a virtual device's transfer done when its turn comes; `ENOMEM` without memory.
    fn transfer(&self, slot: &Arc<Slot>, host: Handle) -> Result;

    /// Has user memory copied for the transfer of a virtual device.
    fn copy(&self, slot: Arc<Slot>);

    /// Forgets a virtual device's commands that the physical device has not begun.
    fn cancel(&self, slot: &Arc<Slot>);
}

/// The part of a virtual device that the work items share which carry out its commands.
#[pin_data]
pub(super) struct Slot {
    physical: Arc<dyn Physical>,
    /// Under this lock no user memory is touched, and of VFIO's locks only that of interrupts is
    /// taken.
    #[pin]
    state: Mutex<SlotState>,
    /// The bytes that a transfer moves, at their places in the buffer. This lock is held while user
    /// memory is copied. So only the works that carry out the transfer take it, before `state`.
    #[pin]
    staging: Mutex<KBox<[u8; BUFFER_SIZE]>>,
    /// Notified when a command is done.
    #[pin]
    done: CondVar,
    /// Copies between user memory and `staging`: see [`copies`].
    #[pin]
    work: Work<Slot>,
}

impl Slot {
    /// Returns the slot of a new virtual device.
    pub(super) fn new(physical: Arc<dyn Physical>) -> Result<Arc<Self>> {
        let state = SlotState {
            registers: CommandRegisters::RESET,
            buffer: KBox::new([0; BUFFER_SIZE], GFP_KERNEL)?,
            content: physical.new_content(),
            computing: false,
            transfer: None,
            failed: false,
        };
        let staging = KBox::new([0; BUFFER_SIZE], GFP_KERNEL)?;
        Arc::pin_init(
            pin_init!(Self {
                physical,
                state <- new_mutex!(state, "edu_slot"),
                staging <- new_mutex!(staging, "edu_staging"),
                done <- new_condvar!("edu_done"),
                work <- new_work!("edu_copies"),
            }),
            GFP_KERNEL,
        )
    }

    /// Returns the physical device.
    pub(super) fn physical(&self) -> &Arc<dyn Physical> {
        &self.physical
    }

    /// Takes the lock of the state.
    pub(super) fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock()
    }

    /// Takes the lock of the bytes that a transfer moves.
    pub(super) fn staging(&self) -> MutexGuard<'_, KBox<[u8; BUFFER_SIZE]>> {
        self.staging.lock()
    }

    /// Notes the result of a factorial, or that the physical device has failed.
    pub(super) fn computed(&self, host: &Handle, result: Result<u32>) {
        let mut state = self.state.lock();
        state.computing = false;
        match result {
            Ok(factorial) => state.registers.factorial = factorial,
            Err(_) => state.failed = true,
        }
        if state.registers.status.interrupt() {
            let factorial = INTERRUPT_STATUS::zeroed().with_factorial(true);
            host.with(|host| state.raise(host, factorial));
        }
        drop(state);
        self.done.notify_all();
    }

    /// Notes that the transfer is done, or that the physical device has failed.
    pub(super) fn transferred(&self, result: Result) {
        let mut state = self.state.lock();
        let under_way = state.transfer.take();
        state.failed |= result.is_err();
        if let Some(under_way) = &under_way {
            if under_way.dma.command.interrupt() {
                let transfer = INTERRUPT_STATUS::zeroed().with_transfer(true);
                under_way.host.with(|host| state.raise(host, transfer));
            }
        }
        drop(state);
        self.done.notify_all();
    }

    /// Waits until no command is under way, and takes the lock.
    ///
    /// With [`Signals::Interrupt`], `ETIMEDOUT` if that takes longer than `timeout`, and
    /// `ERESTARTSYS` on a signal. With [`Signals::Ignore`] the caller must have called off the
    /// copies. Each command then ends, because the driver waits for the physical device for a
    /// bounded time only.
    pub(super) fn wait_idle(
        &self,
        signals: Signals,
        timeout: Delta,
    ) -> Result<MutexGuard<'_, SlotState>> {
        let millis = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        let mut left = kernel::time::msecs_to_jiffies(millis);
        let mut state = self.state.lock();
        while !state.is_idle() {
            if signals == Signals::Ignore {
                self.done.wait(&mut state);
                continue;
            }
            match self.done.wait_interruptible_timeout(&mut state, left) {
                CondVarTimeoutResult::Woken { jiffies } => left = jiffies,
                CondVarTimeoutResult::Timeout => return Err(ETIMEDOUT),
                CondVarTimeoutResult::Signal { .. } => return Err(ERESTARTSYS),
            }
        }
        Ok(state)
    }
}
