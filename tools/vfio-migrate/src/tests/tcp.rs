// SPDX-License-Identifier: GPL-2.0-only

//! Migrations over a connection.

use std::io::{BufReader, BufWriter};
use std::net::{TcpListener, TcpStream};

use super::fake::FakeEdu;
use super::{set_up, Host, OPTIONS};
use crate::edu::Edu;
use crate::error::{Error, Result};
use crate::migrate::dirty::PAGE;
use crate::migrate::live::{self, Statistics};
use crate::migrate::memory::GuestMemory;
use crate::migrate::protocol::{Migration, Phase};
use crate::migrate::target::{Resuming, Target};
use crate::migrate::tcp::{self, Remote};
use crate::migrate::wire::{Frame, Hello, STREAM_IMAGE};
use crate::pci::Identity;

/// Connects a source and a target by TCP and runs both.
fn over_tcp(
    source: &FakeEdu,
    target: &FakeEdu,
    memory: Option<(&GuestMemory, &GuestMemory)>,
    damage: bool,
) -> (Result<Statistics>, Result<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let (stream, _) = listener.accept().unwrap();
            let (mut input, mut output) = tcp::prepare(stream).unwrap();
            Frame::read_hello(&mut input).unwrap();
            let mut migration = target.migration();
            let mut owner = target.clone();
            let copy = memory.map(|(_, copy)| copy.clone());
            let mut resuming = Resuming::new(&mut migration, &mut owner, copy, None).unwrap();
            tcp::receive(&mut input, &mut output, &mut resuming)
        });
        let hello = Hello {
            identity: Identity::EDU,
            stream: STREAM_IMAGE,
            memory: 0,
        };
        let (input, output): (BufReader<_>, BufWriter<_>) =
            tcp::prepare(TcpStream::connect(address).unwrap()).unwrap();
        let mut remote = Remote::offer(input, output, hello).unwrap();
        if damage {
            remote.device(b"something before the image").unwrap();
        }
        let mut from = source.migration();
        let original = memory.map(|(memory, _)| memory);
        let sent = live::migrate(
            &mut from,
            original,
            &mut remote,
            &mut Host::default(),
            OPTIONS,
        );
        drop(remote);
        (sent, receiver.join().unwrap())
    })
}

#[test]
fn a_device_goes_over_tcp() {
    let memory = GuestMemory::new(300 * PAGE as u64).unwrap();
    memory.randomize(&mut fastrand::Rng::with_seed(9));
    let copy = GuestMemory::new(300 * PAGE as u64).unwrap();
    let source = FakeEdu::new(65536, Some(&memory));
    let target = FakeEdu::new(65536, Some(&copy));
    set_up(&Edu::new(&source));
    let (sent, received) = over_tcp(&source, &target, Some((&memory, &copy)), false);
    assert_eq!(sent.unwrap().memory_pages, 300);
    received.unwrap();
    assert!(memory.differences(&copy).is_empty());
    assert_eq!(
        Edu::new(&source).snapshot().unwrap(),
        Edu::new(&target).snapshot().unwrap()
    );
    assert_eq!(source.migration().phase().unwrap(), Phase::SaveCompleted);
    assert_eq!(target.migration().phase().unwrap(), Phase::Running);
}

#[test]
fn a_target_that_refuses_leaves_the_source_running() {
    let source = FakeEdu::new(65536, None);
    let target = FakeEdu::new(65536, None);
    let edu = Edu::new(&source);
    set_up(&edu);
    let before = edu.snapshot().unwrap();
    let (sent, received) = over_tcp(&source, &target, None, true);
    let error = sent.unwrap_err();
    assert!(
        matches!(&error, Error::Peer(reason) if reason.contains("EINVAL")),
        "{error}"
    );
    assert!(matches!(received.unwrap_err(), Error::Refused { .. }));
    assert_eq!(source.migration().phase().unwrap(), Phase::Running);
    assert_eq!(edu.snapshot().unwrap(), before);
    assert_eq!(target.migration().phase().unwrap(), Phase::Running);
}

#[test]
fn a_target_that_vanishes_leaves_the_source_running() {
    let source = FakeEdu::new(65536, None);
    set_up(&Edu::new(&source));
    // An answer to the greeting, and then nothing more.
    let mut answers = Vec::new();
    Frame::Accept.write(&mut answers).unwrap();
    let hello = Hello {
        identity: Identity::EDU,
        stream: STREAM_IMAGE,
        memory: 0,
    };
    let mut remote = Remote::offer(answers.as_slice(), Vec::new(), hello).unwrap();
    let mut from = source.migration();
    let error = live::migrate(&mut from, None, &mut remote, &mut Host::default(), OPTIONS);
    assert!(matches!(error.unwrap_err(), Error::Network { .. }));
    assert_eq!(from.phase().unwrap(), Phase::Running);
    // If it vanishes after the source has given the device up, the source stays stopped.
    Frame::Ready.write(&mut answers).unwrap();
    let mut remote = Remote::offer(answers.as_slice(), Vec::new(), hello).unwrap();
    let error = live::migrate(&mut from, None, &mut remote, &mut Host::default(), OPTIONS);
    assert!(matches!(error.unwrap_err(), Error::TargetUnknown));
    assert_eq!(from.phase().unwrap(), Phase::SaveCompleted);
}
