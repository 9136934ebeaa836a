//! Simulated devices: they identify themselves, send reports, answer commands and pings, and reconnect after a lost
//! connection, as the firmware in the field does.
//!
//! - [`Fleet`]: runs any number of devices against one server and counts what happens to them;
//! - [`Endpoint`]: where that server is;
//! - [`module_id`]: the names of a fleet's modules.
//!
//! A device is one task of about two kilobytes: it buffers bytes only while a frame is incomplete, and reads into a
//! buffer shared by all devices of a thread.

mod backoff;
mod counts;
mod device;
mod endpoint;
mod failure;
mod firmware;
mod fleet;
mod names;
mod socket;
mod values;

pub use counts::Totals;
pub use endpoint::{Endpoint, EndpointError};
pub use firmware::STAMP_FIELD;
pub use fleet::{Fleet, FleetConfig, FleetError, Module};
pub use names::{DEVICES_MAX, module_id};
