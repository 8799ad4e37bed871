// SPDX-License-Identifier: GPL-2.0-only

//! The sections of an 82576 virtual function in a migration image, state version 1.0.
//!
//! `Documentation/image-format.rst` has their layout.

use kernel::prelude::*;
use migration::{
    checklist::{
        Item,
        Sections, //
    },
    image::{
        Fields,
        Payload,
        Section, //
    }, //
};

use crate::{
    history::{
        Exchange,
        History,
        MAX, //
    },
    mailbox::{
        Answer,
        Request,
        Verdict,
        WORDS, //
    },
    state::{
        Mailbox,
        ReceiveQueue,
        RegisterState,
        Ring,
        TransmitQueue, //
    }, //
};

/// Major version of the sections.
pub(crate) const STATE_MAJOR: u16 = 1;

/// Minor version of the sections.
pub(crate) const STATE_MINOR: u16 = 0;

/// Section type of the registers.
pub(crate) const REGISTERS: u16 = 1;

/// Section type of the requests to the PF.
pub(crate) const REQUESTS: u16 = 2;

/// Flag of a request: the PF has accepted it.
const ACCEPTED: u32 = 1 << 0;

/// Flag of a request: see [`Exchange::is_comparable`].
const COMPARABLE: u32 = 1 << 1;

/// Words of an exchange before those of the request: number of words, flags, address.
const EXCHANGE_WORDS: usize = 4;

/// The sections of a complete image. The requests take as many bytes as there are.
pub(crate) const SECTIONS: Sections = Sections::new(&[
    Item::stopped(REQUESTS, History::MAX_SIZE),
    Item::stopped(REGISTERS, RegisterState::SIZE),
]);

impl RegisterState {
    /// Bytes of the payload.
    pub(crate) const SIZE: u64 = 4 * (7 + 2 + 18 + 9 + 2 * 8 + 2 * 9);

    /// Appends the payload.
    pub(crate) fn write(&self, payload: &mut Payload) -> Result {
        payload.put_u32(self.split_types)?;
        payload.put_u32(self.enabled)?;
        payload.put_u32(self.auto_clear)?;
        payload.put_u32(self.auto_mask)?;
        put_words(payload, &self.throttling)?;
        payload.put_u32(self.vectors)?;
        payload.put_u32(self.mailbox_vector)?;
        payload.put_u32(self.mailbox.sticky)?;
        payload.put_u32(self.mailbox.is_owned.into())?;
        put_words(payload, &self.mailbox.words)?;
        put_words(payload, &self.statistics)?;
        for queue in &self.receive {
            queue.ring.write(payload)?;
            payload.put_u32(queue.buffers)?;
        }
        for queue in &self.transmit {
            queue.ring.write(payload)?;
            payload.put_u32(queue.write_back_low)?;
            payload.put_u32(queue.write_back_high)?;
        }
        Ok(())
    }

    /// Reads the payload; `EINVAL` if its size is wrong or a function cannot have the state.
    pub(crate) fn read(section: &Section<'_>) -> Result<Self> {
        let mut fields = section.fields();
        let mut state = Self {
            split_types: fields.take_u32()?,
            enabled: fields.take_u32()?,
            auto_clear: fields.take_u32()?,
            auto_mask: fields.take_u32()?,
            throttling: take_words(&mut fields)?,
            vectors: fields.take_u32()?,
            mailbox_vector: fields.take_u32()?,
            mailbox: Mailbox {
                sticky: fields.take_u32()?,
                is_owned: match fields.take_u32()? {
                    0 => false,
                    1 => true,
                    _ => return Err(EINVAL),
                },
                words: take_words(&mut fields)?,
            },
            statistics: take_words(&mut fields)?,
            ..Self::default()
        };
        for queue in &mut state.receive {
            *queue = ReceiveQueue {
                ring: Ring::read(&mut fields)?,
                buffers: fields.take_u32()?,
            };
        }
        for queue in &mut state.transmit {
            *queue = TransmitQueue {
                ring: Ring::read(&mut fields)?,
                write_back_low: fields.take_u32()?,
                write_back_high: fields.take_u32()?,
            };
        }
        fields.finish()?;
        match state.is_possible() {
            true => Ok(state),
            false => Err(EINVAL),
        }
    }
}

