//! Work that comes again: once per period, whoever looks.

use std::time::Duration;

use relais_protocol::time::SharedClock;
use relais_store::jobs::lease::End;
use relais_store::jobs::schedule::{self, CatchUp, Fired, Schedule};
use relais_store::jobs::{JobKind, JobLimits, NewJob, Rule, inspect};
use relais_store::{Store, StoreError, params};
use relais_testkit::TestDb;

use super::{START_MS, TRIM, Yard, config, given_time, on_each};

const HOUR_MS: i64 = 3_600_000;

fn hourly(catch_up: CatchUp) -> Schedule {
    let rule = Rule::every(Duration::from_secs(3600)).unwrap();
    Schedule { name: "hourly".into(), payload: "{}".into(), rule, catch_up }
}

fn put(yard: &Yard, schedule: Schedule) {
    yard.write(move |tx| schedule::put(tx, &TRIM, &schedule));
}

fn fire(yard: &Yard) -> Fired {
    yard.write(schedule::fire)
}

fn work_off(yard: &Yard) -> usize {
    let jobs = yard.claim("a", &["trim"], 100);
    jobs.iter().for_each(|job| assert!(yard.end(job, End::Done)));
    jobs.len()
}

#[test]
fn a_period_is_run_once_on_any_number_of_nodes() {
    on_each(|yard| {
        put(&yard, hourly(CatchUp::Once));
        let clock: SharedClock = yard.clock.clone();
        let other = Store::open(&config(&yard.db, given_time()), &[crate::NOTES], clock).unwrap();
        let mut runs = 0;
        for _ in 0..24 {
            yard.clock.advance_ms(HOUR_MS);
            let nodes = [&yard.store, &other, &yard.store, &other].map(|store| store.write(schedule::fire));
            let fired = yard.runtime.block_on(futures_util::future::join_all(nodes));
            let enqueued: u32 =
                fired.into_iter().map(|fired: Result<Fired, StoreError>| fired.unwrap().enqueued).sum();
            assert_eq!(enqueued, 1);
            runs += work_off(&yard);
        }
        assert_eq!(runs, 24);
        yard.runtime.block_on(other.shutdown());
    });
}

#[test]
fn a_restart_keeps_the_place_of_a_schedule_and_a_changed_rule_counts_from_now() {
    on_each(|yard| {
        put(&yard, hourly(CatchUp::Once));
        yard.clock.advance_ms(HOUR_MS / 2);
        put(&yard, hourly(CatchUp::Skip));
        let rows = |yard: &Yard| yard.runtime.block_on(yard.store.read(|tx| inspect::schedules(tx))).unwrap();
        let first = rows(&yard)[0].next_run.unwrap().as_millis();
        assert_eq!(first, (START_MS / HOUR_MS + 1) * HOUR_MS);
        let rule = Rule::cron("30 3 * * *", "Europe/Paris").unwrap();
        put(&yard, Schedule { rule, ..hourly(CatchUp::Once) });
        assert_ne!(rows(&yard)[0].next_run.unwrap().as_millis(), first);
        assert_eq!((rows(&yard).len(), rows(&yard)[0].rule.as_str()), (1, "cron 30 3 * * *"));
        assert!(yard.write(|tx| schedule::remove(tx, "trim", "hourly")));
        assert!(!yard.write(|tx| schedule::remove(tx, "trim", "hourly")));
    });
}

#[test]
fn after_downtime_a_schedule_does_what_it_says() {
    on_each(|yard| {
        for (name, catch_up) in [("once", CatchUp::Once), ("skip", CatchUp::Skip), ("all", CatchUp::All(4))] {
            put(&yard, Schedule { name: name.into(), ..hourly(catch_up) });
        }
        yard.clock.advance_ms(10 * HOUR_MS + HOUR_MS / 2);
        let fired = fire(&yard);
        assert_eq!((fired.enqueued, fired.coalesced), (1 + 4, 0));
        assert_eq!(fired.missed, 9 + 10 + 6);
        assert_eq!(fire(&yard), Fired::default());
        assert_eq!(work_off(&yard), 5);
        yard.clock.advance_ms(HOUR_MS / 2);
        assert_eq!(fire(&yard).enqueued, 3);
    });
}

