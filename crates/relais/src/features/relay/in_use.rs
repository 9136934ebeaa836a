//! Large contents that are being sent: each is in memory once, however many slow clients read it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::Coding;

/// Large contents read from the disk at the same time.
const READ_AT_ONCE: usize = 2;

type Key = (Arc<str>, Coding);

/// Contents by hash and coding, for as long as they are being sent.
pub(super) struct InUse {
    contents: Mutex<HashMap<Key, Weak<Bytes>>>,
    reads: Semaphore,
}

/// Keeps a content registered as long as a part of it is referenced.
struct Sent(Arc<Bytes>);

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl InUse {
    pub(super) fn new() -> Self {
        Self { contents: Mutex::default(), reads: Semaphore::new(READ_AT_ONCE) }
    }

    pub(super) fn get(&self, key: &Key) -> Option<Bytes> {
        self.contents.lock().get(key)?.upgrade().map(|content| Bytes::from_owner(Sent(content)))
    }

    /// The content, shared with all other transfers of it.
    pub(super) fn share(&self, key: Key, content: Bytes) -> Bytes {
        let mut contents = self.contents.lock();
        if let Some(shared) = contents.get(&key).and_then(Weak::upgrade) {
            return Bytes::from_owner(Sent(shared));
        }
        contents.retain(|_, content| content.strong_count() > 0);
        let shared = Arc::new(content);
        contents.insert(key, Arc::downgrade(&shared));
        Bytes::from_owner(Sent(shared))
    }

    /// A turn to read a large content: after waiting, check first whether it is now available.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.reads.acquire().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_is_there_once_and_gone_with_its_last_reader() {
        let (in_use, key) = (InUse::new(), (Arc::from("hash"), Coding::Identity));
        let first = in_use.share(key.clone(), Bytes::from(vec![b'x'; 1000]));
        let second = in_use.share(key.clone(), Bytes::from(vec![b'x'; 1000]));
        let part = in_use.get(&key).unwrap().slice(10..20);
        assert_eq!(first.as_ptr(), second.as_ptr());
        drop((first, second));
        assert_eq!(in_use.get(&key).unwrap().len(), 1000);
        drop(part);
        assert!(in_use.get(&key).is_none());
        in_use.share((Arc::from("other"), Coding::Identity), Bytes::new());
        assert!(in_use.contents.lock().len() == 1, "what nobody reads is forgotten");
    }
}
