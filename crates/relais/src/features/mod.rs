//! What Relais does, one folder per feature: `service.rs` decides, `store.rs` has the SQL, `http.rs` is the
//! edge.

pub mod accounts;
pub mod relay;
