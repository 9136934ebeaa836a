//! Tests of the whole application, one module per feature.

#![expect(clippy::disallowed_methods, reason = "tests wait in real time, and start tasks of their own")]

mod access;
mod accounts;
mod api_documents;
mod api_routes;
mod chat;
mod cli;
mod clock;
mod edge;
mod json_check;
mod languages;
mod letting_go;
mod live;
mod polling;
mod relay;
mod socketio;
mod structure;
mod turned_away;
mod two_servers;
mod world;
