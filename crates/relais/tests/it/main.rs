//! Tests of the whole application, one module per feature.

mod accounts;
mod api_documents;
mod cli;
mod json_check;
mod relay;
mod socketio;
