//! Names that the disk has in another Unicode form than the one they are served under: copied from a Mac, or unpacked
//! from an archive. The file stays where it is, so that the program which wrote it finds it again.

use std::borrow::Cow;
use std::collections::HashMap;

use parking_lot::RwLock;

use super::listing::{Listing, Served};
use super::name::{FileName, SocieteName};

/// The names on the disk that differ from the names they are served under. As many as the disk has of them.
#[derive(Default)]
pub(super) struct Forms(RwLock<Known>);

#[derive(Default)]
struct Known {
    societes: HashMap<SocieteName, String>,
    files: HashMap<SocieteName, HashMap<FileName, String>>,
}

impl Forms {
    /// What the folder of a société is called on the disk.
    pub(super) fn societe<'a>(&self, societe: &'a SocieteName) -> Cow<'a, str> {
        if societe.as_str().is_ascii() {
            return Cow::Borrowed(societe.as_str());
        }
        let known = self.0.read();
        known.societes.get(societe).map_or(Cow::Borrowed(societe.as_str()), |name| Cow::Owned(name.clone()))
    }

    /// What a file was called on the disk when it was last seen, if that is another form of its name.
    pub(super) fn file(&self, societe: &SocieteName, filename: &FileName) -> Option<String> {
        if filename.as_str().is_ascii() {
            return None;
        }
        self.0.read().files.get(societe)?.get(filename).cloned()
    }

    /// Takes over a look at the folder of all sociétés.
    pub(super) fn learn_societes(&self, listing: &Listing<SocieteName>) {
        let mut known = self.0.write();
        known.societes = other_forms(&listing.served, SocieteName::as_str).collect();
    }

    /// Takes over a look at the folder of one société.
    pub(super) fn learn_files(&self, societe: &SocieteName, listing: &Listing<FileName>) {
        let others: HashMap<_, _> = other_forms(&listing.served, FileName::as_str).collect();
        let mut known = self.0.write();
        if others.is_empty() {
            known.files.remove(societe);
        } else {
            known.files.insert(societe.clone(), others);
        }
    }

    /// A program has just written this file under another form of its name.
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
