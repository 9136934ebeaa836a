//! What clients call the fields of modules.

use super::model::{Claim, ModuleChanges, NewModule};
use crate::aliases::Aliased;

const TYPE: (&str, &[&str]) = ("type", &["moduleType", "module_type"]);
const CODE: (&str, &[&str]) = ("code", &["claimCode", "claim_code", "module_code", "moduleCode"]);

impl Aliased for NewModule {
    const ALIASES: &'static [(&'static str, &'static [&'static str])] =
        &[("id", &["moduleId", "module_id"]), TYPE, ("owner", &["userId", "user_id"])];
}

impl Aliased for ModuleChanges {
    const ALIASES: &'static [(&'static str, &'static [&'static str])] = &[TYPE];
}

impl Aliased for Claim {
    const ALIASES: &'static [(&'static str, &'static [&'static str])] = &[CODE, ("moduleId", &["module_id"])];
}
