//! Stopping a job: one request in the service's own way, and only when it is ordered.

use std::time::Duration;

use jobtrack::job::Said;

use super::harness::{Bench, Class, SUBJECTS, class};
use crate::support::fake_server::{Fault, Life, Target, Times};

fn long() -> Life {
    Life::new().running(Duration::from_hours(1))
}

#[tokio::test]
async fn a_job_is_stopped_by_one_request_and_its_end_is_for_a_poll_to_see() {
    for subject in SUBJECTS {
        let bench = Bench::new(subject).await;
        (subject.put)(&bench.standin, long());
        assert_eq!(bench.poll().await.result.expect("an answer").said, Said::Running);
        bench.cancel().await.unwrap_or_else(|error| panic!("{}: {error}", subject.kind));
        let seen = bench.poll().await.result.expect("an answer").said;
        let (method, end) = subject.stop;
        let expected = if end == "/stop" { Said::Failed } else { Said::Cancelled };
        assert_eq!(seen, expected, "{}", subject.kind);

        let asked = bench.standin.requests();
        let methods: Vec<_> = asked.iter().map(|request| request.method.as_str()).collect();
        assert_eq!(methods, ["GET", method, "GET"], "{}", subject.kind);
        assert!(asked[1].path.ends_with(end), "{}", asked[1].path);
        assert_eq!(asked[1].workspace, asked[0].workspace, "{}", subject.kind);
        assert_eq!(bench.standin.violations(), [""; 0]);
    }
}

#[tokio::test]
async fn polls_and_checks_stop_nothing_whatever_they_meet() {
    for subject in SUBJECTS {
        let bench = Bench::new(subject).await;
        (subject.put)(&bench.standin, long());
        for status in [200, 302, 307, 308, 401, 404, 405, 429, 500] {
            bench.meet(Fault::status(status, "{}")).await.result.expect_err("no state is in it");
            bench.standin.fault(Target::All, Fault::status(status, "{}"), Times::Once);
            bench.check(0).await;
        }
        assert_eq!(bench.poll().await.result.expect("an answer").said, Said::Running);
        let asked = bench.standin.requests();
        assert!(asked.len() >= 19 && asked.iter().all(|request| request.method == "GET"));
    }
}

#[tokio::test]
async fn a_refusal_to_stop_is_understood_as_one_to_tell_and_is_not_tried_again() {
    for subject in SUBJECTS {
        let bench = Bench::new(subject).await;
        let unknown = bench.cancel().await.expect_err("nobody put it in");
        assert_eq!(class(&unknown), Class::NotFound, "{unknown}");

        (subject.put)(&bench.standin, long());
        let html = "<html>Welcome</html>";
        let refused = subject.stop_refused;
        let refused = refused.map(|body| (Fault::status(200, body), "200"));
        let cases = [
            (Fault::status(409, ""), "409"),
            (Fault::status(500, ""), "500"),
            (Fault::status(200, html), "not a JSON object"),
            (Fault::Redirect("http://elsewhere.example/".into()), "302"),
            (Fault::Hang, "timed out"),
        ];
        for (fault, why) in cases.into_iter().chain(refused) {
            let before = bench.standin.count();
            bench.standin.fault(Target::All, fault, Times::Once);
            let error = bench.cancel().await.expect_err(why);
            assert!(error.to_string().contains(why), "{}: {error}", subject.kind);
            assert_eq!(bench.standin.count(), before + 1, "{}: {why}", subject.kind);
        }
        assert_eq!(bench.poll().await.result.expect("an answer").said, Said::Running);

        bench.standin.set_key("another");
        let stranger = bench.cancel().await.expect_err("another key is needed");
        assert_eq!(class(&stranger), Class::Auth, "{stranger}");
    }
}
