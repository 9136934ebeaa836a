//! Names whose Unicode form on the disk differs from the one they are served under: copied from a Mac, or unpacked from
//! an archive. The file keeps its name, so that the program that wrote it finds it again.

use std::borrow::Cow;
use std::collections::HashMap;

use parking_lot::RwLock;

use super::listing::{Listing, Served};
use super::name::{FileName, SocieteName};

/// The names on the disk that differ from the names they are served under. Bounded by the files on the disk.
#[derive(Default)]
pub(super) struct Forms(RwLock<Known>);

#[derive(Default)]
struct Known {
    societes: HashMap<SocieteName, String>,
    files: HashMap<SocieteName, HashMap<FileName, String>>,
}

impl Forms {
    /// The name of a société's folder on the disk.
    pub(super) fn societe<'a>(&self, societe: &'a SocieteName) -> Cow<'a, str> {
        if societe.as_str().is_ascii() {
            return Cow::Borrowed(societe.as_str());
        }
        let known = self.0.read();
        known.societes.get(societe).map_or(Cow::Borrowed(societe.as_str()), |name| Cow::Owned(name.clone()))
    }

    /// The last known name of a file on the disk, if that is another form of its name.
    pub(super) fn file(&self, societe: &SocieteName, filename: &FileName) -> Option<String> {
        if filename.as_str().is_ascii() {
            return None;
        }
        self.0.read().files.get(societe)?.get(filename).cloned()
    }

    /// Records a listing of the base folder.
    pub(super) fn learn_societes(&self, listing: &Listing<SocieteName>) {
        let mut known = self.0.write();
        known.societes = other_forms(&listing.served, SocieteName::as_str).collect();
    }

    /// Records a listing of the folder of one société.
    pub(super) fn learn_files(&self, societe: &SocieteName, listing: &Listing<FileName>) {
        let others: HashMap<_, _> = other_forms(&listing.served, FileName::as_str).collect();
        let mut known = self.0.write();
        if others.is_empty() {
            known.files.remove(societe);
        } else {
            known.files.insert(societe.clone(), others);
        }
    }

    /// A program has written this file under another form of its name.
    pub(super) fn learn_file(&self, societe: &SocieteName, filename: &FileName, on_disk: &str) {
        let mut known = self.0.write();
        known.files.entry(societe.clone()).or_default().insert(filename.clone(), on_disk.to_owned());
    }

    /// The other form of the name is gone.
    pub(super) fn forget_file(&self, societe: &SocieteName, filename: &FileName) {
        if let Some(files) = self.0.write().files.get_mut(societe) {
            files.remove(filename);
        }
    }
}

fn other_forms<N: Clone>(
    served: &[Served<N>],
    text: impl Fn(&N) -> &str,
) -> impl Iterator<Item = (N, String)> {
    let others = served.iter().filter(move |one| text(&one.name) != one.on_disk);
    others.map(|one| (one.name.clone(), one.on_disk.clone()))
}
