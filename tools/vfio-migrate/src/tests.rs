// SPDX-License-Identifier: GPL-2.0-only

//! Whole migrations, against the migration core that the kernel module has.

mod fake;

use std::io::{BufReader, BufWriter};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::edu::{Direction, Edu, Register, Registers, Transfer, Width, Workload, BUFFER_SIZE};
use crate::error::{Error, Result};
use crate::image::{EndInfo, Image, SectionInfo, Show, Unseen};
use crate::migrate::dirty::{Bitmap, PAGE};
use crate::migrate::live::{self, Event, Observer, Options, Statistics};
use crate::migrate::memory::GuestMemory;
use crate::migrate::protocol::{Migration, Phase};
use crate::migrate::target::{Resuming, Target};
use crate::migrate::tcp::{self, Remote};
use crate::migrate::wire::{Hello, STREAM_IMAGE};
use crate::pci::Identity;
use crate::tests::fake::FakeEdu;

const OPTIONS: Options = Options {
    rounds: 3,
    chunk: None,
};

/// Sets a device up so that nothing is as after a reset.
fn set_up(edu: &Edu<'_>) {
    edu.write(Register::LIVENESS, 0x1234_5678).unwrap();
    edu.factorial(12).unwrap();
    edu.write(Register::STATUS, 0x80).unwrap();
    edu.write(Register::IRQ_RAISE, 0x5a).unwrap();
}

/// Takes a state into memory.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Target for Bytes {
    fn device(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.extend(bytes);
        Ok(())
    }
    fn page(&mut self, _: usize, _: &[u8; PAGE]) -> Result<()> {
        Ok(())
    }
    fn ready(&mut self) -> Result<()> {
        Ok(())
    }
    fn start(&mut self) -> Result<()> {
        Ok(())
    }
    fn abort(&mut self, _: &str) {
        self.0.clear();
    }
}

/// Looks on, and stops a workload at the end.
#[derive(Default)]
struct Host {
    workload: Option<Workload>,
    events: Vec<Event>,
}

impl Observer for Host {
    fn event(&mut self, event: Event) {
        self.events.push(event);
    }
    fn between_rounds(&mut self) -> Result<()> {
        self.workload
            .as_ref()
            .map_or(Ok(()), |it| it.wait_for(2, Duration::from_secs(10)))
    }
    fn before_stop(&mut self) -> Result<()> {
        self.workload
            .take()
            .map_or(Ok(()), |mut it| it.halt().map(drop))
    }
}

fn save(device: &FakeEdu, chunk: Option<u64>) -> (Vec<u8>, Statistics) {
    let mut bytes = Bytes::default();
    let mut source = device.migration();
    let options = Options { rounds: 1, chunk };
    let statistics =
        live::migrate(&mut source, None, &mut bytes, &mut Host::default(), options).unwrap();
    source.enter(Phase::Running).unwrap();
    (bytes.0, statistics)
}

fn restore(device: &FakeEdu, bytes: &[u8], chunk: Option<usize>) -> Result<()> {
    let mut migration = device.migration();
    let mut owner = device.clone();
    let mut target = Resuming::new(&mut migration, &mut owner, None, chunk)?;
    let result = target
        .device(bytes)
        .and_then(|()| target.ready())
        .and_then(|()| target.start());
    if result.is_err() {
        target.abort("");
    }
    result
}

#[test]
fn what_is_saved_is_restored_in_pieces_of_any_size() {
    let source = FakeEdu::new(65536, None);
    let edu = Edu::new(&source);
    set_up(&edu);
    let content: [u8; BUFFER_SIZE] = std::array::from_fn(|n| (n * 7 + n / 256) as u8);
    edu.fill_buffer(&source.page(), &content).unwrap();
    let registers = edu.snapshot().unwrap();

    for (out, chunk) in [(None, None), (Some(1), Some(1)), (Some(100), Some(4096))] {
        let (image, statistics) = save(&source, out);
        assert_eq!(statistics.state_bytes(), image.len() as u64);
        assert!(statistics.precopy_bytes > 4096 && statistics.stopped_bytes < 4096);
        assert_eq!(edu.snapshot().unwrap(), registers);
        assert_eq!(source.migration().phase().unwrap(), Phase::Running);

        let target = FakeEdu::new(4096, None);
        restore(&target, &image, chunk).unwrap();
        let edu = Edu::new(&target);
        assert!(registers.differences(&edu.snapshot().unwrap()).is_empty());
        assert_eq!(*edu.dump_buffer(&target.page()).unwrap(), content);
    }
}

