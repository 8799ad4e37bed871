// SPDX-License-Identifier: GPL-2.0-only

//! What the program does with its standard streams and with files of every kind; no device is
//! needed.

use std::fs::{self, File};
use std::io::{BufRead, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

use migration::crc32c::{crc32c, Crc32c};

/// An address without a device.
const NOWHERE: &str = "ffff:ff:1f.7";

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vfio-migrate"));
    command.stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Writes an image of an edu with that many sections of 64 KiB, of a type that may be unknown.
fn write_image(file: &mut impl Write, sections: u32) -> std::io::Result<()> {
    let seal = |mut bytes: Vec<u8>| {
        let crc = crc32c(&bytes).to_le_bytes();
        bytes.extend(crc);
        (bytes, crc)
    };
    let head = |kind: u16, flags: u16, sequence: u32, length: u32| {
        let mut head = Vec::new();
        head.extend(kind.to_le_bytes());
        head.extend(flags.to_le_bytes());
        head.extend(sequence.to_le_bytes());
        head.extend(0u64.to_le_bytes());
        head.extend(length.to_le_bytes());
        seal(head)
    };
    let mut header = b"RVFIOIMG\x01\0\0\0\x40\0\0\0\x34\x12\xe8\x11".to_vec();
    header.resize(60, 0);
    header[26] = 1;
    let (header, seal_of_header) = seal(header);
    let mut seals = Crc32c::new();
    seals.update(&seal_of_header);
    file.write_all(&header)?;
    let mut total = header.len() as u64;
    let (payload, seal_of_payload) = seal(vec![0x5a; 1 << 16]);
    for sequence in 0..sections {
        let (head, seal_of_head) = head(9, 0, sequence, 1 << 16);
        seals.update(&seal_of_head);
        seals.update(&seal_of_payload);
        file.write_all(&head)?;
        file.write_all(&payload)?;
        total += (head.len() + payload.len()) as u64;
    }
    let mut end = (total + 24 + 16 + 4).to_le_bytes().to_vec();
    end.extend(sections.to_le_bytes());
    end.extend(seals.value().to_le_bytes());
    file.write_all(&head(0xffff, 1, sections, 16).0)?;
    file.write_all(&seal(end).0)
}

/// The bytes of a small image.
fn image() -> Vec<u8> {
    let mut bytes = Vec::new();
    write_image(&mut bytes, 2).unwrap();
    bytes
}

/// Commands that print something without a device.
const PRINTING: [&[&str]; 5] = [
    &["list", "--no-open"],
    &["list", "--no-open", "--json"],
    &["check", "--list"],
    &["--help"],
    &["--version"],
];

#[test]
fn what_cannot_be_printed_is_a_failure() {
    for arguments in PRINTING {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = program().args(arguments).stdout(full).output().unwrap();
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {errors}");
        assert!(
            errors.contains("standard output: No space left"),
            "{errors}"
        );

        // A file that is not open for writing.
        let unwritable = File::open("/dev/null").unwrap();
        let output = program().args(arguments).stdout(unwritable).output();
        assert_eq!(output.unwrap().status.code(), Some(1), "{arguments:?}");

        let output = Command::new("sh")
            .args([
                "-c",
                "exec \"$@\" >&-",
                "sh",
                env!("CARGO_BIN_EXE_vfio-migrate"),
            ])
            .args(arguments)
            .output()
            .unwrap();
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {errors}");
        assert!(errors.contains("standard output: it is closed"), "{errors}");

        // It can be thrown away.
        let output = program().args(arguments).stdout(Stdio::null()).output();
        assert_eq!(output.unwrap().status.code(), Some(0), "{arguments:?}");
    }
}

/// The writing end of a pipe that nobody reads.
fn broken_pipe() -> OwnedFd {
    let (reader, writer) = UnixStream::pair().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn a_closed_pipe_ends_quietly() {
    for arguments in PRINTING {
        let output = program()
            .args(arguments)
            .stdout(broken_pipe())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
    }
    // A command's result does not depend on who reads it.
    let output = program()
        .args(["dump", "/dev/zero", "--json"])
        .stdout(broken_pipe())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(4));
}

#[test]
fn an_error_is_told_wherever_output_goes() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let output = program()
        .args(["info", NOWHERE, "--json"])
        .stdout(full())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains(NOWHERE));
}

