//! Whatever declares itself.

use crate::feature::Feature;
use crate::features;
use crate::gateways::DIALECTS;

/// The features and the dialects.
pub(crate) fn declared() -> impl Iterator<Item = &'static Feature> {
    features::ALL.into_iter().chain(DIALECTS.map(|dialect| &dialect.feature))
}
