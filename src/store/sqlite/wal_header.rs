//! What can be read of a write-ahead log without SQLite: whether there is to be one, its header, how many
//! transactions it has, and whether it is the one that SQLite's index of it, the shared memory, describes.
//! The formats are those of <https://sqlite.org/walformat.html>.
//!
//! Used to compare the log with the database at a start, and to notice that it was overwritten.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The header of a log. SQLite writes a new one each time that it starts the log anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WalHeader([u8; WalHeader::SIZE]);

impl WalHeader {
    const SIZE: usize = 32;
    /// The last bit tells the byte order of the checksums.
    const MAGIC: u32 = 0x377f_0682;

    /// `None` if the log is empty, or is none: SQLite then takes it as empty.
    pub(super) fn read(wal: &File) -> io::Result<Option<Self>> {
        let mut bytes = [0; Self::SIZE];
        match wal.read_exact_at(&mut bytes, 0) {
            Ok(()) => {
                let magic = u32::from_be_bytes(bytes_at(&bytes, 0));
                Ok((magic & !1 == Self::MAGIC).then_some(Self(bytes)))
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The transactions in the log. Frames of an earlier use of the file have other salts. A transaction
    /// that a power failure cut off may be counted.
    pub(super) fn count_transactions(&self, wal: &File) -> io::Result<u64> {
        self.count_transactions_up_to(wal, u32::MAX)
    }

    fn count_transactions_up_to(&self, wal: &File, last_frame: u32) -> io::Result<u64> {
        let mut transactions = 0;
        for number in 1..=last_frame {
            match read_frame_header(wal, self.frame_offset(number))? {
                Some(frame) if frame[8..16] == self.salts() => {
                    transactions += u64::from(ends_transaction(&frame));
                }
                Some(_) | None => break,
            }
        }
        Ok(transactions)
    }

    fn salts(&self) -> [u8; 8] {
        bytes_at(&self.0, 16)
    }

    /// The frames are numbered from 1.
    fn frame_offset(&self, number: u32) -> u64 {
        let page_size = u64::from(u32::from_be_bytes(bytes_at(&self.0, 8)));
        Self::SIZE as u64 + u64::from(number - 1) * (FRAME_HEADER_SIZE as u64 + page_size)
    }
}

type FrameHeader = [u8; FRAME_HEADER_SIZE];
const FRAME_HEADER_SIZE: usize = 24;

/// The last frame of a transaction has the size of the database after it.
fn ends_transaction(frame: &FrameHeader) -> bool {
    bytes_at(frame, 4) != [0; 4]
}

/// What the header of the shared memory says of the log.
#[derive(Debug, PartialEq, Eq)]
struct WalIndex {
    /// The last frame of the last transaction; 0 if the database has all of them.
    last_frame: u32,
    salts: [u8; 8],
    /// The checksum of the last frame, as the frame has it.
    checksum: [u8; 8],
}

impl WalIndex {
    const SIZE: usize = 48;

    /// `None` if it is being written.
    fn read(shared_memory: &File) -> io::Result<Option<Self>> {
        let mut copies = [0; 2 * Self::SIZE];
        shared_memory.read_exact_at(&mut copies, 0)?;
        let (first, second) = copies.split_at(Self::SIZE);
        // The numbers have the byte order of the machine, the salts that of the file.
        let number = |offset| u32::from_ne_bytes(bytes_at(first, offset));
        let [high, low] = [number(24), number(28)].map(u32::to_be_bytes);
        let mut checksum = [0; 8];
        checksum[..4].copy_from_slice(&high);
        checksum[4..].copy_from_slice(&low);
        let index = Self { last_frame: number(16), salts: bytes_at(first, 32), checksum };
        Ok((first == second).then_some(index))
    }
}

/// Whether a checkpoint has begun to move transactions to the database and was not completed; the file
/// may then be no database without the log.
pub(super) fn is_checkpoint_incomplete(shared_memory: &File) -> io::Result<bool> {
    const BACKFILLED_FRAMES: u64 = 96;
    const FRAMES_TO_BACKFILL: u64 = 128;
    let number = |offset| {
        let mut bytes = [0; 4];
        shared_memory.read_exact_at(&mut bytes, offset)?;
        Ok::<_, io::Error>(u32::from_ne_bytes(bytes))
    };
    Ok(number(BACKFILLED_FRAMES)? < number(FRAMES_TO_BACKFILL)?)
}

/// Whether the header of a database says that a write-ahead log is used; `None` if the file is too short
/// for a header. `.backup` of sqlite3 keeps that mark; VACUUM INTO does not.
pub(super) fn uses_wal(database: &File) -> io::Result<Option<bool>> {
    const HEADER_SIZE: usize = 100;
    const FORMAT_VERSIONS: std::ops::Range<usize> = 18..20;
    let mut header = [0; HEADER_SIZE];
    match database.read_exact_at(&mut header, 0) {
        Ok(()) => Ok(Some(header[FORMAT_VERSIONS] == [2, 2])),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// A log as it was when it was last read.
#[derive(Debug, Default)]
pub(super) struct WalState {
    /// `None` if the database has all transactions.
    header: Option<WalHeader>,
    last_frame: u32,
    /// How often the log was found to have been started anew.
    starts: u64,
}

impl WalState {
    /// Reads the state of the log. Returns whether it is the log that the shared memory describes; false
    /// also if another program is just starting the log anew.
    pub(super) fn update(&mut self, wal: &File, shared_memory: &File) -> io::Result<bool> {
        let Some(index) = WalIndex::read(shared_memory)? else { return Ok(false) };
        let mut header = None;
        // Otherwise, whatever is in the file, SQLite will overwrite it.
        if index.last_frame > 0 {
            header = WalHeader::read(wal)?.filter(|header| header.salts() == index.salts);
            let Some(header) = &header else { return Ok(false) };
            let last = read_frame_header(wal, header.frame_offset(index.last_frame))?;
            let is_described = last.is_some_and(|frame| {
                frame[8..16] == index.salts && frame[16..24] == index.checksum
            });
            if !is_described {
                return Ok(false);
            }
        }
        if self.header != header || self.last_frame > index.last_frame {
            self.starts += 1;
        }
        (self.header, self.last_frame) = (header, index.last_frame);
        Ok(true)
    }

    /// Changes whenever the log was started anew.
    pub(super) fn starts(&self) -> u64 {
        self.starts
    }

    /// The transactions in the log, those of other programs included.
    pub(super) fn count_transactions(&self, wal: &File) -> io::Result<u64> {
        let count = |header: &WalHeader| header.count_transactions_up_to(wal, self.last_frame);
        self.header.as_ref().map_or(Ok(0), count)
    }
}

/// `None` if the file ends before.
fn read_frame_header(wal: &File, offset: u64) -> io::Result<Option<FrameHeader>> {
    let mut frame = [0; FRAME_HEADER_SIZE];
    match wal.read_exact_at(&mut frame, offset) {
        Ok(()) => Ok(Some(frame)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

fn bytes_at<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    let mut found = [0; N];
    found.copy_from_slice(&bytes[offset..offset + N]);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log with pages of 512 bytes and these frames: the size of the database, or 0 within a
    /// transaction, and the salts. The checksum of a frame is its number.
    fn log(salt: u8, frames: &[(u32, u8)]) -> Vec<u8> {
        let mut content = vec![0; WalHeader::SIZE];
        content[..4].copy_from_slice(&WalHeader::MAGIC.to_be_bytes());
        content[8..12].copy_from_slice(&512_u32.to_be_bytes());
        content[16..24].fill(salt);
        for (number, (database_pages, salt)) in (1_u32..).zip(frames) {
            let mut frame = vec![0; FRAME_HEADER_SIZE + 512];
            frame[4..8].copy_from_slice(&database_pages.to_be_bytes());
            frame[8..16].fill(*salt);
            frame[20..24].copy_from_slice(&number.to_be_bytes());
            content.extend(frame);
        }
        content
    }

    /// Shared memory that describes a log with this many frames.
    fn index(salt: u8, frames: u32) -> Vec<u8> {
        let mut header = [0; WalIndex::SIZE];
        header[16..20].copy_from_slice(&frames.to_ne_bytes());
        header[28..32].copy_from_slice(&frames.to_ne_bytes());
        header[32..40].fill(salt);
        header.repeat(2)
    }

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("a file");
        io::Write::write_all(&mut file, content).expect("written");
        file
    }

    #[test]
    fn only_the_log_that_the_shared_memory_describes_is_accepted() {
        let used = log(1, &[(0, 1), (9, 1)]);
        let zeros = vec![0; used.len()];
        for (case, wal, shared_memory, expected) in [
            ("as described", used.clone(), index(1, 2), true),
            ("with a rest of an earlier use", log(1, &[(9, 1), (9, 0)]), index(1, 1), true),
            ("emptied by a checkpoint", vec![], index(1, 0), true),
            ("to be overwritten", used.clone(), index(2, 0), true),
            ("cut", log(1, &[(0, 1)]), index(1, 2), false),
            ("emptied", vec![], index(1, 2), false),
            ("zeros", zeros, index(1, 2), false),
            ("an older copy", log(1, &[(0, 1), (9, 0)]), index(1, 2), false),
            ("another log", log(2, &[(0, 2), (9, 2)]), index(1, 2), false),
            (
                "another transaction",
                log(1, &[(0, 1), (9, 1), (9, 1)])[..].to_vec(),
                index(1, 4),
                false,
            ),
            ("being written", used, [index(1, 1), index(1, 2)].concat()[48..144].to_vec(), false),
        ] {
            let found = WalState::default().update(&file(&wal), &file(&shared_memory));
            assert_eq!(found.expect("readable"), expected, "{case}");
        }
    }

    #[test]
    fn the_transactions_of_a_log_are_counted_and_its_starts_noticed() {
        let frames = [(0, 1), (9, 1), (9, 1), (0, 1), (9, 1), (9, 2)];
        let wal = file(&log(1, &frames));
        let header = WalHeader::read(&wal).expect("readable").expect("a header");
        assert_eq!(header.count_transactions(&wal).expect("readable"), 3, "up to an earlier use");
        let mut state = WalState::default();
        for (last_frame, transactions, starts) in
            [(3, 2, 1), (3, 2, 1), (5, 3, 1), (2, 1, 2), (0, 0, 3), (0, 0, 3), (5, 3, 4)]
        {
            assert!(state.update(&wal, &file(&index(1, last_frame))).expect("readable"));
            let found = state.count_transactions(&wal).expect("readable");
            assert_eq!((found, state.starts()), (transactions, starts), "up to frame {last_frame}");
        }
        let text = file(b"no log at all, but a text of more than 32 bytes");
        assert_eq!(WalHeader::read(&text).expect("readable"), None);
    }
}
