//! What every edge needs of HTTP, below identity and the features: connections and the end of every wait, bodies of
//! several parts, pages of lists, origins and proxies.

mod connections;
mod descriptors;
pub(crate) mod multipart;
pub(crate) mod origins;
pub(crate) mod paging;
mod proxies;
mod refusal;
mod server;

pub(crate) use connections::{Activity, ClientPlace, ClientStream, Guest, Place, Unnamed};
pub use server::{Server, listen};
