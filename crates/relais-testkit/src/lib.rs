//! Test infrastructure: a database per test, a clock under the test's control, a log in memory, and a proxy that
//! injects network faults. Development only.

mod clock;
mod database;
mod log;
mod proxy;

pub use clock::TestClock;
pub use database::TestDb;
pub use log::MemoryLog;
pub use proxy::{Break, Proxy};
