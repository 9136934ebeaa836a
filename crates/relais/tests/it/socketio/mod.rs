//! Socket.IO on the hub, with a feature made for the tests: recovery, identity, limits, and nothing left behind.
//! What the protocol documents ask for is tested from outside (tests/clients).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod messages;
mod recovery;
mod rules;
mod turns;
mod world;
