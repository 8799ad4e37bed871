// SPDX-License-Identifier: GPL-2.0-only

//! System calls: the only module with `unsafe`.
//!
//! The fuzzer hands the kernel addresses of memory that it never touches itself: a
//! [`Reservation`] is only ever read and written by the kernel, so whatever is mapped, unmapped or
//! protected there, no Rust reference and no access of this process can be wrong.

#![expect(unsafe_code)]

use std::ffi::{c_int, c_long, CString};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

/// An error number.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Errno(pub i32);

/// What a system call returns.
pub type Result<T = usize> = std::result::Result<T, Errno>;

/// An address that the kernel may read and write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Address(usize);

impl Address {
    /// The null pointer.
    pub const NULL: Self = Self(0);
    /// An address of the kernel.
    pub const KERNEL: Self = Self(0xffff_8880_0000_1000);
    /// An address that the processor cannot have.
    pub const NONE: Self = Self(0x8000_0000_0000_0000);

    /// The address as a number, for structures that hold addresses.
    pub fn number(self) -> u64 {
        self.0 as u64
    }
}

/// Address space that only the kernel accesses, reserved until the process ends.
#[derive(Clone, Copy, Debug)]
pub struct Reservation {
    start: usize,
    len: usize,
}

/// Bytes of a page.
pub const PAGE: usize = 4096;

/// What is mapped in a reservation.
#[derive(Clone, Copy, Debug)]
pub struct MapHow {
    /// `PROT_*`
    pub protection: c_int,
    /// `MAP_*`, without `MAP_FIXED`
    pub flags: c_int,
    /// A file, -1 for none.
    pub fd: RawFd,
    /// The offset in the file.
    pub offset: u64,
}

impl MapHow {
    /// Memory of this process.
    pub const MEMORY: Self = Self {
        protection: libc::PROT_READ | libc::PROT_WRITE,
        flags: libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        fd: -1,
        offset: 0,
    };
}

