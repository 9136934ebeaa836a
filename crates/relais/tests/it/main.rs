//! Tests of the whole application, one module per feature.

mod accounts;
mod api_documents;
mod chat;
mod cli;
mod clock;
mod json_check;
mod live;
mod polling;
mod relay;
mod socketio;
mod turned_away;
mod world;
