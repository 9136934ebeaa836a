//! Settings of the chat.

use serde::{Deserialize, Serialize};

/// Who may use the chat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChatAccess {
    /// Every user.
    #[default]
    Everyone,
    /// The office: staff and administrators.
    Staff,
    /// Administrators.
    Admins,
}

/// Conversations and messages.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChatConfig {
    /// Who takes part and can be found by the others by name and address.
    pub access: ChatAccess,
    /// Maximum bytes of a message's text.
    pub message_bytes_max: usize,
    /// Maximum number of groups that one user owns.
    pub groups_owned_max: u32,
}

impl Default for ChatConfig {
    fn default() -> Self {
        Self { access: ChatAccess::default(), message_bytes_max: 16 * 1024, groups_owned_max: 200 }
    }
}
