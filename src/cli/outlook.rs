//! When and why a job is asked next and when it should be over, in plain words. Pure; used by `show`
//! and `wait`.

use super::render::span_in_words;
use crate::api::{NextPoll, Outlook, PastRuns, Reason};
use crate::job::Likeness;

/// What `show` tells, in two columns. `failing`: the last poll gave no answer.
pub(super) fn rows(
    outlook: &Outlook,
    likeness: &Likeness,
    failing: bool,
) -> Vec<(&'static str, String)> {
    let mut rows = vec![("next poll", next_poll(outlook, failing))];
    rows.push(("compared", compared(outlook.past.as_ref(), likeness)));
    let end = match (outlook.ends_in_s, &outlook.past) {
        (Some(seconds), _) => Some(format!("end {}", when(seconds))),
        (None, Some(_)) => Some("nothing: it takes longer than those runs did".to_owned()),
        (None, None) => None,
    };
    rows.extend(end.map(|end| ("expected", end)));
    rows
}

fn next_poll(outlook: &Outlook, failing: bool) -> String {
    let wait = match outlook.next {
        NextPoll::Now {} => return "now".to_owned(),
        NextPoll::Due { due_for_s } => {
            return format!("due for {}: waits for its turn", span_in_words(due_for_s));
        }
        NextPoll::In { next_poll_in_s } => span_in_words(next_poll_in_s),
    };
    let why = match outlook.reason {
        Reason::First => "its first poll".to_owned(),
        Reason::Backoff if failing => "the pause grows while polls fail".to_owned(),
        Reason::Backoff => "the pause grows while nothing changes".to_owned(),
        Reason::Price { price_s } => format!(
            "by then it may be over for as long as a request may cost ({})",
            span_in_words(price_s)
        ),
        Reason::Promise => {
            "no later than after half of its age, or 10 s, whatever the past says".to_owned()
        }
    };
    format!("in {wait}: {why}")
}

fn compared(past: Option<&PastRuns>, likeness: &Likeness) -> String {
    let Some(past) = past else {
        return "with nothing: no past run is like it".to_owned();
    };
    let runs = if past.past_runs == 1 { "run" } else { "runs" };
    let alike = match likeness {
        Likeness::Given(_) => "like",
        Likeness::Told(_) | Likeness::Unknown => "of",
    };
    let median = span_in_words(past.past_median_s);
    format!("with {} past {runs} {alike} {}, median {median}", past.past_runs, past.like)
}

/// When the first, or else the last, of several jobs should be over, of which the past tells this;
/// none if it tells nothing.
pub(super) fn expected_end(ends_in_s: &[Option<f64>], first: bool) -> Option<String> {
    let told: Vec<_> = ends_in_s.iter().copied().flatten().collect();
    let end = told.iter().copied().reduce(if first { f64::min } else { f64::max })?;
    let (told, all) = (told.len(), ends_in_s.len());
    // One that cannot be told might be the last one.
    let of = if first || told == all { String::new() } else { format!(" of {told} of {all}") };
    Some(format!("expected end{of} {}", when(end)))
}

