// SPDX-License-Identifier: GPL-2.0-only

//! The virtual function as a device that can be migrated.

mod guest;
mod show;
mod tracking;

use core::fmt;

use kernel::{
    io::Io,
    prelude::*, //
};
use migration::{
    checklist::Checklist,
    device::{
        Access,
        Amount,
        Device,
        DirtyTracking,
        Phase,
        Remaining, //
    },
    dirty::DirtyLog,
    image::{
        Identity,
        Payload,
        Section,
        SectionHead, //
    }, //
};
use vfio::{
    dev_err_ratelimited,
    dev_warn_ratelimited,
    pci::CoreDevice, //
};

use self::tracking::Tracking;
use crate::{
    hardware::{
        self,
        Queues, //
    },
    history::History,
    image,
    interrupts::{
        self,
        Enabled, //
    },
    mailbox::Request,
    physical_function::{
        Mailbox,
        Posted, //
    },
    registers::*,
    replay::{
        self,
        PhysicalFunction, //
    },
    state::RegisterState,
    statistics::Offsets, //
};

/// State of one virtual function: what cannot be read back from the hardware.
pub(crate) struct VirtualFunction {
    identity: Identity,
    /// The guest's requests to the PF.
    history: History,
    /// The guest's last request, until it is answered.
    posted: Option<Posted>,
    /// The interrupts that the guest has enabled.
    enabled: Enabled,
    /// Bits of V2PMAILBOX that were read, and that the guest has not read yet.
    sticky: u32,
    /// The differences between the statistics that the guest reads and the registers.
    statistics: Offsets,
    /// The queues as the guest has set them up, while the function is stopped.
    stopped: Option<Queues>,
    /// The memory that the function writes, while the engine tracks it.
    tracking: Option<Tracking>,
    /// The sections that are in the image that is being saved.
    saved: Checklist,
    /// The sections that were taken from the image that is being loaded.
    loaded: Checklist,
    /// The requests that were loaded, until the whole image is there.
    loaded_history: Option<History>,
    /// The registers that were loaded, until the whole image is there.
    loaded_state: RegisterState,
}

impl VirtualFunction {
    /// Creates the state of a function of which nothing is known.
    pub(crate) fn new(core: &CoreDevice) -> Result<Self> {
        Ok(Self {
            identity: core.identity(image::STATE_MAJOR, image::STATE_MINOR),
            history: History::new()?,
            posted: None,
            enabled: Enabled::default(),
            sticky: 0,
            statistics: Offsets::default(),
            stopped: None,
            tracking: None,
            saved: Checklist::new(image::SECTIONS),
            loaded: Checklist::new(image::SECTIONS),
            loaded_history: None,
            loaded_state: RegisterState::default(),
        })
    }

    /// Checks that the history is complete; `EOPNOTSUPP`, with a message, if it is not.
    ///
    /// Waits for the answer to the last request, for a second.
    fn check_history(&mut self, core: &CoreDevice) -> Result {
        self.wait_answer(core, true)?;
        if let Some(posted) = self.posted {
            self.history.unanswered(posted.request.kind());
        }
        let Some(gap) = self.history.gap() else {
            return Ok(());
        };
        dev_err_ratelimited!(
            core,
            "cannot be migrated until its driver resets it: {}\n",
            format_args!("{}", gap)
        );
        Err(EOPNOTSUPP)
    }

    /// Removes addresses of the guest's from the PF, which keeps them over a reset.
    fn remove_filters(&self, core: &CoreDevice) -> Result {
        let mut mailbox = Mailbox::new(core);
        // The PF takes no other request before this one.
        mailbox.request(&Request::reset())?;
        mailbox.request(&Request::filter_clear())?;
        Ok(())
    }

    /// Returns the bytes of the sections whose size varies.
    fn varying(&self) -> [(u16, u64); 1] {
        [(image::REQUESTS, self.history.size())]
    }

    /// Reads the registers of the stopped function, as the guest sees them.
    fn read_registers(&mut self, core: &CoreDevice) -> Result<RegisterState> {
        let queues = self.stopped.ok_or(EINVAL)?;
        let registers = core.registers(BAR)?;
        let mut state = hardware::read(&registers, &queues)?;
        state.mailbox = hardware::read_mailbox(&registers)?;
        drop(registers);
        self.sticky |= state.mailbox.sticky;
        state.mailbox.sticky = self.sticky;
        state.enabled = self.enabled.bits();
        for (index, value) in state.statistics.iter_mut().enumerate() {
            *value = self.statistics.shown(index, *value);
        }
        Ok(state)
    }

    /// Saves the registers of the stopped function.
    fn save_registers(&mut self, core: &CoreDevice, payload: &mut Payload) -> Result {
        let state = self.read_registers(core)?;
        if !state.is_possible() {
            dev_err_ratelimited!(
                core,
                "cannot be migrated: the guest's rings have heads or tails outside of them\n"
            );
            return Err(EOPNOTSUPP);
        }
        state.write(payload)
    }

    /// Saves the requests to the PF.
    fn save_requests(&mut self, core: &CoreDevice, payload: &mut Payload) -> Result {
        self.check_history(core)?;
        self.history.write(payload)
    }

