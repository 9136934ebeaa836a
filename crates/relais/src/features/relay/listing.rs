//! The content of the folder: what can be served under which name, and what cannot, each with its reason.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};

use super::left_out::Cause;
use super::name::{FileName, NameFault, SocieteName};
use super::plain_file::Stat;

/// Maximum number of entries examined in one folder.
const ENTRIES_MAX: usize = 100_000;

/// Entries below the folder of a société examined for files that are nested too deeply.
const BELOW_MAX: usize = 1000;
/// Maximum depth of this search.
const DEPTH_MAX: usize = 8;

/// Something that can be served, and the name that it has on the disk: the same, or another Unicode form of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served<N> {
    /// Its name.
    pub name: N,
    /// As the disk has it.
    pub on_disk: String,
    /// As the disk has it.
    pub stat: Stat,
}

/// A listing of a folder.
#[derive(Debug)]
pub struct Listing<N> {
    /// What can be served.
    pub served: Vec<Served<N>>,
    /// What cannot, by its name on the disk.
    pub left_out: Vec<(String, Cause)>,
}

/// The folders that are sociétés.
///
/// # Errors
/// What the disk reports of the folder as a whole.
pub fn societes(base: &OwnedFd, extensions: &[String]) -> io::Result<Listing<SocieteName>> {
    list(base, SocieteName::new, SocieteName::as_str, |name, kind| match kind {
        FileType::Directory => Kind::Wanted,
        FileType::Symlink if leads_to_a_folder_or_nowhere(base, name) => Kind::Unfit(Cause::Link),
        FileType::RegularFile if has_extension(&name.to_string_lossy(), extensions) => {
            Kind::Unfit(Cause::Outside)
        }
        _ => Kind::Ignored,
    })
}

/// The plain files of a société with one of `extensions`.
///
/// # Errors
/// What the disk reports of the folder as a whole.
pub fn files(dir: &OwnedFd, extensions: &[String]) -> io::Result<Listing<FileName>> {
    list(dir, FileName::new, FileName::as_str, |name, kind| {
        if !has_extension(&name.to_string_lossy(), extensions) {
            return match kind {
                FileType::Directory => judge_folder(dir, name, extensions),
                _ => Kind::Ignored,
            };
        }
        match kind {
            FileType::RegularFile => Kind::Wanted,
            FileType::Symlink => Kind::Unfit(Cause::Link),
            _ => Kind::Unfit(Cause::NotAFile),
        }
    })
}

/// A handle that refers to a folder and cannot read it: it costs less, and does not notify file watchers.
pub(super) fn open_dir(parent: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(fs::openat(parent, name, flags, Mode::empty())?)
}

enum Kind {
    Wanted,
    Unfit(Cause),
    Ignored,
}

