//! `jobtrack backup`: writes a consistent copy of the daemon's database to a file of the user.
//!
//! The file appears under its name only when it is complete and on disk.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use serde::Serialize;

use super::{CommandContext, stdio};
use crate::api::BackupStream;
use crate::config::parse_file_path;
use crate::escape::escape_unprintable;

#[derive(Args)]
pub(super) struct BackupArgs {
    /// The file to write, which must not exist. A command that is killed leaves .FILE.PID.partial
    #[arg(value_parser = parse_file_path)]
    file: PathBuf,
}

/// The JSON output.
#[derive(Serialize)]
struct WrittenBackup<'a> {
    file: &'a Path,
    bytes: u64,
}

pub(super) async fn run(context: &CommandContext, args: BackupArgs) -> anyhow::Result<ExitCode> {
    let file = args.file.as_path();
    ensure_absent(file)?;
    let partial = PartialFile::create(file)?;
    let mut stream = context.client.backup().await?;
    let bytes = write_all(&mut stream, &partial.file)
        .await
        .with_context(|| format!("no backup was written to {}", file.display()))?;
    partial.finish(file).with_context(|| format!("cannot write {}", file.display()))?;
    if context.json {
        stdio::print_json_lines(&[WrittenBackup { file, bytes }])?;
    } else {
        stdio::print_lines(&[format!(
            "{}: {bytes} bytes",
            escape_unprintable(&file.display().to_string())
        )])?;
    }
    Ok(ExitCode::SUCCESS)
}

fn ensure_absent(file: &Path) -> anyhow::Result<()> {
    match fs::symlink_metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot write {}", file.display())),
        Ok(_) => anyhow::bail!("{} exists; name a new file", file.display()),
    }
}

async fn write_all(stream: &mut BackupStream, mut file: &File) -> anyhow::Result<u64> {
    let mut bytes = 0;
    while let Some(chunk) = stream.next_chunk().await? {
        file.write_all(&chunk)?;
        bytes += chunk.len() as u64;
    }
    file.sync_all()?;
    Ok(bytes)
}

/// A file beside the target; removed when dropped.
struct PartialFile {
    path: PathBuf,
    file: File,
}

impl PartialFile {
    fn create(target: &Path) -> anyhow::Result<Self> {
        let mut name = OsString::from(".");
        name.push(target.file_name().context("the backup needs the name of a file")?);
        name.push(format!(".{}.partial", std::process::id()));
        let path = target.with_file_name(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot write {}", target.display()))?;
        Ok(Self { path, file })
    }

    /// Gives the file its name, unless another file has it.
    fn finish(self, target: &Path) -> io::Result<()> {
        match renameat_with(CWD, &self.path, CWD, target, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            // The file system does not know the flag.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if !target.exists() => {
                fs::rename(&self.path, target)?;
            }
            Err(error) => return Err(error.into()),
        }
        let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        // After a success there is no file of this name.
        let _ = fs::remove_file(&self.path);
    }
}