/// Remembers the parts of an image.
#[derive(Default)]
struct Parts {
    sections: Vec<SectionInfo>,
    end: Option<EndInfo>,
}

impl Show for Parts {
    fn section(&mut self, section: &SectionInfo, payload: &[u8]) -> Result<()> {
        assert_eq!(payload.len(), section.length);
        self.sections.push(section.clone());
        Ok(())
    }
    fn end(&mut self, end: &EndInfo) -> Result<()> {
        self.end = Some(*end);
        Ok(())
    }
}

/// Reads an image at once and says what is wrong with it.
fn check(bytes: &[u8], device: Option<Identity>) -> Result<()> {
    let mut image = Image::new()?;
    image.feed(bytes, &mut Unseen)?;
    image.check(device)
}

#[test]
fn the_image_is_shown_in_words_and_checked() {
    let source = FakeEdu::new(65536, None);
    set_up(&Edu::new(&source));
    let (bytes, _) = save(&source, None);
    for size in [1, 100, bytes.len()] {
        let (mut image, mut parts) = (Image::new().unwrap(), Parts::default());
        for piece in bytes.chunks(size) {
            image.feed(piece, &mut parts).unwrap();
        }
        assert_eq!(image.final_refusal(), None);
        let names: Vec<_> = parts.sections.iter().map(|section| section.name).collect();
        assert_eq!(names, [Some("internal buffer"), Some("registers")]);
        let registers = parts.sections[1].registers.unwrap().to_string();
        assert!(registers.contains("12! = 0x1c8cfc00"), "{registers}");
        assert_eq!(parts.end.unwrap().total, bytes.len() as u64);
    }

    check(&bytes, Some(Identity::EDU)).unwrap();
    let other = Identity {
        vendor: 0x8086,
        device: 0x10ca,
    };
    let error = check(&bytes, Some(other)).unwrap_err();
    assert!(error.to_string().contains("1234:11e8 instead of 8086:10ca"));
    let error = check(&bytes[..bytes.len() - 1], None).unwrap_err();
    assert!(error.to_string().contains("incomplete"));
}

#[test]
fn a_damaged_image_is_refused_and_the_target_is_like_a_fresh_one() {
    let source = FakeEdu::new(65536, None);
    set_up(&Edu::new(&source));
    let (bytes, _) = save(&source, None);
    let fresh = Edu::new(&FakeEdu::new(4096, None)).snapshot().unwrap();
    for at in (0..bytes.len()).step_by(97) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        let target = FakeEdu::new(65536, None);
        let error = restore(&target, &damaged, None).unwrap_err();
        assert_eq!(error.exit_code(), 4, "{error}");
        let error = error.because(|| check(&damaged, None).unwrap_err().to_string());
        assert!(
            error.to_string().contains("the image is refused"),
            "{error}"
        );
        assert_eq!(Edu::new(&target).snapshot().unwrap(), fresh);
        assert_eq!(target.migration().phase().unwrap(), Phase::Running);
        // And it takes the right one then.
        restore(&target, &bytes, None).unwrap();
    }
    let target = FakeEdu::new(65536, None);
    let error = restore(&target, &bytes[..bytes.len() - 3], None).unwrap_err();
    assert!(matches!(
        error,
        Error::Refused {
            errno: rustix::io::Errno::INVAL,
            ..
        }
    ));
}

#[test]
fn a_busy_device_loses_no_page() {
    for seed in 0..20 {
        let memory = GuestMemory::new(64 * PAGE as u64).unwrap();
        memory.randomize(&mut fastrand::Rng::with_seed(seed));
        let copy = GuestMemory::new(64 * PAGE as u64).unwrap();
        let source = FakeEdu::new(8192, Some(&memory));
        let target = FakeEdu::new(65536, Some(&copy));
        let edu = Edu::new(&source);
        set_up(&edu);

        let (mut from, mut to) = (source.migration(), target.migration());
        let mut owner = target.clone();
        let mut resuming = Resuming::new(&mut to, &mut owner, Some(copy.clone()), None).unwrap();
        let mut host = Host {
            workload: Some(Workload::start(
                Box::new(source.clone()),
                memory.pages(),
                seed,
            )),
            ..Host::default()
        };
        let statistics =
            live::migrate(&mut from, Some(&memory), &mut resuming, &mut host, OPTIONS).unwrap();
        assert_eq!(statistics.rounds, 3);
        assert_eq!(statistics.dirty_pages.len(), 3);
        assert!(statistics.dirty_total() > 0);
        assert_eq!(memory.differences(&copy), [] as [usize; 0]);

        assert_eq!(from.phase().unwrap(), Phase::SaveCompleted);
        assert_eq!(to.phase().unwrap(), Phase::Running);
        let registers = edu.snapshot().unwrap();
        let edu = Edu::new(&target);
        assert!(registers.differences(&edu.snapshot().unwrap()).is_empty());
    }
}