fn list<N>(
    dir: &OwnedFd,
    check: impl Fn(&str) -> Result<N, NameFault>,
    text: impl Fn(&N) -> &str,
    judge: impl Fn(&std::ffi::CStr, FileType) -> Kind,
) -> io::Result<Listing<N>> {
    let mut listing = Listing { served: Vec::new(), left_out: Vec::new() };
    let (mut composed, mut others) = (BTreeSet::new(), Vec::new());
    let readable = fs::openat(dir, ".", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    for (number, entry) in fs::Dir::new(readable)?.enumerate() {
        if number >= ENTRIES_MAX {
            listing.left_out.push(("…".to_owned(), Cause::TooMany(ENTRIES_MAX)));
            break;
        }
        let entry = entry?;
        let name = entry.file_name();
        if name.to_bytes().starts_with(b".") {
            continue;
        }
        // Gone since it was listed.
        let Ok(found) = fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let stat = Stat::of(&found);
        match judge(name, FileType::from_raw_mode(found.st_mode)) {
            Kind::Ignored => {}
            Kind::Unfit(cause) => listing.left_out.push((name.to_string_lossy().into_owned(), cause)),
            Kind::Wanted => match name.to_str() {
                Err(_) => listing.left_out.push((name.to_string_lossy().into_owned(), Cause::NotUtf8)),
                Ok(on_disk) => match check(on_disk) {
                    Err(fault) => listing.left_out.push((on_disk.to_owned(), Cause::Name(fault))),
                    Ok(name) => {
                        let served = Served { on_disk: on_disk.to_owned(), stat, name };
                        if text(&served.name) == on_disk {
                            composed.insert(on_disk.to_owned());
                            listing.served.push(served);
                        } else {
                            others.push(served);
                        }
                    }
                },
            },
        }
    }
    others.sort_by(|a, b| a.on_disk.cmp(&b.on_disk));
    for other in others {
        // The composed form counts if both are there; of several others, the first.
        if composed.insert(text(&other.name).to_owned()) {
            listing.served.push(other);
        } else {
            listing.left_out.push((other.on_disk, Cause::TwoForms));
        }
    }
    Ok(listing)
}

/// A folder within that of a société is ignored unless it contains something that would be served elsewhere.
fn judge_folder(dir: &OwnedFd, name: &std::ffi::CStr, extensions: &[String]) -> Kind {
    let mut budget = BELOW_MAX;
    let found =
        name.to_str().ok().and_then(|name| first_below(dir, name, extensions, &mut budget, DEPTH_MAX));
    found.map_or(Kind::Ignored, |file| Kind::Unfit(Cause::TooDeep(file)))
}

/// The path, relative to the folder `name` of `dir`, of a file with one of `extensions` somewhere in it; `budget` is
/// the number of entries that may still be examined, `depth` the levels of folders that may be opened.
fn first_below(
    dir: &OwnedFd,
    name: &str,
    extensions: &[String],
    budget: &mut usize,
    depth: usize,
) -> Option<String> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // What cannot be listed has nothing that could be named.
    let opened = fs::openat(dir, name, flags, Mode::empty()).ok()?;
    let mut entries = Vec::new();
    for entry in fs::Dir::read_from(&opened).ok()?.take(*budget).filter_map(Result::ok) {
        *budget -= 1;
        let entry_name = entry.file_name().to_string_lossy().into_owned();
        if !entry_name.starts_with('.') {
            entries.push((entry_name, entry.file_type()));
        }
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    if let Some((file, _)) = entries.iter().find(|(name, _)| has_extension(name, extensions)) {
        return Some(format!("{name}/{file}"));
    }
    let may_be_folder = |kind: &FileType| matches!(kind, FileType::Directory | FileType::Unknown);
    let mut folders = entries.iter().filter(|(_, kind)| depth > 1 && may_be_folder(kind));
    let found = folders.find_map(|(inner, _)| first_below(&opened, inner, extensions, budget, depth - 1));
    found.map(|file| format!("{name}/{file}"))
}

fn has_extension(name: &str, extensions: &[String]) -> bool {
    let lower = name.to_lowercase();
    extensions.iter().any(|ending| lower.len() > ending.len() && lower.ends_with(ending.as_str()))
}

fn leads_to_a_folder_or_nowhere(base: &OwnedFd, name: &std::ffi::CStr) -> bool {
    fs::statat(base, name, AtFlags::empty())
        .map_or(true, |stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    fn opened(dir: &tempfile::TempDir) -> OwnedFd {
        fs::open(dir.path(), OFlags::DIRECTORY, Mode::empty()).unwrap()
    }

    #[test]
    fn what_cannot_be_served_is_named_with_its_reason_and_the_rest_is_served() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str| std::fs::write(dir.path().join(name), "{}").unwrap();
        for name in ["good.json", "a:b_1.json", "notes.txt", ".hidden.json"] {
            write(name);
        }
        std::fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9.json")), "{}").unwrap();
        std::fs::create_dir(dir.path().join("folder.json")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("link.json")).unwrap();
        for folder in ["deep/er", "empty", ".hidden"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        for name in ["deep/er/a.json", "deep/n.txt", "empty/n.txt", ".hidden/a.json"] {
            write(name);
        }
        let listing = files(&opened(&dir), &[".json".into()]).unwrap();
        let served: Vec<_> = listing.served.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(served, ["good.json"]);
        let mut left: Vec<_> =
            listing.left_out.iter().map(|(name, why)| (name.as_str(), why.code())).collect();
        left.sort_unstable();
        let expected = [
            ("a:b_1.json", "invalid_name"),
            ("caf\u{fffd}.json", "invalid_name"),
            ("deep", "too_deep"),
            ("folder.json", "not_a_file"),
            ("link.json", "link"),
        ];
        assert_eq!(left, expected);
    }

    #[test]
    fn a_decomposed_name_is_served_under_its_composed_form_unless_that_is_there_too() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("e\u{301}te\u{301}.json"), "{}").unwrap();
        let listing = files(&opened(&dir), &[".json".into()]).unwrap();
        assert_eq!(listing.served[0].name.as_str(), "été.json");
        assert_eq!(listing.served[0].on_disk, "e\u{301}te\u{301}.json");
        std::fs::write(dir.path().join("été.json"), "[]").unwrap();
        let listing = files(&opened(&dir), &[".json".into()]).unwrap();
        assert_eq!(listing.served.iter().map(|s| s.on_disk.as_str()).collect::<Vec<_>>(), ["été.json"]);
        assert_eq!(listing.left_out, [("e\u{301}te\u{301}.json".to_owned(), Cause::TwoForms)]);
    }

    #[test]
    fn a_folder_that_no_societe_can_be_named_after_does_not_hide_the_others() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["rsp-bgs", "Dupont\u{a0}SA"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        std::fs::write(dir.path().join("lost.json"), "{}").unwrap();
        let listing = societes(&opened(&dir), &[".json".into()]).unwrap();
        assert_eq!(listing.served.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["rsp-bgs"]);
        let mut left: Vec<_> =
            listing.left_out.iter().map(|(name, why)| (name.as_str(), why.code())).collect();
        left.sort_unstable();
        assert_eq!(left, [("Dupont\u{a0}SA", "invalid_name"), ("lost.json", "outside_societe")]);
    }
}
