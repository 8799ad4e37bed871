// SPDX-License-Identifier: GPL-2.0-only

//! fuzz-vm: a random client of a VFIO device that migrates, with a seed.
//!
//! It works in rounds. A round opens the device, lets several threads make calls of all kinds on
//! the same files, checks that the device is fresh after a reset and works, closes it, opens it and
//! checks again. What a thread does follows from the seed, the round and the thread's number. How
//! the threads meet depends on the scheduler, too, which no seed repeats.
//!
//! Exit status: 1 an undocumented errno, 2 usage, 3 a call that does not return, 4 the kernel
//! complains, 5 the device is not what it should be.

#![deny(unsafe_code)]

mod check;
mod client;
mod device;
mod dice;
mod kind;
mod operations;
mod sys;
mod tally;
mod uapi;
mod watchdog;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

use client::Client;
use device::{Shared, RAM, SLOT, SLOTS};
use dice::Dice;
use operations::Mood;
use sys::Reservation;
use tally::Tally;
use watchdog::{KernelLog, Place};

/// Makes random calls on a VFIO device and checks that it survives.
#[derive(Parser)]
struct Arguments {
    /// Address or UUID of the device
    device: String,
    /// How long to go on, in seconds
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// The seed of all choices
    #[arg(long, env = "RVFIO_SEED")]
    seed: u64,
    /// The round to begin with, to repeat a failure without those before it
    #[arg(long, default_value_t = 0)]
    round: u64,
    /// Most threads in a round
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    threads: u8,
    /// Seconds after which a call counts as hanging
    #[arg(long, default_value_t = 120)]
    patience: u64,
}

/// Most steps of a thread in a round, and the time after which it takes no more.
const STEPS: u64 = 2_000;
const ROUND: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("fuzz-vm: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let open = |error| format!("/dev/kmsg: {error}");
    let mut log = KernelLog::new().map_err(open)?;
    let name = |errno: sys::Errno| kind::errno_name(errno.0);
    let arena = Reservation::new(RAM + SLOTS * SLOT).map_err(name)?;
    let most = usize::from(arguments.threads);
    let windows = (0..=most).map(|_| Client::window());
    let windows: Vec<Reservation> = windows.collect::<sys::Result<_>>().map_err(name)?;
    sys::catch_interrupts();

    let begun = Instant::now();
    let mut total = Tally::default();
    let mut round = arguments.round;
    let mut files = None;
    while begun.elapsed() < Duration::from_secs(arguments.seconds) || round == arguments.round {
        let title = format!(
            "round {round} of RVFIO_SEED={} on {}",
            arguments.seed, arguments.device
        );
        log.note(&title);
        if let Err(why) = play(
            arguments, round, &title, arena, &windows, &mut log, &mut total,
        ) {
            println!("fuzz-vm: FAILED in {title}: {why}");
            print!("{total}");
            return Ok(ExitCode::from(5));
        }
        // Once all is closed, no call may have left a file behind.
        let open = open_files();
        if *files.get_or_insert(open) != open {
            println!("fuzz-vm: FAILED in {title}: {open} files are open, before {files:?}");
            return Ok(ExitCode::from(5));
        }
        round += 1;
    }

    print!("{total}");
    for ((kind, errno), place) in &total.findings {
        let errno = kind::errno_name(*errno);
        println!(
            "undocumented: {} ends with {errno}, first in {place}",
            kind.name()
        );
    }
    for (protocol, state) in &total.strange {
        println!("undocumented: the state of {protocol} reads {state}");
    }
    println!(
        "fuzz-vm: {} rounds, {} calls in {} s, seed {}, {} undocumented results",
        round - arguments.round,
        total.total(),
        begun.elapsed().as_secs(),
        arguments.seed,
        total.findings.len() + total.strange.len()
    );
    let is_clean = total.findings.is_empty() && total.strange.is_empty();
    Ok(ExitCode::from(u8::from(!is_clean)))
}

/// Files that this process has open.
fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// Plays one round.
fn play(
    arguments: &Arguments,
    round: u64,
    title: &str,
    arena: Reservation,
    windows: &[Reservation],
    log: &mut KernelLog,
    total: &mut Tally,
) -> Result<(), String> {
    let limit = Duration::from_secs(arguments.patience);
    let mut dice = Dice::new(arguments.seed, round, 255);
    let count = 1 + dice.below(arguments.threads.into());
    let mood = Mood::new(&mut dice);
    let names = |errno: sys::Errno| kind::errno_name(errno.0);
    let shared = Shared::open(&arguments.device, arena)
        .map_err(|errno| format!("open: {}", names(errno)))?;

    // The last place is that of the checks.
    let places: Vec<Place> = (0..=count).map(|_| Place::new()).collect();
    let end = Instant::now() + ROUND;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|number| {
                let (shared, places, mood) = (&shared, places.as_slice(), &mood);
                scope.spawn(move || {
                    let mut dice = Dice::new(arguments.seed, round, number as u64);
                    let mut client = Client::new(shared, places, number, title, windows[number]);
                    let _ = client.enable();
                    for step in 0..STEPS {
                        if Instant::now() > end {
                            break;
                        }
                        client.begin(step, dice.step());
                        mood.act(&mut client);
                    }
                    client.finish()
                })
            })
            .collect();
        watchdog::watch(&places, log, limit, title, || {
            threads.iter().all(|thread| thread.is_finished())
        });
        for thread in threads {
            total.add(
                thread
                    .join()
                    .map_err(|_| "a thread of the client panicked")?,
            );
        }
        Ok::<_, String>(())
    })?;

    let mut verify = |shared: &Shared, check: Check, when: &str| {
        checked(
            shared,
            &places,
            title,
            windows[count],
            log,
            limit,
            total,
            |client| {
                let verdict = check(client).map_err(|why| format!("{when}: {why}"));
                check::close_all(client);
                verdict
            },
        )
    };
    verify(&shared, check::after_reset, "after a reset")?;
    drop(shared);
    let shared = Shared::open(&arguments.device, arena)
        .map_err(|errno| format!("opening it again: {}", names(errno)))?;
    verify(&shared, check::after_open, "opened again")
}

/// Checks that the device is as it must be.
type Check = fn(&mut Client<'_>) -> Result<(), String>;

/// Runs a check in a thread of its own, so that it is watched too.
#[expect(clippy::too_many_arguments, reason = "all that a round has")]
fn checked(
    shared: &Shared,
    places: &[Place],
    title: &str,
    window: Reservation,
    log: &mut KernelLog,
    limit: Duration,
    total: &mut Tally,
    check: impl FnOnce(&mut Client<'_>) -> Result<(), String> + Send,
) -> Result<(), String> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            let mut client = Client::new(shared, places, places.len() - 1, title, window);
            let verdict = check(&mut client);
            (client.finish(), verdict)
        });
        watchdog::watch(places, log, limit, title, || thread.is_finished());
        let (tally, verdict) = thread.join().map_err(|_| "a check panicked")?;
        total.add(tally);
        verdict
    })
}
