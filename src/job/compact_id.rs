//! A remote id in 24 bytes, if it is a ULID, a UUID or a short text; any other id takes an allocation.
//!
//! The tracker holds the ids of its jobs in this form. Invariant: the conversion back to a [`RemoteId`] gives
//! the same text, so only the usual spelling of a ULID or UUID becomes a number.

use super::id::RemoteId;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactRemoteId(Form);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// 26 digits in capitals, as Dune writes them; the number is big-endian.
    Ulid([u8; 16]),
    /// 32 hexadecimal digits in small letters with hyphens, as DLI writes them; the number is big-endian.
    Uuid([u8; 16]),
    Short {
        length: u8,
        bytes: [u8; MAX_SHORT],
    },
    Long(RemoteId),
}

const MAX_SHORT: usize = 22;
/// Crockford's Base32, sorted.
const ULID_DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const ULID_LENGTH: usize = 26;
const UUID_LENGTH: usize = 36;
/// The bytes of each group of digits in a UUID.
const UUID_GROUPS: [usize; 5] = [4, 2, 2, 2, 6];

impl From<RemoteId> for CompactRemoteId {
    fn from(id: RemoteId) -> Self {
        let text = id.as_str();
        if let Some(number) = parse_ulid(text) {
            return Self(Form::Ulid(number.to_be_bytes()));
        }
        if let Some(number) = parse_uuid(text) {
            return Self(Form::Uuid(number.to_be_bytes()));
        }
        let mut bytes = [0; MAX_SHORT];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(start), Ok(length)) => {
                start.copy_from_slice(text.as_bytes());
                Self(Form::Short { length, bytes })
            }
            (None, _) | (_, Err(_)) => Self(Form::Long(id)),
        }
    }
}

impl From<&CompactRemoteId> for RemoteId {
    fn from(id: &CompactRemoteId) -> Self {
        match &id.0 {
            Form::Ulid(number) => Self::from_valid(format_ulid(u128::from_be_bytes(*number))),
            Form::Uuid(number) => Self::from_valid(format_uuid(number)),
            Form::Short { length, bytes } => {
                let text = String::from_utf8_lossy(&bytes[..usize::from(*length)]);
                Self::from_valid(text.into_owned())
            }
            Form::Long(id) => id.clone(),
        }
    }
}

/// None if the text is no ULID in capitals.
fn parse_ulid(text: &str) -> Option<u128> {
    if text.len() != ULID_LENGTH {
        return None;
    }
    text.bytes().try_fold(0_u128, |number, byte| {
        let digit = ULID_DIGITS.binary_search(&byte).ok()?;
        number.checked_mul(32)?.checked_add(u128::try_from(digit).ok()?)
    })
}

fn format_ulid(number: u128) -> String {
    let digit = |at: usize| char::from(ULID_DIGITS[(number >> (5 * at) & 31) as usize]);
    (0..ULID_LENGTH).rev().map(digit).collect()
}

/// None if the text is no UUID in small letters and with hyphens.
fn parse_uuid(text: &str) -> Option<u128> {
    if text.len() != UUID_LENGTH {
        return None;
    }
    let number = u128::from_str_radix(&text.replace('-', ""), 16).ok()?;
    (format_uuid(&number.to_be_bytes()) == text).then_some(number)
}

fn format_uuid(number: &[u8; 16]) -> String {
    let hex_digit = |digit: u8| char::from(b"0123456789abcdef"[usize::from(digit)]);
    let mut text = String::with_capacity(UUID_LENGTH);
    let mut bytes = number.iter();
    for (group, length) in UUID_GROUPS.into_iter().enumerate() {
        if group > 0 {
            text.push('-');
        }
        for byte in bytes.by_ref().take(length) {
            text.extend([hex_digit(byte >> 4), hex_digit(byte & 15)]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_usual_ids_take_24_bytes_and_no_allocation() {
        assert_eq!(size_of::<CompactRemoteId>(), 24);
        let compact = |text: &str| CompactRemoteId::from(text.parse::<RemoteId>().expect(text)).0;
        assert!(matches!(compact("01GBM4W2N0NMCGPZYW8AYK4YF1"), Form::Ulid(_)));
        assert!(matches!(compact("7ZZZZZZZZZZZZZZZZZZZZZZZZZ"), Form::Ulid(_)));
        assert!(matches!(compact("208b08d4-0dc2-4dd7-8879-ddd4c020d7aa"), Form::Uuid(_)));
        assert!(matches!(compact("etl/a1AD"), Form::Short { .. }));
    }

    proptest! {
        #[test]
        fn every_id_comes_back_as_it_was(
            id in prop_oneof![
                "[0-9A-HJKMNP-TV-Z]{26}",
                "[0-8][0-9A-Za-z]{25}",
                "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
                "[0-9a-fA-F+]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-fA-F]{12}",
                "\\PC{1,40}",
            ],
        ) {
            if let Ok(id) = RemoteId::try_from(id) {
                prop_assert_eq!(RemoteId::from(&CompactRemoteId::from(id.clone())), id);
            }
        }
    }
}
