//! Appending to the packs, group by group.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{self, FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

use super::{CONTENT_BYTES_MAX, PACK_BYTES, Packs, Place, store_error};
use crate::error::StoreError;

/// Writes begin and end at multiples of this, so that they can go to the disk without a copy in the kernel.
const BLOCK_BYTES: usize = 4096;

/// Blocks that one system call takes: `IOV_MAX` of Linux.
const BLOCKS_MAX: usize = 1024;

#[repr(C, align(4096))]
struct Block([u8; BLOCK_BYTES]);

/// Appends contents; they are durable when [`PackWriter::sync`] has returned.
pub(crate) struct PackWriter {
    packs: Arc<Packs>,
    /// The pack that is written to, and its number.
    file: Option<(u64, OwnedFd)>,
    /// Whether the page cache is passed by. Not every file system can.
    direct: bool,
    /// Where the next block goes.
    written: u64,
    blocks: Vec<Block>,
    /// Bytes in `blocks`.
    length: usize,
}

impl PackWriter {
    /// Continues after `end`, where the last commit ended.
    pub(crate) fn new(packs: Arc<Packs>, end: Place) -> Self {
        let written = end.0.next_multiple_of(BLOCK_BYTES as u64);
        Self { packs, file: None, direct: true, written, blocks: Vec::new(), length: 0 }
    }

    /// Takes a content into the group. The place counts once the group is synced and committed.
    pub(crate) fn append(&mut self, content: &[u8]) -> Result<Place, StoreError> {
        if content.len() > CONTENT_BYTES_MAX {
            return Err(StoreError::Value(format!(
                "a content of {} bytes does not go into a pack: {CONTENT_BYTES_MAX} are the most",
                content.len()
            )));
        }
        let room = PACK_BYTES - self.written % PACK_BYTES;
        if (self.length + content.len()) as u64 > room || self.blocks.len() >= BLOCKS_MAX {
            self.sync()?;
        }
        if content.len() as u64 > PACK_BYTES - self.written % PACK_BYTES {
            self.written = self.written.next_multiple_of(PACK_BYTES);
        }
        let place = Place(self.written + self.length as u64);
        self.buffer(content);
        Ok(place)
    }

    /// Where the contents that are synced end.
    pub(crate) fn end(&self) -> Place {
        Place(self.written)
    }

    /// The rows of everything synced so far are committed.
    pub(crate) fn committed(&self) {
        self.packs.committed(self.end());
    }

    /// Whether there is something to sync.
    pub(crate) fn is_waiting(&self) -> bool {
        self.length > 0
    }

    /// Drops what is not written yet: its group is undone.
    pub(crate) fn forget(&mut self) {
        self.blocks.clear();
        self.length = 0;
    }

    /// Writes what was taken and makes it survive a power cut.
    pub(crate) fn sync(&mut self) -> Result<(), StoreError> {
        if !self.is_waiting() {
            return Ok(());
        }
        let result = self.write().map_err(|error| store_error(&error));
        if result.is_ok() {
            self.written += (self.blocks.len() * BLOCK_BYTES) as u64;
        }
        self.forget();
        result
    }

    fn buffer(&mut self, mut content: &[u8]) {
        while !content.is_empty() {
            let filled = self.length % BLOCK_BYTES;
            if filled == 0 {
                self.blocks.push(Block([0; BLOCK_BYTES]));
            }
            let Some(block) = self.blocks.last_mut() else { return };
            let taken = content.len().min(BLOCK_BYTES - filled);
            block.0[filled..filled + taken].copy_from_slice(&content[..taken]);
            self.length += taken;
            content = &content[taken..];
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let number = self.end().pack();
        if self.file.as_ref().is_none_or(|(open, _)| *open != number) {
            self.file = Some((number, self.open_pack(number)?));
        }
        match self.write_blocks() {
            // Some file systems take the flag when a file is opened and refuse it when it is written.
            Err(error) if self.direct && error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                self.direct = false;
                self.file = Some((number, self.open_pack(number)?));
                self.write_blocks()
            }
            result => result,
        }
    }

    fn write_blocks(&self) -> io::Result<()> {
        let Some((_, file)) = &self.file else { return Err(io::ErrorKind::NotFound.into()) };
        let mut offset = self.written % PACK_BYTES;
        for blocks in self.blocks.chunks(BLOCKS_MAX) {
            let slices: Vec<IoSlice<'_>> = blocks.iter().map(|block| IoSlice::new(&block.0)).collect();
            let wanted = blocks.len() * BLOCK_BYTES;
            if rustix::io::pwritev(file, &slices, offset)? != wanted {
                // Nothing but a full disk cuts a write short.
                return Err(io::ErrorKind::StorageFull.into());
            }
            offset += wanted as u64;
        }
        Ok(fs::fdatasync(file)?)
    }

