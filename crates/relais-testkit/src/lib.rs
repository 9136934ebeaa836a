//! What the tests share: a database of its own per test, a clock that moves only when told, and a log in memory.
//! Development only.

mod clock;
mod database;
mod log;

pub use clock::TestClock;
pub use database::TestDb;
pub use log::MemoryLog;
