//! What is in the folder, or belongs to the relay, but is not served: named, counted, and shown to operators.
//!
//! One bad item never stops the good ones, so it is recorded here and processing continues. A note stands until the
//! same place is examined again and found valid.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::name::{FileName, NameFault, SocieteName};

/// Maximum number of notes. Further ones are not named: the log and the count report once that there are more.
const NOTES_MAX: usize = 10_000;

/// Why something is not served. In French, for the people of the relay.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// No société and no file can have this name.
    #[error("nom impossible : {} ; renommez-le", .0.said().french())]
    Name(NameFault),
    /// The name is in another encoding.
    #[error("nom impossible : il n'est pas en UTF-8 ; renommez-le")]
    NotUtf8,
    /// Both Unicode forms of one name are present.
    #[error("le même nom existe aussi sous sa forme composée (NFC), qui est servie ; gardez-en un seul")]
    TwoForms,
    /// A link, dangling or not.
    #[error("c'est un lien, et les liens ne sont pas suivis ; remplacez-le par ce qu'il désigne")]
    Link,
    /// A folder, a pipe or a device under the name of a file.
    #[error("ce n'est pas un fichier ordinaire")]
    NotAFile,
    /// A folder within that of a société, with such a file in it.
    #[error("les fichiers d'un dossier dans celui d'une société ne sont pas servis ({0}) ; remontez-les")]
    TooDeep(String),
    /// A file beside the sociétés' folders.
    #[error("il est hors du dossier d'une société ; rangez-le dans celui de la sienne")]
    Outside,
    /// More bytes than a file may have.
    #[error("trop volumineux : {size} octets, {max} au plus (relay.file_bytes_max)")]
    TooLarge {
        /// Its size.
        size: u64,
        /// The limit.
        max: u64,
    },
    /// The system does not let the server read it.
    #[error("illisible ({0}) ; vérifiez ses droits et le disque")]
    Unreadable(String),
    /// A folder with more entries than are looked at.
    #[error("plus de {0} entrées dans ce dossier : les suivantes ne sont pas vues")]
    TooMany(usize),
    /// The content is not accepted.
    #[error("{0}")]
    Content(String),
    /// It could not be stored or put in place.
    #[error("{0}")]
    Failed(String),
    /// An invalid row of the database.
    #[error("sa ligne dans la base de données est illisible ({0}) ; restaurez une sauvegarde")]
    Row(String),
    /// Its stored content is damaged.
    #[error("{0} ; renvoyez le fichier, ou restaurez une sauvegarde")]
    Damaged(String),
    /// A schema that cannot be read or compiled.
    #[error("schéma inutilisable ({0}) ; les fichiers qu'il concerne sont acceptés sans ce contrôle")]
    Schema(String),
}

impl Cause {
    /// The stable code, for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Name(_) | Self::NotUtf8 => "invalid_name",
            Self::TwoForms => "two_forms_of_a_name",
            Self::Link => "link",
            Self::NotAFile => "not_a_file",
            Self::TooDeep(_) => "too_deep",
            Self::Outside => "outside_societe",
            Self::TooLarge { .. } => "file_too_large",
            Self::Unreadable(_) => "unreadable",
            Self::TooMany(_) => "too_many_entries",
            Self::Content(_) => "content_refused",
            Self::Failed(_) => "failed",
            Self::Row(_) => "damaged_row",
            Self::Damaged(_) => "content_damaged",
            Self::Schema(_) => "schema_unusable",
        }
    }
}

/// Identifies an item by its name on the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// The société; none for what belongs to none.
    pub societe: Option<String>,
    /// Its name; none for the société's folder as a whole.
    pub name: Option<String>,
}

impl Spot {
    /// A file of a société.
    #[must_use]
    pub fn file(societe: &SocieteName, filename: &FileName) -> Self {
        Self::entry(societe, filename.as_str())
    }

    /// Something in a société's folder.
    #[must_use]
    pub fn entry(societe: &SocieteName, name: &str) -> Self {
        Self { societe: Some(societe.to_string()), name: Some(name.to_owned()) }
    }

