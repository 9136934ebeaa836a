//! Durable jobs: the same on both databases.

mod crash;
mod inspecting;
mod leases;
mod limits;
mod model;
mod schedules;
mod working;

use std::sync::Arc;
use std::time::Duration;

use relais_protocol::time::SharedClock;
use relais_store::jobs::lease::{self, Claim, End, Ending};
use relais_store::jobs::{Job, JobId, JobKind, JobLimits, JobState, NewJob, inspect};
use relais_store::{Query, Store, StoreConfig, StoreError, WriteTx, params};
use relais_testkit::{TestClock, TestDb};

const START_MS: i64 = 1_800_000_000_000;
const LEASE: Duration = Duration::from_secs(30);
const MAIL: JobKind = JobKind::new("mail").attempts(3);
const TRIM: JobKind = JobKind::new("trim");

/// One test on one database, whose time is given.
struct Yard {
    db: TestDb,
    store: Store,
    clock: Arc<TestClock>,
    runtime: tokio::runtime::Runtime,
}

fn config(db: &TestDb, limits: JobLimits) -> StoreConfig {
    let mut config = StoreConfig::new(db.url());
    config.beside_server = true;
    config.jobs = limits;
    config
}

fn given_time() -> JobLimits {
    JobLimits { server_time: false, ..JobLimits::default() }
}

impl Yard {
    fn new(db: TestDb) -> Self {
        Self::with(db, given_time())
    }

    fn with(db: TestDb, limits: JobLimits) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build().unwrap();
        let clock = TestClock::at(START_MS);
        let shared: SharedClock = clock.clone();
        let store = Store::open(&config(&db, limits), &[super::NOTES], shared).unwrap();
        Self { db, store, clock, runtime }
    }

    fn write<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut WriteTx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> T {
        self.runtime.block_on(self.store.write(f)).unwrap()
    }

    fn enqueue(&self, job: NewJob) -> JobId {
        self.write(move |tx| Ok(tx.enqueue(&job)?.id()))
    }

    /// Claims as one holder does.
    fn claim(&self, holder: &str, kinds: &[&'static str], limit: usize) -> Vec<Job> {
        let wanted = Claim {
            holder: holder.to_owned(),
            lease: LEASE,
            kinds: kinds.iter().map(|kind| (*kind, limit)).collect(),
            limit,
        };
        self.write(move |tx| {
            lease::promote(tx, 100)?;
            lease::claim(tx, &wanted)
        })
        .jobs
    }

    fn claim_mail(&self) -> Job {
        self.claim("a", &["mail"], 1).pop().unwrap()
    }

    /// Ends a lease; returns whether that was accepted.
    fn end(&self, job: &Job, end: End) -> bool {
        let ending = Ending { id: job.id, fence: job.lease.fence(), end };
        self.write(move |tx| lease::finish(tx, &[ending])).is_empty()
    }

    /// What a worker does with leases whose time is over.
    fn rescue(&self) -> Vec<JobId> {
        self.write(|tx| {
            let expired = lease::expired(tx, 100)?;
            let end = |lost: &lease::Expired| Ending {
                id: lost.id,
                fence: lost.fence,
                end: if lost.attempt >= lost.attempts_max {
                    End::Dead("lost".to_owned())
                } else {
                    End::Retry(0, "lost".to_owned())
                },
            };
            let endings: Vec<Ending> = expired.iter().map(end).collect();
            lease::finish(tx, &endings)?;
            Ok(expired.iter().map(|lost| lost.id).collect())
        })
    }

    fn show(&self, id: JobId) -> inspect::JobRow {
        self.runtime.block_on(self.store.read(move |tx| inspect::show(tx, id))).unwrap().unwrap()
    }

    fn state(&self, id: JobId) -> JobState {
        self.show(id).state.unwrap()
    }

    fn count(&self, sql: &'static str) -> u64 {
        self.runtime
            .block_on(self.store.read(move |tx| tx.query_one(sql, params![], |row| row.u64(0))))
            .unwrap()
    }

    /// Waits until the state is there, with a deadline; whoever is waited for is in this process.
    fn wait(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while !is_so() {
            assert!(std::time::Instant::now() < deadline, "{what} did not come");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn on_each(test: impl Fn(Yard)) {
    for make in TestDb::each() {
        test(Yard::new(make()));
    }
}

fn mail(payload: &str) -> NewJob {
    NewJob::new(&MAIL, payload)
}
