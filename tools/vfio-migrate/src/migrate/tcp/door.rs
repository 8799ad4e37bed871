// SPDX-License-Identifier: GPL-2.0-only

//! Where sources arrive, and what else connects there.

use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{sync_channel, Receiver, SyncSender};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::{prepare, refuse, Connection};
use crate::error::{Error, Result};
use crate::migrate::wire::{Frame, Hello};

/// How long a peer may take to make an offer after it connected.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most connections that are read from at a time; others wait to be accepted.
const MOST: usize = 16;

/// A source that has made an offer.
pub struct Source {
    /// The connection.
    pub connection: Connection,
    /// The peer's address.
    pub from: SocketAddr,
    /// The offer, or why it cannot be understood.
    pub hello: Result<Hello>,
}

/// Accepts connections until the result is dropped.
///
/// A silent connection keeps no other waiting. [`Error::Stranger`] reports a connection that is no
/// source and was closed; any other error ends the listening.
pub fn open(listener: TcpListener) -> Receiver<Result<Source>> {
    // A source that has made an offer waits until it is taken; its thread accepts nothing
    // meanwhile.
    let (sender, receiver) = sync_channel(0);
    let listener = Arc::new(listener);
    for _ in 0..MOST {
        let (listener, sender) = (listener.clone(), sender.clone());
        thread::spawn(move || watch(&listener, &sender));
    }
    receiver
}

/// Listens to one connection after the other.
fn watch(listener: &TcpListener, sender: &SyncSender<Result<Source>>) {
    loop {
        let arrival = match listener.accept() {
            Ok((stream, from)) => listen(stream, from),
            // The peer was gone before it was accepted.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                // The receiver ends, or has ended.
                let _ = sender.send(Err(Error::network("waiting for a source")(error)));
                return;
            }
        };
        if sender.send(arrival).is_err() {
            return;
        }
    }
}

/// Reads the offer of a connection.
fn listen(stream: TcpStream, from: SocketAddr) -> Result<Source> {
    let mut limited = Limited {
        stream: &stream,
        end: Instant::now() + PATIENCE,
    };
    let hello = match Frame::read_hello(&mut limited) {
        Err(Error::Stranger(reason)) => Err(Error::Stranger(format!("{from}: {reason}"))),
        hello => Ok(hello),
    };
    let unusable = |error: Error| Error::Stranger(format!("{from}: {error}"));
    let mut connection = prepare(stream).map_err(unusable)?;
    match hello {
        Ok(hello) => Ok(Source {
            connection,
            from,
            hello,
        }),
        Err(error) => {
            refuse(&mut connection.1, &error);
            Err(error)
        }
    }
}

/// A connection that is read until a deadline, however slowly its bytes come.
struct Limited<'a> {
    stream: &'a TcpStream,
    end: Instant,
}

impl Read for Limited<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::migrate::wire::STREAM_IMAGE;
    use crate::pci::Identity;

    fn offer() -> Frame {
        Frame::Hello(Hello {
            identity: Identity::EDU,
            stream: STREAM_IMAGE,
            memory: 0,
        })
    }

    #[test]
    fn neither_silence_nor_nonsense_keeps_a_source_waiting() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let arrivals = open(listener);
        let connect = || TcpStream::connect(address).unwrap();
        let silent: Vec<_> = (0..MOST - 2).map(|_| connect()).collect();
        let mut browser = connect();
        browser.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let arrival = arrivals.recv().unwrap();
        assert!(matches!(arrival, Err(Error::Stranger(_))));
        // A browser sees the connection closed.
        browser.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = browser.read_to_end(&mut Vec::new());

        let start = Instant::now();
        let mut source = connect();
        offer().write(&mut source).unwrap();
        let arrived = arrivals.recv().unwrap().unwrap();
        assert!(start.elapsed() < PATIENCE / 2);
        assert_eq!(arrived.from, source.local_addr().unwrap());
        assert_eq!(Frame::Hello(arrived.hello.unwrap()), offer());
        drop(silent);
        for _ in 0..MOST - 2 {
            let arrival = arrivals.recv().unwrap();
            assert!(matches!(arrival, Err(Error::Stranger(_))));
        }
    }

    #[test]
    fn an_offer_that_trickles_is_waited_for_until_its_time_is_over() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut source = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        source.write_all(b"RVFIO").unwrap();
        let mut limited = Limited {
            stream: &stream,
            end: Instant::now() + Duration::from_millis(200),
        };
        let error = Frame::read_hello(&mut limited).unwrap_err();
        assert!(error.to_string().contains("does not say"), "{error}");
        let error = Frame::read_hello(&mut limited).unwrap_err();
        assert!(matches!(error, Error::Stranger(_)));
    }
}
