//! What differs between a folder and a server.

use std::collections::BTreeSet;

use crate::cli::client::model::{Manifest, RefusedName, SyncReply};

/// The differences of one société, in the order of the names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Difference {
    /// Here, and not or not the same on the server.
    pub send: Vec<String>,
    /// Only on the server.
    pub server_only: Vec<String>,
    /// Here, under names that the server takes no file under.
    pub refused: Vec<RefusedName>,
    /// The same on both sides.
    pub unchanged: u64,
}

impl Difference {
    /// From the server's comparison of a manifest. What the server deleted is sent again: it is here.
    pub(crate) fn from_sync(manifest: &Manifest, reply: &SyncReply) -> Self {
        let named = reply.fetch.iter().map(|file| &file.filename);
        let named: BTreeSet<&String> = named.chain(&reply.send).chain(&reply.delete).collect();
        let (send, server_only): (Vec<_>, Vec<_>) =
            named.into_iter().cloned().partition(|name| manifest.contains_key(name));
        let refused = reply.refused.clone();
        let unchanged = (manifest.len() - send.len()).saturating_sub(refused.len()) as u64;
        Self { send, server_only, refused, unchanged }
    }

    /// Against a server that has nothing of this société, or does not tell this key what it has.
    pub(crate) fn all(manifest: &Manifest) -> Self {
        Self { send: manifest.keys().cloned().collect(), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::client::model::RemoteFile;

    fn manifest(pairs: &[(&str, &str)]) -> Manifest {
        pairs.iter().map(|(name, hash)| ((*name).to_owned(), (*hash).to_owned())).collect()
    }

    fn remote(pairs: &[(&str, &str)]) -> Vec<RemoteFile> {
        let file = |(name, hash): &(&str, &str)| RemoteFile {
            filename: (*name).to_owned(),
            sha256: (*hash).to_owned(),
            size: 1,
        };
        pairs.iter().map(file).collect()
    }

    #[test]
    fn what_differs_is_sent_whatever_the_reason() {
        let here = manifest(&[("same", "1"), ("new", "2"), ("stale", "3"), ("deleted there", "4")]);
        let reply = SyncReply {
            fetch: remote(&[("stale", "9"), ("theirs", "8")]),
            send: vec!["new".into()],
            delete: vec!["deleted there".into()],
            refused: Vec::new(),
            unchanged: 1,
        };
        let found = Difference::from_sync(&here, &reply);
        assert_eq!(found.send, ["deleted there", "new", "stale"]);
        assert_eq!((found.server_only, found.unchanged), (vec!["theirs".to_owned()], 1));
    }

    #[test]
    fn a_name_that_the_server_refuses_is_neither_sent_nor_the_same() {
        let here = manifest(&[("a:b.json", "1"), ("c.json", "2")]);
        let refused = RefusedName { filename: "a:b.json".into(), detail: "no".into() };
        let reply = SyncReply { refused: vec![refused], unchanged: 1, ..SyncReply::default() };
        let found = Difference::from_sync(&here, &reply);
        assert_eq!((found.refused.len(), found.send.len(), found.unchanged), (1, 0, 1));
    }

    #[test]
    fn a_server_without_the_societe_gets_everything() {
        let here = manifest(&[("a", "1"), ("b", "2")]);
        assert_eq!(Difference::all(&here).send, ["a", "b"]);
    }
}
