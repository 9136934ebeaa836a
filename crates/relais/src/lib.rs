//! Relais: what changes in a business application is stored durably, told to everyone who should know at
//! once, and told to everyone who was away on their return, without a gap and without a repeat.
//!
//! This crate is the application on top of the floors below it: `relais-protocol` (the vocabulary and the
//! codecs), `relais-hub` (live sessions) and `relais-store` (the database). `ARCHITECTURE.md` has the map.

mod aliases;
pub mod app;
pub mod asyncapi;
pub mod auth;
mod backoff;
pub mod boot;
pub mod cli;
pub mod config;
mod declared;
mod disk;
pub mod error;
pub mod event_log;
pub mod feature;
pub mod features;
mod finding;
pub mod folder_lock;
pub mod gateways;
pub mod http;
pub mod id;
pub mod jobs;
mod memory;
mod outbound;
pub mod said;
mod tasks;
pub mod telemetry;
pub mod text;
mod token_bucket;
pub mod web;

pub use app::App;
pub use error::AppError;
