//! The HTTP infrastructure of every edge, below identity and the features: connections and their timeouts, multipart
//! bodies, forms, paging, origins and proxies.

mod connections;
mod descriptors;
pub(crate) mod form;
pub(crate) mod multipart;
pub(crate) mod origins;
pub(crate) mod paging;
mod proxies;
mod refusal;
mod server;

pub(crate) use connections::{Activity, ClientPlace, ClientStream, Guest, Place, Unnamed};
pub use server::{Server, listen};