    /// A société's folder.
    #[must_use]
    pub fn societe(societe: &SocieteName) -> Self {
        Self { societe: Some(societe.to_string()), name: None }
    }

    /// Something that belongs to no société.
    #[must_use]
    pub fn outside(name: &str) -> Self {
        Self { societe: None, name: Some(name.to_owned()) }
    }
}

impl std::fmt::Display for Spot {
    /// Fit for a line of a log or a terminal: control characters are escaped.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts: Vec<&str> =
            [&self.societe, &self.name].into_iter().flatten().map(String::as_str).collect();
        for character in parts.join("/").chars() {
            if character.is_control() || (character.is_whitespace() && character != ' ') {
                write!(f, "{}", character.escape_unicode())?;
            } else {
                write!(f, "{character}")?;
            }
        }
        Ok(())
    }
}

/// One thing that is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The item.
    pub spot: Spot,
    /// The reason.
    pub cause: Cause,
}

impl LeftOut {
    /// The form sent to clients.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "societe": self.spot.societe,
            "name": self.spot.name,
            "code": self.cause.code(),
            "reason": self.cause.to_string(),
        })
    }
}

/// The notes.
#[derive(Default)]
pub struct LeftOuts(Mutex<Notes>);

#[derive(Default)]
struct Notes {
    kept: BTreeMap<Spot, Note>,
    round: u64,
    overflowed: bool,
}

struct Note {
    cause: Cause,
    round: u64,
}

/// What is new about a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    /// It was logged before.
    Nothing,
    /// This is left out.
    LeftOut,
    /// For the first time there is no room for one.
    NoRoom,
}

impl Notes {
    fn news(&mut self, spot: &Spot, cause: &Cause) -> News {
        let round = self.round;
        if let Some(note) = self.kept.get_mut(spot) {
            note.round = round;
            if note.cause == *cause {
                return News::Nothing;
            }
        } else if self.kept.len() >= NOTES_MAX {
            let is_first = !std::mem::replace(&mut self.overflowed, true);
            return if is_first { News::NoRoom } else { News::Nothing };
        }
        News::LeftOut
    }

    fn keep(&mut self, spot: Spot, cause: Cause) {
        let round = self.round;
        self.kept.insert(spot, Note { cause, round });
    }
}

impl LeftOuts {
    /// Begins a scan of some place; see [`LeftOuts::end_look`].
    pub fn begin_look(&self) -> u64 {
        let mut notes = self.0.lock();
        notes.round += 1;
        notes.round
    }

    /// Records that something is left out, and logs it unless it was logged before, or there is no room for it: each
    /// scan would log it again.
    pub fn note(&self, spot: Spot, cause: Cause) {
        let mut notes = self.0.lock();
        match notes.news(&spot, &cause) {
            News::Nothing => {}
            News::LeftOut => {
                tracing::warn!(what = %spot, code = cause.code(), reason = %cause, "left out; everything else goes on");
                metrics::counter!("relais_relay_folder_refused_total").increment(1);
                notes.keep(spot, cause);
            }
            News::NoRoom => tracing::warn!(
                named = NOTES_MAX,
                "more is left out of the relay's folder than is named one by one; everything else goes on: mend what is \
                 named (GET /api/files/status), and the rest is named then"
            ),
        }
    }

    /// Whether there is a note about `spot`.
    pub fn has(&self, spot: &Spot) -> bool {
        self.0.lock().kept.contains_key(spot)
    }

    /// Removes the note about `spot`, which is valid.
    pub fn clear(&self, spot: &Spot) {
        let mut notes = self.0.lock();
        if !notes.kept.is_empty() {
            notes.kept.remove(spot);
        }
    }

    /// Removes the note about a file, which is valid.
    pub fn clear_file(&self, societe: &SocieteName, filename: &FileName) {
        let mut notes = self.0.lock();
        if !notes.kept.is_empty() {
            notes.kept.remove(&Spot::file(societe, filename));
        }
    }

