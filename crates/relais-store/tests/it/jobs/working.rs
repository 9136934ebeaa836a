//! A worker: what handlers do to it, and what it does to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use relais_store::jobs::schedule::{self, CatchUp, Schedule};
use relais_store::jobs::{Handlers, JobKind, JobState, NewJob, Outcome, Rule, Worker, WorkerConfig, inspect};
use tokio::sync::Semaphore;

use super::{MAIL, TRIM, Yard, mail, on_each};

/// What handlers of a test share.
struct Shop {
    heard: Mutex<Vec<String>>,
    gate: Semaphore,
    at_once: AtomicUsize,
    most: AtomicUsize,
}

impl Shop {
    fn new() -> Arc<Self> {
        let (at_once, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { heard: Mutex::default(), gate: Semaphore::new(0), at_once, most })
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().clone()
    }
}

fn work(yard: &Yard, handlers: Handlers, change: impl FnOnce(&mut WorkerConfig)) -> Worker {
    let mut config = WorkerConfig::new("w", 7);
    config.poll = Duration::from_millis(20);
    change(&mut config);
    let _runtime = yard.runtime.enter();
    Worker::start(&yard.store, handlers, config)
}

fn all_done(yard: &Yard) -> bool {
    yard.count("SELECT COUNT(*) FROM jobs WHERE state IN ('scheduled', 'pending', 'running')") == 0
}

/// Notes the payload and ends as it says.
fn obedient(kind: JobKind, shop: &Arc<Shop>) -> Handlers {
    Handlers::new().with(kind, shop, |shop: &Shop, job| {
        Box::pin(async move {
            shop.heard.lock().push(job.payload.clone());
            match job.payload.as_str() {
                "panic" => panic!("on purpose"),
                "hang" => std::future::pending().await,
                "fail" => Outcome::Failed("as told".into()),
                "later" => Outcome::RetryAfter(Duration::from_secs(60), "busy".into()),
                "unreadable" => match job.read::<u32>() {
                    Ok(_) => Outcome::Done,
                    Err(outcome) => outcome,
                },
                "gate" => {
                    let permit = shop.gate.acquire().await;
                    drop(permit);
                    Outcome::Done
                }
                "wait" => {
                    job.lease.stop().cancelled().await;
                    Outcome::Cancelled
                }
                _ => Outcome::Done,
            }
        })
    })
}

const BRIEF: JobKind = JobKind::new("mail").attempts(2).timeout(Duration::from_millis(50));

#[test]
fn what_is_enqueued_is_done_each_once() {
    on_each(|yard| {
        let shop = Shop::new();
        let worker = work(&yard, obedient(MAIL, &shop), |config| config.poll = Duration::from_secs(60));
        let jobs: Vec<NewJob> = (0..3000).map(|n| mail(&n.to_string())).collect();
        yard.write(move |tx| Ok(tx.enqueue_all(&jobs)?));
        for n in 3000..3050 {
            yard.enqueue(mail(&n.to_string()));
        }
        yard.wait("the end", || worker.stats().done() == 3050 && all_done(&yard));
        let mut heard: Vec<u32> = shop.heard().iter().map(|text| text.parse().unwrap()).collect();
        heard.sort_unstable();
        assert_eq!(heard, (0..3050).collect::<Vec<_>>());
        assert_eq!((worker.stats().refused(), worker.stats().lost()), (0, 0));
        yard.runtime.block_on(worker.stop());
    });
}

#[test]
fn a_handler_that_panics_hangs_or_fails_is_tried_again_and_stops_no_other() {
    on_each(|yard| {
        let shop = Shop::new();
        let bad = ["panic", "hang", "fail"].map(|payload| yard.enqueue(mail(payload).attempts(2)));
        let unreadable = yard.enqueue(mail("unreadable"));
        let worker = work(&yard, obedient(BRIEF, &shop), |_| ());
        let good: Vec<_> = (0..20).map(|_| yard.enqueue(mail("fine"))).collect();
        yard.wait("the first attempts", || worker.stats().failed() == 4 && worker.stats().done() == 20);
        yard.wait("the good ones", || good.iter().all(|id| yard.state(*id) == JobState::Done));
        yard.wait("the unreadable one", || yard.state(unreadable) == JobState::Dead);
        for id in bad {
            yard.wait("a pause", || yard.state(id) == JobState::Scheduled);
        }
        yard.clock.advance_ms(60_000);
        for (id, reason) in bad.into_iter().zip(["panicked: on purpose", "took longer than 50ms", "as told"])
        {
            yard.wait("a dead letter", || yard.state(id) == JobState::Dead);
            let job = yard.show(id);
            assert_eq!((job.attempt, job.error.as_deref()), (2, Some(reason)));
        }
        yard.runtime.block_on(worker.stop());
    });
}

