//! Writes the manual pages into a directory: `cargo run --example man-pages -- DIR`.
//!
//! The date of the pages is today, or that of `SOURCE_DATE_EPOCH` for a build that can be repeated.

mod pages;

use std::path::PathBuf;

use anyhow::{Context, Result};
use jobtrack::clock::Clock;
use jobtrack::job::UtcTime;

fn main() -> Result<()> {
    let directory = std::env::args_os().nth(1).map(PathBuf::from);
    let directory = directory.context("usage: cargo run --example man-pages -- DIR")?;
    let pages = pages::manual_pages(&date()?)?;
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    for page in pages {
        let path = directory.join(&page.file_name);
        std::fs::write(&path, page.text)
            .with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}

fn date() -> Result<String> {
    let time = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(seconds) => {
            let seconds: i64 = seconds.parse().context("SOURCE_DATE_EPOCH is not a number")?;
            UtcTime::from_millis(seconds.saturating_mul(1000))
        }
        Err(_) => Clock::start().utc_now(),
    };
    Ok(time.to_string().split('T').next().unwrap_or_default().to_owned())
}