/// Runs a command that may not have more than 64 MiB of address space.
fn in_little_memory(arguments: &[&str]) -> Child {
    let limited = "ulimit -v 65536 && exec \"$@\"";
    Command::new("sh")
        .args(["-c", limited, "sh", env!("CARGO_BIN_EXE_vfio-migrate")])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn what_is_no_image_is_read_no_further() {
    let directory = tempfile::tempdir().unwrap();
    let sparse = directory.path().join("sparse");
    File::create(&sparse).unwrap().set_len(3 << 30).unwrap();
    let sparse = sparse.to_str().unwrap();
    for arguments in [
        &["dump", "/dev/zero"][..],
        &["dump", "/dev/zero", "--json"],
        &["dump", sparse],
        &["restore", NOWHERE, "-i", "/dev/zero"],
        &["restore", NOWHERE, "-i", sparse],
    ] {
        let output = in_little_memory(arguments).wait_with_output().unwrap();
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{arguments:?}: {errors}");
        assert!(errors.contains("this is not an image"), "{errors}");
    }
    // Without a check, the command gets as far as opening the device.
    let output = in_little_memory(&["restore", NOWHERE, "-i", "/dev/zero", "--no-check"]);
    let output = output.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn a_buffer_has_4096_bytes_and_no_more_is_read() {
    for command in ["save", "restore", "send", "recv"] {
        let mut arguments = vec![command, NOWHERE, "--buffer-in", "/dev/zero"];
        arguments.extend(match command {
            "save" => ["-o", "/dev/null"],
            "restore" => ["-i", "/dev/null"],
            "send" => ["--to", "127.0.0.1:1"],
            _ => ["--listen", "127.0.0.1:0"],
        });
        let output = in_little_memory(&arguments).wait_with_output().unwrap();
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains("more bytes instead of 4096"), "{errors}");
    }
}

#[test]
fn an_image_of_any_length_is_shown_in_little_memory() {
    const SECTIONS: u32 = 1500;
    for (arguments, word) in [
        (&["dump", "-"][..], "\nsection "),
        (&["dump", "-", "--json"], "\"offset\""),
    ] {
        let mut child = in_little_memory(arguments);
        let mut input = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || write_image(&mut input, SECTIONS).unwrap());
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let shown = text(&output.stdout);
        assert_eq!(shown.matches(word).count(), SECTIONS as usize);
    }
}

#[test]
fn a_dump_is_one_json_object_whatever_it_is_of() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    let right = image();
    for (length, sections, header, ended) in [
        (right.len(), 2, true, true),
        (right.len() - 1, 2, true, false),
        (64, 0, true, false),
        (0, 0, false, false),
    ] {
        fs::write(&path, &right[..length]).unwrap();
        let output = run(&["dump", path.to_str().unwrap(), "--json"]);
        let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(if ended { 0 } else { 4 }));
        assert_eq!(shown["sections"].as_array().unwrap().len(), sections);
        assert_eq!(shown["header"].is_object(), header);
        assert_eq!(shown["end"].is_object(), ended);
        assert_eq!(shown["refusal"].is_null(), ended);
        assert_eq!(shown["bytes"], length);
    }
}

/// Runs a command with bytes on its standard input.
fn with_input(arguments: &[&str], bytes: &[u8]) -> Output {
    let mut child = program()
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses may not read all of it.
    let _ = child.stdin.take().unwrap().write_all(bytes);
    child.wait_with_output().unwrap()
}