#[test]
fn a_handler_that_blocks_its_thread_is_left_behind() {
    on_each(|yard| {
        let (send, receive) = std::sync::mpsc::sync_channel::<()>(1);
        let shop = Arc::new(Mutex::new(receive));
        let handlers =
            Handlers::new().with(BRIEF, &shop, |shop: &Mutex<std::sync::mpsc::Receiver<()>>, job| {
                Box::pin(async move {
                    if job.payload == "block" {
                        let _ = shop.lock().recv();
                    }
                    Outcome::Done
                })
            });
        let worker = work(&yard, handlers, |config| config.concurrency = 1);
        let blocking = yard.enqueue(mail("block").attempts(1));
        yard.wait("the blocking one", || yard.state(blocking) == JobState::Running);
        let next = yard.enqueue(mail("fine"));
        yard.wait("the next one", || yard.state(next) == JobState::Done);
        yard.wait("a dead letter", || yard.state(blocking) == JobState::Dead);
        assert_eq!(worker.stats().stuck(), 1);
        send.send(()).unwrap();
        yard.runtime.block_on(worker.stop());
    });
}

#[test]
fn who_asks_for_a_pause_is_not_asked_sooner() {
    on_each(|yard| {
        let shop = Shop::new();
        let worker = work(&yard, obedient(MAIL, &shop), |_| ());
        let id = yard.enqueue(mail("later"));
        yard.wait("a pause", || yard.state(id) == JobState::Scheduled);
        let job = yard.show(id);
        let pause = job.run_at.as_millis() - super::START_MS;
        assert!((60_000..=66_000).contains(&pause), "{pause}");
        assert_eq!((job.attempt, job.error.as_deref()), (1, Some("busy")));
        yard.runtime.block_on(worker.stop());
    });
}

#[test]
fn a_running_job_is_cancelled_and_one_that_does_not_listen_is_dropped() {
    on_each(|yard| {
        let shop = Shop::new();
        let worker =
            work(&yard, obedient(MAIL, &shop), |config| config.cancel_grace = Duration::from_millis(50));
        for payload in ["wait", "hang"] {
            let id = yard.enqueue(mail(payload));
            yard.wait("the start", || shop.heard().contains(&payload.to_owned()));
            assert_eq!(yard.write(move |tx| inspect::discard(tx, id)), inspect::Changed::Asked);
            yard.wait("the end", || yard.state(id) == JobState::Cancelled);
        }
        yard.runtime.block_on(worker.stop());
    });
}

#[test]
fn kinds_have_limits_of_their_own_and_a_flood_of_one_delays_no_other() {
    const FEW: JobKind = JobKind::new("few").concurrency(2);
    on_each(|yard| {
        let shop = Shop::new();
        let handlers = obedient(MAIL, &shop).with(FEW, &shop, |shop: &Shop, _| {
            Box::pin(async move {
                let now = shop.at_once.fetch_add(1, Ordering::SeqCst) + 1;
                shop.most.fetch_max(now, Ordering::SeqCst);
                tokio::task::yield_now().await;
                shop.at_once.fetch_sub(1, Ordering::SeqCst);
                Outcome::Done
            })
        });
        let flood: Vec<NewJob> = (0..500).map(|_| mail("gate")).collect();
        yard.write(move |tx| Ok(tx.enqueue_all(&flood)?));
        let worker = work(&yard, handlers, |config| config.concurrency = 4);
        let few: Vec<NewJob> = (0..200).map(|_| NewJob::new(&FEW, "")).collect();
        yard.write(move |tx| Ok(tx.enqueue_all(&few)?));
        shop.gate.add_permits(1);
        yard.wait("the few", || {
            yard.count("SELECT COUNT(*) FROM jobs WHERE kind = 'few' AND state = 'done'") == 200
        });
        assert!(shop.most.load(Ordering::SeqCst) <= 2);
        yard.wait("the flood", || all_done(&yard));
        yard.runtime.block_on(worker.stop());
    });
}

#[test]
fn a_kind_that_nobody_knows_waits_and_is_shown() {
    on_each(|yard| {
        let shop = Shop::new();
        let id = yard.enqueue(NewJob::new(&TRIM, ""));
        let worker = work(&yard, obedient(MAIL, &shop), |_| ());
        let known = yard.enqueue(mail("fine"));
        yard.wait("the known one", || yard.state(known) == JobState::Done);
        assert_eq!(yard.state(id), JobState::Pending);
        let counts = yard.runtime.block_on(yard.store.read(|tx| inspect::overview(tx))).unwrap();
        assert!(counts.iter().any(|count| count.kind == "trim" && count.state == JobState::Pending));
        yard.runtime.block_on(worker.stop());
    });
}

