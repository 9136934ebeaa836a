//! Who holds what, until when, and what an acknowledgement is worth.

use relais_store::jobs::lease::{self, End, LeaseError};
use relais_store::jobs::{Enqueued, JobState, NewJob, inspect};
use relais_store::{Query, StoreError, params};
use std::time::Duration;

use super::{LEASE, MAIL, START_MS, TRIM, Yard, mail, on_each};
use crate::add_note;

#[test]
fn a_job_is_stored_with_the_change_that_wants_it_or_not_at_all() {
    on_each(|yard| {
        let undone = yard.runtime.block_on(yard.store.write(|tx| {
            add_note(tx, "a")?;
            tx.enqueue(&mail("{}"))?;
            Err::<(), _>(StoreError::Value("no".into()))
        }));
        assert!(undone.is_err());
        assert_eq!(yard.count("SELECT COUNT(*) FROM jobs"), 0);
        yard.write(|tx| {
            add_note(tx, "a")?;
            tx.enqueue(&mail("{}"))?;
            Ok(())
        });
        assert_eq!(yard.count("SELECT COUNT(*) FROM jobs") + yard.count("SELECT COUNT(*) FROM notes"), 2);
    });
}

#[test]
fn a_job_is_held_by_one_and_ends_once() {
    on_each(|yard| {
        let id = yard.enqueue(mail("{\"to\":1}"));
        let job = yard.claim_mail();
        assert_eq!((job.id, job.payload.as_str(), job.attempt), (id, "{\"to\":1}", 1));
        assert!(yard.claim("b", &["mail"], 10).is_empty());
        assert!(yard.end(&job, End::Done));
        assert_eq!(yard.state(id), JobState::Done);
        assert!(!yard.end(&job, End::Dead("twice".into())), "it has ended");
        assert_eq!(yard.state(id), JobState::Done);
    });
}

#[test]
fn a_late_acknowledgement_of_a_lost_lease_is_refused() {
    on_each(|yard| {
        let id = yard.enqueue(mail("{}"));
        let first = yard.claim_mail();
        yard.clock.advance_ms(29_999);
        assert!(yard.rescue().is_empty());
        yard.clock.advance_ms(1);
        assert_eq!(yard.rescue(), [id]);
        let second = yard.claim("b", &["mail"], 1).pop().unwrap();
        assert!(second.lease.fence() > first.lease.fence());
        assert!(!yard.end(&first, End::Done));
        assert_eq!(yard.state(id), JobState::Running);
        assert!(yard.end(&second, End::Done));
        assert_eq!((yard.state(id), yard.show(id).attempt), (JobState::Done, 2));
    });
}

#[test]
fn what_was_finished_late_and_given_to_nobody_counts() {
    on_each(|yard| {
        yard.enqueue(mail("{}"));
        let job = yard.claim_mail();
        yard.clock.advance_ms(600_000);
        assert!(yard.end(&job, End::Done));
    });
}

#[test]
fn a_heartbeat_prolongs_a_lease_and_tells_who_lost_his() {
    on_each(|yard| {
        let (kept, lost) = (yard.enqueue(mail("1")), yard.enqueue(mail("2")));
        let jobs = yard.claim("a", &["mail"], 2);
        yard.clock.advance_ms(20_000);
        let beat = |which: usize| {
            let held = vec![(jobs[which].id, jobs[which].lease.fence())];
            yard.write(move |tx| lease::heartbeat(tx, &held, LEASE))
        };
        assert_eq!(beat(0).len(), 1);
        yard.clock.advance_ms(20_000);
        assert_eq!(yard.rescue(), [lost]);
        assert_eq!(beat(1), []);
        assert_eq!(yard.state(kept), JobState::Running);
        assert_eq!(beat(0)[0].id, kept);
    });
}

#[test]
fn an_effect_is_one_of_the_present_holder_only() {
    on_each(|yard| {
        let id = yard.enqueue(mail("{}"));
        let first = yard.claim_mail();
        yard.clock.advance_ms(30_000);
        yard.rescue();
        let second = yard.claim_mail();
        let effect = |lease: relais_store::jobs::Lease, note: &'static str| {
            yard.runtime.block_on(yard.store.write(move |tx| {
                lease.check(tx)?;
                tx.execute("INSERT INTO notes (id, body) VALUES ($1, '')", params![note])?;
                lease.complete(tx)
            }))
        };
        let refused = effect(first.lease.clone(), "first");
        assert_eq!(refused, Err(LeaseError::Lost { id, fence: first.lease.fence() }));
        assert_eq!(effect(second.lease.clone(), "second"), Ok(()));
        assert!(effect(second.lease.clone(), "again").is_err(), "it has ended with its effect");
        assert_eq!((yard.count("SELECT COUNT(*) FROM notes"), yard.state(id)), (1, JobState::Done));
    });
}

#[test]
fn one_with_the_key_waits_or_runs_and_the_next_comes_after_its_end() {
    on_each(|yard| {
        let first = yard.enqueue(mail("1").unique("k"));
        let again = |yard: &Yard| yard.write(|tx| Ok(tx.enqueue(&mail("2").unique("k"))?));
        assert_eq!(again(&yard), Enqueued::Duplicate(first));
        let other_kind = NewJob::new(&TRIM, "").unique("k");
        assert!(matches!(yard.write(move |tx| Ok(tx.enqueue(&other_kind)?)), Enqueued::New(_)));
        let job = yard.claim_mail();
        assert_eq!(again(&yard), Enqueued::Duplicate(first));
        yard.end(&job, End::Retry(1000, "no".into()));
        assert_eq!(again(&yard), Enqueued::Duplicate(first));
        yard.clock.advance_ms(1000);
        yard.end(&yard.claim_mail(), End::Done);
        assert!(matches!(again(&yard), Enqueued::New(_)));
    });
}

