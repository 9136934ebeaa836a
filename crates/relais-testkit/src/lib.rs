//! What the tests share: a database of its own per test, a clock that moves only when told, and a wire that breaks when
//! told. Development only.

mod clock;
mod database;
mod proxy;

pub use clock::TestClock;
pub use database::TestDb;
pub use proxy::{Break, Proxy};
