//! Entity tags and conditions (RFC 9110 sections 8.8 and 13).

use axum::http::{HeaderMap, header};

use super::super::Coding;
use super::super::model::Precondition;

/// The condition on a change that a request states with `If-Match` or `If-None-Match: *`.
pub(super) fn of_change(headers: &HeaderMap) -> Precondition {
    if let Some(tags) = joined(headers, &header::IF_MATCH) {
        return if tags.trim() == "*" { Precondition::Exists } else { Precondition::Match(hashes(&tags)) };
    }
    match joined(headers, &header::IF_NONE_MATCH) {
        Some(tags) if tags.trim() == "*" => Precondition::Absent,
        _ => Precondition::None,
    }
}

/// Whether `If-None-Match` says that the client has this content, in whatever coding.
pub(super) fn client_has(headers: &HeaderMap, sha256: &str) -> bool {
    joined(headers, &header::IF_NONE_MATCH)
        .is_some_and(|tags| tags.trim() == "*" || hashes(&tags).iter().any(|hash| hash == sha256))
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

    #[test]
    fn a_copy_in_another_coding_is_the_same_content() {
        assert!(client_has(&headers(header::IF_NONE_MATCH, "W/\"aa-br\""), "aa"));
        assert!(!client_has(&headers(header::IF_NONE_MATCH, "\"ab\""), "aa"));
    }
}
