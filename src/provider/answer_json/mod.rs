//! Reads an answer's JSON object: first strictly; if it is not valid JSON, tolerantly.
//!
//! Called by every kind with a [`FieldTable`]. The tolerant reading repairs or drops what is damaged in fields
//! that are only kept, so that it does not hide the state. Invariant: a field that decides the state is read
//! only if it is valid JSON and occurs once; otherwise the answer is refused.

mod field_table;
mod lossy_text;
mod member_sites;
mod object_scan;
#[cfg(test)]
mod tests;
mod text_damage;
mod unescaped_quotes;

use std::fmt;

use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::job::{ProviderError, ProviderErrorKind, RemoteId};

pub(super) use field_table::FieldTable;

/// The fields of one object, not parsed yet.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    table: &'static FieldTable,
    values: Vec<(&'static str, &'a [u8])>,
}

/// Reads the object that `body` is. A byte-order mark before it is ignored.
///
/// # Errors
/// If `body` is no object, is damaged in a way that leaves a deciding field in doubt, or has a deciding
/// field twice.
pub(super) fn read_object<'a>(
    body: &'a [u8],
    table: &'static FieldTable,
) -> Result<Fields<'a>, ProviderError> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
    if !body.starts_with(b"{") {
        return Err(malformed("the answer is not a JSON object"));
    }
    if object_scan::is_too_deep(body) {
        return Err(malformed("the answer is nested too deeply"));
    }
    match strict_members(body) {
        Ok(members) => {
            let members = members.into_iter().map(|(key, value)| (key, value.get().as_bytes()));
            Fields::collect(table, members)
        }
        Err(error) => {
            let members = tolerant_members(body, table, &error)
                .ok_or_else(|| malformed(format!("the answer cannot be parsed: {error}")))?;
            Fields::collect(table, members)
        }
    }
}

/// The members of an object that is not valid JSON, which the strict reading refused with `error`. `None` if it
/// is cut off or followed by other text: what is missing or follows could change what it means.
fn tolerant_members<'a>(
    body: &'a [u8],
    table: &FieldTable,
    error: &serde_json::Error,
) -> Option<Vec<(String, &'a [u8])>> {
    if error.is_eof() {
        return None;
    }
    let members = match object_scan::object_members(body) {
        Some((members, rest)) => rest.is_empty().then_some(members)?,
        None => unescaped_quotes::object_members(body, table)?,
    };
    // Keys must be valid JSON: a damaged one might be that of a deciding field.
    let decode_key = |key| serde_json::from_slice(key).ok();
    members.into_iter().map(|(key, value)| Some((decode_key(key)?, value))).collect()
}

/// The items of an array; `None` if it is not one.
pub(super) fn read_array(text: &[u8]) -> Option<Vec<&[u8]>> {
    match serde_json::from_slice::<Vec<&RawValue>>(text) {
        Ok(items) => Some(items.into_iter().map(|item| item.get().as_bytes()).collect()),
        Err(_) => object_scan::array_items(text),
    }
}

/// A damaged value is repaired up to this depth; what is nested deeper in it becomes `null`. No documented answer
/// comes near it, and each level costs time and stack.
const MAX_REPAIR_DEPTH: u32 = 32;

/// A value that is only kept: what is damaged in it is repaired, or `null`.
pub(super) fn read_kept(text: &[u8]) -> Value {
    repair(text, 0)
}

fn repair(text: &[u8], depth: u32) -> Value {
    if let Ok(value) = serde_json::from_slice(text) {
        return value;
    }
    if depth > MAX_REPAIR_DEPTH {
        return Value::Null;
    }
    let repair_inner = |value| repair(value, depth + 1);
    match text {
        [b'"', content @ .., b'"'] => Value::String(lossy_text::decode(content)),
        [b'{', ..] => {
            let members = object_scan::object_members(text)
                .map(|(members, _)| members)
                .or_else(|| unescaped_quotes::object_members(text, &FieldTable::EMPTY));
            let members = members.into_iter().flatten();
            let members = members.map(|(key, value)| (lossy_key(key), repair_inner(value)));
            Value::Object(members.collect())
        }
        [b'[', content @ .., b']'] => match object_scan::array_items(text) {
            Some(items) => Value::Array(items.into_iter().map(repair_inner).collect()),
            // Where one of several items ends is not certain.
            None if is_only_object(content.trim_ascii()) => {
                Value::Array(vec![repair_inner(content.trim_ascii())])
            }
            None => Value::Null,
        },
        _ => Value::Null,
    }
}

/// Whether the content of an array is one object, which may be damaged.
fn is_only_object(content: &[u8]) -> bool {
    content.starts_with(b"{")
        && !content.split(|byte| *byte == b'}').skip(1).any(|rest| {
            let rest = rest.trim_ascii_start();
            rest.strip_prefix(b",").is_some_and(|rest| rest.trim_ascii_start().starts_with(b"{"))
        })
}