#[test]
fn a_period_is_left_to_the_job_of_an_earlier_one_that_still_runs() {
    on_each(|yard| {
        put(&yard, hourly(CatchUp::Once));
        yard.clock.advance_ms(HOUR_MS);
        assert_eq!(fire(&yard).enqueued, 1);
        let job = yard.claim("a", &["trim"], 1).pop().unwrap();
        yard.clock.advance_ms(HOUR_MS);
        assert_eq!((fire(&yard).enqueued, fire(&yard).coalesced), (0, 0));
        assert_eq!(yard.count("SELECT COUNT(*) FROM jobs"), 1);
        yard.end(&job, End::Done);
        yard.clock.advance_ms(HOUR_MS);
        assert_eq!(fire(&yard).enqueued, 1);
    });
}

#[test]
fn one_schedule_that_cannot_be_understood_rests_and_the_others_go_on() {
    on_each(|yard| {
        put(&yard, hourly(CatchUp::Once));
        put(&yard, Schedule { name: "broken".into(), ..hourly(CatchUp::Once) });
        yard.write(|tx| {
            tx.execute("UPDATE job_schedules SET rule = $1 WHERE name = 'broken'", params!["cron ? ?"])
        });
        yard.clock.advance_ms(HOUR_MS);
        let fired = fire(&yard);
        assert_eq!((fired.enqueued, fired.broken), (1, 1));
        let rows = yard.runtime.block_on(yard.store.read(|tx| inspect::schedules(tx))).unwrap();
        let broken = rows.iter().find(|row| row.name == "broken").unwrap();
        assert!(broken.next_run.is_none() && broken.error.as_ref().unwrap().contains("cron ? ?"));
        put(&yard, Schedule { name: "broken".into(), ..hourly(CatchUp::Once) });
        yard.clock.advance_ms(HOUR_MS);
        work_off(&yard);
        assert_eq!(fire(&yard).enqueued, 2, "it is mended");
    });
}

#[test]
fn a_clock_that_was_ahead_for_a_while_stops_no_schedule() {
    on_each(|yard| {
        put(&yard, hourly(CatchUp::Skip));
        yard.clock.leap_ms(365 * 24 * HOUR_MS);
        fire(&yard);
        yard.clock.leap_ms(-365 * 24 * HOUR_MS);
        assert_eq!(yard.write(schedule::realign), 1);
        assert_eq!(yard.write(schedule::realign), 0);
        work_off(&yard);
        yard.clock.advance_ms(HOUR_MS);
        assert_eq!(fire(&yard).enqueued, 1);
    });
}

#[test]
fn a_full_backlog_is_told_by_the_schedule_and_ends_no_other() {
    const OTHER: JobKind = JobKind::new("other");
    for make in TestDb::each() {
        let yard = Yard::with(make(), JobLimits { waiting_max: 1, ..given_time() });
        put(&yard, hourly(CatchUp::Once));
        let schedule = hourly(CatchUp::Once);
        yard.write(move |tx| schedule::put(tx, &OTHER, &schedule));
        yard.enqueue(NewJob::new(&TRIM, ""));
        yard.clock.advance_ms(HOUR_MS);
        let fired = fire(&yard);
        assert_eq!((fired.enqueued, fired.missed), (1, 1));
        let rows = yard.runtime.block_on(yard.store.read(|tx| inspect::schedules(tx))).unwrap();
        assert!(rows[1].error.as_ref().unwrap().contains("which is the limit"), "{rows:?}");
    }
}

#[test]
fn what_is_never_due_is_refused() {
    on_each(|yard| {
        let rule = Rule::cron("0 0 30 2 *", "UTC").unwrap();
        let never = Schedule { rule, ..hourly(CatchUp::Once) };
        let refused = yard.runtime.block_on(yard.store.write(move |tx| schedule::put(tx, &TRIM, &never)));
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    });
}