#[test]
fn delays_priorities_and_the_order_of_enqueueing_are_kept() {
    on_each(|yard| {
        yard.enqueue(mail("later").delay(Duration::from_secs(10)));
        yard.enqueue(mail("at").at(relais_protocol::time::Timestamp::from_millis(START_MS + 5_000)));
        yard.enqueue(mail("low").priority(5));
        yard.enqueue(mail("first"));
        yard.enqueue(mail("second"));
        yard.enqueue(mail("urgent").priority(-5));
        let payloads = |yard: &Yard| {
            yard.claim("a", &["mail"], 10).into_iter().map(|job| job.payload).collect::<Vec<_>>()
        };
        assert_eq!(payloads(&yard), ["urgent", "first", "second", "low"]);
        yard.clock.advance_ms(4_999);
        assert_eq!(payloads(&yard), [""; 0]);
        yard.clock.advance_ms(1);
        assert_eq!(payloads(&yard), ["at"]);
        yard.clock.advance_ms(5_000);
        assert_eq!(payloads(&yard), ["later"]);
    });
}

#[test]
fn kinds_take_turns_and_each_has_its_limit() {
    on_each(|yard| {
        for n in 0..50 {
            yard.enqueue(mail(&n.to_string()));
        }
        let trims: Vec<_> = (0..3).map(|_| yard.enqueue(NewJob::new(&TRIM, ""))).collect();
        let wanted = lease::Claim {
            holder: "a".into(),
            lease: LEASE,
            kinds: vec![("mail", 4), ("trim", 10), ("unknown", 10)],
            limit: 6,
        };
        let again = wanted.clone();
        let jobs = yard.write(move |tx| lease::claim(tx, &wanted)).jobs;
        let kinds =
            |kind: &str, jobs: &[relais_store::jobs::Job]| jobs.iter().filter(|job| job.kind == kind).count();
        assert_eq!(
            (kinds("mail", &jobs), kinds("trim", &jobs)),
            (3, 3),
            "a flood of one kind delays no other"
        );
        assert!(trims.iter().all(|id| jobs.iter().any(|job| job.id == *id)));
        let jobs = yard.write(move |tx| lease::claim(tx, &again)).jobs;
        assert_eq!((kinds("mail", &jobs), kinds("trim", &jobs)), (4, 0), "no more of a kind than asked for");
    });
}

#[test]
fn what_is_given_back_waits_again_and_its_attempt_does_not_count() {
    on_each(|yard| {
        let id = yard.enqueue(mail("{}"));
        for _ in 0..10 {
            let job = yard.claim_mail();
            assert_eq!(job.attempt, 1);
            assert!(yard.end(&job, End::Release));
        }
        assert_eq!((yard.state(id), yard.show(id).attempt), (JobState::Pending, 0));
    });
}

#[test]
fn a_running_job_that_was_asked_to_stop_is_not_tried_again() {
    on_each(|yard| {
        let id = yard.enqueue(mail("{}"));
        let job = yard.claim_mail();
        assert_eq!(yard.write(move |tx| inspect::discard(tx, id)), inspect::Changed::Asked);
        let held = vec![(id, job.lease.fence())];
        assert!(yard.write(move |tx| lease::heartbeat(tx, &held, LEASE))[0].cancel);
        assert!(yard.end(&job, End::Retry(0, "interrupted".into())));
        assert_eq!(yard.state(id), JobState::Cancelled);
        assert!(yard.show(id).ended_at.is_some());
    });
}

#[test]
fn a_clock_that_went_back_leaves_no_job_held_for_hours() {
    on_each(|yard| {
        let id = yard.enqueue(mail("{}"));
        yard.claim_mail();
        yard.clock.leap_ms(-3 * 3_600_000);
        assert_eq!(yard.rescue(), [id]);
    });
}

#[test]
fn times_are_the_servers_where_there_is_one() {
    let yard = Yard::with(relais_testkit::TestDb::postgres(), relais_store::jobs::JobLimits::default());
    let id = yard.enqueue(mail("{}").delay(Duration::from_secs(3600)));
    let expected = yard.write(|tx| Ok(tx.database_now()?.plus_millis(3_600_000))).as_millis();
    let run_at = yard.show(id).run_at.as_millis();
    assert!((run_at - expected).abs() < 60_000, "{run_at} is not about {expected}");
    assert!((run_at - START_MS).abs() > 60_000, "and not by this process's clock");
}

#[test]
fn a_row_that_cannot_be_read_keeps_no_other_from_running() {
    let yard = Yard::new(relais_testkit::TestDb::sqlite());
    let (bad, good) = (yard.enqueue(mail("1")), yard.enqueue(mail("2")));
    yard.write(move |tx| tx.execute("UPDATE jobs SET payload = x'ff00' WHERE id = $1", params![bad.0]));
    let wanted = lease::Claim { holder: "a".into(), lease: LEASE, kinds: vec![(MAIL.name, 10)], limit: 10 };
    let claimed = yard.write(move |tx| lease::claim(tx, &wanted));
    assert_eq!(claimed.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [good]);
    assert_eq!(claimed.unreadable[0].0, bad);
    assert_eq!(yard.show(bad).payload, None, "and it is shown");
    assert_eq!(yard.write(|tx| tx.query("SELECT id FROM jobs", params![], |row| row.i64(0))).len(), 2);
}
