//! A malformed body of a 200 is a failed poll, or a field is repaired or dropped: never a wrong value.

use serde_json::{Value, json};

use super::dataarts::DATAARTS;
use super::dli::DLI;
use super::dune::DUNE;
use super::harness::{FIXTURES, Harness};
use crate::support::fake_server::Fault;
use jobtrack::job::ProviderErrorKind;

/// Bodies without a valid state, made from a valid body.
fn malformed_bodies(harness: &Harness) -> Vec<(&'static str, Vec<u8>)> {
    let fixture = harness.fixture;
    let valid_body = Value::Object((fixture.minimal_body)(fixture.running_state)).to_string();
    let state_field = fixture.state_field;
    let array = Value::Array((fixture.minimal_body)(fixture.running_state).into_values().collect());
    let nested = |open: &str, close: &str| open.repeat(100_000) + &close.repeat(100_000);
    // The JSON parser reads unknown fields too.
    let field = fixture.detail_field.unwrap_or("message");
    let detail_body = |value: &str| harness.body_with_field(field, value).into_bytes();
    let invalid_state_body = |before: &[u8], byte: &[u8]| {
        let template = harness.body_with_field(state_field, "\"@\"");
        let mark = template.find('@').expect("the mark");
        [&template.as_bytes()[..mark], before, byte, &template.as_bytes()[mark + 1..]].concat()
    };
    let mut bodies = vec![
        ("HTML", b"<html><body>Welcome</body></html>".to_vec()),
        ("nothing", Vec::new()),
        ("blanks", b" \r\n".to_vec()),
        ("null", b"null".to_vec()),
        ("a number", b"5".to_vec()),
        ("a text", format!("\"{}\"", "x".repeat(900_000)).into_bytes()),
        ("an empty array", b"[]".to_vec()),
        ("an array of the object", format!("[{valid_body}]").into_bytes()),
        ("an array of the values in their order", array.to_string().into_bytes()),
        ("an array that is long enough", {
            let mut values = vec![json!(fixture.remote_id), json!(fixture.running_state)];
            values.resize(15, Value::Null);
            Value::Array(values).to_string().into_bytes()
        }),
        ("an empty object", b"{}".to_vec()),
        ("cut off", valid_body.as_bytes()[..valid_body.len() - 2].to_vec()),
        ("more behind it", format!("{valid_body}x").into_bytes()),
        ("twice", format!("{valid_body}{valid_body}").into_bytes()),
        ("UTF-16", valid_body.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("invalid UTF-8", invalid_state_body(b"A", b"\xff")),
        ("a UTF-8 sequence cut short", invalid_state_body(b"A", b"\xe5\xae")),
        ("a bare control character", invalid_state_body(b"A", b"\n")),
        ("a lone surrogate", harness.body_with_field(state_field, r#""\ud800""#).into_bytes()),
        ("the word twice", format!("{{\"{state_field}\":\"X\",{}", &valid_body[1..]).into_bytes()),
        ("null for the word", harness.body_with_field(state_field, "null").into_bytes()),
        ("a number for the word", harness.body_with_field(state_field, "17").into_bytes()),
        ("an object for the word", harness.body_with_field(state_field, "{\"a\":1}").into_bytes()),
        ("an empty word", harness.body_with_field(state_field, "\"\"").into_bytes()),
        (
            "an endless word",
            harness.body_with_field(state_field, &format!("\"{}\"", "A".repeat(9000))).into_bytes(),
        ),
        ("deep arrays", nested("[", "]").into_bytes()),
        ("deep objects", nested("{\"a\":", "}").into_bytes()),
        ("deep arrays in a field", detail_body(&nested("[", "]"))),
    ];
    if let Some(id) = fixture.id_field {
        let id_body =
            |id_text: &str| harness.body_with_field(id, &format!("\"{id_text}\"")).into_bytes();
        bodies.extend([
            ("the id twice", {
                format!("{{\"{id}\":\"{}\",{}", fixture.remote_id, &valid_body[1..]).into_bytes()
            }),
            ("another job's id", id_body("01OTHER")),
            ("the id in other letters", id_body(&fixture.remote_id.replace(['1', '8'], "l"))),
            ("an id that only begins so", id_body(&format!("{}1", fixture.remote_id))),
            ("a number for the id", harness.body_with_field(id, "17").into_bytes()),
        ]);
    }
    bodies
}

#[tokio::test]
async fn fault_40_41_42_45_an_unreadable_body_is_a_failed_poll() {
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        for (name, body) in malformed_bodies(&harness) {
            let error = harness.parse_body(body).await.expect_err(name);
            assert_eq!(
                error.kind,
                ProviderErrorKind::Malformed,
                "{}, {name}: {error}",
                fixture.kind
            );
        }
        let valid_body =
            harness.body_with_field(fixture.state_field, &format!("\"{}\"", fixture.running_state));
        harness.parse_valid_body("the body of which all these are made", valid_body).await;
    }
}

#[tokio::test]
async fn a_valid_body_is_accepted_with_any_content_type() {
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        let body = Value::Object((fixture.minimal_body)(fixture.running_state)).to_string();
        for kind in ["application/json; charset=utf-8", "text/plain", "text/html", ""] {
            let fault = Fault::Body { content_type: kind.into(), bytes: body.clone().into() };
            let observation = harness
                .poll_with_fault(fault)
                .await
                .result
                .unwrap_or_else(|e| panic!("{kind}: {e}"));
            assert_eq!(observation.provider_state, fixture.running_state, "{kind}");
        }
    }
}

#[tokio::test]
async fn fault_45_a_field_is_kept_as_it_is_or_dropped() {
    // The JSON text of the field, and the value that is kept.
    let cases = [
        ("5", Some("5")),
        ("\"5\"", Some("\"5\"")),
        ("-7", Some("-7")),
        ("0.125", Some("0.125")),
        ("4294967296", Some("4294967296")),
        ("9007199254740993", Some("9007199254740993")),
        ("18446744073709551615", Some("18446744073709551615")),
        ("-9223372036854775808", Some("-9223372036854775808")),
        (
            "\"340282366920938463463374607431768211457\"",
            Some("\"340282366920938463463374607431768211457\""),
        ),
        // A larger number than 64 bits hold would be rounded.
        ("18446744073709551616", None),
        ("340282366920938463463374607431768211457", None),
        ("-9223372036854775809", None),
        ("null", None),
        ("[1]", None),
        ("{\"a\":1}", None),
        ("\"\\ud83e\\udd80 \\u0000\"", Some("\"\\ud83e\\udd80 \\u0000\"")),
    ];
    for fixture in FIXTURES {
        let Some(field) = fixture.detail_field else { continue };
        let harness = Harness::new(fixture).await;
        for (text, kept) in cases {
            let observation =
                harness.parse_valid_body(text, harness.body_with_field(field, text)).await;
            let kept: Option<Value> = kept.map(|kept| kept.parse().expect("JSON"));
            assert_eq!(observation.detail.get(field), kept.as_ref(), "{text}");
            assert_eq!(
                observation.provider_state, fixture.running_state,
                "{text}: the rest is read"
            );
        }
    }
}

#[tokio::test]
async fn unknown_fields_are_ignored() {
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        let plain = harness.parse_valid_body(
            "plain",
            Value::Object((fixture.minimal_body)(fixture.running_state)).to_string(),
        );
        let plain = plain.await;
        for value in ["1", "null", "\"x\"", "[[[]]]", "{\"state\":\"QUERY_STATE_FAILED\"}"] {
            let observation =
                harness.parse_valid_body(value, harness.body_with_field("surprise", value)).await;
            assert_eq!(observation, plain, "{value}");
        }
    }
}