    /// Removes the notes about a société (or about what belongs to none) from before the scan that began as `round`,
    /// unless it recorded them again.
    pub fn end_look(&self, societe: Option<&SocieteName>, round: u64) {
        let mut notes = self.0.lock();
        let about = |spot: &Spot| spot.societe.as_deref() == societe.map(SocieteName::as_str);
        notes.kept.retain(|spot, note| !about(spot) || note.round >= round || is_lasting(&note.cause));
        notes.overflowed &= notes.kept.len() >= NOTES_MAX;
    }

    /// The left-out items that pass `visible`, in order.
    #[must_use]
    pub fn list(&self, visible: impl Fn(&Spot) -> bool) -> Vec<LeftOut> {
        let notes = self.0.lock();
        let seen = notes.kept.iter().filter(|(spot, _)| visible(spot));
        seen.map(|(spot, note)| LeftOut { spot: spot.clone(), cause: note.cause.clone() }).collect()
    }

    /// The number of notes.
    #[must_use]
    pub fn count(&self) -> usize {
        let notes = self.0.lock();
        notes.kept.len() + usize::from(notes.overflowed)
    }
}

/// Whether no scan of the folder detects or resolves it.
fn is_lasting(cause: &Cause) -> bool {
    matches!(cause, Cause::Row(_) | Cause::Damaged(_) | Cause::Schema(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(notes: &LeftOuts) -> Vec<String> {
        notes.list(|_| true).iter().map(|left| left.spot.to_string()).collect()
    }

    #[test]
    fn a_note_stands_until_its_place_is_looked_at_and_found_well() {
        let (notes, societe) = (LeftOuts::default(), SocieteName::new("s").unwrap());
        notes.note(Spot::entry(&societe, "a.json"), Cause::Link);
        notes.note(Spot::entry(&societe, "b.json"), Cause::Link);
        notes.note(Spot::outside("x\u{a0}y"), Cause::NotUtf8);
        let round = notes.begin_look();
        notes.note(Spot::entry(&societe, "b.json"), Cause::NotAFile);
        notes.end_look(Some(&societe), round);
        assert_eq!(names(&notes), ["x\\u{a0}y", "s/b.json"], "a.json is well, the others were not looked at");
        notes.clear(&Spot::entry(&societe, "b.json"));
        assert_eq!(notes.count(), 1);
    }

    #[test]
    fn a_terminal_gets_no_commands_from_a_name() {
        let spot = Spot::outside("a\u{1b}[2J\nb");
        assert_eq!(spot.to_string(), "a\\u{1b}[2J\\u{a}b");
    }

    #[test]
    fn notes_are_bounded_and_say_that_there_are_more() {
        let (notes, societe) = (LeftOuts::default(), SocieteName::new("s").unwrap());
        for n in 0..NOTES_MAX + 5 {
            notes.note(Spot::entry(&societe, &n.to_string()), Cause::Link);
        }
        assert_eq!((notes.list(|_| true).len(), notes.count()), (NOTES_MAX, NOTES_MAX + 1));
    }

    #[test]
    fn what_has_no_room_is_said_once_however_often_the_folder_is_looked_at() {
        let (notes, societe) = (LeftOuts::default(), SocieteName::new("s").unwrap());
        let look = || {
            let round = notes.begin_look();
            let note = |n: usize| {
                let spot = Spot::entry(&societe, &n.to_string());
                let news = notes.0.lock().news(&spot, &Cause::Link);
                if news == News::LeftOut {
                    notes.note(spot, Cause::Link);
                }
                news
            };
            let news: Vec<News> = (0..NOTES_MAX + 5).map(note).collect();
            notes.end_look(Some(&societe), round);
            [News::LeftOut, News::NoRoom].map(|wanted| news.iter().filter(|news| **news == wanted).count())
        };
        assert_eq!([look(), look(), look()], [[NOTES_MAX, 1], [0, 0], [0, 0]]);
    }
}
