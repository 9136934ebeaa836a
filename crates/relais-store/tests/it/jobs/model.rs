//! Whatever is done in whatever order, the queue does what a simple model of it says.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use relais_protocol::time::Clock;
use relais_store::jobs::inspect::{self, Changed};
use relais_store::jobs::lease::{self, Beat, End};
use relais_store::jobs::{Enqueued, Job, JobId, JobState};

use super::{LEASE, Yard, mail};

/// One step; what it is about is chosen among what there is.
#[derive(Clone, Copy, Debug)]
enum Step {
    Enqueue { key: Option<u8>, delay_ms: u64, priority: i16, attempts_max: u32 },
    Claim { limit: usize },
    End { which: usize, end: u8 },
    Heartbeat { which: usize },
    Effect { which: usize },
    Pass { ms: i64 },
    Rescue,
    Discard { which: usize },
    Retry { which: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let enqueue = (
        prop::option::weighted(0.4, 0u8..3),
        prop_oneof![3 => Just(0u64), 1 => 1u64..20_000],
        -1i16..2,
        1u32..4,
    )
        .prop_map(|(key, delay_ms, priority, attempts_max)| Step::Enqueue {
            key,
            delay_ms,
            priority,
            attempts_max,
        });
    prop_oneof![
        4 => enqueue,
        4 => (1usize..4).prop_map(|limit| Step::Claim { limit }),
        5 => (any::<usize>(), 0u8..5).prop_map(|(which, end)| Step::End { which, end }),
        2 => any::<usize>().prop_map(|which| Step::Heartbeat { which }),
        2 => any::<usize>().prop_map(|which| Step::Effect { which }),
        3 => (1i64..25_000).prop_map(|ms| Step::Pass { ms }),
        2 => Just(Step::Rescue),
        1 => any::<usize>().prop_map(|which| Step::Discard { which }),
        1 => any::<usize>().prop_map(|which| Step::Retry { which }),
    ]
}

/// A job as the model has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    key: Option<String>,
    state: JobState,
    priority: i64,
    run_at: i64,
    attempt: u32,
    attempts_max: u32,
    fence: i64,
    lease_until: i64,
    cancel: bool,
}

impl Known {
    fn is_active(&self) -> bool {
        !self.state.is_end()
    }
}

/// The model beside the queue.
struct Pair<'a> {
    yard: &'a Yard,
    jobs: BTreeMap<JobId, Known>,
    /// Every lease that was ever given.
    leases: Vec<Job>,
}

