//! Whether the file system of the database offers what SQLite needs: file locks between processes,
//! memory that processes share through a file, and storage that stays.
//!
//! Used before the database is opened. The decision is a table of types, as `/proc/self/mountinfo`
//! names them.

use std::fs;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags, statfs, statvfs, statx};

use crate::store::{FileSystemPolicy, OpenError};

use super::database_path::DatabasePath;

/// What a type of file system means for the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Suitability {
    Suitable,
    /// It works, but the content is lost at a time that the operator may not expect.
    Volatile(&'static str),
    /// Other machines or a hypervisor may use the same files: locks or shared memory do not reach them.
    Shared,
    /// Implemented by a program, or of an unknown type: it may lack locks or shared memory.
    Unknown,
}

/// Less than this is not enough for the files that a start creates.
const MIN_FREE_BYTES: u64 = 1 << 20;

/// Verifies that the file system is usable and has space; logs a warning if it is doubtful. Returns
/// whether a lock on the database file is independent of SQLite's locks.
pub(super) fn check(path: &DatabasePath, policy: FileSystemPolicy) -> Result<bool, OpenError> {
    let name = type_name(path.directory());
    let place = path.directory().display();
    let suitability = suitability(&name);
    match suitability {
        Suitability::Suitable => {}
        Suitability::Volatile(when) => {
            tracing::warn!("{place} is on {name}: the database is lost {when}");
        }
        Suitability::Unknown => tracing::warn!(
            "{place} is on a file system of type {name}, of which it is not known whether it offers the \
             locks and the shared memory that SQLite needs; set store.path to a file on a local disk"
        ),
        Suitability::Shared => match policy {
            FileSystemPolicy::RequireLocal => return Err(path.unusable(format!(
                "is on {name}, which does not reliably offer the locks and the shared memory that SQLite \
                 needs; set store.path to a file on a local disk, or, if one machine alone uses the \
                 database, set store.allow_network_file_system = true"
            ))),
            FileSystemPolicy::AllowNetwork => tracing::warn!(
                "{place} is on {name}: a second machine that uses this database destroys it, and \
                 SQLite's locks may fail"
            ),
        },
    }
    ensure_space(path)?;
    Ok(suitability != Suitability::Shared)
}

/// On a full disk SQLite would fail late: the shared memory is a file with holes, and a write to a hole
/// for which there is no block ends the process with SIGBUS.
fn ensure_space(path: &DatabasePath) -> Result<(), OpenError> {
    let Ok(found) = statvfs(path.directory()) else { return Ok(()) };
    let is_root = rustix::process::geteuid().is_root();
    let blocks = if is_root { found.f_bfree } else { found.f_bavail };
    let free = blocks.saturating_mul(found.f_frsize);
    // Some file systems have no fixed size and report 0 of 0 blocks.
    if found.f_blocks > 0 && free < MIN_FREE_BYTES {
        return Err(OpenError::Io {
            path: path.file().to_owned(),
            reason: format!(
                "no space: the database or disk is full; {} KiB are free and a start needs {} KiB",
                free >> 10,
                MIN_FREE_BYTES >> 10
            ),
        });
    }
    Ok(())
}

/// The type of the file system of a directory, such as `ext4` or `fuse.sshfs`.
fn type_name(directory: &Path) -> String {
    let mount_id = statx(CWD, directory, AtFlags::empty(), StatxFlags::MNT_ID)
        .ok()
        .filter(|found| found.stx_mask & StatxFlags::MNT_ID.bits() != 0)
        .map(|found| found.stx_mnt_id);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    match mount_id.and_then(|id| mount_type(&mounts, id)) {
        Some(name) => name.to_owned(),
        None => statfs(directory)
            .map_or("unknown", |found| magic_name(i128::from(found.f_type)))
            .to_owned(),
    }
}

