//! What may wait, how large it may be, and how long it is kept.

use std::time::Duration;

use relais_store::StoreError;
use relais_store::jobs::lease::End;
use relais_store::jobs::retention::{self, Retention};
use relais_store::jobs::{EnqueueError, EnqueuedBatch, JobKind, JobLimits, NewJob};
use relais_testkit::TestDb;

use super::{TRIM, Yard, given_time, mail, on_each};

#[test]
fn thousands_are_enqueued_at_once_and_those_with_a_known_key_are_left_out() {
    on_each(|yard| {
        yard.enqueue(mail("0").unique("3"));
        let jobs: Vec<NewJob> =
            (0..5000).map(|n| mail("{\"é\":\"\\u0000\\\"\"}").unique(format!("{}", n % 4000))).collect();
        let batch = yard.write(move |tx| Ok(tx.enqueue_all(&jobs)?));
        assert_eq!(batch, EnqueuedBatch { new: 3999, duplicates: 1001 });
        assert_eq!(yard.count("SELECT COUNT(*) FROM jobs"), 4000);
        let job = yard.claim("a", &["mail"], 2).pop().unwrap();
        assert_eq!(job.payload, "{\"é\":\"\\u0000\\\"\"}");
        let later: Vec<NewJob> =
            (0..10).map(|_| NewJob::new(&TRIM, "").delay(Duration::from_secs(5))).collect();
        yard.write(move |tx| Ok(tx.enqueue_all(&later)?));
        assert_eq!(yard.claim("a", &["trim"], 20).len(), 0);
        yard.clock.advance_ms(5000);
        assert_eq!(yard.claim("a", &["trim"], 20).len(), 10);
    });
}

#[test]
fn a_kind_that_is_full_is_told_so_and_others_are_not() {
    for make in TestDb::each() {
        let yard = Yard::with(make(), JobLimits { waiting_max: 10, ..given_time() });
        for n in 0..10 {
            yard.enqueue(mail(&n.to_string()).delay(Duration::from_secs(n % 2)));
        }
        let refused = yard.runtime.block_on(yard.store.write(|tx| tx.enqueue(&mail("x"))));
        assert_eq!(refused, Err(EnqueueError::Backlog { kind: "mail".into(), limit: 10 }));
        assert!(refused.unwrap_err().to_string().contains("\"mail\""));
        let batch = yard.runtime.block_on(yard.store.write(|tx| tx.enqueue_all(&[mail("x")])));
        assert!(matches!(batch, Err(EnqueueError::Backlog { .. })));
        yard.enqueue(NewJob::new(&TRIM, ""));
        let job = yard.claim_mail();
        yard.end(&job, End::Done);
        yard.clock.advance_ms(100);
        yard.enqueue(mail("y"));
        assert!(yard.runtime.block_on(yard.store.write(|tx| tx.enqueue(&mail("z")))).is_err());
    }
}

#[test]
fn what_a_refused_job_came_with_is_stored_if_the_closure_says_so() {
    for make in TestDb::each() {
        let yard = Yard::with(make(), JobLimits { payload_bytes_max: 10, ..given_time() });
        let refused = yard.write(|tx| {
            crate::add_note(tx, "a")?;
            Ok(tx.enqueue(&mail("12345678901")).unwrap_err())
        });
        assert_eq!(refused, EnqueueError::Payload { kind: "mail".into(), bytes: 11, limit: 10 });
        assert_eq!(yard.count("SELECT COUNT(*) FROM notes"), 1);
        yard.enqueue(mail("1234567890"));
    }
}

#[test]
fn names_that_are_none_are_refused_alike_on_both_databases() {
    on_each(|yard| {
        const LONG: JobKind =
            JobKind::new("kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk");
        let refused =
            |job: NewJob| yard.runtime.block_on(yard.store.write(move |tx| tx.enqueue(&job))).unwrap_err();
        assert!(matches!(refused(NewJob::new(&LONG, "")), EnqueueError::Name(_)));
        assert!(matches!(refused(mail("").unique("")), EnqueueError::Name(_)));
        assert!(matches!(refused(mail("a\0b")), EnqueueError::Store(StoreError::Unstorable(_))));
        let many: Vec<NewJob> = (0..10_001).map(|_| mail("")).collect();
        let refused = yard.runtime.block_on(yard.store.write(move |tx| tx.enqueue_all(&many)));
        assert_eq!(refused, Err(EnqueueError::Batch { count: 10_001 }));
    });
}

#[test]
fn what_ended_is_kept_for_its_time_and_no_longer() {
    on_each(|yard| {
        let retention =
            Retention { done: Duration::from_secs(60), dead: Duration::from_secs(600), rows_max: 3 };
        let ids: Vec<_> = ["done", "dead", "cancelled", "pending"]
            .iter()
            .map(|payload| yard.enqueue(mail(payload)))
            .collect();
        let jobs = yard.claim("a", &["mail"], 3);
        yard.end(&jobs[0], End::Done);
        yard.end(&jobs[1], End::Dead("no".into()));
        yard.end(&jobs[2], End::Cancelled);
        let trim = || yard.write(move |tx| retention::trim(tx, &retention));
        yard.clock.advance_ms(59_999);
        assert_eq!(trim(), 0);
        yard.clock.advance_ms(1);
        assert_eq!((trim(), trim()), (1, 0));
        yard.clock.advance_ms(540_000);
        assert_eq!(trim(), 2);
        yard.clock.advance_ms(100 * 86_400_000);
        assert_eq!((trim(), yard.count("SELECT COUNT(*) FROM jobs")), (0, 1), "what waits is kept");
        assert_eq!(yard.show(ids[3]).kind, "mail");
    });
}

#[test]
fn a_clock_that_leaps_ahead_deletes_nothing() {
    on_each(|yard| {
        yard.enqueue(mail("{}"));
        yard.end(&yard.claim_mail(), End::Done);
        yard.clock.leap_ms(365 * 86_400_000);
        assert_eq!(yard.write(|tx| retention::trim(tx, &Retention::default())), 0);
    });
}

#[test]
fn more_rows_than_are_kept_go_oldest_first() {
    on_each(|yard| {
        let retention = Retention { rows_max: 3, ..Retention::default() };
        let ids: Vec<_> = (0..5).map(|n| yard.enqueue(mail(&n.to_string()))).collect();
        for _ in 0..5 {
            yard.end(&yard.claim_mail(), End::Done);
            yard.clock.advance_ms(1);
        }
        assert_eq!(yard.write(move |tx| retention::trim_excess(tx, &retention)), 2);
        assert_eq!(yard.count("SELECT COUNT(*) FROM jobs"), 3);
        assert_eq!(yard.show(ids[2]).payload.as_deref(), Some("2"));
    });
}