impl Pair<'_> {
    fn now(&self) -> i64 {
        self.yard.clock.now().as_millis()
    }

    fn active_with(&self, key: Option<&String>) -> Option<JobId> {
        let key = key?;
        self.jobs.iter().find(|(_, job)| job.is_active() && job.key.as_ref() == Some(key)).map(|(id, _)| *id)
    }

    fn job_at(&self, which: usize) -> Option<JobId> {
        let count = self.jobs.len().max(1);
        self.jobs.keys().nth(which % count).copied()
    }

    fn lease_at(&self, which: usize) -> Option<Job> {
        self.leases.get(which % self.leases.len().max(1)).cloned()
    }

    fn is_held(&self, job: &Job) -> bool {
        let known = &self.jobs[&job.id];
        known.state == JobState::Running && known.fence == job.lease.fence()
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Enqueue { key, delay_ms, priority, attempts_max } => {
                let key = key.map(|key| key.to_string());
                self.enqueue(key, delay_ms, priority, attempts_max);
            }
            Step::Claim { limit } => self.claim(limit),
            Step::End { which, end } => self.end(which, end),
            Step::Heartbeat { which } => self.heartbeat(which),
            Step::Effect { which } => self.effect(which),
            Step::Pass { ms } => self.yard.clock.advance_ms(ms),
            Step::Rescue => self.rescue(),
            Step::Discard { which } => self.discard(which),
            Step::Retry { which } => self.retry(which),
        }
    }

    fn enqueue(&mut self, key: Option<String>, delay_ms: u64, priority: i16, attempts_max: u32) {
        let mut job =
            mail("{}").priority(priority).attempts(attempts_max).delay(Duration::from_millis(delay_ms));
        if let Some(key) = &key {
            job = job.unique(key);
        }
        let found = self.yard.write(move |tx| Ok(tx.enqueue(&job)?));
        if let Some(active) = self.active_with(key.as_ref()) {
            assert_eq!(found, Enqueued::Duplicate(active));
            return;
        }
        let Enqueued::New(id) = found else { panic!("{found:?}, and there is none with its key") };
        let state = if delay_ms > 0 { JobState::Scheduled } else { JobState::Pending };
        let run_at = self.now() + delay_ms as i64;
        let (priority, lease_until) = (i64::from(priority), 0);
        let known = Known {
            key,
            state,
            priority,
            run_at,
            attempt: 0,
            attempts_max,
            fence: 0,
            lease_until,
            cancel: false,
        };
        assert!(self.jobs.insert(id, known).is_none(), "{id} is new");
    }

    fn claim(&mut self, limit: usize) {
        let now = self.now();
        for job in self.jobs.values_mut().filter(|job| job.state == JobState::Scheduled && job.run_at <= now)
        {
            job.state = JobState::Pending;
        }
        let mut waiting: Vec<(i64, i64, JobId)> = (self.jobs.iter())
            .filter(|(_, job)| job.state == JobState::Pending)
            .map(|(id, job)| (job.priority, job.run_at, *id))
            .collect();
        waiting.sort_unstable();
        let expected: Vec<JobId> = waiting.into_iter().take(limit).map(|(_, _, id)| id).collect();
        let claimed = self.yard.claim("a", &["mail"], limit);
        assert_eq!(claimed.iter().map(|job| job.id).collect::<Vec<_>>(), expected);
        let last = self.leases.iter().map(|job| job.lease.fence()).max().unwrap_or(0);
        for job in claimed {
            assert!(job.lease.fence() > last, "a fence only grows");
            let known = self.jobs.get_mut(&job.id).unwrap();
            known.attempt += 1;
            assert_eq!(job.attempt, known.attempt);
            (known.state, known.fence) = (JobState::Running, job.lease.fence());
            known.lease_until = now + LEASE.as_millis() as i64;
            self.leases.push(job);
        }
    }

    fn end(&mut self, which: usize, end: u8) {
        let Some(job) = self.lease_at(which) else { return };
        let end = match end {
            0 => End::Done,
            1 => End::Retry(5_000, "no".into()),
            2 => End::Dead("no".into()),
            3 => End::Cancelled,
            _ => End::Release,
        };
        let is_held = self.is_held(&job);
        assert_eq!(self.yard.end(&job, end.clone()), is_held, "only a lease that is held can be ended");
        if is_held {
            self.settle(job.id, &end);
        }
    }

    fn settle(&mut self, id: JobId, end: &End) {
        let now = self.now();
        let known = self.jobs.get_mut(&id).unwrap();
        known.state = match end {
            End::Done => JobState::Done,
            End::Dead(_) => JobState::Dead,
            End::Retry(..) | End::Release if known.cancel => JobState::Cancelled,
            End::Cancelled => JobState::Cancelled,
            End::Retry(..) => JobState::Scheduled,
            End::Release => JobState::Pending,
        };
        match end {
            End::Retry(ms, _) => known.run_at = now + ms,
            End::Release => known.attempt -= 1,
            _ => {}
        }
    }

    fn heartbeat(&mut self, which: usize) {
        let Some(job) = self.lease_at(which) else { return };
        let held = vec![(job.id, job.lease.fence())];
        let beats = self.yard.write(move |tx| lease::heartbeat(tx, &held, LEASE));
        let (is_held, until) = (self.is_held(&job), self.now() + LEASE.as_millis() as i64);
        let known = self.jobs.get_mut(&job.id).unwrap();
        let expected = if is_held { vec![Beat { id: job.id, cancel: known.cancel }] } else { vec![] };
        assert_eq!(beats, expected);
        if is_held {
            known.lease_until = until;
        }
    }

    fn effect(&mut self, which: usize) {
        let Some(job) = self.lease_at(which) else { return };
        let lease = job.lease.clone();
        let allowed = self.yard.runtime.block_on(self.yard.store.write(move |tx| lease.check(tx))).is_ok();
        assert_eq!(allowed, self.is_held(&job), "only who holds the job has an effect");
    }

    fn rescue(&mut self) {
        let now = self.now();
        let is_over = |job: &Known| job.state == JobState::Running && job.lease_until <= now;
        let expected: Vec<JobId> =
            self.jobs.iter().filter(|(_, job)| is_over(job)).map(|(id, _)| *id).collect();
        assert_eq!(self.yard.rescue(), expected);
        for id in expected {
            let known = &self.jobs[&id];
            let end = match known.attempt >= known.attempts_max {
                true => End::Dead("lost".into()),
                false => End::Retry(0, "lost".into()),
            };
            self.settle(id, &end);
        }
    }

    fn discard(&mut self, which: usize) {
        let Some(id) = self.job_at(which) else { return };
        let changed = self.yard.write(move |tx| inspect::discard(tx, id));
        let known = self.jobs.get_mut(&id).unwrap();
        let expected = match known.state {
            state @ (JobState::Done | JobState::Cancelled) => Changed::Not(state),
            JobState::Running => Changed::Asked,
            JobState::Scheduled | JobState::Pending | JobState::Dead => Changed::Done,
        };
        assert_eq!(changed, expected);
        if !matches!(expected, Changed::Not(_)) {
            known.cancel = true;
        }
        if expected == Changed::Done {
            known.state = JobState::Cancelled;
        }
    }

    fn retry(&mut self, which: usize) {
        let Some(id) = self.job_at(which) else { return };
        let changed = self.yard.write(move |tx| inspect::retry(tx, id));
        let known = self.jobs[&id].clone();
        let other = self.active_with(known.key.as_ref()).filter(|other| *other != id);
        let expected = match (known.state, other) {
            (state @ (JobState::Pending | JobState::Running | JobState::Done), _) => Changed::Not(state),
            (_, Some(other)) => Changed::Duplicate(other),
            (_, None) => Changed::Done,
        };
        assert_eq!(changed, expected);
        if expected == Changed::Done {
            let again =
                Known { state: JobState::Pending, run_at: self.now(), attempt: 0, cancel: false, ..known };
            self.jobs.insert(id, again);
        }
    }

    fn compare(&self) {
        let filter = inspect::Filter { limit: 1000, ..inspect::Filter::default() };
        let list = self.yard.store.read(move |tx| inspect::list(tx, &filter));
        let rows = self.yard.runtime.block_on(list).unwrap();
        assert_eq!(rows.len(), self.jobs.len());
        for row in rows {
            let known = &self.jobs[&row.id];
            assert_eq!(row.state, Some(known.state), "{row:?}");
            assert_eq!((row.attempt, row.fence), (i64::from(known.attempt), known.fence), "{row:?}");
            assert_eq!((row.run_at.as_millis(), row.cancel), (known.run_at, known.cancel), "{row:?}");
            assert_eq!(row.ended_at.is_some(), known.state.is_end(), "{row:?}");
            assert_eq!(row.lease_until.is_some(), known.state == JobState::Running, "{row:?}");
        }
    }
}

#[test]
fn whatever_happens_the_queue_does_what_the_model_says() {
    for (make, cases) in relais_testkit::TestDb::each().into_iter().zip([24, 8]) {
        let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
        let result = runner.run(&prop::collection::vec(step(), 20..90), |steps| {
            let yard = Yard::new(make());
            let mut pair = Pair { yard: &yard, jobs: BTreeMap::new(), leases: Vec::new() };
            for step in steps {
                pair.take(step);
            }
            pair.compare();
            yard.runtime.block_on(yard.store.shutdown());
            Ok(())
        });
        result.unwrap();
    }
}