    /// Opens a pack with its whole size reserved, so that later writes change no file sizes and find room.
    fn open_pack(&mut self, number: u64) -> io::Result<OwnedFd> {
        let path = self.packs.path(number);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        let open = |flags| fs::open(&path, flags, Mode::from(0o600));
        let direct = if self.direct { open(flags | OFlags::DIRECT) } else { Err(Errno::INVAL) };
        let file = match direct {
            Err(Errno::INVAL | Errno::NOTSUP) => {
                self.direct = false;
                open(flags)?
            }
            other => other?,
        };
        match fs::fallocate(&file, FallocateFlags::empty(), 0, PACK_BYTES) {
            Err(Errno::NOTSUP | Errno::NOSYS) | Ok(()) => {}
            Err(error) => return Err(error.into()),
        }
        fs::fsync(&file)?;
        File::open(&self.packs.folder)?.sync_all()?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packs(dir: &tempfile::TempDir, end: Place) -> (Arc<Packs>, PackWriter) {
        let packs = Arc::new(Packs::open(&dir.path().join("relais.db"), end).unwrap());
        (Arc::clone(&packs), PackWriter::new(packs, end))
    }

    #[test]
    fn contents_are_read_where_they_were_put() {
        let dir = tempfile::tempdir().unwrap();
        let (packs, mut writer) = packs(&dir, Place(0));
        let contents: Vec<Vec<u8>> = [1, 4095, 4096, 4097, 100_000, 3]
            .iter()
            .enumerate()
            .map(|(at, length)| vec![u8::try_from(at).unwrap() + 1; *length])
            .collect();
        let mut places = Vec::new();
        for group in contents.chunks(2) {
            places.extend(group.iter().map(|content| writer.append(content).unwrap()));
            writer.sync().unwrap();
        }
        for (place, content) in places.iter().zip(&contents) {
            assert_eq!(packs.read(*place, content.len()).unwrap().as_ref(), Some(content));
        }
    }

    #[test]
    fn a_full_pack_is_followed_by_another_and_can_go_when_it_is_not_needed() {
        let dir = tempfile::tempdir().unwrap();
        let (packs, mut writer) = packs(&dir, Place(0));
        let content = vec![7; CONTENT_BYTES_MAX - 1];
        let places: Vec<Place> = (0..6).map(|_| writer.append(&content).unwrap()).collect();
        writer.sync().unwrap();
        assert_eq!(places.iter().map(|place| place.pack()).collect::<Vec<_>>(), [0, 0, 0, 0, 1, 1]);
        assert!(places.iter().all(|p| packs.read(*p, content.len()).unwrap().as_ref() == Some(&content)));
        assert_eq!(packs.sealed().unwrap(), [] as [u64; 0], "rows may still come to be committed");
        writer.committed();
        assert_eq!(packs.sealed().unwrap(), [0]);
        assert!(packs.remove(1).is_err(), "it is written to");
        packs.remove(0).unwrap();
        assert_eq!(packs.read(places[0], content.len()).unwrap(), None);
    }

    #[test]
    fn what_was_not_committed_is_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let (_, mut writer) = packs(&dir, Place(0));
        let kept = writer.append(b"kept").unwrap();
        writer.sync().unwrap();
        let end = writer.end();
        for _ in 0..6 {
            writer.append(&vec![1; CONTENT_BYTES_MAX]).unwrap();
        }
        writer.sync().unwrap();

        let (packs, mut writer) = packs(&dir, end);
        let next = writer.append(b"next").unwrap();
        writer.sync().unwrap();
        assert_eq!(packs.read(kept, 4).unwrap(), Some(b"kept".to_vec()));
        assert_eq!((next, packs.read(next, 4).unwrap()), (end, Some(b"next".to_vec())));
        assert_eq!(packs.sealed().unwrap(), [] as [u64; 0]);
        assert_eq!(packs.begun(), 1);
    }

    #[test]
    fn a_group_that_is_undone_leaves_no_trace() {
        let dir = tempfile::tempdir().unwrap();
        let (_, mut writer) = packs(&dir, Place(0));
        writer.append(b"undone").unwrap();
        writer.forget();
        assert!(!writer.is_waiting());
        assert_eq!(writer.append(b"kept").unwrap(), Place(0));
    }

    #[test]
    fn a_content_that_is_too_large_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (_, mut writer) = packs(&dir, Place(0));
        assert!(matches!(writer.append(&vec![0; CONTENT_BYTES_MAX + 1]), Err(StoreError::Value(_))));
    }
}
