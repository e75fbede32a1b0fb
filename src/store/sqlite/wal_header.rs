//! What can be read of a write-ahead log without SQLite: its header, and how many transactions it has.
//! The format is that of <https://sqlite.org/fileformat2.html#walformat>.
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
            Ok(()) => Ok((big_endian(&bytes, 0) & !1 == Self::MAGIC).then_some(Self(bytes))),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The transactions in the log.
    pub(super) fn count_transactions(self, wal: &File) -> io::Result<u64> {
        let mut state =
            WalState { bytes: 0, header: Some(self), last_commit: None, transactions: 0 };
        state.scan(wal)?;
        Ok(state.transactions)
    }

    fn frame_size(&self) -> u64 {
        FRAME_HEADER_SIZE as u64 + u64::from(big_endian(&self.0, 8))
    }

    /// Whether SQLite can have written this header after `earlier`.
    fn can_follow(&self, earlier: &Self) -> bool {
        let number = |header: &Self| big_endian(&header.0, 12);
        // The number wraps around after 2^32 checkpoints.
        self == earlier || number(self).wrapping_sub(number(earlier)).cast_signed() > 0
    }
}

/// A log at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WalState {
    pub(super) bytes: u64,
    header: Option<WalHeader>,
    /// The offset and the header of the last frame of a transaction.
    last_commit: Option<(u64, FrameHeader)>,
    /// The transactions up to that frame.
    pub(super) transactions: u64,
}

type FrameHeader = [u8; FRAME_HEADER_SIZE];
const FRAME_HEADER_SIZE: usize = 24;

/// How a log can have come from one state to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WalProgress {
    /// By writes and checkpoints.
    Plausible,
    /// Emptied: by a checkpoint, after which the database is complete, or by something else.
    Emptied,
    /// Not by SQLite.
    Overwritten,
}

impl WalState {
    pub(super) fn read(wal: &File) -> io::Result<Self> {
        let header = WalHeader::read(wal)?;
        let bytes = wal.metadata()?.len();
        let mut state = Self { bytes, header, last_commit: None, transactions: 0 };
        state.scan(wal)?;
        Ok(state)
    }

    /// Reads the log again. Transactions are not counted.
    pub(super) fn update(&mut self, wal: &File) -> io::Result<WalProgress> {
        let (header, bytes) = (WalHeader::read(wal)?, wal.metadata()?.len());
        let progress = match (&self.header, &header) {
            (_, None) if bytes > 0 => WalProgress::Overwritten,
            (None, None | Some(_)) => WalProgress::Plausible,
            (Some(_), None) => WalProgress::Emptied,
            (Some(before), Some(now)) if before == now => {
                if self.last_commit_is_in(wal)? {
                    WalProgress::Plausible
                } else {
                    WalProgress::Overwritten
                }
            }
            (Some(before), Some(now)) if now.can_follow(before) => WalProgress::Plausible,
            (Some(_), Some(_)) => WalProgress::Overwritten,
        };
        if header != self.header {
            (self.header, self.last_commit, self.transactions) = (header, None, 0);
        }
        self.bytes = bytes;
        Ok(progress)
    }

    fn last_commit_is_in(&self, wal: &File) -> io::Result<bool> {
        match self.last_commit {
            None => Ok(true),
            Some((offset, frame)) => Ok(read_frame_header(wal, offset)? == Some(frame)),
        }
    }