#[test]
fn a_transfer_under_way_at_the_stop_arrives() {
    let memory = GuestMemory::new(8 * PAGE as u64).unwrap();
    let source = FakeEdu::new(8192, Some(&memory));
    let edu = Edu::new(&source);
    edu.fill_buffer(&source.page(), &[7; BUFFER_SIZE]).unwrap();
    let mut migration = source.migration();
    migration.enter(Phase::Setup).unwrap();
    let transfer = Transfer {
        direction: Direction::ToMemory,
        iova: GuestMemory::IOVA + 5 * PAGE as u64,
        buffer: 0,
        count: 16,
        interrupt: false,
    };
    edu.start(transfer).unwrap();
    migration.enter(Phase::PreCopy).unwrap();
    migration.enter(Phase::StopAndCopy).unwrap();
    let mut dirty = Bitmap::new(8);
    migration
        .query_dirty(GuestMemory::IOVA, &mut dirty)
        .unwrap();
    assert_eq!(dirty.marked().collect::<Vec<_>>(), [5]);
    let mut page = [0; PAGE];
    memory.read_page(5, &mut page);
    assert_eq!(page[..17], [[7; 16].as_slice(), &[0]].concat());
}

#[test]
fn a_query_larger_than_the_data_section_comes_in_parts() {
    // A section of 4 KiB holds 32768 bits; the memory has more pages.
    let pages = 50_000;
    let source = FakeEdu::new(4096, None);
    let mut migration = source.migration();
    migration.enter(Phase::Setup).unwrap();
    let wanted = [0, 1, 32_767, 32_768, 49_999];
    for page in wanted {
        source
            .write(0x88, Width::B8, 0x2000_0000 + page * PAGE as u64)
            .unwrap();
        source.write(0x90, Width::B8, 1).unwrap();
        source.write(0x98, Width::B8, 3).unwrap();
    }
    let mut dirty = Bitmap::new(pages);
    migration.query_dirty(0x2000_0000, &mut dirty).unwrap();
    assert_eq!(
        dirty.marked().map(|page| page as u64).collect::<Vec<_>>(),
        wanted
    );
    let mut again = Bitmap::new(pages);
    migration.query_dirty(0x2000_0000, &mut again).unwrap();
    // The last transfer is still under way.
    assert_eq!(again.marked().collect::<Vec<_>>(), [49_999]);
}

#[test]
fn queries_between_buffers_are_in_nobodys_way() {
    let memory = GuestMemory::new(8 * PAGE as u64).unwrap();
    let source = FakeEdu::new(4096, Some(&memory));
    set_up(&Edu::new(&source));
    let (expected, _) = save(&source, Some(100));

    let mut migration = source.migration();
    migration.limit_buffer(100).unwrap();
    migration.enter(Phase::Setup).unwrap();
    let mut image = Vec::new();
    for phase in [Phase::PreCopy, Phase::StopAndCopy] {
        migration.enter(phase).unwrap();
        loop {
            let mut dirty = Bitmap::new(8);
            migration
                .query_dirty(GuestMemory::IOVA, &mut dirty)
                .unwrap();
            if migration.take_buffer(&mut image).unwrap() == 0 {
                break;
            }
        }
    }
    migration.enter(Phase::SaveCompleted).unwrap();
    assert_eq!(image, expected);
}

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
            crate::migrate::wire::Frame::read_hello(&mut input).unwrap();
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
    crate::migrate::wire::Frame::Accept
        .write(&mut answers)
        .unwrap();
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
    // Where it vanishes after the source has given the device up, the source stays stopped.
    crate::migrate::wire::Frame::Ready
        .write(&mut answers)
        .unwrap();
    let mut remote = Remote::offer(answers.as_slice(), Vec::new(), hello).unwrap();
    let error = live::migrate(&mut from, None, &mut remote, &mut Host::default(), OPTIONS);
    assert!(matches!(error.unwrap_err(), Error::TargetUnknown));
    assert_eq!(from.phase().unwrap(), Phase::SaveCompleted);
}
