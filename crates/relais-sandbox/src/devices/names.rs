//! The names of a fleet's modules.

/// The maximum number of devices in a fleet: what the usual ids can number. One address has fewer ports for connections
/// to one server (`ip_local_port_range`, usually 28,232).
pub const DEVICES_MAX: u32 = 60_000;
/// Numbers in a four-digit id.
const NUMBERS: u32 = 10_000;
/// The suffixes of ids, and the type each stands for.
const KINDS: [(&str, &str); 6] = [
    ("STN", "Station"),
    ("LFX", "Light FX"),
    ("AP", "Audio Player"),
    ("SM", "Smoke Machine"),
    ("ST", "Switch Track"),
    ("LT", "Launch Track"),
];

/// The id of the device at `place`, such as `MC-0007-LFX`: four digits and a type. Unique for every place below
/// [`DEVICES_MAX`]; the first ten thousand differ by number alone.
#[must_use]
pub fn module_id(prefix: &str, place: u32) -> String {
    let kind = (place + place / NUMBERS) as usize % KINDS.len();
    format!("{prefix}{:04}-{}", place % NUMBERS, KINDS[kind].0)
}

/// The type for the suffix of an id.
pub(super) fn kind_of(id: &str) -> &'static str {
    let code = id.rsplit('-').next().unwrap_or_default();
    KINDS.iter().find(|(known, _)| *known == code).map_or("Station", |(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_device_has_an_id_of_its_own_in_the_usual_form() {
        let ids: HashSet<String> = (0..DEVICES_MAX).map(|place| module_id("MC-", place)).collect();
        assert_eq!(ids.len(), DEVICES_MAX as usize);
        assert!(ids.iter().all(|id| id[3..7].bytes().all(|byte| byte.is_ascii_digit())));
        assert_eq!(module_id("MC-", 7), "MC-0007-LFX");
        assert_eq!(kind_of("MC-0007-LFX"), "Light FX");
    }
}
