//! What a chart is asked for with.

use relais_protocol::time::Timestamp;
use serde::Deserialize;
use utoipa::IntoParams;

use super::aggregate::HOUR;
use super::range::{CHART_POINTS_MAX, CHART_SERIES_MAX, RangeQuery};
use crate::AppError;
use crate::features::live::refusal::invalid;
use crate::said::Said;

/// Buckets of a chart if nothing is said.
const POINTS: u32 = 500;
/// The last moment that can be asked for: the year 9999.
const MOMENT_MAX: i64 = 253_402_300_799_999;

/// Which chart.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// Series by name, with commas; none: the first 32 by name. A comma, a point or a backslash within the name of a field
    /// has a backslash before it.
    series: Option<String>,
    /// RFC 3339 or milliseconds since 1970; none: an hour before `to`.
    from: Option<String>,
    /// RFC 3339 or milliseconds since 1970; none: now.
    to: Option<String>,
    /// Buckets per series at most, 1 to 2000; none: 500.
    points: Option<u32>,
}

impl Asked {
    pub(super) fn read(self, now: Timestamp) -> Result<RangeQuery, AppError> {
        let to = self.to.as_deref().map_or(Ok(now.as_millis() + 1), |text| moment("to", text))?;
        let from = self.from.as_deref().map_or(Ok((to - HOUR).max(0)), |text| moment("from", text))?;
        if from >= to {
            return Err(invalid("from", Said::in_english("\"from\" has to be before \"to\"")));
        }
        let points = self.points.unwrap_or(POINTS);
        if !(1..=CHART_POINTS_MAX).contains(&points) {
            let text = format!("\"points\": 1 to {CHART_POINTS_MAX}");
            return Err(invalid("points", Said::in_english(text)));
        }
        let series: Vec<String> = self.series.as_deref().map(names).unwrap_or_default();
        if series.len() > CHART_SERIES_MAX {
            let text = format!("\"series\": at most {CHART_SERIES_MAX} series per request");
            return Err(invalid("series", Said::in_english(text)));
        }
        Ok(RangeQuery { series, from, to, points })
    }
}

/// What stands between commas that have no backslash before them.
fn names(text: &str) -> Vec<String> {
    let (mut all, mut name, mut escaped) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        if c == ',' && !escaped {
            all.push(std::mem::take(&mut name));
        } else {
            name.push(c);
        }
        escaped = c == '\\' && !escaped;
    }
    all.push(name);
    all
}

fn moment(field: &str, text: &str) -> Result<i64, AppError> {
    let read = text.parse().ok().or_else(|| text.parse().ok().map(jiff::Timestamp::as_millisecond));
    read.filter(|ms| (0..=MOMENT_MAX).contains(ms)).ok_or_else(|| {
        let text = format!("\"{field}\": an RFC 3339 date or milliseconds since 1970 are expected");
        invalid(field, Said::in_english(text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_within_a_name_is_escaped() {
        assert_eq!(names("a,b.c"), ["a", "b.c"]);
        assert_eq!(names(r"a\,b,c\\,d"), [r"a\,b", r"c\\", "d"]);
    }
}
