// SPDX-License-Identifier: GPL-2.0-only

//! The two ends of a migration over a connection.

mod door;

use std::io::{BufReader, BufWriter, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::migrate::dirty::PAGE;
use crate::migrate::target::Target;
use crate::migrate::wire::{self, Frame, Hello, MAX_DATA};

pub use door::{open, Source};

/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection: what is read and what is written.
pub type Connection = (BufReader<TcpStream>, BufWriter<TcpStream>);

/// Sets a connection up so that neither side waits for ever.
pub fn prepare(stream: TcpStream) -> Result<Connection> {
    let set_up = || {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.try_clone()
    };
    let other = set_up().map_err(Error::network("setting the connection up"))?;
    Ok((
        BufReader::new(other),
        BufWriter::with_capacity(MAX_DATA, stream),
    ))
}

/// A target at the other end of a connection.
pub struct Remote<R, W: Write> {
    input: R,
    output: W,
    /// The other side has ended the migration, so it need not be told.
    over: bool,
}

impl<R: Read, W: Write> Remote<R, W> {
    /// Offers a migration to the other side.
    pub fn offer(input: R, output: W, hello: Hello) -> Result<Self> {
        let mut remote = Self {
            input,
            output,
            over: false,
        };
        remote.say(&Frame::Hello(hello))?;
        remote.expect(&Frame::Accept)?;
        Ok(remote)
    }

    fn say(&mut self, frame: &Frame) -> Result<()> {
        frame
            .write(&mut self.output)
            .map_err(Error::network("sending"))
    }

    /// Waits for the expected answer.
    fn expect(&mut self, expected: &Frame) -> Result<()> {
        match Frame::read(&mut self.input)? {
            frame if frame == *expected => Ok(()),
            Frame::Refuse(reason) => {
                self.over = true;
                Err(Error::Peer(reason))
            }
            other => Err(Error::Protocol(format!(
                "{other:?} instead of {expected:?}"
            ))),
        }
    }

    /// Looks for the peer's reason if a write failed: often the peer has sent one and closed.
    fn sent(&mut self, result: std::io::Result<()>) -> Result<()> {
        let Err(error) = result else { return Ok(()) };
        match Frame::read(&mut self.input) {
            Ok(Frame::Refuse(reason)) => {
                self.over = true;
                Err(Error::Peer(reason))
            }
            _ => Err(Error::network("sending")(error)),
        }
    }
}

impl<R: Read, W: Write> Target for Remote<R, W> {
    fn device(&mut self, bytes: &[u8]) -> Result<()> {
        for chunk in bytes.chunks(MAX_DATA) {
            let result = wire::write_data(&mut self.output, chunk);
            self.sent(result)?;
        }
        // The target works on a piece while the source makes the next.
        let result = self.output.flush();
        self.sent(result)
    }

    fn page(&mut self, number: usize, bytes: &[u8; PAGE]) -> Result<()> {
        let result = wire::write_page(&mut self.output, number as u64, bytes);
        self.sent(result)
    }

    fn ready(&mut self) -> Result<()> {
        let result = Frame::End.write(&mut self.output);
        self.sent(result)?;
        self.expect(&Frame::Ready)
    }

    fn start(&mut self) -> Result<()> {
        // From here on the target may run, unless it says that it does not.
        let result = self
            .say(&Frame::Commit)
            .and_then(|()| self.expect(&Frame::Running));
        match result {
            Err(Error::Peer(reason)) => Err(Error::Peer(reason)),
            Err(_) => {
                self.over = true;
                Err(Error::TargetUnknown)
            }
            Ok(()) => Ok(()),
        }
    }

    fn abort(&mut self, reason: &str) {
        if !self.over {
            // A broken connection tells the other side as well.
            let _ = self.say(&Frame::Cancel(reason.to_owned()));
        }
    }
}

/// Tells the source why the target refuses.
pub fn refuse(output: &mut dyn Write, error: &Error) {
    // If this fails, the closed connection tells the source.
    let _ = Frame::Refuse(error.to_string()).write(output);
}

/// Serves a source until the target runs; if that fails, tells the source why.
pub fn receive(
    input: &mut dyn Read,
    output: &mut dyn Write,
    target: &mut dyn Target,
) -> Result<()> {
    let result = serve(input, output, target);
    if let Err(error) = &result {
        target.abort(&error.to_string());
        refuse(output, error);
    }
    result
}

fn serve(input: &mut dyn Read, output: &mut dyn Write, target: &mut dyn Target) -> Result<()> {
    let answer = |output: &mut dyn Write, frame: Frame| {
        frame.write(output).map_err(Error::network("answering"))
    };
    answer(output, Frame::Accept)?;
    let mut ready = false;
    loop {
        match Frame::read(input)? {
            Frame::Data(bytes) if !ready => target.device(&bytes)?,
            Frame::Page(number, bytes) if !ready => {
                let number = usize::try_from(number)
                    .map_err(|_| Error::Protocol(format!("page {number}")))?;
                target.page(number, &bytes)?;
            }
            Frame::End if !ready => {
                target.ready()?;
                ready = true;
                answer(output, Frame::Ready)?;
            }
            Frame::Commit if ready => {
                target.start()?;
                // The device runs; a source that cannot be told stays stopped.
                let _ = answer(output, Frame::Running);
                return Ok(());
            }
            Frame::Cancel(reason) => return Err(Error::Peer(reason)),
            other => {
                let mut name = format!("{other:?}");
                name.truncate(60);
                return Err(Error::Protocol(format!("{name} at this point")));
            }
        }
    }
}
