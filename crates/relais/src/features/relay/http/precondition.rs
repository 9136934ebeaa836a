//! Entity tags, dates and conditions (RFC 9110 sections 8.8 and 13).
//!
//! A date has a resolution of one second, and a file may be stored several times within one. So the date of a content
//! is the end of the second in which it was stored, and is sent once that has passed: a client with that date has the
//! last content of that second. A younger content is sent with the beginning of its second, which no condition accepts
//! as its date (section 8.8.2.2).

use axum::http::{HeaderMap, header};

use super::super::Coding;
use super::super::model::Precondition;

/// The condition on a change that a request states: `If-Match` before `If-None-Match: *` before `If-Unmodified-Since`.
pub(super) fn of_change(headers: &HeaderMap) -> Precondition {
    if let Some(tags) = joined(headers, &header::IF_MATCH) {
        return if tags.trim() == "*" { Precondition::Exists } else { Precondition::Match(hashes(&tags)) };
    }
    if joined(headers, &header::IF_NONE_MATCH).is_some_and(|tags| tags.trim() == "*") {
        return Precondition::Absent;
    }
    date(headers, &header::IF_UNMODIFIED_SINCE).map_or(Precondition::None, Precondition::UnmodifiedSince)
}

/// The date of a content that was stored in the second `modified_s`, as sent in the second `now_s`: never a later one
/// (section 8.8.2.1).
pub(super) fn last_modified(modified_s: i64, now_s: i64) -> i64 {
    date_of(modified_s).min(now_s)
}

/// The end of the second that a content was stored in.
fn date_of(modified_s: i64) -> i64 {
    modified_s.saturating_add(1)
}

/// The result of the conditions of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Send it, or the requested part.
    Send,
    /// The client has it (304).
    NotModified,
    /// It is not the version that the client has (412).
    Failed,
}

/// Evaluates the conditions of a read in the order of RFC 9110 section 13.2.2, for a content that was stored in the
/// second `modified_s` (since 1970), if that is known. An invalid date is ignored (sections 13.1.3 and 13.1.4).
pub(super) fn of_read(headers: &HeaderMap, sha256: &str, modified_s: Option<i64>) -> Verdict {
    if let Some(tags) = joined(headers, &header::IF_MATCH) {
        if tags.trim() != "*" && !matches(headers, &tags, sha256) {
            return Verdict::Failed;
        }
    } else if let (Some(since), Some(modified)) = (date(headers, &header::IF_UNMODIFIED_SINCE), modified_s)
        && date_of(modified) > since
    {
        return Verdict::Failed;
    }
    if let Some(tags) = joined(headers, &header::IF_NONE_MATCH) {
        let has = tags.trim() == "*" || hashes(&tags).iter().any(|hash| hash == sha256);
        return if has { Verdict::NotModified } else { Verdict::Send };
    }
    match (date(headers, &header::IF_MODIFIED_SINCE), modified_s) {
        (Some(since), Some(modified)) if date_of(modified) <= since => Verdict::NotModified,
        _ => Verdict::Send,
    }
}

/// Whether one of the tags of `If-Match` is this content. Ranges are ranges of the unencoded bytes, so with `Range` the
/// tag of a compressed copy, or a weak one, does not match (section 13.1.1: strong comparison).
fn matches(headers: &HeaderMap, tags: &str, sha256: &str) -> bool {
    if headers.contains_key(header::RANGE) {
        return tags.split(',').any(|tag| tag.trim() == etag(sha256, Coding::Identity));
    }
    hashes(tags).iter().any(|hash| hash == sha256)
}

/// Whether `If-Range` allows the part to be sent (section 13.1.5): the tag of the unencoded bytes, or the exact date of
/// a content whose second is over.
pub(super) fn range_applies(headers: &HeaderMap, sha256: &str, modified_s: Option<i64>, now_s: i64) -> bool {
    let Some(condition) = headers.get(header::IF_RANGE) else { return true };
    if condition.as_bytes() == etag(sha256, Coding::Identity).as_bytes() {
        return true;
    }
    let told = modified_s.map(date_of).filter(|date| *date <= now_s);
    told.is_some() && told == date(headers, &header::IF_RANGE)
}

/// A date of one of the three forms of RFC 9110 section 5.6.7, in seconds since 1970.
fn date(headers: &HeaderMap, name: &header::HeaderName) -> Option<i64> {
    let moment: std::time::SystemTime = httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()?;
    i64::try_from(moment.duration_since(std::time::SystemTime::UNIX_EPOCH).ok()?.as_secs()).ok()
}

/// The strong entity tag of a content in a coding: the hash, marked if the bytes differ from the plain ones.
pub(super) fn etag(sha256: &str, coding: Coding) -> String {
    match coding {
        Coding::Identity => ["\"", sha256, "\""].concat(),
        other => format!("\"{sha256}-{}\"", other.token()),
    }
}

fn joined(headers: &HeaderMap, name: &header::HeaderName) -> Option<String> {
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    if values.is_empty() { None } else { Some(values.join(",")) }
}

