//! The files of the simulated database: their content after a crash.
//!
//! SQLite syncs the write-ahead log at each commit, and before it moves pages from the log into the
//! database. So a power cut during a commit leaves each sector of the log old or new; one during the
//! checkpoint that follows leaves each sector of the database old or new. After a checkpoint the log begins
//! anew: by then the database is synced, and the header of the new log before its frames.

use std::fs;
use std::path::{Path, PathBuf};

const FILE_NAME: &str = "jobtrack.db";
const SECTOR: usize = 512;

/// The content of the database and of its write-ahead log.
#[derive(Debug, Clone, Default)]
pub struct DatabaseImage {
    database: Vec<u8>,
    wal: Vec<u8>,
}

pub fn database_path(directory: &Path) -> PathBuf {
    directory.join(FILE_NAME)
}

impl DatabaseImage {
    pub fn read(directory: &Path) -> Self {
        let read = |name: &str| fs::read(directory.join(name)).unwrap_or_default();
        Self { database: read(FILE_NAME), wal: read("jobtrack.db-wal") }
    }

    pub fn write(&self, directory: &Path) {
        fs::create_dir(directory).expect("a new directory");
        fs::write(directory.join(FILE_NAME), &self.database).expect("a file");
        fs::write(directory.join("jobtrack.db-wal"), &self.wal).expect("a file");
    }

    /// What a power cut leaves of a write that led from `self` to `after`.
    pub fn torn(&self, after: &Self, random: &mut fastrand::Rng) -> Self {
        let begins_anew = self.wal_header() != after.wal_header();
        match (begins_anew, self.database == after.database) {
            (false, true) => {
                let wal = mix_sectors(&self.wal, &after.wal, random);
                Self { database: self.database.clone(), wal }
            }
            (false, false) => {
                let database = mix_sectors(&self.database, &after.database, random);
                Self { database, wal: after.wal.clone() }
            }
            (true, true) => {
                let mut wal = mix_sectors(&self.wal, &after.wal, random);
                let header = after.wal_header();
                wal.resize(wal.len().max(header.len()), 0);
                wal[..header.len()].copy_from_slice(header);
                Self { database: self.database.clone(), wal }
            }
            // A checkpoint before the log began anew or after it, or both: what was half done is not known.
            (true, false) if random.bool() => self.clone(),
            (true, false) => after.clone(),
        }
    }

    /// The sector with the header of the write-ahead log; empty if the log is.
    fn wal_header(&self) -> &[u8] {
        &self.wal[..self.wal.len().min(SECTOR)]
    }
}

/// Each sector from one of the two, with a probability that is drawn once.
fn mix_sectors(before: &[u8], after: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let probability = random.f64();
    let mut mixed = before.to_vec();
    for (index, sector) in after.chunks(SECTOR).enumerate() {
        let start = index * SECTOR;
        if random.f64() < probability {
            if mixed.len() < start + sector.len() {
                mixed.resize(start + sector.len(), 0);
            }
            mixed[start..start + sector.len()].copy_from_slice(sector);
        }
    }
    mixed
}
