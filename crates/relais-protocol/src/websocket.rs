//! Frames and messages of RFC 6455.
