//! The profile of Huawei's SDKs: `~/.huaweicloud/credentials`, an INI file.
//!
//! Used by `secret` for references to a key of the profile, and by the kinds of Huawei.

use std::path::{Path, PathBuf};

/// The profile of Huawei's SDKs in a home directory.
pub(super) fn huawei_profile_path(home: &Path) -> PathBuf {
    home.join(".huaweicloud/credentials")
}

/// The value of `key` in the section `[basic]` of the profile's `text`.
pub(super) fn huawei_profile_value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let lines = text.lines().map(str::trim);
    let section = lines.skip_while(|line| *line != "[basic]").skip(1);
    let mut pairs = section.take_while(|line| !line.starts_with('[')).filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        Some((name.trim(), value.trim()))
    });
    pairs.find(|(name, value)| *name == key && !value.is_empty()).map(|(_, value)| value)
}
