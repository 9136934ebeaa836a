//! What the tests share: a database of its own per test, a clock that moves only when told, a log in memory, and a wire
//! that breaks when told. Development only.

mod clock;
mod database;
mod log;
mod proxy;

pub use clock::TestClock;
pub use database::TestDb;
pub use log::MemoryLog;
pub use proxy::{Break, Proxy};