#[test]
fn standard_input_is_read() {
    let right = image();
    let output = with_input(&["dump", "-"], &right);
    assert!(text(&output.stdout).ends_with("complete, all checksums right\n"));
    // The header is checked before the device is looked for, the rest after.
    let restore = ["restore", NOWHERE, "-i", "-"];
    for (bytes, code) in [
        (&right[..], 3),
        (&right[..100], 3),
        (&right[..63], 4),
        (b"", 4),
        (b"something else, that is longer than sixteen bytes", 4),
    ] {
        let output = with_input(&restore, bytes);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
    }
    let output = with_input(
        &["save", NOWHERE, "-o", "/dev/null", "--buffer-in", "-"],
        b"short",
    );
    assert!(text(&output.stderr).contains("standard input: has 5 bytes instead of 4096"));
}

#[test]
fn one_stream_is_for_one_file() {
    for arguments in [
        &["save", NOWHERE, "-o", "-", "--buffer-out", "-"][..],
        &["save", NOWHERE, "-o", "/dev/stdout", "--buffer-out", "-"],
        &["restore", NOWHERE, "-i", "-", "--buffer-in", "-"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    }
}

#[test]
fn with_a_file_on_standard_output_all_else_goes_to_standard_error() {
    for name in ["-", "/dev/stdout", "/dev/fd/1"] {
        // A socket has no name by which it could be opened again.
        let (reader, socket) = UnixStream::pair().unwrap();
        let mut save = program();
        save.args(["save", NOWHERE, "-o", name])
            .stdout(OwnedFd::from(socket))
            .stderr(Stdio::null());
        assert_eq!(save.status().unwrap().code(), Some(3), "{name}");
        drop(reader);
        let output = run(&["save", NOWHERE, "-o", name, "--json"]);
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(text(&output.stdout), "", "{name}");
        assert!(text(&output.stderr).contains("\"exit_code\":3"));
    }
}

#[test]
fn what_is_no_regular_file_stays_what_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let reader = std::thread::spawn({
        let fifo = fifo.clone();
        move || fs::read(fifo).unwrap()
    });
    // It fails for want of a device, after it has begun to write.
    let output = run(&["save", NOWHERE, "-o", fifo.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(reader.join().unwrap(), b"");
    assert!(fifo.symlink_metadata().unwrap().file_type().is_fifo());

    let null = || Path::new("/dev/null").metadata().unwrap();
    let before = null();
    run(&["save", NOWHERE, "-o", "/dev/null"]);
    assert_eq!((null().ino(), null().mode()), (before.ino(), before.mode()));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

/// An offer of an edu by `send`: a frame of type 1 with 24 bytes.
fn offer() -> Vec<u8> {
    let mut offer = vec![1, 0, 0, 0, 24, 0, 0, 0];
    offer.extend(b"RVFIOMIG\x01\0\x34\x12\xe8\x11\x01\0");
    offer.extend([0; 8]);
    offer
}

/// A target, and where it listens.
fn target() -> (Child, std::io::BufReader<ChildStderr>, String) {
    let mut child = program()
        .args(["recv", NOWHERE, "--listen", "127.0.0.1:0", "--once"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut errors = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    errors.read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening at ").unwrap();
    (child, errors, address.to_owned())
}

#[test]
fn what_is_no_source_neither_ends_a_target_nor_holds_it() {
    let (mut child, mut errors, address) = target();
    let connect = || TcpStream::connect(&address).unwrap();
    // Silent ones, one that is gone, one that asks for something else.
    let silent: Vec<_> = (0..3).map(|_| connect()).collect();
    drop(connect());
    connect().write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut line = String::new();
    for _ in 0..2 {
        errors.read_line(&mut line).unwrap();
    }
    assert_eq!(
        line.matches("no source of a migration").count(),
        2,
        "{line}"
    );
    assert!(child.try_wait().unwrap().is_none());

    let start = Instant::now();
    let mut source = connect();
    source.write_all(&offer()).unwrap();
    let mut answer = Vec::new();
    source.read_to_end(&mut answer).unwrap();
    assert!(text(&answer[8..]).contains(NOWHERE));
    // A source is served: it is no fault of the connection that there is no device.
    assert_eq!(child.wait().unwrap().code(), Some(3));
    assert!(start.elapsed() < Duration::from_secs(3));
    drop(silent);
}