    /// Counts the transactions after the last one that is known. To be called after a commit only: a
    /// failed one leaves frames that the next one overwrites. Frames of an earlier use of the file have
    /// other salts.
    pub(super) fn scan(&mut self, wal: &File) -> io::Result<()> {
        let Some(header) = self.header else { return Ok(()) };
        let first = WalHeader::SIZE as u64;
        let mut offset = self.last_commit.map_or(first, |(at, _)| at + header.frame_size());
        while let Some(frame) = read_frame_header(wal, offset)? {
            if frame[8..16] != header.0[16..24] {
                break;
            }
            // The last frame of a transaction has the size of the database after it.
            if big_endian(&frame, 4) > 0 {
                self.transactions += 1;
                self.last_commit = Some((offset, frame));
            }
            offset += header.frame_size();
        }
        Ok(())
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

/// The big-endian number at an offset of a header.
fn big_endian(bytes: &[u8], offset: usize) -> u32 {
    bytes[offset..offset + 4].iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(checkpoint: u32, salt: u8) -> WalHeader {
        let mut bytes = [0; WalHeader::SIZE];
        bytes[..4].copy_from_slice(&WalHeader::MAGIC.to_be_bytes());
        bytes[8..12].copy_from_slice(&512_u32.to_be_bytes());
        bytes[12..16].copy_from_slice(&checkpoint.to_be_bytes());
        bytes[16..24].fill(salt);
        WalHeader(bytes)
    }

    /// A log with frames of these sizes of the database (0 within a transaction) and salts.
    fn log(checkpoint: u32, salt: u8, frames: &[(u32, u8)]) -> Vec<u8> {
        let mut content = header(checkpoint, salt).0.to_vec();
        for (database_pages, salt) in frames {
            let mut frame = vec![0; FRAME_HEADER_SIZE + 512];
            frame[4..8].copy_from_slice(&database_pages.to_be_bytes());
            frame[8..16].fill(*salt);
            content.extend(frame);
        }
        content
    }

    #[test]
    fn only_writes_and_checkpoints_are_plausible() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("wal");
        let log_with = |content: &[u8]| {
            std::fs::write(&path, content).expect("a log");
            File::open(&path).expect("a log")
        };
        let used = log(7, 1, &[(0, 1), (9, 1)]);
        let zeros = vec![0; used.len()];
        for (case, earlier, now, expected) in [
            ("first use", vec![], used.clone(), WalProgress::Plausible),
            ("no use", vec![], vec![], WalProgress::Plausible),
            ("no write", used.clone(), used.clone(), WalProgress::Plausible),
            ("a write", used.clone(), log(7, 1, &[(0, 1), (9, 1), (9, 1)]), WalProgress::Plausible),
            ("started anew", used.clone(), log(8, 2, &[(9, 2)]), WalProgress::Plausible),
            ("emptied", used.clone(), vec![], WalProgress::Emptied),
            ("cut", used.clone(), log(7, 1, &[(0, 1)]), WalProgress::Overwritten),
            ("an older copy", used.clone(), log(7, 1, &[(9, 1), (9, 0)]), WalProgress::Overwritten),
            ("another log", used.clone(), log(7, 2, &[(9, 2)]), WalProgress::Overwritten),
            ("an older log", used.clone(), log(6, 2, &[(9, 2)]), WalProgress::Overwritten),
            ("zeros", used.clone(), zeros.clone(), WalProgress::Overwritten),
            ("zeros at first", vec![], zeros, WalProgress::Overwritten),
        ] {
            let mut state = WalState::read(&log_with(&earlier)).expect("readable");
            let progress = state.update(&log_with(&now)).expect("readable");
            assert_eq!(progress, expected, "{case}");
        }
    }

    #[test]
    fn transactions_are_counted_up_to_the_frames_of_an_earlier_use() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("wal");
        std::fs::write(&path, log(7, 1, &[(0, 1), (9, 1), (9, 1), (0, 1), (9, 2)])).expect("a log");
        let mut wal = File::options().read(true).write(true).open(&path).expect("a log");
        let found = WalHeader::read(&wal).expect("readable").expect("a header");
        assert_eq!(found.count_transactions(&wal).expect("readable"), 2);
        let mut state = WalState::read(&wal).expect("readable");
        let longer = log(7, 1, &[(0, 1), (9, 1), (9, 1), (0, 1), (9, 1), (9, 1)]);
        io::Write::write_all(&mut wal, &longer).expect("written");
        assert_eq!(state.update(&wal).expect("readable"), WalProgress::Plausible);
        assert_eq!(state.transactions, 2, "not counted yet");
        state.scan(&wal).expect("readable");
        assert_eq!(state.transactions, 4);
        std::fs::write(&path, b"no log at all, but a text of more than 32 bytes").expect("a text");
        assert_eq!(WalHeader::read(&wal).expect("readable"), None);
    }
}
