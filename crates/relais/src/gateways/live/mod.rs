//! Live modules: their devices on a WebSocket, and the pages that show them, on Socket.IO.

pub(super) mod device;
mod page;
mod pages;

pub(super) use pages::Pages;
