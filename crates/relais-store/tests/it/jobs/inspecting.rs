//! Lists, trying again, discarding, counts.

use relais_store::jobs::inspect::{self, Changed, Filter};
use relais_store::jobs::lease::End;
use relais_store::jobs::{Enqueued, JobId, JobState};
use std::time::Duration;

use super::{Yard, mail, on_each};

fn dead(yard: &Yard, key: &str) -> JobId {
    let id = yard.enqueue(mail("{}").unique(key));
    yard.end(&yard.claim_mail(), End::Dead("broken\0 pipe".into()));
    id
}

fn retry(yard: &Yard, id: JobId) -> Changed {
    yard.write(move |tx| inspect::retry(tx, id))
}

#[test]
fn a_dead_letter_is_listed_with_its_reason_and_tried_again_with_all_attempts() {
    on_each(|yard| {
        let id = dead(&yard, "k");
        let filter = Filter { state: Some(JobState::Dead), limit: 10, ..Filter::default() };
        let listed = yard.runtime.block_on(yard.store.read(move |tx| inspect::list(tx, &filter))).unwrap();
        assert_eq!((listed.len(), listed[0].id), (1, id));
        assert_eq!(listed[0].error.as_deref(), Some("broken\u{FFFD} pipe"));
        assert_eq!(retry(&yard, id), Changed::Done);
        assert_eq!(retry(&yard, id), Changed::Not(JobState::Pending));
        assert_eq!(yard.claim_mail().attempt, 1);
    });
}

#[test]
fn what_would_be_there_twice_is_not_tried_again() {
    on_each(|yard| {
        let id = dead(&yard, "k");
        let other = yard.enqueue(mail("{}").unique("k"));
        assert_eq!(retry(&yard, id), Changed::Duplicate(other));
        assert_eq!(yard.state(id), JobState::Dead);
        yard.end(&yard.claim_mail(), End::Done);
        assert_eq!(retry(&yard, id), Changed::Done);
    });
}

#[test]
fn what_waits_for_its_time_can_be_run_at_once() {
    on_each(|yard| {
        let id = yard.enqueue(mail("{}").delay(Duration::from_secs(3600)));
        assert_eq!(retry(&yard, id), Changed::Done);
        assert_eq!(yard.claim_mail().id, id);
    });
}

#[test]
fn what_waits_or_is_dead_is_discarded_and_frees_its_key() {
    on_each(|yard| {
        let discard = |id| yard.write(move |tx| inspect::discard(tx, id));
        let buried = dead(&yard, "b");
        for id in [
            buried,
            yard.enqueue(mail("1").unique("a")),
            yard.enqueue(mail("2").delay(Duration::from_secs(9))),
        ] {
            assert_eq!(discard(id), Changed::Done);
            assert_eq!(yard.state(id), JobState::Cancelled);
            assert_eq!(discard(id), Changed::Not(JobState::Cancelled));
        }
        assert!(matches!(yard.write(|tx| Ok(tx.enqueue(&mail("3").unique("a"))?)), Enqueued::New(_)));
        assert_eq!(discard(JobId(999_999)), Changed::Absent);
        assert_eq!(retry(&yard, JobId(999_999)), Changed::Absent);
    });
}

#[test]
fn pages_follow_one_another_and_have_what_was_asked_for() {
    on_each(|yard| {
        let ids: Vec<JobId> = (0..25).map(|n| yard.enqueue(mail(&n.to_string()))).collect();
        let (mut before, mut seen) = (None, Vec::new());
        loop {
            let filter =
                Filter { state: Some(JobState::Pending), kind: Some("mail".into()), before, limit: 10 };
            let page = yard.runtime.block_on(yard.store.read(move |tx| inspect::list(tx, &filter))).unwrap();
            let Some(last) = page.last() else { break };
            before = Some(last.id);
            seen.extend(page.iter().map(|job| job.id));
        }
        seen.reverse();
        assert_eq!(seen, ids);
        let other = Filter { kind: Some("other".into()), limit: 10, ..Filter::default() };
        assert!(
            yard.runtime.block_on(yard.store.read(move |tx| inspect::list(tx, &other))).unwrap().is_empty()
        );
    });
}

#[test]
fn the_overview_counts_what_waits_runs_and_is_dead() {
    on_each(|yard| {
        dead(&yard, "a");
        for _ in 0..3 {
            yard.enqueue(mail("{}"));
        }
        yard.claim_mail();
        yard.enqueue(mail("{}").delay(Duration::from_secs(9)));
        let counts = yard.runtime.block_on(yard.store.read(|tx| inspect::overview(tx))).unwrap();
        let of = |state| counts.iter().find(|count| count.state == state).map_or(0, |count| count.jobs);
        let found =
            [JobState::Pending, JobState::Scheduled, JobState::Running, JobState::Dead, JobState::Done]
                .map(of);
        assert_eq!(found, [2, 1, 1, 1, 0]);
    });
}