impl Ring {
    /// Appends the ring.
    fn write(&self, payload: &mut Payload) -> Result {
        let Self {
            base_low,
            base_high,
            length,
            head,
            tail,
            control,
            dma_control,
        } = *self;
        put_words(
            payload,
            &[
                base_low,
                base_high,
                length,
                head,
                tail,
                control,
                dma_control,
            ],
        )
    }

    /// Reads a ring.
    fn read(fields: &mut Fields<'_>) -> Result<Self> {
        let [base_low, base_high, length, head, tail, control, dma_control] = take_words(fields)?;
        Ok(Self {
            base_low,
            base_high,
            length,
            head,
            tail,
            control,
            dma_control,
        })
    }
}

impl History {
    /// The most bytes of a payload.
    // CAST: A small constant.
    const MAX_SIZE: u64 = 4 * (1 + MAX * (EXCHANGE_WORDS + WORDS)) as u64;

    /// Returns the bytes of the payload.
    pub(crate) fn size(&self) -> u64 {
        let words = |exchange: &Exchange| EXCHANGE_WORDS + exchange.request.words().len();
        let all: usize = self.exchanges().iter().map(words).sum();
        // CAST: Widening.
        4 * (1 + all as u64)
    }

    /// Appends the payload.
    pub(crate) fn write(&self, payload: &mut Payload) -> Result {
        payload.put_u32(u32::try_from(self.exchanges().len())?)?;
        for exchange in self.exchanges() {
            let words = exchange.request.words();
            let mut flags = 0;
            if exchange.verdict == Verdict::Accepted {
                flags |= ACCEPTED;
            }
            if exchange.is_comparable {
                flags |= COMPARABLE;
            }
            payload.put_u32(u32::try_from(words.len())?)?;
            payload.put_u32(flags)?;
            put_words(payload, &exchange.address.words())?;
            put_words(payload, words)?;
        }
        Ok(())
    }

    /// Reads the payload; `EINVAL` if no function can have this history, `ENOMEM` without memory.
    pub(crate) fn read(section: &Section<'_>) -> Result<Self> {
        let mut fields = section.fields();
        let mut history = Self::new()?;
        // CAST: Widening.
        let count = fields.take_u32()? as usize;
        for index in 0..count {
            // CAST: As above.
            let len = fields.take_u32()? as usize;
            let flags = fields.take_u32()?;
            let [low, high] = take_words(&mut fields)?;
            let mut words = [0; WORDS];
            for word in words.get_mut(..len).ok_or(EINVAL)? {
                *word = fields.take_u32()?;
            }
            let request = Request(words);
            if !request.is_request()
                || request.words().len() != len
                || flags & !(ACCEPTED | COMPARABLE) != 0
            {
                return Err(EINVAL);
            }
            history.insert(Exchange {
                request,
                verdict: match flags & ACCEPTED {
                    0 => Verdict::Refused,
                    _ => Verdict::Accepted,
                },
                address: Answer([0, low, high]).address(),
                is_comparable: flags & COMPARABLE != 0,
            });
            // Each counts, and none undoes another.
            if history.exchanges().len() != index + 1 || history.gap().is_some() {
                return Err(EINVAL);
            }
        }
        fields.finish()?;
        Ok(history)
    }
}

/// Appends words.
fn put_words(payload: &mut Payload, words: &[u32]) -> Result {
    words.iter().try_for_each(|word| payload.put_u32(*word))
}

/// Reads words.
fn take_words<const N: usize>(fields: &mut Fields<'_>) -> Result<[u32; N]> {
    let mut words = [0; N];
    for word in &mut words {
        *word = fields.take_u32()?;
    }
    Ok(words)
}