/// The body of an unsuccessful response: if it is not valid JSON, the fields of `table` that can be read;
/// `null` if it is no object.
pub(super) fn read_error_body(body: &[u8], table: &'static FieldTable) -> Value {
    if let Ok(value) = serde_json::from_slice(body) {
        return value;
    }
    let Ok(fields) = read_object(body, table) else { return Value::Null };
    let values = fields.values.iter().map(|(name, value)| {
        let value = if table.is_deciding(name) {
            serde_json::from_slice(value).unwrap_or_default()
        } else {
            read_kept(value)
        };
        ((*name).to_owned(), value)
    });
    Value::Object(values.collect())
}

impl<'a> Fields<'a> {
    /// Of a kept field that occurs twice, neither value is used.
    fn collect(
        table: &'static FieldTable,
        members: impl IntoIterator<Item = (String, &'a [u8])>,
    ) -> Result<Self, ProviderError> {
        let mut values: Vec<(&'static str, &'a [u8])> = Vec::new();
        for (key, value) in members {
            let Some(name) = table.find(&key) else { continue };
            match values.iter_mut().find(|(other, _)| *other == name) {
                None => values.push((name, value)),
                Some(_) if table.is_deciding(name) => {
                    let error = format!("the answer cannot be parsed: duplicate field `{name}`");
                    return Err(malformed(error));
                }
                Some((_, first)) => *first = b"null",
            }
        }
        Ok(Self { table, values })
    }

    /// The text of a field's value, not parsed.
    pub(super) fn raw(&self, name: &str) -> Option<&'a [u8]> {
        self.values.iter().find(|(other, _)| *other == name).map(|(_, value)| *value)
    }

    /// The value of a field that is only kept.
    pub(super) fn kept(&self, name: &str) -> Option<Value> {
        debug_assert!(self.table.kept.contains(&name), "{name} is in the table");
        self.raw(name).map(read_kept).filter(|value| !value.is_null())
    }

    /// The value of a field that decides the state.
    ///
    /// # Errors
    /// If it is not valid JSON.
    pub(super) fn deciding(&self, name: &str) -> Result<Option<Value>, ProviderError> {
        debug_assert!(self.table.is_deciding(name), "{name} is in the table");
        let parse = |value| {
            serde_json::from_slice(value)
                .map_err(|error| malformed(format!("the field {name} cannot be parsed: {error}")))
        };
        self.raw(name).map(parse).transpose()
    }

    /// A deciding field that must be a text that is not empty and has at most `max_bytes`.
    ///
    /// # Errors
    /// If it is anything else.
    pub(super) fn deciding_text(
        &self,
        name: &str,
        max_bytes: usize,
    ) -> Result<String, ProviderError> {
        match self.deciding(name)? {
            None => Err(malformed(format!("missing field `{name}`"))),
            Some(Value::String(text)) if text.is_empty() => {
                Err(malformed(format!("the field {name} is empty")))
            }
            Some(Value::String(text)) if text.len() > max_bytes => {
                Err(malformed(format!("the field {name} is longer than {max_bytes} bytes")))
            }
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(malformed(format!("the field {name} is not a text"))),
        }
    }

    /// A deciding field with the id of a job: a text, or an integer, which is read as its digits. `None` if it is
    /// absent or `null`.
    ///
    /// # Errors
    /// If it is anything else.
    pub(super) fn deciding_id(&self, name: &str) -> Result<Option<String>, ProviderError> {
        match self.deciding(name)? {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Number(id)) if id.is_u64() => Ok(Some(id.to_string())),
            Some(_) => self.deciding_text(name, RemoteId::MAX_BYTES).map(Some),
        }
    }

    /// A deciding field that is true or false, or plainly says so as text or number. `None` if it is absent.
    ///
    /// # Errors
    /// If it is anything else, `null` included: ignoring it could change what the answer means.
    pub(super) fn deciding_flag(&self, name: &str) -> Result<Option<bool>, ProviderError> {
        let Some(value) = self.deciding(name)? else { return Ok(None) };
        let flag = match &value {
            Value::Bool(flag) => Some(*flag),
            Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => None,
            },
            Value::Number(number) => match number.as_u64() {
                Some(1) => Some(true),
                Some(0) => Some(false),
                Some(_) | None => None,
            },
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        };
        flag.map(Some).ok_or_else(|| malformed(format!("the field {name} is not true or false")))
    }
}

pub(super) fn malformed(reason: impl Into<String>) -> ProviderError {
    ProviderError::new(ProviderErrorKind::Malformed, reason)
}

/// The members of an object that is valid JSON, apart from the texts and numbers in it, which are not
/// checked.
fn strict_members(body: &[u8]) -> Result<Vec<(String, &RawValue)>, serde_json::Error> {
    struct MembersVisitor;

    impl<'de> Visitor<'de> for MembersVisitor {
        type Value = Vec<(String, &'de RawValue)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = map.next_entry()? {
                members.push(member);
            }
            Ok(members)
        }
    }

    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let members = deserializer.deserialize_map(MembersVisitor)?;
    deserializer.end()?;
    Ok(members)
}

fn lossy_key(key: &[u8]) -> String {
    lossy_text::decode(key.get(1..key.len().saturating_sub(1)).unwrap_or_default())
}