fn when(seconds: f64) -> String {
    if seconds < 1.0 {
        "any moment now".to_owned()
    } else {
        format!("in about {}", span_in_words(seconds.round()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Likeness {
        Likeness::told(["query 980708".to_owned()])
    }

    #[test]
    fn it_is_said_when_a_job_is_asked_next_and_why() {
        let soon = NextPoll::In { next_poll_in_s: 41.2 };
        let due = NextPoll::Due { due_for_s: 12.0 };
        let price = Reason::Price { price_s: 1.0 };
        let cases = [
            (soon, Reason::First, false, "in 41 s: its first poll"),
            (soon, Reason::Backoff, false, "in 41 s: the pause grows while nothing changes"),
            (soon, Reason::Backoff, true, "in 41 s: the pause grows while polls fail"),
            (
                soon,
                price,
                false,
                "in 41 s: by then it may be over for as long as a request may cost (1 s)",
            ),
            (
                soon,
                Reason::Promise,
                false,
                "in 41 s: no later than after half of its age, or 10 s, whatever the past says",
            ),
            (due, price, false, "due for 12 s: waits for its turn"),
            (NextPoll::Now {}, price, false, "now"),
        ];
        for (next, reason, failing, expected) in cases {
            let outlook = Outlook { next, reason, past: None, ends_in_s: None };
            assert_eq!(rows(&outlook, &told(), failing)[0], ("next poll", expected.to_owned()));
        }
    }

    #[test]
    fn it_is_said_with_what_a_job_is_compared_and_when_it_should_be_over() {
        let past = |like: &str, past_runs| {
            Some(PastRuns { like: like.to_owned(), past_runs, past_median_s: 192.0 })
        };
        let given = Likeness::given("nightly").expect("a name");
        let dli = "queue default, SQL, statement 3f2a";
        let none = "with nothing: no past run is like it";
        let outlived = "nothing: it takes longer than those runs did";
        let cases = [
            (
                past("query 980708", 8),
                told(),
                Some(130.0),
                "with 8 past runs of query 980708, median 3 min 12 s",
                Some("end in about 2 min 10 s"),
            ),
            (
                past("nightly", 1),
                given,
                Some(0.0),
                "with 1 past run like nightly, median 3 min 12 s",
                Some("end any moment now"),
            ),
            (
                past(dli, 2),
                Likeness::told([dli.to_owned()]),
                None,
                "with 2 past runs of queue default, SQL, statement 3f2a, median 3 min 12 s",
                Some(outlived),
            ),
            (None, Likeness::Unknown, None, none, None),
        ];
        for (past, likeness, ends_in_s, compared, expected) in cases {
            let outlook =
                Outlook { next: NextPoll::Now {}, reason: Reason::First, past, ends_in_s };
            let rows = rows(&outlook, &likeness, false);
            assert_eq!(rows[1], ("compared", compared.to_owned()));
            let end = rows.get(2).map(|(key, text)| (*key, text.as_str()));
            assert_eq!(end, expected.map(|text| ("expected", text)));
        }
    }

    #[test]
    fn of_several_the_last_or_the_first_counts() {
        let cases = [
            (&[][..], false, None),
            (&[None, None], false, None),
            (&[Some(130.0)], false, Some("expected end in about 2 min 10 s")),
            (&[Some(4.4), Some(130.0)], false, Some("expected end in about 2 min 10 s")),
            (&[Some(4.4), Some(130.0)], true, Some("expected end in about 4 s")),
            (&[Some(4.4), None], false, Some("expected end of 1 of 2 in about 4 s")),
            (&[Some(0.4), None], true, Some("expected end any moment now")),
        ];
        for (ends, first, expected) in cases {
            assert_eq!(expected_end(ends, first).as_deref(), expected, "{ends:?} {first}");
        }
    }

    #[test]
    fn an_outlook_is_one_flat_object() {
        let past = PastRuns { like: "query 7".to_owned(), past_runs: 8, past_median_s: 192.0 };
        let full = Outlook {
            next: NextPoll::In { next_poll_in_s: 41.0 },
            reason: Reason::Price { price_s: 1.0 },
            past: Some(past),
            ends_in_s: Some(130.0),
        };
        let bare = Outlook {
            next: NextPoll::Now {},
            reason: Reason::Promise,
            past: None,
            ends_in_s: None,
        };
        let due = Outlook {
            next: NextPoll::Due { due_for_s: 2.0 },
            reason: Reason::First,
            ..bare.clone()
        };
        let cases = [
            (
                full,
                r#"{"next_poll_in_s":41.0,"reason":"price","price_s":1.0,"like":"query 7","past_runs":8,"past_median_s":192.0,"ends_in_s":130.0}"#,
            ),
            (due, r#"{"due_for_s":2.0,"reason":"first","ends_in_s":null}"#),
            (bare, r#"{"reason":"promise","ends_in_s":null}"#),
        ];
        for (outlook, json) in cases {
            assert_eq!(serde_json::to_string(&outlook).expect("JSON"), json);
            assert_eq!(serde_json::from_str::<Outlook>(json).expect("an outlook"), outlook);
        }
    }
}
