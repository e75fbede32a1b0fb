//! The effective settings with the source of each, for `jobtrackd --check`.
//!
//! Called by [`load()`](super::load()) after validation. A reference to a secret is shown, never the secret.

use figment::Figment;
use figment::value::{Dict, Value};

/// One setting, as `jobtrackd --check` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    pub key: String,
    /// The value in TOML.
    pub value: String,
    /// A file, a variable, "default", or the kind whose default applies.
    pub source: String,
}

/// All settings in the order of their keys: those of `figment`, and the defaults of the kinds where
/// `figment` has no value.
pub(super) fn effective_settings(figment: &Figment, kind_defaults: Vec<Setting>) -> Vec<Setting> {
    let mut settings = Vec::new();
    if let Ok(all) = figment.extract::<Dict>() {
        flatten(figment, "", &all, &mut settings);
    }
    for default in kind_defaults {
        if settings.iter().all(|setting| setting.key != default.key) {
            settings.push(default);
        }
    }
    settings.sort_by(|a, b| a.key.cmp(&b.key));
    settings
}

fn flatten(figment: &Figment, parent_key: &str, dict: &Dict, settings: &mut Vec<Setting>) {
    for (name, value) in dict {
        let key = if parent_key.is_empty() { name.clone() } else { format!("{parent_key}.{name}") };
        if let Value::Dict(_, inner) = value {
            flatten(figment, &key, inner, settings);
            continue;
        }
        let source = figment
            .find_metadata(&key)
            .map_or_else(|| "default".to_owned(), |metadata| metadata.name.to_string());
        settings.push(Setting { key, value: render(value), source });
    }
}

fn render(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("{text:?}"),
        Value::Num(_, number) => {
            let whole = number.to_u128().map(|number| number.to_string());
            whole.or_else(|| number.to_i128().map(|number| number.to_string())).unwrap_or_else(
                || number.to_f64().map_or_else(|| "…".to_owned(), |number| number.to_string()),
            )
        }
        Value::Bool(_, flag) => flag.to_string(),
        Value::Array(_, items) => {
            let items: Vec<_> = items.iter().map(render).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Char(_, character) => format!("{:?}", character.to_string()),
        Value::Dict(..) | Value::Empty(..) => "…".to_owned(),
    }
}
