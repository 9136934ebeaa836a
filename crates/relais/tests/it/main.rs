//! Tests of the whole application, one module per feature.

mod accounts;
mod cli;
mod relay;
