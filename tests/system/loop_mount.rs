//! Small file systems on loop devices, for tests that fill or break a disk. Needs root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::daemon::{path_arg, utf8};
use crate::support::report_unavailable;

/// A mounted file system in a file; unmounted when dropped.
pub(crate) struct LoopMount {
    dir: tempfile::TempDir,
}

impl LoopMount {
    /// An ext4 file system of 12 MB. `None`, with a message, where it cannot be mounted.
    pub(crate) fn ext4() -> Option<Self> {
        Self::mount(
            "truncate -s 12M image && mkfs.ext4 -q -m 0 image &&
             mount -o loop,errors=remount-ro image disk",
        )
    }

    /// An ext4 file system of 12 MB with blocks of 1 KiB. `None`, with a message, where it cannot be
    /// mounted.
    pub(crate) fn ext4_with_small_blocks() -> Option<Self> {
        Self::mount(
            "truncate -s 12M image && mkfs.ext4 -q -b 1024 -m 0 image && mount -o loop image disk",
        )
    }

    /// A Btrfs file system with a subvolume `state` that may have 12 MB. `None`, with a message, where
    /// it cannot be mounted.
    pub(crate) fn btrfs_with_quota() -> Option<Self> {
        Self::mount(
            "truncate -s 200M image && mkfs.btrfs -q image && mount -o loop image disk &&
             btrfs subvolume create disk/state && btrfs quota enable disk &&
             btrfs qgroup limit 12M disk/state",
        )
    }

    fn mount(script: &str) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("disk")).expect("a mount point");
        let mounted = shell(dir.path(), script);
        match mounted {
            Ok(()) => Some(Self { dir }),
            Err(error) => {
                report_unavailable(&format!("no loop mount: {error}"));
                None
            }
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    /// Runs a command that must succeed; the file system is `disk` in its directory, the device `image`.
    pub(crate) fn run(&self, script: &str) {
        shell(self.dir.path(), script).unwrap_or_else(|error| panic!("{script}: {error}"));
    }
}

impl Drop for LoopMount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(path_arg(&self.path())).status();
    }
}

fn shell(directory: &Path, script: &str) -> Result<(), String> {
    let output = Command::new("sh").args(["-ec", script]).current_dir(directory).output();
    let output = output.expect("a shell");
    if output.status.success() { Ok(()) } else { Err(utf8(&output.stderr)) }
}
