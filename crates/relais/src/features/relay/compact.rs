//! Reclaims the space of removed versions: see [`relais_store::packs`].

use std::collections::HashMap;
use std::sync::Arc;

use relais_store::packs::{PACK_BYTES, Packs, Place};
use relais_store::{StoreError, WriteTx};

use super::Relay;
use super::content::is_whole;
use super::error::RelayError;
use super::left_out::{Cause, Spot};
use super::store::{self, Packed};

/// A pack of which less than this share is needed is emptied: the remaining contents move to the newest one.
const NEEDED_SHARE: f64 = 0.5;

/// Minimum number of new packs between two passes.
const PACKS_BETWEEN: u64 = 8;

/// Contents after which a pass empties no further pack; the next pass continues.
const MOVED_MAX: usize = 20_000;

/// Contents listed at once.
const LISTED_MAX: usize = 2000;

/// Contents moved in one transaction.
const MOVED_TOGETHER: usize = 64;

/// The result of a pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Contents that were moved.
    pub moved: usize,
    /// Packs that were removed.
    pub removed: usize,
    /// Packs that were examined and kept.
    pub kept: usize,
    /// Damaged contents: their packs are kept, so that an operator may still recover something.
    pub damaged: usize,
}

impl Relay {
    /// Compacts the packs if as many were begun since the last pass as were kept by it, so that the work stays in
    /// proportion to what is written.
    ///
    /// # Errors
    /// As [`Relay::compact`].
    pub(super) async fn compact_if_due(&self) -> Result<(), RelayError> {
        let Some(packs) = self.0.store.packs() else { return Ok(()) };
        let begun = packs.begun();
        if begun < self.next_compaction() {
            return Ok(());
        }
        let done = self.compact().await?;
        self.note_compaction(begun + PACKS_BETWEEN.max(done.kept as u64));
        if done.removed > 0 {
            tracing::debug!(
                removed = done.removed,
                moved = done.moved,
                kept = done.kept,
                "packs were compacted"
            );
        }
        Ok(())
    }

    /// Removes the packs that no version needs, and empties those that few need.
    ///
    /// # Errors
    /// An error of the disk or the database; what was moved by then stays moved.
    pub async fn compact(&self) -> Result<Compacted, RelayError> {
        let Some(packs) = self.0.store.packs().cloned() else { return Ok(Compacted::default()) };
        // The list comes first: every row that refers to a sealed pack is committed, and none is added.
        let sealed = blocking(&packs, Packs::sealed).await?;
        let needed = self.needed_bytes().await?;
        let mut done = Compacted::default();
        for number in sealed {
            match needed.get(&number) {
                None => {}
                #[expect(clippy::cast_precision_loss, reason = "a share of a pack's size")]
                Some(bytes)
                    if (*bytes as f64) < PACK_BYTES as f64 * NEEDED_SHARE && done.moved < MOVED_MAX =>
                {
                    let (moved, damaged) = self.empty(&packs, number).await?;
                    done.moved += moved;
                    done.damaged += damaged;
                    if damaged > 0 {
                        done.kept += 1;
                        continue;
                    }
                }
                Some(_) => {
                    done.kept += 1;
                    continue;
                }
            }
            blocking(&packs, move |packs| packs.remove(number)).await?;
            done.removed += 1;
        }
        Ok(done)
    }

    async fn needed_bytes(&self) -> Result<HashMap<u64, u64>, RelayError> {
        let needed = self.0.store.read(|tx| store::packed_bytes(tx)).await;
        Ok(needed.map_err(RelayError::Store)?.into_iter().collect())
    }

    /// Moves every content that is still needed out of a sealed pack, except damaged ones. Returns the number of both.
    async fn empty(&self, packs: &Arc<Packs>, number: u64) -> Result<(usize, usize), RelayError> {
        let (mut from, to) = (Place(number * PACK_BYTES), Place((number + 1) * PACK_BYTES));
        let (mut moved, mut damaged) = (0, 0);
        loop {
            let rows = self.0.store.read(move |tx| store::packed_between(tx, from, to, LISTED_MAX)).await;
            let mut rows = rows.map_err(RelayError::Store)?;
            let Some(last) = rows.last() else { return Ok((moved, damaged)) };
            // Several versions may share a place, and all of them are in one list: what is moved leaves it.
            from = if rows.len() < LISTED_MAX { to } else { last.place };
            let before = damaged;
            while !rows.is_empty() {
                let some = rows.split_off(rows.len().saturating_sub(MOVED_TOGETHER));
                let loaded = blocking(packs, move |packs| Ok(load(packs, some))).await?;
                for row in loaded.damaged {
                    damaged += 1;
                    let spot = Spot { societe: Some(row.societe.clone()), name: Some(row.filename.clone()) };
                    self.0.left_out.note(spot, Cause::Damaged(damage(&row)));
                }
                moved += loaded.whole.len();
                let stored = self.0.store.write(move |tx| move_all(tx, &loaded.whole)).await;
                stored.map_err(RelayError::Store)?;
            }
            if damaged - before >= LISTED_MAX {
                return Ok((moved, damaged));
            }
        }
    }
}

/// Contents read from a pack.
#[derive(Default)]
struct Loaded {
    whole: Vec<(Packed, Vec<u8>)>,
    damaged: Vec<Packed>,
}

fn damage(row: &Packed) -> String {
    format!("sa version {} est abîmée dans le paquet {}", row.version, row.place.pack())
}

async fn blocking<T: Send + 'static>(
    packs: &Arc<Packs>,
    work: impl FnOnce(&Packs) -> std::io::Result<T> + Send + 'static,
) -> Result<T, RelayError> {
    let packs = Arc::clone(packs);
    let done = tokio::task::spawn_blocking(move || work(&packs)).await;
    Ok(done.map_err(|e| RelayError::Io(e.into()))??)
}

/// A damaged content is not moved, so its pack is kept: an operator may still recover something.
fn load(packs: &Packs, rows: Vec<Packed>) -> Loaded {
    let mut loaded = Loaded::default();
    for row in rows {
        match packs.read(row.place, row.size) {
            Ok(Some(content)) if is_whole(&content, &row.sha256) => loaded.whole.push((row, content)),
            _ => loaded.damaged.push(row),
        }
    }
    loaded
}

fn move_all(tx: &mut WriteTx<'_>, contents: &[(Packed, Vec<u8>)]) -> Result<(), StoreError> {
    for (row, content) in contents {
        if let Some(place) = tx.pack(content)? {
            store::move_packed(tx, row, place)?;
        }
    }
    Ok(())
}
