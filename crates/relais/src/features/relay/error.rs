//! Why the relay refuses a request.

use std::{fmt, io};

use relais_protocol::event::Cursor;
use relais_store::StoreError;
use relais_store::blobs::BlobError;

use super::json::JsonFault;
use super::name::{FileName, NameFault, SocieteName};
use super::schema::Violation;
use crate::AppError;
use crate::error::disk_full;
use crate::said::{Said, said};

/// Why the relay refused a request. Nothing was changed.
#[derive(Debug)]
pub enum RelayError {
    /// The name of a société cannot be a folder.
    SocieteName(NameFault),
    /// The name of a file cannot be one.
    FileName(NameFault),
    /// The extension is not accepted.
    Extension,
    /// An empty file.
    Empty,
    /// The content is not JSON.
    Json(JsonFault),
    /// The content is JSON but does not match the schema.
    Schema(Vec<Violation>),
    /// Larger than the limit of one file.
    TooLarge {
        /// The limit.
        max: u64,
    },
    /// The société would hold more than its quota.
    Quota {
        /// The société.
        societe: SocieteName,
        /// The limit.
        max: u64,
    },
    /// The société has as many files as it may.
    TooManyFiles {
        /// The société.
        societe: SocieteName,
        /// The limit.
        max: usize,
    },
    /// No such société.
    NoSociete(SocieteName),
    /// No such file.
    NoFile,
    /// No such version, or it is no longer kept.
    NoVersion(u64),
    /// The content of a version is kept, but no longer as it was stored.
    Damaged {
        /// The société.
        societe: SocieteName,
        /// The file.
        filename: FileName,
        /// What is wrong with it, for the log.
        what: String,
    },
    /// Another client changed it first.
    Precondition {
        /// The hash of what is stored now.
        current: Option<String>,
    },
    /// The cursor belongs to another epoch of the log, or is too old.
    CursorExpired(Cursor),
    /// The folder or the file is something else: a link, a directory.
    Occupied(String),
    /// The disk is full.
    DiskFull,
    /// The folder cannot be written.
    ReadOnly,
    /// Another disk error.
    Io(io::Error),
    /// The caller no longer has the right.
    Refused(AppError),
    /// The database.
    Store(StoreError),
}

impl From<JsonFault> for RelayError {
    fn from(fault: JsonFault) -> Self {
        Self::Json(fault)
    }
}

impl From<StoreError> for RelayError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// For the log.
impl fmt::Display for RelayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.said().english())
    }
}

impl std::error::Error for RelayError {}

impl From<AppError> for RelayError {
    fn from(error: AppError) -> Self {
        Self::Refused(error)
    }
}

impl RelayError {
    /// The message for clients.
    #[must_use]
    pub fn said(&self) -> Said {
        match self {
            Self::SocieteName(fault) => {
                said!("Nom de société invalide : {}", "Invalid name of a société: {}"; fault.said())
            }
            Self::FileName(fault) => {
                said!("Nom de fichier invalide : {}", "Invalid file name: {}"; fault.said())
            }
            Self::Extension => said!("Seuls les fichiers JSON sont acceptés", "Only JSON files are accepted"),
            Self::Empty => said!(
                "Fichier vide : il doit contenir une valeur JSON",
                "Empty file: it has to contain a JSON value"
            ),
            Self::Json(fault) => fault.said(),
            Self::Schema(violations) => {
                let (count, first) = (violations.len(), violations.first().map_or("", |v| &v.message));
                said!(
                    "Le fichier ne respecte pas son schéma JSON ({count} écart(s)) : {first}",
                    "The file violates its JSON schema ({count} deviation(s)): {first}"
                )
            }
            Self::TooLarge { max } => {
                said!("Fichier trop volumineux : {max} octets au plus", "File too large: at most {max} bytes")
            }
            Self::Quota { .. } | Self::TooManyFiles { .. } | Self::DiskFull | Self::ReadOnly => {
                self.no_room()
            }
            Self::NoSociete(societe) => said!("Société {societe} non trouvée", "Société {societe} not found"),
            Self::NoFile => said!("Fichier non trouvé", "File not found"),
            Self::NoVersion(version) => said!(
                "Version {version} non trouvée : elle n'existe pas ou n'est plus conservée",
                "Version {version} not found: it does not exist or is no longer kept"
            ),
            Self::Damaged { filename, .. } => said!(
                "Le contenu enregistré de « {filename} » est abîmé sur le disque du serveur : renvoyez le fichier, ou \
                 restaurez une sauvegarde",
                "The stored content of \"{filename}\" is damaged on the server's disk: upload the file again, or restore \
                 a backup"
            ),
            Self::Precondition { .. } => said!(
                "Le fichier a changé entre-temps : relisez-le avant de l'écrire",
                "The file has changed meanwhile: read it again before you write it"
            ),
            Self::CursorExpired(_) => said!(
                "Ce curseur ne peut plus être repris : relisez la liste des fichiers, puis continuez avec le curseur \
                 joint",
                "This cursor cannot be resumed any more: list the files again, then go on from the cursor of this answer"
            ),
            Self::Occupied(name) => said!(
                "« {name} » n'est pas un fichier ou un dossier ordinaire : un lien ou un dossier occupe son nom",
                "\"{name}\" is not a regular file or folder: a link or a folder has its name"
            ),
            Self::Io(error) => Said::in_english(format!("disk: {error}")),
            Self::Refused(error) => error.message().clone(),
            Self::Store(error) => Said::in_english(error.to_string()),
        }
    }

    fn no_room(&self) -> Said {
        match self {
            Self::Quota { societe, max } => said!(
                "Quota dépassé pour la société {societe} : {max} octets au plus. Supprimez des fichiers ou augmentez \
                 relay.quota_bytes",
                "Quota of the société {societe} exceeded: at most {max} bytes. Delete files or raise relay.quota_bytes"
            ),
            Self::TooManyFiles { societe, max } => said!(
                "La société {societe} a déjà {max} fichiers, le maximum. Supprimez-en ou augmentez \
                 relay.files_per_societe_max",
                "The société {societe} already has {max} files, the maximum. Delete some or raise \
                 relay.files_per_societe_max"
            ),
            Self::ReadOnly => said!(
                "Le dossier des fichiers n'est pas accessible en écriture : rien n'a été modifié. Vérifiez ses droits \
                 et son montage",
                "The folder of files cannot be written: nothing was changed. Check its permissions and its mount"
            ),
            _ => disk_full(),
        }
    }

    /// Whether it concerns the whole relay, so that continuing with other items would fail as well.
    #[must_use]
    pub fn concerns_everything(&self) -> bool {
        match self {
            Self::DiskFull => true,
            Self::Store(error) => error.is_temporary() || matches!(error, StoreError::Panicked),
            _ => false,
        }
    }
}

impl From<BlobError> for RelayError {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Io(error) => error.into(),
            other => Self::Io(io::Error::other(other)),
        }
    }
}

impl From<io::Error> for RelayError {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::StorageFull | Kind::QuotaExceeded => Self::DiskFull,
            Kind::ReadOnlyFilesystem | Kind::PermissionDenied => Self::ReadOnly,
            _ => Self::Io(error),
        }
    }
}
