//! What the tests share: a database of its own per test, and a clock that moves only when told. Development
//! only.

mod clock;
mod database;

pub use clock::TestClock;
pub use database::TestDb;
