// SPDX-License-Identifier: GPL-2.0-only

//! The driver's own way to the physical function: requests through the mailbox.

use kernel::{
    io::Io,
    prelude::*,
    time::Delta, //
};
use vfio::{
    pci::{
        CoreDevice,
        Registers, //
    },
    wait::{
        self,
        Signals, //
    }, //
};

use crate::{
    hardware,
    mailbox::{
        Answer,
        Request,
        Verdict,
        ANSWER_WORDS,
        WORDS, //
    },
    registers::*,
    replay::PhysicalFunction, //
};

/// The interval at which the mailbox is polled.
const INTERVAL: Delta = Delta::from_micros(50);

/// The longest that the PF may take for an answer. It is the host's driver, which may be busy.
const TIMEOUT: Delta = Delta::from_millis(1000);

/// The longest wait for the answer to a request of the guest's, which waits as long. If the answer
/// comes later, the driver sees it with the guest, or when it saves.
const GUEST_TIMEOUT: Delta = Delta::from_millis(50);

/// How often a request is sent again that the PF has missed.
const TRIES: usize = 3;

/// The PF as a load uses it.
///
/// The function's interrupts are masked, so the guest does not hear of the answers.
pub(crate) struct Mailbox<'a> {
    core: &'a CoreDevice,
    /// The PF was reset meanwhile, which the guest must learn.
    is_reset: bool,
}

impl<'a> Mailbox<'a> {
    /// Returns the mailbox.
    pub(crate) fn new(core: &'a CoreDevice) -> Self {
        Self {
            core,
            is_reset: false,
        }
    }

    /// Returns whether the PF was reset since this object was made.
    pub(crate) fn is_reset(&self) -> bool {
        self.is_reset
    }

    /// Makes the memory read as `words`, and leaves it the guest's if `is_owned`.
    ///
    /// `EBUSY` if the PF does not give the memory up.
    pub(crate) fn write(&mut self, words: &[u32; WORDS], is_owned: bool) -> Result {
        self.own()?;
        let registers = self.core.registers(BAR)?;
        for (index, word) in words.iter().enumerate() {
            hardware::set::<VMBMEM>(&registers, index, *word)?;
        }
        registers.try_write_reg(V2PMAILBOX::zeroed().with_vfu(is_owned))
    }

    /// Reads V2PMAILBOX, and notes what a read clears.
    fn look(&mut self, registers: &Registers<'_>) -> Result<V2PMAILBOX> {
        let mailbox = registers.try_read(V2PMAILBOX)?;
        self.is_reset |= mailbox.rstd();
        Ok(mailbox)
    }

    /// Takes the memory.
    fn own(&mut self) -> Result {
        let core = self.core;
        wait::until(Signals::Ignore, INTERVAL, TIMEOUT, || {
            let registers = core.registers(BAR)?;
            registers.try_write_reg(V2PMAILBOX::zeroed().with_vfu(true))?;
            Ok(self.look(&registers)?.vfu())
        })
        .map_err(|error| if error == ETIMEDOUT { EBUSY } else { error })
    }

    /// Sends a request once; `EAGAIN` if the PF has not seen it.
    fn send(&mut self, request: &Request) -> Result<(Verdict, Answer)> {
        self.own()?;
        {
            let registers = self.core.registers(BAR)?;
            for (index, word) in request.words().iter().enumerate() {
                hardware::set::<VMBMEM>(&registers, index, *word)?;
            }
            registers.try_write_reg(V2PMAILBOX::zeroed().with_req(true))?;
        }
        let core = self.core;
        let mut has_message = false;
        let mut result = None;
        wait::until(Signals::Ignore, INTERVAL, TIMEOUT, || {
            let registers = core.registers(BAR)?;
            has_message |= self.look(&registers)?.pfsts();
            if !has_message {
                return Ok(false);
            }
            registers.try_write_reg(V2PMAILBOX::zeroed().with_vfu(true))?;
            if !self.look(&registers)?.vfu() {
                return Ok(false);
            }
            let answer = answer(&registers)?;
            registers.try_write_reg(V2PMAILBOX::zeroed().with_ack(true))?;
            has_message = false;
            match answer.verdict(request) {
                Ok(verdict) => result = verdict.map(|verdict| (verdict, answer)),
                Err(_) => return Err(EAGAIN),
            }
            Ok(result.is_some())
        })?;
        result.ok_or(ETIMEDOUT)
    }
}