/// The hashes in a list of entity tags. A weak tag names the same content, since our tags are hashes.
fn hashes(tags: &str) -> Vec<String> {
    tags.split(',')
        .map(|tag| tag.trim().trim_start_matches("W/").trim_matches('"'))
        .map(|tag| tag.split('-').next().unwrap_or_default().to_ascii_lowercase())
        .filter(|hash| !hash.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(name: header::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn conditions_of_a_change_are_read() {
        assert_eq!(of_change(&HeaderMap::new()), Precondition::None);
        assert_eq!(of_change(&headers(header::IF_NONE_MATCH, "*")), Precondition::Absent);
        assert_eq!(of_change(&headers(header::IF_MATCH, "*")), Precondition::Exists);
        let either = of_change(&headers(header::IF_MATCH, "\"aa\", \"bb-gzip\""));
        assert_eq!(either, Precondition::Match(vec!["aa".into(), "bb".into()]));
    }

    /// The date of a content that was stored in the second before it.
    const MONDAY: &str = "Mon, 30 Nov 2026 12:00:00 GMT";
    const MONDAY_S: i64 = 1_796_040_000;
    const STORED_S: i64 = MONDAY_S - 1;

    fn verdict(stated: &[(header::HeaderName, &'static str)]) -> Verdict {
        let pairs = stated.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        of_read(&pairs.collect(), "aa", Some(STORED_S))
    }

    #[test]
    fn a_copy_in_another_coding_is_the_same_content() {
        assert_eq!(verdict(&[(header::IF_NONE_MATCH, "W/\"aa-br\"")]), Verdict::NotModified);
        assert_eq!(verdict(&[(header::IF_NONE_MATCH, "\"ab\"")]), Verdict::Send);
    }

    #[test]
    fn conditions_of_a_read_are_evaluated_in_their_order() {
        use header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE, RANGE};
        let (before, after) = ("Mon, 30 Nov 2026 11:59:59 GMT", "Monday, 30-Nov-26 12:00:01 GMT");
        let cases: [(&[(header::HeaderName, &'static str)], Verdict); 14] = [
            (&[(IF_MATCH, "\"aa\"")], Verdict::Send),
            (&[(IF_MATCH, "*")], Verdict::Send),
            (&[(IF_MATCH, "\"bb\"")], Verdict::Failed),
            (&[(IF_MATCH, "\"aa-gzip\"")], Verdict::Send),
            (&[(IF_MATCH, "\"aa-gzip\""), (RANGE, "bytes=0-1")], Verdict::Failed),
            (&[(IF_MATCH, "W/\"aa\""), (RANGE, "bytes=0-1")], Verdict::Failed),
            (&[(IF_MATCH, "\"aa\""), (IF_UNMODIFIED_SINCE, before)], Verdict::Send),
            (&[(IF_MATCH, "\"aa\""), (IF_NONE_MATCH, "\"aa\"")], Verdict::NotModified),
            (&[(IF_UNMODIFIED_SINCE, before)], Verdict::Failed),
            (&[(IF_UNMODIFIED_SINCE, MONDAY)], Verdict::Send),
            (&[(IF_MODIFIED_SINCE, MONDAY)], Verdict::NotModified),
            (&[(IF_MODIFIED_SINCE, before)], Verdict::Send),
            (&[(IF_NONE_MATCH, "\"bb\""), (IF_MODIFIED_SINCE, after)], Verdict::Send),
            (&[(IF_MODIFIED_SINCE, "yesterday")], Verdict::Send),
        ];
        for (stated, expected) in cases {
            assert_eq!(verdict(stated), expected, "{stated:?}");
        }
    }

    #[test]
    fn a_date_is_told_when_no_other_content_can_have_it_any_more() {
        assert_eq!(last_modified(STORED_S, MONDAY_S), MONDAY_S);
        assert_eq!(last_modified(STORED_S, MONDAY_S + 9), MONDAY_S);
        assert_eq!(
            last_modified(STORED_S, STORED_S),
            STORED_S,
            "and no condition takes that one for its date"
        );
        assert_eq!(last_modified(STORED_S, STORED_S - 5), STORED_S - 5, "a clock that was set back");
    }

    #[test]
    fn a_part_goes_with_the_very_date_of_a_content_whose_second_is_over() {
        let applies =
            |value, now| range_applies(&headers(header::IF_RANGE, value), "aa", Some(STORED_S), now);
        assert!(applies(MONDAY, MONDAY_S) && applies("\"aa\"", STORED_S));
        assert!(!applies(MONDAY, STORED_S), "it may change again within this second");
        assert!(
            !applies("Mon, 30 Nov 2026 11:59:59 GMT", MONDAY_S + 9),
            "another one may have had that date"
        );
        assert!(!applies("Mon, 30 Nov 2026 12:00:01 GMT", MONDAY_S + 9));
        assert!(!applies("W/\"aa\"", MONDAY_S + 9));
    }
}
