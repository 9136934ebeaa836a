//! Two servers on one PostgreSQL: what happens on one is heard on the other.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod folders;
mod messages;
mod outages;
mod resuming;
mod rights;

use std::sync::Arc;

use relais_protocol::time::{Clock, SystemClock, Timestamp};
use relais_testkit::TestDb;

use crate::world::World;

/// What both sign tokens with.
const SECRET: &str = "a-secret-that-two-servers-have-in-common";

/// The time of day of the computer, in which no time passes.
#[derive(Debug)]
struct StillClock(Timestamp);

impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    fn steady(&self) -> Timestamp {
        self.0
    }
}

/// Two servers. For the second no time passes, so that nothing it remembers grows old: what ends there ends because it was
/// heard. It hears of the log all the same.
struct Pair {
    first: World,
    second: World,
    database: TestDb,
}

impl Pair {
    async fn start() -> Self {
        let database = TestDb::postgres();
        let address = database.address().to_owned();
        Self::start_second_on(database, &address).await
    }

    /// The second reaches the database by an address of its own.
    async fn start_second_on(database: TestDb, address: &str) -> Self {
        let first = World::on(database.address(), SECRET).await;
        let second = World::on_in_time(address, SECRET, Arc::new(StillClock(SystemClock.steady()))).await;
        Self { first, second, database }
    }

    /// Waits until the second has heard what was committed so far.
    async fn caught_up(&self) {
        self.second.running.app().store().catch_up().await.unwrap();
    }
}