impl PhysicalFunction for Mailbox<'_> {
    fn request(&mut self, request: &Request) -> Result<(Verdict, Answer)> {
        for _ in 1..TRIES {
            match self.send(request) {
                Err(error) if error == EAGAIN => {}
                result => return result,
            }
        }
        self.send(request)
    }

    fn reset(&mut self) -> Result {
        hardware::reset(self.core)
    }
}

/// The outcome of a request of the guest's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// The PF has answered.
    Answered(Verdict, Answer),
    /// The PF has read it, or another message in its place, and does nothing.
    Ignored,
}

/// Reads a message of the guest's that it is about to post.
pub(crate) fn message(registers: &Registers<'_>) -> Result<Request> {
    let mut words = [0; WORDS];
    for (index, word) in words.iter_mut().enumerate() {
        *word = hardware::get::<VMBMEM>(registers, index)?;
    }
    Ok(Request(words))
}

/// A request of the guest's that the PF has not answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Posted {
    /// The request.
    pub(crate) request: Request,
    /// The PF has read it.
    is_read: bool,
}

impl Posted {
    /// Returns a request that the guest has just posted.
    pub(crate) fn new(request: Request) -> Self {
        Self {
            request,
            is_read: false,
        }
    }

    /// Looks for the answer after V2PMAILBOX was read as `mailbox`.
    ///
    /// The message stays for the guest to read.
    pub(crate) fn look(
        &mut self,
        registers: &Registers<'_>,
        mailbox: V2PMAILBOX,
    ) -> Result<Option<Outcome>> {
        self.is_read |= mailbox.pfack();
        if !mailbox.pfsts() {
            return Ok(None);
        }
        let answer = answer(registers)?;
        Ok(match answer.verdict(&self.request) {
            Ok(verdict) => verdict.map(|verdict| Outcome::Answered(verdict, answer)),
            Err(_) => Some(Outcome::Ignored),
        })
    }

    /// Waits for the answer for a moment; for longer if `is_urgent`.
    ///
    /// The bits of V2PMAILBOX that are read meanwhile are added to `sticky`. `None` if there is no
    /// answer so far.
    pub(crate) fn wait(
        &mut self,
        core: &CoreDevice,
        is_urgent: bool,
        sticky: &mut u32,
    ) -> Result<Option<Outcome>> {
        let timeout = if is_urgent { TIMEOUT } else { GUEST_TIMEOUT };
        let mut outcome = None;
        let waited = wait::until(Signals::Ignore, INTERVAL, timeout, || {
            let registers = core.registers(BAR)?;
            let mailbox = registers.try_read(V2PMAILBOX)?;
            *sticky |= mailbox.sticky();
            outcome = self.look(&registers, mailbox)?;
            Ok(outcome.is_some())
        });
        match waited {
            // The PF answers what it has read at once, or not at all.
            Err(error) if error == ETIMEDOUT && self.is_read => Ok(Some(Outcome::Ignored)),
            Err(error) if error == ETIMEDOUT => Ok(None),
            result => result.map(|()| outcome),
        }
    }
}

/// Reads a message of the PF.
fn answer(registers: &Registers<'_>) -> Result<Answer> {
    let mut words = [0; ANSWER_WORDS];
    for (index, word) in words.iter_mut().enumerate() {
        *word = hardware::get::<VMBMEM>(registers, index)?;
    }
    Ok(Answer(words))
}
