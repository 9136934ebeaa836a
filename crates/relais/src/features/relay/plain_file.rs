//! One plain file: its stat and its content.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};

use super::left_out::Cause;

/// A file written to more recently than this, in nanoseconds, may be written to again undetectably: on kernels before
/// 6.13 file times move in steps of up to ten milliseconds.
const STEP_NS: i64 = 10_000_000;

/// Detects whether a file was written to or replaced. A program can set the modification time back (`cp -p`, `unzip`);
/// the time of the last change of the inode is set only by the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Bytes.
    pub size: u64,
    /// Modification time in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Time of the last change of the inode, in nanoseconds since 1970; 0 if it is not known.
    pub ctime_ns: i64,
    /// Number of the inode; 0 if it is not known.
    pub ino: u64,
}

impl Stat {
    pub(super) fn of(stat: &fs::Stat) -> Self {
        let nanoseconds = |seconds: i64, rest: u64| {
            seconds.saturating_mul(1_000_000_000).saturating_add(i64::try_from(rest).unwrap_or(0))
        };
        Self {
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
            ctime_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
            ino: stat.st_ino,
        }
    }

    /// The same, unless it is so recent that a later change might look the same: then it equals none that is found.
    #[must_use]
    pub fn proven(self) -> Self {
        // Not the server's own clock: the kernel took the time of the change from this one, and the age must be
        // measured by the same clock.
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        let now_ns = now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec);
        if now_ns.saturating_sub(self.ctime_ns) < STEP_NS { Self { ctime_ns: 0, ..self } } else { self }
    }

    /// Whether size, modification time and inode are those of `other`, whatever happened to names and permissions.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        (self.size, self.mtime_ns, self.ino) == (other.size, other.mtime_ns, other.ino)
    }
}

/// The result of reading a plain file's path.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// No file: nothing, or something that is not followed.
    Nothing,
    /// Something that cannot be accepted.
    Unfit(Cause),
    /// A content, and the stat of the file before it was read.
    Content(Stat, Vec<u8>),
}

/// Reads a plain file relative to its folder: see [`Folder::read`](super::folder::Folder::read).
///
/// # Errors
/// What the disk reports.
pub(super) fn read_at(dir: &OwnedFd, name: &str, bytes_max: u64) -> io::Result<Found> {
    // Without NONBLOCK a pipe in the folder would block the reader until a program writes to it.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match fs::openat(dir, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(rustix::io::Errno::NOENT) => return Ok(Found::Nothing),
        Err(rustix::io::Errno::LOOP) => return Ok(Found::Unfit(Cause::Link)),
        Err(error) => return Err(error.into()),
    };
    let found = fs::fstat(&file)?;
    let stat = Stat::of(&found);
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Ok(Found::Unfit(Cause::NotAFile));
    }
    let too_large = |size| Ok(Found::Unfit(Cause::TooLarge { size, max: bytes_max }));
    if stat.size > bytes_max {
        return too_large(stat.size);
    }
    let mut content = Vec::with_capacity(usize::try_from(stat.size).unwrap_or(0) + 1);
    File::from(file).take(bytes_max + 1).read_to_end(&mut content)?;
    if content.len() as u64 > bytes_max {
        too_large(content.len() as u64)
    } else {
        Ok(Found::Content(stat, content))
    }
}

/// The stat of a plain file, relative to its folder; `None` if there is none.
///
/// # Errors
/// An error of the disk.
pub(super) fn stat_at(dir: &OwnedFd, path: &str) -> io::Result<Option<Stat>> {
    match fs::statat(dir, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
            Ok(Some(Stat::of(&stat)))
        }
        Ok(_) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