/// The type in the line of a mount: `27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw`.
fn mount_type(mounts: &str, id: u64) -> Option<&str> {
    let line = mounts
        .lines()
        .find(|line| line.split(' ').next().is_some_and(|number| number.parse() == Ok(id)))?;
    line.split_once(" - ")?.1.split(' ').next()
}

/// Where `/proc` is not mounted: the numbers of statfs(2) for the types that are refused.
fn magic_name(magic: i128) -> &'static str {
    match magic & 0xffff_ffff {
        0x6969 => "nfs",
        0xff53_4d42 => "cifs",
        0xfe53_4d42 => "smb3",
        0x0102_1997 => "9p",
        0x6573_5546 => "fuse",
        0x794c_7630 => "overlay",
        0x0102_1994 => "tmpfs",
        _ => "unknown",
    }
}

fn suitability(type_name: &str) -> Suitability {
    match type_name {
        "ext2" | "ext3" | "ext4" | "xfs" | "btrfs" | "zfs" | "f2fs" | "bcachefs" | "jfs"
        | "reiserfs" | "nilfs2" | "ubifs" | "exfat" | "vfat" | "msdos" | "ntfs3" | "hfsplus"
        | "ecryptfs" | "fuseblk" => Suitability::Suitable,
        "tmpfs" | "ramfs" | "devtmpfs" => Suitability::Volatile("when the machine is restarted"),
        "overlay" | "aufs" => Suitability::Volatile("with the container, unless it is a volume"),
        "nfs" | "nfs4" | "cifs" | "smb2" | "smb3" | "smbfs" | "9p" | "afs" | "ceph" | "coda"
        | "gfs2" | "ocfs2" | "lustre" | "gpfs" | "beegfs" | "glusterfs" | "orangefs" | "pvfs2"
        | "fuse.glusterfs" | "fuse.ceph" | "fuse.ceph-fuse" | "fuse.sshfs" | "fuse.s3fs"
        | "fuse.rclone" | "fuse.gcsfuse" | "fuse.juicefs" | "fuse.davfs" | "virtiofs"
        | "vboxsf" | "fuse.vmhgfs-fuse" | "prl_fs" | "fuse.grpcfuse" | "fakeowner" => {
            Suitability::Shared
        }
        _ => Suitability::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_26_75_each_type_of_file_system_has_a_verdict() {
        for local in ["ext4", "xfs", "btrfs", "zfs", "fuseblk"] {
            assert_eq!(suitability(local), Suitability::Suitable, "{local}");
        }
        for shared in ["nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "ceph", "fuse.sshfs"] {
            assert_eq!(suitability(shared), Suitability::Shared, "{shared}");
        }
        for volatile in ["tmpfs", "ramfs", "overlay"] {
            assert!(matches!(suitability(volatile), Suitability::Volatile(_)), "{volatile}");
        }
        for unknown in ["fuse.mergerfs", "fuse", "tomorrowfs", ""] {
            assert_eq!(suitability(unknown), Suitability::Unknown, "{unknown}");
        }
    }

    #[test]
    fn the_type_is_found_by_the_number_of_the_mount() {
        let mounts = "\
            27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n\
            271 27 0:45 / /mnt/a\\040b rw shared:7 master:2 - nfs4 server:/x - rw\n\
            28 27 0:25 / /mnt rw,relatime shared:1 - fuse.sshfs host: rw\n";
        for (id, name) in [(27, "ext4"), (271, "nfs4"), (28, "fuse.sshfs")] {
            assert_eq!(mount_type(mounts, id), Some(name));
        }
        assert_eq!(mount_type(mounts, 2), None);
        assert_eq!(magic_name(0x6969), "nfs");
        assert_eq!(
            magic_name(i128::from(0xff53_4d42_u32.cast_signed())),
            "cifs",
            "a negative number"
        );
        assert_eq!(
            suitability(&type_name(Path::new("/proc"))),
            Suitability::Unknown,
            "a real mount"
        );
        assert_eq!(type_name(Path::new("/proc")), "proc");
    }
}