    /// Makes the registers those of `state`, and notes what they do not have.
    fn write_registers(&mut self, core: &CoreDevice, state: &RegisterState) -> Result {
        hardware::write(core, state)?;
        let raw = hardware::statistics(&core.registers(BAR)?)?;
        self.statistics = Offsets::new(&raw, &state.statistics);
        self.enabled = Enabled::from_bits(state.enabled);
        self.sticky = state.mailbox.sticky;
        Ok(())
    }
}

impl Device for VirtualFunction {
    type Host = CoreDevice;

    const DIRTY_TRACKING: DirtyTracking = DirtyTracking::Found;
    const SHOWS: bool = true;

    fn identity(&self) -> Identity {
        self.identity
    }

    fn quiesce(&mut self, core: &CoreDevice) -> Result {
        self.stopped = Some(hardware::stop(core)?);
        Ok(())
    }

    fn resume(&mut self, core: &CoreDevice) -> Result {
        let Some(queues) = self.stopped else {
            return Ok(());
        };
        let more = match V2PMAILBOX::from_raw(self.sticky).rstd() {
            // The guest must look into its mailbox.
            true => interrupts::of_mailbox(core.registers(BAR)?.try_read(IVAR_MISC)?.into_raw()),
            false => 0,
        };
        hardware::start(core, &queues, self.enabled.bits(), more)?;
        self.stopped = None;
        self.unsettle();
        Ok(())
    }

    fn reset(&mut self, core: &CoreDevice) -> Result {
        self.tracking = None;
        self.saved.clear();
        self.loaded.clear();
        self.loaded_history = None;
        if self.history.has_filters() {
            if let Err(error) = self.remove_filters(core) {
                dev_warn_ratelimited!(
                    core,
                    "the PF may keep MAC addresses of the last guest: {:?}\n",
                    error
                );
            }
        }
        match hardware::reset(core) {
            // The PF is in a reset of its own, which the next guest waits for.
            Err(error) if error == ETIMEDOUT => {}
            result => result?,
        }
        self.history.clear();
        self.posted = None;
        let state = RegisterState::after_reset();
        self.write_registers(core, &state)?;
        Mailbox::new(core).write(&state.mailbox.words, state.mailbox.is_owned)?;
        self.stopped = None;
        Ok(())
    }

    fn size(&self, _core: &CoreDevice) -> Amount {
        image::SECTIONS.size_with(&self.varying())
    }

    fn save_begin(&mut self, core: &CoreDevice) -> Result {
        self.check_history(core)?;
        self.saved.clear();
        Ok(())
    }

    fn remaining(&self, _core: &CoreDevice) -> Remaining {
        self.saved.remaining_with(&[], &self.varying())
    }

    fn save(
        &mut self,
        core: &CoreDevice,
        phase: Phase,
        payload: &mut Payload,
    ) -> Result<Option<SectionHead>> {
        let Some(kind) = self.saved.next(phase, &[]) else {
            return Ok(None);
        };
        match kind {
            image::REQUESTS => self.save_requests(core, payload)?,
            _ => self.save_registers(core, payload)?,
        }
        Ok(Some(self.saved.put(kind)))
    }

    fn load_begin(&mut self, _core: &CoreDevice) -> Result {
        self.loaded.clear();
        self.loaded_history = None;
        Ok(())
    }

    fn load(&mut self, _core: &CoreDevice, section: &Section<'_>) -> Result {
        self.loaded.check(section)?;
        match section.head.kind {
            image::REQUESTS => self.loaded_history = Some(History::read(section)?),
            _ => self.loaded_state = RegisterState::read(section)?,
        }
        self.loaded.take(section);
        Ok(())
    }

    fn load_end(&mut self, core: &CoreDevice) -> Result {
        self.loaded.end()?;
        let history = self.loaded_history.as_ref().ok_or(EINVAL)?;
        let mut mailbox = Mailbox::new(core);
        if let Err(difference) = replay::replay(history, &mut mailbox) {
            dev_err_ratelimited!(
                core,
                "the image does not fit this function: {}\n",
                format_args!("{}", difference)
            );
            return Err(difference.error());
        }
        let mut state = self.loaded_state;
        self.write_registers(core, &state)?;
        hardware::try_queues(core, &state)?;
        mailbox.write(&state.mailbox.words, state.mailbox.is_owned)?;
        if mailbox.is_reset() {
            state.mailbox.sticky |= V2PMAILBOX::zeroed().with_rstd(true).into_raw();
        }
        self.sticky = state.mailbox.sticky;
        self.stopped = Some(Queues::of(&state));
        self.history = self.loaded_history.take().ok_or(EINVAL)?;
        Ok(())
    }

    fn track_begin(&mut self, core: &CoreDevice, _log: &mut DirtyLog) -> Result {
        self.begin_tracking(core)
    }

    fn track_end(&mut self, _core: &CoreDevice) {
        self.tracking = None;
    }

    fn find_written(&mut self, core: &CoreDevice, log: &mut DirtyLog) -> Result {
        self.mark_written(core, log)
    }

    fn show(&self, core: &CoreDevice, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show_state(core, to)
    }

    fn read(&mut self, core: &CoreDevice, access: Access) -> Result<u64> {
        self.guest_read(core, access)
    }

    fn write(
        &mut self,
        core: &CoreDevice,
        log: &mut DirtyLog,
        access: Access,
        value: u64,
    ) -> Result {
        self.guest_write(core, log, access, value)
    }
}
