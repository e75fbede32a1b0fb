//! Bodies of a 200 that are not as they should be: a failed poll, or a field that is dropped, and
//! never a wrong value.

use serde_json::{Value, json};

use super::harness::{Bench, Class, SUBJECTS, class};
use crate::support::fake_server::Fault;

/// Bodies that tell nothing of the job, made of a good one.
fn spoilt(bench: &Bench) -> Vec<(&'static str, Vec<u8>)> {
    let subject = bench.subject;
    let good = Value::Object((subject.body)(subject.running)).to_string();
    let word = subject.word_field;
    let array = Value::Array((subject.body)(subject.running).into_values().collect());
    let nested = |open: &str, close: &str| open.repeat(100_000) + &close.repeat(100_000);
    // A field that no kind knows is parsed all the same.
    let field = subject.detail_field.unwrap_or("message");
    let in_detail = |value: &str| bench.with(field, value).into_bytes();
    let raw = |before: &[u8], byte: &[u8]| {
        let text = bench.with(word, "\"@\"");
        let at = text.find('@').expect("the mark");
        [&text.as_bytes()[..at], before, byte, &text.as_bytes()[at + 1..]].concat()
    };
    let mut bodies = vec![
        ("HTML", b"<html><body>Welcome</body></html>".to_vec()),
        ("nothing", Vec::new()),
        ("blanks", b" \r\n".to_vec()),
        ("null", b"null".to_vec()),
        ("a number", b"5".to_vec()),
        ("a text", format!("\"{}\"", "x".repeat(900_000)).into_bytes()),
        ("an empty array", b"[]".to_vec()),
        ("an array of the object", format!("[{good}]").into_bytes()),
        ("an array of the values in their order", array.to_string().into_bytes()),
        ("an array that is long enough", {
            let mut values = vec![json!(subject.id), json!(subject.running)];
            values.resize(15, Value::Null);
            Value::Array(values).to_string().into_bytes()
        }),
        ("an empty object", b"{}".to_vec()),
        ("a byte-order mark", [b"\xef\xbb\xbf", good.as_bytes()].concat()),
        ("cut off", good.as_bytes()[..good.len() - 2].to_vec()),
        ("more behind it", format!("{good}x").into_bytes()),
        ("twice", format!("{good}{good}").into_bytes()),
        ("UTF-16", good.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("invalid UTF-8", raw(b"A", b"\xff")),
        ("a UTF-8 sequence cut short", raw(b"A", b"\xe5\xae")),
        ("a bare control character", raw(b"A", b"\n")),
        ("a lone surrogate", bench.with(word, r#""\ud800""#).into_bytes()),
        ("the word twice", format!("{{\"{word}\":\"X\",{}", &good[1..]).into_bytes()),
        ("null for the word", bench.with(word, "null").into_bytes()),
        ("a number for the word", bench.with(word, "17").into_bytes()),
        ("an object for the word", bench.with(word, "{\"a\":1}").into_bytes()),
        ("an empty word", bench.with(word, "\"\"").into_bytes()),
        ("an endless word", bench.with(word, &format!("\"{}\"", "A".repeat(9000))).into_bytes()),
        ("1e999", in_detail("1e999")),
        ("NaN", in_detail("NaN")),
        ("Infinity", in_detail("-Infinity")),
        ("a leading zero", in_detail("007")),
        ("a single quote", in_detail("'x'")),
        ("deep arrays", nested("[", "]").into_bytes()),
        ("deep objects", nested("{\"a\":", "}").into_bytes()),
        ("deep arrays in a field", in_detail(&nested("[", "]"))),
    ];
    if let Some(id) = subject.id_field {
        let named = |id_text: &str| bench.with(id, &format!("\"{id_text}\"")).into_bytes();
        bodies.extend([
            ("the id twice", {
                format!("{{\"{id}\":\"{}\",{}", subject.id, &good[1..]).into_bytes()
            }),
            ("another job's id", named("01OTHER")),
            ("the id in other letters", named(&subject.id.to_uppercase().replace('1', "l"))),
            ("an id that only begins so", named(&format!("{}1", subject.id))),
            ("a number for the id", bench.with(id, "17").into_bytes()),
        ]);
    }
    bodies
}

#[tokio::test]
async fn fault_40_41_42_45_what_cannot_be_read_is_a_failed_poll() {
    for subject in SUBJECTS {
        let bench = Bench::new(subject).await;
        for (name, body) in spoilt(&bench) {
            let error = bench.read(body).await.expect_err(name);
            assert_eq!(class(&error), Class::Malformed, "{}, {name}: {error}", subject.kind);
        }
        let whole = bench.with(subject.word_field, &format!("\"{}\"", subject.running));
        bench.good("the body of which all these are made", whole).await;
    }
}

#[tokio::test]
async fn a_good_body_is_good_under_any_content_type() {
    for subject in SUBJECTS {
        let bench = Bench::new(subject).await;
        let body = Value::Object((subject.body)(subject.running)).to_string();
        for kind in ["application/json; charset=utf-8", "text/plain", "text/html", ""] {
            let fault = Fault::Body { content_type: kind.into(), bytes: body.clone().into() };
            let seen = bench.meet(fault).await.result.unwrap_or_else(|e| panic!("{kind}: {e}"));
            assert_eq!(seen.word, subject.running, "{kind}");
        }
    }
}

#[tokio::test]
async fn fault_45_a_field_is_kept_as_it_is_or_dropped() {
    // The field's JSON text, and what is kept of it.
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
        // Beyond 64 bits a number would be rounded.
        ("18446744073709551616", None),
        ("340282366920938463463374607431768211457", None),
        ("-9223372036854775809", None),
        ("null", None),
        ("[1]", None),
        ("{\"a\":1}", None),
        ("\"\\ud83e\\udd80 \\u0000\"", Some("\"\\ud83e\\udd80 \\u0000\"")),
    ];
    for subject in SUBJECTS {
        let Some(field) = subject.detail_field else { continue };
        let bench = Bench::new(subject).await;
        for (text, kept) in cases {
            let seen = bench.good(text, bench.with(field, text)).await;
            let kept: Option<Value> = kept.map(|kept| kept.parse().expect("JSON"));
            assert_eq!(seen.detail.get(field), kept.as_ref(), "{text}");
            assert_eq!(seen.word, subject.running, "{text}: the rest is read");
        }
    }
}

#[tokio::test]
async fn unknown_fields_are_passed_over() {
    for subject in SUBJECTS {
        let bench = Bench::new(subject).await;
        let plain = bench.good("plain", Value::Object((subject.body)(subject.running)).to_string());
        let plain = plain.await;
        for value in ["1", "null", "\"x\"", "[[[]]]", "{\"state\":\"QUERY_STATE_FAILED\"}"] {
            let seen = bench.good(value, bench.with("surprise", value)).await;
            assert_eq!(seen, plain, "{value}");
        }
    }
}

#[tokio::test]
async fn long_texts_are_cut_at_a_characters_border() {
    const KEPT: usize = 8 << 10;
    for subject in SUBJECTS {
        let bench = Bench::new(subject).await;
        // Two bytes a letter, and one before them: 8 KiB is within a letter.
        let long = format!("x{}", "\u{e9}".repeat(500_000));
        let body = Value::Object((subject.failure)(&long)).to_string();
        assert!(body.len() > 1_000_000, "a megabyte");
        let seen = bench.good("a long message", body).await;
        let message = seen.message.expect("a message");
        assert_eq!(message.len(), KEPT - 1);
        assert!(long.starts_with(&message));
        let detail = serde_json::to_string(&seen.detail).expect("JSON");
        assert!(detail.len() < 2 * KEPT, "the detail has {} bytes", detail.len());

        let exact = "y".repeat(KEPT);
        let seen = bench.good("as long", Value::Object((subject.failure)(&exact)).to_string());
        assert_eq!(seen.await.message, Some(exact), "not cut");
        let Some(field) = subject.detail_field else { continue };
        let text = Value::from(long).to_string();
        let seen = bench.good("a long field", bench.with(field, &text)).await;
        assert_eq!(seen.detail[field].as_str().map(str::len), Some(KEPT - 1));
    }
}