#[tokio::test]
async fn fault_42_long_texts_are_cut_at_a_character_boundary() {
    const MAX_TEXT_BYTES: usize = 8 << 10;
    const CUT_MARK: &str = "\u{2026} [cut]";
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        // One byte, then letters of two bytes: the limit, less the mark of nine bytes, is between two letters.
        let long = format!("x{}", "\u{e9}".repeat(1_000_000));
        let body = Value::Object((fixture.failed_body)(&long)).to_string();
        assert!(body.len() > 2_000_000, "two megabytes");
        let observation = harness.parse_valid_body("a long message", body).await;
        let message = observation.message.expect("a message");
        assert_eq!(message.len(), MAX_TEXT_BYTES);
        assert!(long.starts_with(message.strip_suffix(CUT_MARK).expect("a mark of the cut")));
        let detail = serde_json::to_string(&observation.detail).expect("JSON");
        assert!(detail.len() < 2 * MAX_TEXT_BYTES, "the detail has {} bytes", detail.len());

        let exact = "y".repeat(MAX_TEXT_BYTES);
        let observation = harness
            .parse_valid_body("as long", Value::Object((fixture.failed_body)(&exact)).to_string());
        assert_eq!(observation.await.message, Some(exact), "not cut");
        let Some(field) = fixture.detail_field else { continue };
        let text = Value::from(long).to_string();
        let observation =
            harness.parse_valid_body("a long field", harness.body_with_field(field, &text)).await;
        assert_eq!(observation.detail[field].as_str().map(str::len), Some(MAX_TEXT_BYTES));
    }
}

#[tokio::test]
async fn fault_42_a_long_text_does_not_hide_the_state() {
    for fixture in [&DUNE, &DLI, &DATAARTS] {
        let harness = Harness::new(fixture).await;
        let state = fixture.running_state;
        let text = r#"select \"a\", '\u00e9\\' from t;\n"#.repeat(40_000);
        for field in ["message", "error", "statement", "detail", "results", "surprise"] {
            let before = harness.body_with_field(field, &format!("\"{text}\""));
            let valid_body = Value::Object((fixture.minimal_body)(state)).to_string();
            let after =
                format!("{},\"{field}_2\":\"{text}\"}}", &valid_body[..valid_body.len() - 1]);
            for body in [before, after] {
                let observation = harness.parse_valid_body(field, body).await;
                assert_eq!(observation.provider_state, state, "{field}");
                let kept = serde_json::to_string(&observation.detail).expect("JSON");
                assert!(kept.len() < 20_000, "{} bytes are kept", kept.len());
            }
        }
    }
}
