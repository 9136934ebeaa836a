//! Modules: machines in the field, whose they are, and how they identify themselves.
//!
//! [`Live`] is the API. Events, named and made as clients of the sockets know them: `rt_module_added`,
//! `rt_module_updated`, `rt_module_removed` in `role:admin`; `user:module:added`, `user:module:updated`,
//! `user:module:removed` in the topic of the owner.

mod catalogue;
pub mod http;
mod model;
mod modules;
mod refusal;
mod secrets;
mod service;
mod store;

pub use model::{AddedModule, Module, ModuleChanges, NewModule};
pub use modules::Sight;
pub use service::Live;
pub use store::MIGRATIONS;