impl Reservation {
    /// Reserves `len` bytes, none of which can be accessed yet.
    pub fn new(len: usize) -> Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: A new mapping at an address that the kernel chooses.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_NONE, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(last());
        }
        Ok(Self {
            start: start.addr(),
            len,
        })
    }

    /// Bytes reserved.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The address `offset` bytes from the start, at most the first one behind.
    pub fn at(&self, offset: usize) -> Address {
        Address(self.start + offset.min(self.len))
    }

    /// Checks that a range of pages is reserved.
    fn range(&self, offset: usize, len: usize) -> Result<*mut libc::c_void> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => {
                Ok(std::ptr::without_provenance_mut(self.start + offset))
            }
            _ => Err(Errno(libc::ENOMEM)),
        }
    }

    /// Maps something there and replaces what was there; on an error nothing is mapped.
    pub fn map(&self, offset: usize, len: usize, how: MapHow) -> Result {
        let result = self.replace(offset, len, how);
        if result.is_err() {
            // The kernel may already have unmapped what was there; nothing else may be mapped
            // there.
            self.unmap(offset, len)?;
        }
        result
    }

    /// Unmaps what is there; the address space stays reserved.
    pub fn unmap(&self, offset: usize, len: usize) -> Result {
        let nothing = MapHow {
            protection: libc::PROT_NONE,
            flags: libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            ..MapHow::MEMORY
        };
        self.replace(offset, len, nothing)
    }

    /// Maps something there.
    fn replace(&self, offset: usize, len: usize, how: MapHow) -> Result {
        let at = self.range(offset, len)?;
        let flags = how.flags | libc::MAP_FIXED;
        // SAFETY: The range is reserved for the kernel's accesses; nothing else is replaced.
        let result =
            unsafe { libc::mmap(at, len, how.protection, flags, how.fd, how.offset as i64) };
        match result == libc::MAP_FAILED {
            true => Err(last()),
            false => Ok(0),
        }
    }

    /// Changes the protection.
    pub fn protect(&self, offset: usize, len: usize, protection: c_int) -> Result {
        let at = self.range(offset, len)?;
        // SAFETY: As in `map`.
        done(unsafe { libc::mprotect(at, len, protection) }.into())
    }

    /// `madvise()`
    pub fn advise(&self, offset: usize, len: usize, advice: c_int) -> Result {
        let at = self.range(offset, len)?;
        // SAFETY: As in `map`.
        done(unsafe { libc::madvise(at, len, advice) }.into())
    }

    /// Makes the kernel copy bytes out of the reservation, through a pipe.
    ///
    /// Returns how many bytes precede the first that cannot be read.
    pub fn load(&self, offset: usize, bytes: &mut [u8]) -> Result {
        self.range(offset, bytes.len())?;
        COPIER.with(|(output, input)| {
            let mut moved = 0;
            for part in bytes.chunks_mut(PIECE) {
                let held = match write(input.as_raw_fd(), self.at(offset + moved), part.len()) {
                    Err(errno) if moved == 0 => return Err(errno),
                    Err(_) => break,
                    Ok(held) => held,
                };
                let (fd, to) = (output.as_raw_fd(), part.as_mut_ptr().cast());
                // SAFETY: `part` is valid for writes, and holds as much.
                moved += done(unsafe { libc::read(fd, to, held) } as c_long)?;
                if held < part.len() {
                    break;
                }
            }
            Ok(moved)
        })
    }

    /// Makes the kernel copy bytes into the reservation, likewise.
    pub fn store(&self, offset: usize, bytes: &[u8]) -> Result {
        self.range(offset, bytes.len())?;
        COPIER.with(|(output, input)| {
            let mut moved = 0;
            for part in bytes.chunks(PIECE) {
                let (fd, from) = (input.as_raw_fd(), part.as_ptr().cast());
                // SAFETY: `part` is valid for reads.
                let held = done(unsafe { libc::write(fd, from, part.len()) } as c_long)?;
                let stored = read(output.as_raw_fd(), self.at(offset + moved), held);
                let stored = stored.inspect_err(|_| drain(output));
                match stored {
                    Err(errno) if moved == 0 => return Err(errno),
                    Err(_) => break,
                    Ok(count) => moved += count,
                }
                if stored != Ok(held) {
                    drain(output);
                    break;
                }
            }
            Ok(moved)
        })
    }

    /// Makes the kernel put references to its pages into a pipe.
    pub fn splice(&self, offset: usize, len: usize, pipe: &OwnedFd) -> Result {
        let part = self.part(offset, len)?;
        let flags = libc::SPLICE_F_NONBLOCK;
        // SAFETY: `part` lies in the reservation, which only the kernel accesses.
        done(unsafe { libc::vmsplice(pipe.as_raw_fd(), &part, 1, flags) } as c_long)
    }

    /// A range as the vectored calls have it.
    fn part(&self, offset: usize, len: usize) -> Result<libc::iovec> {
        Ok(libc::iovec {
            iov_base: self.range(offset, len)?,
            iov_len: len,
        })
    }
}

/// Bytes that go through a pipe at a time.
const PIECE: usize = 8 * PAGE;

thread_local! {
    /// The pipe of [`Reservation::load`] and [`Reservation::store`].
    static COPIER: (OwnedFd, OwnedFd) = pipe().expect("a pipe can be had");
}

/// Empties a pipe.
fn drain(output: &OwnedFd) {
    let mut bytes = [0_u8; PAGE];
    // SAFETY: The buffer is valid for the call.
    while unsafe { libc::read(output.as_raw_fd(), bytes.as_mut_ptr().cast(), PAGE) } > 0 {}
}

