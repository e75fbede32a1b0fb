//! How a request goes and what can befall it on its way: every poll ends in time, and in an error
//! that says what happened.

use std::time::{Duration, Instant};

use super::harness::{Bench, Class, SUBJECTS, TIMEOUT, class};
use crate::support::fake_server::{Fault, Life, StandIn, Target, Times};

/// Only a poll that does not end by itself takes so long.
const ENDLESS: Duration = Duration::from_secs(8);

#[tokio::test]
async fn fault_36_42_every_poll_ends_in_time() {
    let pause = Duration::from_millis(100);
    let cases = [
        ("no answer", Fault::Hang, Class::Transient),
        ("a late answer", Fault::Slow(ENDLESS), Class::Transient),
        ("a slow head", Fault::SlowHeaders(pause), Class::Transient),
        ("a slow body", Fault::SlowBody(pause), Class::Transient),
        ("a reset", Fault::Reset, Class::Transient),
        ("a body that is cut off", Fault::CutBody, Class::Transient),
        ("2 MB", Fault::HugeBody(2_000_000), Class::Malformed),
        ("64 MB", Fault::HugeBody(64_000_000), Class::Malformed),
        ("a bomb", Fault::GzipBomb(200_000_000), Class::Malformed),
    ];
    for subject in SUBJECTS {
        let bench = Bench::new(subject).await;
        (subject.put)(&bench.standin, Life::new());
        for (name, fault, expected) in cases.clone() {
            let (answer, took) = timed(&bench, fault).await;
            let error = answer.expect_err(name);
            assert_eq!(class(&error), expected, "{name}: {error}");
            assert!(took < ENDLESS, "{name}: {took:?}");
        }
        bench.poll().await.result.expect("a good answer after all that");
    }
}

#[tokio::test]
async fn fault_42_chunks_without_end_end_by_time_or_by_size() {
    for subject in SUBJECTS {
        let bench = Bench::new(subject).await;
        let (answer, took) = timed(&bench, Fault::EndlessChunks).await;
        let error = answer.expect_err("no body");
        assert!(matches!(class(&error), Class::Transient | Class::Malformed), "{error}");
        assert!(took < ENDLESS, "{took:?}");
    }
}

#[tokio::test]
async fn the_time_out_is_the_one_that_is_set() {
    for subject in SUBJECTS {
        let bench = Bench::new(subject).await;
        (subject.put)(&bench.standin, Life::new());
        let (answer, took) = timed(&bench, Fault::Hang).await;
        answer.expect_err("no answer");
        assert!((TIMEOUT..ENDLESS).contains(&took), "{took:?}");
        let (answer, _) = timed(&bench, Fault::Slow(TIMEOUT / 4)).await;
        answer.expect("in time");
    }
}

async fn timed(
    bench: &Bench,
    fault: Fault,
) -> (Result<jobtrack::job::Observation, jobtrack::job::ProviderError>, Duration) {
    #[allow(clippy::disallowed_methods, reason = "a test measures real time")]
    let now = Instant::now;
    let start = now();
    let answer = bench.meet(fault).await;
    (answer.result, now().duration_since(start))
}

#[tokio::test]
async fn fault_36_nobody_there_is_transient_and_passes() {
    for subject in SUBJECTS {
        let bench = Bench::new(subject).await;
        (subject.put)(&bench.standin, Life::new());
        bench.poll().await.result.expect("an answer");
        bench.standin.pause().await;
        let error = bench.poll().await.result.expect_err("nobody listens");
        assert_eq!(class(&error), Class::Transient, "{error}");
        assert!(error.to_string().contains("refused"), "it says why: {error}");
        bench.standin.resume().await;
        bench.poll().await.result.expect("an answer again");
    }
}

#[tokio::test]
async fn fault_36_no_request_is_sent_twice() {
    for subject in SUBJECTS {
        let bench = Bench::new(subject).await;
        (subject.put)(&bench.standin, Life::new());
        bench.poll().await.result.expect("a connection to be used again");
        for fault in [Fault::Reset, Fault::CutBody, Fault::status(503, ""), Fault::status(401, "")]
        {
            let before = bench.standin.count();
            bench.standin.fault(Target::All, fault.clone(), Times::Always);
            bench.poll().await.result.expect_err("a fault");
            // But with another token it is another request.
            let renewed = subject.renews && matches!(fault, Fault::Status { code: 401, .. });
            let sent = 1 + usize::from(renewed);
            assert_eq!(bench.standin.count(), before + sent, "{fault:?}");
            bench.standin.clear_faults();
        }
    }
}

#[tokio::test]
async fn fault_43_redirects_are_not_followed() {
    for subject in SUBJECTS {
        let (bench, elsewhere) = (Bench::new(subject).await, StandIn::start().await);
        (subject.put)(&elsewhere, Life::new());
        let own = format!("{}/elsewhere", bench.standin.base_url());
        for to in [format!("{}/x", elsewhere.base_url()), own, "/x".to_owned(), String::new()] {
            for code in [301, 302, 303, 307, 308] {
                let headers = vec![("location".to_owned(), to.clone())];
                let fault = Fault::Status { code, body: String::new(), headers };
                let error = bench.meet(fault).await.result.expect_err("a redirect");
                assert_eq!(class(&error), Class::Misconfigured, "{code} to {to}: {error}");
            }
        }
        assert_eq!((elsewhere.count(), elsewhere.connections()), (0, 0), "never asked");
        let asked = bench.standin.requests();
        assert!(asked.iter().all(|request| request.job.is_some()), "only for the job");
    }
}

#[tokio::test]
async fn one_connection_serves_poll_after_poll() {
    for subject in SUBJECTS {
        let bench = Bench::new(subject).await;
        (subject.put)(&bench.standin, Life::new());
        for _ in 0..20 {
            bench.poll().await.result.expect("an answer");
        }
        assert_eq!((bench.standin.count(), bench.standin.connections()), (20, 1));
    }
}

#[tokio::test]
async fn it_says_who_asks() {
    for subject in SUBJECTS {
        let bench = Bench::new(subject).await;
        bench.poll().await.result.expect_err("nobody put it in");
        let request = bench.standin.requests().pop().expect("a request");
        let expected = concat!("jobtrack/", env!("CARGO_PKG_VERSION"));
        assert_eq!(request.user_agent.as_deref(), Some(expected));
    }
}
