//! Stand-ins of what Relais connects to, executing and honest: for trials, tests and measurements.
//!
//! [`devices`]: machines in the field that speak the firmware's JSON over a WebSocket, thousands in one process.
//!
//! Nothing here knows the server from the inside: the stand-ins speak its wire formats over real connections.

pub mod devices;