fn last() -> Errno {
    Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

fn done(result: c_long) -> Result {
    usize::try_from(result).map_err(|_| last())
}

/// Opens a file for reading and writing.
pub fn open(path: &Path) -> Result<OwnedFd> {
    let path =
        CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| Errno(libc::EINVAL))?;
    let flags = libc::O_RDWR | libc::O_CLOEXEC;
    // SAFETY: The path is a string that ends in a zero byte.
    let fd = done(unsafe { libc::open(path.as_ptr(), flags) }.into())?;
    // SAFETY: The descriptor is new.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Takes a descriptor that the kernel has returned in a structure or as a result.
///
/// `None` for one that is not open, or is one of the first three.
pub fn adopt(fd: i32) -> Option<OwnedFd> {
    // SAFETY: The call looks at a number.
    let is_open = unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0;
    // SAFETY: The caller got it from a call that had just made it.
    (fd > 2 && is_open).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `ioctl()` with any argument.
pub fn ioctl(fd: RawFd, request: u32, argument: Address) -> Result {
    // SAFETY: If the kernel follows the argument, it reaches only memory of its own; see the
    // module.
    done(unsafe { libc::ioctl(fd, libc::c_ulong::from(request), argument.0) }.into())
}

/// `ioctl()` with a number.
pub fn ioctl_number(fd: RawFd, request: u32, argument: i32) -> Result {
    // SAFETY: For requests that take numbers; a number is no address of this process.
    done(unsafe { libc::ioctl(fd, libc::c_ulong::from(request), c_long::from(argument)) }.into())
}

/// `pread()`
pub fn pread(fd: RawFd, to: Address, len: usize, position: u64) -> Result {
    // SAFETY: The kernel writes to memory of its own.
    done(unsafe { libc::syscall(libc::SYS_pread64, fd, to.0, len, position) })
}

/// `pwrite()`
pub fn pwrite(fd: RawFd, from: Address, len: usize, position: u64) -> Result {
    // SAFETY: The kernel reads memory of its own.
    done(unsafe { libc::syscall(libc::SYS_pwrite64, fd, from.0, len, position) })
}

/// `read()`
pub fn read(fd: RawFd, to: Address, len: usize) -> Result {
    // SAFETY: The kernel writes to memory of its own.
    done(unsafe { libc::syscall(libc::SYS_read, fd, to.0, len) })
}

/// `write()`
pub fn write(fd: RawFd, from: Address, len: usize) -> Result {
    // SAFETY: The kernel reads memory of its own.
    done(unsafe { libc::syscall(libc::SYS_write, fd, from.0, len) })
}

/// `lseek()`
pub fn seek(fd: RawFd, offset: i64, whence: c_int) -> Result {
    // SAFETY: Numbers only.
    done(unsafe { libc::lseek(fd, offset, whence) })
}

/// `poll()` of one file, for at most `milliseconds`; returns the events.
pub fn poll(fd: RawFd, milliseconds: c_int) -> Result {
    let mut polled = libc::pollfd {
        fd,
        events: libc::POLLIN | libc::POLLOUT,
        revents: 0,
    };
    // SAFETY: One element, valid for the call.
    done(unsafe { libc::poll(&mut polled, 1, milliseconds) }.into())?;
    Ok(usize::from(polled.revents.unsigned_abs()))
}

/// An eventfd that does not block.
pub fn eventfd() -> Result<OwnedFd> {
    // SAFETY: Numbers only.
    let fd = done(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) }.into())?;
    // SAFETY: The descriptor is new.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Returns how often an eventfd was signalled since the last call.
pub fn eventfd_take(fd: &OwnedFd) -> u64 {
    let mut count = [0; 8];
    // SAFETY: The buffer is valid for the call.
    let result = unsafe { libc::read(fd.as_raw_fd(), count.as_mut_ptr().cast(), 8) };
    if result == 8 {
        u64::from_ne_bytes(count)
    } else {
        0
    }
}

/// A pipe whose ends do not block: the one to read, the one to write.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: The array is valid for the call.
    done(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) }.into())?;
    // SAFETY: The descriptors are new.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// The calling thread's number.
pub fn thread() -> i32 {
    // SAFETY: No arguments.
    unsafe { libc::gettid() }
}

/// Interrupts the wait of a thread with a signal that does nothing.
pub fn interrupt(thread: i32) -> Result {
    // SAFETY: Numbers only; the handler was installed by `catch_interrupts`.
    done(unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, libc::SIGUSR1) })
}

/// Installs the handler of [`interrupt`]; calls that it interrupts are not restarted.
pub fn catch_interrupts() {
    extern "C" fn nothing(_: c_int) {}
    // SAFETY: The structure is all zeroes but for the handler, which does nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(c_int) as usize;
        libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut());
    }
}

/// Ends the process, whatever its threads do.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: Nothing is to be cleaned up.
    unsafe { libc::_exit(status) }
}
