//! Tests of the whole application, one module per feature.

mod access;
mod accounts;
mod api_documents;
mod chat;
mod cli;
mod clock;
mod edge;
mod json_check;
mod letting_go;
mod live;
mod polling;
mod relay;
mod socketio;
mod structure;
mod turned_away;
mod world;
