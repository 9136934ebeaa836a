//! Small contents beside the embedded database: appended to files in the order of commits, and durable with them.
//!
//! A row that holds kilobytes costs SQLite several pages, each written twice. A **pack** is a file that takes the
//! contents of many commands one after the other; the rows keep only their [`Place`]. All packs together are one
//! range of bytes, cut into files of [`PACK_BYTES`], and a place is a position in that range.
//!
//! Nothing in a pack says what it is: rows do, and they hold the hash that tells whether a content is whole. A
//! content whose row is gone leaves a gap. The owner of the rows moves what is left in a pack to the newest one
//! and removes it.

mod writer;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::StoreError;

pub(crate) use writer::PackWriter;

/// Bytes of one pack.
pub const PACK_BYTES: u64 = 16 * 1024 * 1024;

/// Bytes of one content at most: a quarter of a pack, so that little is left over at its end.
pub const CONTENT_BYTES_MAX: usize = (PACK_BYTES / 4) as usize;

/// Where a content begins. Stored as a `BIGINT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(pub u64);

impl Place {
    /// The number of the pack that holds it.
    #[must_use]
    pub fn pack(self) -> u64 {
        self.0 / PACK_BYTES
    }

    fn offset(self) -> u64 {
        self.0 % PACK_BYTES
    }
}

/// The packs beside a database, for reading and for tidying up.
pub struct Packs {
    folder: PathBuf,
    /// The pack in which the last commit ended: those before it do not change any more, and every row that will
    /// ever refer to them is committed.
    open: AtomicU64,
}

impl Packs {
    /// The packs of the database at `database`, whose last commit ended at `end`. Removes what was written after
    /// it and never committed.
    pub(crate) fn open(database: &Path, end: Place) -> io::Result<Self> {
        let folder = database.with_extension("packs");
        crate::private::own_folder(&folder)?;
        let packs = Self { folder, open: AtomicU64::new(end.pack()) };
        for number in packs.numbers()?.into_iter().filter(|number| *number > end.pack()) {
            std::fs::remove_file(packs.path(number))?;
        }
        Ok(packs)
    }

    /// The `length` bytes at `place`; nothing if the pack is gone, so that the row is to be read again.
    ///
    /// Blocks. Fewer bytes if the pack was cut off. Whether these are the bytes that were meant, the hash in the row
    /// says.
    ///
    /// # Errors
    /// What the disk reports.
    pub fn read(&self, place: Place, length: usize) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.path(place.pack())) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut content = vec![0; length.min(CONTENT_BYTES_MAX)];
        let mut filled = 0;
        while filled < content.len() {
            match file.read_at(&mut content[filled..], place.offset() + filled as u64)? {
                0 => content.truncate(filled),
                read => filled += read,
            }
        }
        Ok(Some(content))
    }

    /// The numbers of the packs that are not written to any more, in order.
    ///
    /// # Errors
    /// What the disk reports.
    pub fn sealed(&self) -> io::Result<Vec<u64>> {
        let open = self.open.load(Ordering::Acquire);
        let mut numbers = self.numbers()?;
        numbers.retain(|number| *number < open);
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Removes a sealed pack, to which no committed row refers any more.
    ///
    /// # Errors
    /// What the disk reports; [`io::ErrorKind::InvalidInput`] if the pack is not sealed.
    pub fn remove(&self, number: u64) -> io::Result<()> {
        if number >= self.open.load(Ordering::Acquire) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("pack {number} is in use")));
        }
        std::fs::remove_file(self.path(number))
    }

    /// Notes that everything before `end` is committed.
    pub(crate) fn committed(&self, end: Place) {
        self.open.store(end.pack(), Ordering::Release);
    }

    /// How many packs have been begun since the database exists.
    #[must_use]
    pub fn begun(&self) -> u64 {
        self.open.load(Ordering::Acquire) + 1
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:08}.pack"))
    }

    fn numbers(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            numbers.extend(
                name.to_str().and_then(|n| n.strip_suffix(".pack")).and_then(|n| n.parse::<u64>().ok()),
            );
        }
        Ok(numbers)
    }
}

/// A failure of the disk, sorted like one of the database.
fn store_error(error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            StoreError::Full
        }
        _ => StoreError::Unavailable(format!("a pack of contents cannot be written: {error}")),
    }
}