#[test]
fn what_runs_for_longer_than_a_lease_keeps_it() {
    on_each(|yard| {
        let shop = Shop::new();
        let worker = work(&yard, obedient(MAIL, &shop), |config| config.lease = Duration::from_secs(1));
        let id = yard.enqueue(mail("gate"));
        yard.wait("the start", || shop.heard().len() == 1);
        // Steps shorter than a lease, each after a heartbeat has followed the one before.
        for _ in 0..6 {
            yard.clock.advance_ms(900);
            let now = relais_protocol::time::Clock::now(&*yard.clock);
            yard.wait("a heartbeat", || yard.show(id).lease_until == Some(now.plus_millis(1000)));
        }
        shop.gate.add_permits(1);
        yard.wait("the end", || yard.state(id) == JobState::Done);
        assert_eq!((yard.show(id).attempt, worker.stats().rescued(), worker.stats().refused()), (1, 0, 0));
        yard.runtime.block_on(worker.stop());
    });
}

#[test]
fn a_lease_that_was_lost_stops_its_handler_and_its_acknowledgement_is_refused() {
    on_each(|yard| {
        let shop = Shop::new();
        let worker = work(&yard, obedient(MAIL, &shop), |config| config.lease = Duration::from_secs(1));
        let id = yard.enqueue(mail("wait"));
        yard.wait("the start", || shop.heard().len() == 1);
        // As another node does, which believes this one gone.
        yard.write(move |tx| {
            let wanted = relais_store::jobs::lease::Claim {
                holder: "other".into(),
                lease: Duration::from_secs(600),
                kinds: vec![("mail", 1)],
                limit: 1,
            };
            tx.execute("UPDATE jobs SET state = 'pending' WHERE id = $1", relais_store::params![id.0])?;
            relais_store::jobs::lease::claim(tx, &wanted)
        });
        yard.wait("the loss", || worker.stats().lost() == 1);
        yard.wait("the refusal", || worker.stats().refused() == 1);
        assert_eq!((yard.state(id), yard.show(id).holder.as_deref()), (JobState::Running, Some("other")));
        yard.runtime.block_on(worker.stop());
    });
}

#[test]
fn a_worker_that_stops_gives_back_what_has_not_ended() {
    on_each(|yard| {
        let shop = Shop::new();
        let worker = work(&yard, obedient(MAIL, &shop), |config| {
            config.concurrency = 2;
            config.stop_grace = Duration::from_millis(50);
        });
        let ids = ["wait", "hang", "never", "begun"].map(|payload| yard.enqueue(mail(payload)));
        yard.wait("the start", || shop.heard().len() == 2);
        yard.runtime.block_on(worker.stop());
        for id in ids {
            assert_eq!((yard.state(id), yard.show(id).attempt), (JobState::Pending, 0));
        }
    });
}

#[test]
fn schedules_and_delays_wake_a_worker_and_what_ended_is_trimmed() {
    on_each(|yard| {
        let shop = Shop::new();
        let worker =
            work(&yard, obedient(MAIL, &shop), |config| config.retention.done = Duration::from_secs(600));
        let rule = Rule::every(Duration::from_secs(3600)).unwrap();
        let schedule =
            Schedule { name: "hourly".into(), payload: "tick".into(), rule, catch_up: CatchUp::Once };
        yard.write(move |tx| schedule::put(tx, &MAIL, &schedule));
        yard.enqueue(mail("delayed").delay(Duration::from_secs(60)));
        yard.clock.advance_ms(60_000);
        yard.wait("the delayed one", || shop.heard().contains(&"delayed".to_owned()) && all_done(&yard));
        yard.clock.advance_ms(3_600_000);
        yard.wait("the tick", || shop.heard().contains(&"tick".to_owned()) && all_done(&yard));
        yard.clock.advance_ms(700_000);
        yard.store.wake_workers();
        yard.wait("the trimming", || yard.count("SELECT COUNT(*) FROM jobs") == 0);
        yard.runtime.block_on(worker.stop());
    });
}

#[test]
fn a_database_that_was_away_loses_no_job_and_no_acknowledgement() {
    let yard = Yard::new(relais_testkit::TestDb::postgres());
    let shop = Shop::new();
    let worker = work(&yard, obedient(MAIL, &shop), |_| ());
    let id = yard.enqueue(mail("gate"));
    yard.wait("the start", || shop.heard().len() == 1);
    yard.db.cut_connections();
    shop.gate.add_permits(1);
    let settled = || {
        let read = yard.store.read(move |tx| inspect::show(tx, id));
        yard.runtime.block_on(read).is_ok_and(|job| job.is_some_and(|job| job.state == Some(JobState::Done)))
    };
    yard.wait("the end", settled);
    assert_eq!(shop.heard().len(), 1);
    assert_eq!(worker.stats().refused(), 0);
    yard.runtime.block_on(worker.stop());
}
