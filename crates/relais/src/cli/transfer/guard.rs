//! Deletions that look like a mistake: a share that is not mounted, a server that lost its data.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;

use super::summary::Item;
use crate::cli::client::names;

/// So many files may go at once without a question, as long as others remain.
const FEW: usize = 10;

/// Files that are to be deleted, and the other files of the same société that remain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Loss {
    /// To be deleted.
    pub gone: usize,
    /// To remain.
    pub remaining: usize,
    /// What is compared with is not what it was: another folder is there, or the server began anew.
    pub other_place: bool,
}

impl Loss {
    /// Whether it has to be asked for: everything goes, or more than ten and more than remain.
    pub(crate) fn is_mass(self) -> bool {
        let everything = self.remaining == 0 && (self.gone > 1 || (self.gone == 1 && self.other_place));
        everything || (self.gone > FEW && self.gone > self.remaining)
    }
}

/// Who answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guard {
    /// It was said beforehand that all may go.
    pub allowed: bool,
    /// Output is for programs: nobody is asked.
    pub json: bool,
}

impl Guard {
    /// Takes what may not be deleted out of `deletions`. The losses of each société are judged, and their sum. Gives
    /// what is held back: the sociétés, and how many files of each. What was held back `before` is not asked again.
    pub(crate) async fn hold(
        self,
        deletions: &mut Vec<Item>,
        losses: &BTreeMap<String, Loss>,
        before: &BTreeMap<String, usize>,
        what: &str,
    ) -> BTreeMap<String, usize> {
        if self.allowed || deletions.is_empty() {
            return BTreeMap::new();
        }
        let sum = losses.values().fold(Loss::default(), |sum, loss| Loss {
            gone: sum.gone + loss.gone,
            remaining: sum.remaining + loss.remaining,
            other_place: sum.other_place || loss.other_place,
        });
        let suspects: BTreeMap<String, usize> = losses
            .iter()
            .filter(|(_, loss)| loss.gone > 0 && (loss.is_mass() || sum.is_mass()))
            .map(|(societe, loss)| (societe.clone(), loss.gone))
            .collect();
        if suspects.is_empty() || (suspects != *before && self.asks(&suspects, what).await) {
            return BTreeMap::new();
        }
        deletions.retain(|item| !suspects.contains_key(&item.societe));
        suspects
    }

    async fn asks(self, suspects: &BTreeMap<String, usize>, what: &str) -> bool {
        if self.json || !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            return false;
        }
        let files: usize = suspects.values().sum();
        let societes: Vec<String> = suspects.keys().map(|societe| names::printable(societe)).collect();
        let text = format!("{files} file(s) of {} {what}. Delete them? [y/N] ", societes.join(", "));
        let answered = tokio::task::spawn_blocking(move || {
            use std::io::Write as _;
            let _ = write!(std::io::stderr(), "{text}").and_then(|()| std::io::stderr().flush());
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).is_ok()
                && matches!(line.trim().to_lowercase().as_str(), "y" | "yes" | "o" | "oui")
        });
        answered.await.unwrap_or(false)
    }
}

/// What is said of files that are held back.
pub(crate) fn held_back(files: usize, what: &str) -> String {
    format!(
        "{files} file(s) {what}: nothing of it is deleted. If that is meant, run it again with --allow-mass-delete"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(gone: usize, remaining: usize, other_place: bool) -> Loss {
        Loss { gone, remaining, other_place }
    }

    #[test]
    fn everything_at_once_or_most_of_many_is_a_mass() {
        for (gone, remaining, other_place, mass) in [
            (2, 0, false, true),
            (1, 0, false, false),
            (1, 0, true, true),
            (0, 0, true, false),
            (2, 1, true, false),
            (10, 1, false, false),
            (11, 10, false, true),
            (11, 11, false, false),
        ] {
            assert_eq!(loss(gone, remaining, other_place).is_mass(), mass, "{gone} of {}", gone + remaining);
        }
    }

    #[tokio::test]
    async fn only_the_suspect_societe_is_held_unless_all_are_suspect_together() {
        let guard = Guard { allowed: false, json: true };
        let items = || vec![Item::new("a", "1"), Item::new("a", "2"), Item::new("b", "1")];
        let mut losses =
            BTreeMap::from([("a".to_owned(), loss(2, 0, false)), ("b".to_owned(), loss(1, 5, false))]);
        let before = BTreeMap::new();
        let mut deletions = items();
        let held = guard.hold(&mut deletions, &losses, &before, "are gone").await;
        assert_eq!(held, BTreeMap::from([("a".to_owned(), 2)]));
        assert_eq!(deletions, [Item::new("b", "1")]);
        losses.insert("b".to_owned(), loss(1, 0, false));
        let mut deletions = items();
        assert_eq!(guard.hold(&mut deletions, &losses, &before, "are gone").await.len(), 2);
        assert!(deletions.is_empty());
        let mut deletions = items();
        let all = Guard { allowed: true, ..guard };
        let held = all.hold(&mut deletions, &losses, &before, "are gone").await;
        assert_eq!((held.len(), deletions.len()), (0, 3));
    }
}
