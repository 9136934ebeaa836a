//! Stand-ins for the systems that Relais connects to, functional and realistic: for trials, tests and measurements.
//!
//! [`devices`]: machines in the field that send the firmware's JSON over a WebSocket, thousands in one process.
//!
//! Nothing here depends on the server's internals: the stand-ins use its wire formats over real connections.

pub mod devices;
