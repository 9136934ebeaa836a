//! Deletions that look like a mistake: a share that is not mounted, a server that lost its data.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;

use super::summary::Item;
use crate::cli::client::{Stop, names};

/// So many files may go at once without a question, as long as others remain.
const FEW: usize = 10;

/// Files that are to be deleted, and the other files of the same société that remain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Loss {
    /// To be deleted.
    pub gone: usize,
    /// To remain.
    pub remaining: usize,
    /// What is compared with is not what it was: another folder is there, the server began anew, or files of this
    /// société are held back already. How many remain says nothing then: they may be newer than the loss.
    pub is_doubtful: bool,
}

impl Loss {
    /// Whether it has to be asked for: everything goes, more than ten and more than remain, or anything of what is
    /// doubtful.
    pub(crate) fn is_suspect(self) -> bool {
        let everything = self.remaining == 0 && self.gone > 1;
        let most = self.gone > FEW && self.gone > self.remaining;
        everything || most || (self.is_doubtful && self.gone > 0)
    }
}

/// Who answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guard<'a> {
    /// It was said beforehand that all may go.
    pub allowed: bool,
    /// Output is for programs: there is no prompt.
    pub json: bool,
    /// Ends the wait for an answer; that is a no.
    pub stop: &'a Stop,
}

impl Guard<'_> {
    /// Takes what may not be deleted out of `deletions`. The losses of each société are judged, and their sum. Gives
    /// what is held back: the sociétés, and how many files of each. It is asked again if that is more than was held back
    /// `before`.
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
        // A doubt about one société is none about the others.
        let sum = losses.values().fold(Loss::default(), |sum, loss| Loss {
            gone: sum.gone + loss.gone,
            remaining: sum.remaining + loss.remaining,
            is_doubtful: false,
        });
        let suspects: BTreeMap<String, usize> = losses
            .iter()
            .filter(|(_, loss)| loss.gone > 0 && (loss.is_suspect() || sum.is_suspect()))
            .map(|(societe, loss)| (societe.clone(), loss.gone))
            .collect();
        let is_more = suspects.iter().any(|(societe, gone)| before.get(societe).is_none_or(|was| gone > was));
        if suspects.is_empty() || (is_more && self.asks(&suspects, what).await) {
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
        let (answer, answered) = tokio::sync::oneshot::channel();
        // A thread of its own, for which nobody waits at the end: reading cannot be called off.
        let asked = std::thread::Builder::new().name("question".into()).spawn(move || {
            use std::io::Write as _;
            let _ = write!(std::io::stderr(), "{text}").and_then(|()| std::io::stderr().flush());
            let mut line = String::new();
            let is_yes = std::io::stdin().read_line(&mut line).is_ok()
                && matches!(line.trim().to_lowercase().as_str(), "y" | "yes" | "o" | "oui");
            // After a stop the answer is no longer needed.
            let _ = answer.send(is_yes);
        });
        if asked.is_err() {
            return false;
        }
        match self.stop.until(answered).await {
            Some(answer) => answer.unwrap_or(false),
            None => {
                // The next line begins below the question.
                crate::cli::out::note("");
                false
            }
        }
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

    fn loss(gone: usize, remaining: usize, is_doubtful: bool) -> Loss {
        Loss { gone, remaining, is_doubtful }
    }

    #[test]
    fn everything_at_once_most_of_many_and_anything_doubtful_is_suspect() {
        for (gone, remaining, is_doubtful, suspect) in [
            (2, 0, false, true),
            (1, 0, false, false),
            (1, 0, true, true),
            (0, 0, true, false),
            (2, 1, true, true),
            (1, 100, true, true),
            (10, 1, false, false),
            (11, 10, false, true),
            (11, 11, false, false),
        ] {
            let found = loss(gone, remaining, is_doubtful).is_suspect();
            assert_eq!(found, suspect, "{gone} of {}", gone + remaining);
        }
    }

    #[tokio::test]
    async fn only_the_suspect_societe_is_held_unless_all_are_suspect_together() {
        let stop = Stop::default();
        let guard = Guard { allowed: false, json: true, stop: &stop };
        let items = || vec![Item::new("a", "1"), Item::new("a", "2"), Item::new("b", "1")];
        let mut losses =
            BTreeMap::from([("a".to_owned(), loss(2, 0, false)), ("b".to_owned(), loss(1, 5, false))]);
        let before = BTreeMap::new();
        let mut deletions = items();
        let held = guard.hold(&mut deletions, &losses, &before, "are gone").await;
        assert_eq!(held, BTreeMap::from([("a".to_owned(), 2)]));
        assert_eq!(deletions, [Item::new("b", "1")]);
        losses.insert("b".to_owned(), loss(1, 5, true));
        losses.insert("a".to_owned(), loss(1, 5, false));
        let mut deletions = items();
        let held = guard.hold(&mut deletions, &losses, &before, "are gone").await;
        assert_eq!(held, BTreeMap::from([("b".to_owned(), 1)]), "the doubt is about one of them");
        losses = BTreeMap::from([("a".to_owned(), loss(2, 0, false)), ("b".to_owned(), loss(1, 0, false))]);
        let mut deletions = items();
        assert_eq!(guard.hold(&mut deletions, &losses, &before, "are gone").await.len(), 2);
        assert!(deletions.is_empty());
        let mut deletions = items();
        let all = Guard { allowed: true, ..guard };
        let held = all.hold(&mut deletions, &losses, &before, "are gone").await;
        assert_eq!((held.len(), deletions.len()), (0, 3));
    }
}
