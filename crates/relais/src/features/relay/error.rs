//! Why the relay refuses, in the words of its users.

use std::io;

use relais_protocol::event::Cursor;
use relais_store::StoreError;
use relais_store::blobs::BlobError;

use super::json::JsonFault;
use super::name::{FileName, NameFault, SocieteName};
use super::schema::Violation;
use crate::AppError;

/// Why the relay did not do what was asked. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The name of a société cannot be a folder.
    #[error("Nom de société invalide : {0}")]
    SocieteName(NameFault),
    /// The name of a file cannot be one.
    #[error("Nom de fichier invalide : {0}")]
    FileName(NameFault),
    /// The ending is not one of those that are taken.
    #[error("Seuls les fichiers JSON sont acceptés")]
    Extension,
    /// No bytes.
    #[error("Fichier vide : il doit contenir une valeur JSON")]
    Empty,
    /// The content is not JSON.
    #[error(transparent)]
    Json(#[from] JsonFault),
    /// The content is JSON but not what the schema asks for.
    #[error("Le fichier ne respecte pas son schéma JSON ({} écart(s)) : {}", .0.len(), .0.first().map_or("", |v| &v.message))]
    Schema(Vec<Violation>),
    /// More bytes than one file may have.
    #[error("Fichier trop volumineux : {max} octets au plus")]
    TooLarge {
        /// The limit.
        max: u64,
    },
    /// The société would hold more than its quota.
    #[error(
        "Quota dépassé pour la société {societe} : {max} octets au plus. Supprimez des fichiers ou augmentez relay.quota_bytes"
    )]
    Quota {
        /// Whose.
        societe: SocieteName,
        /// The limit.
        max: u64,
    },
    /// The société has as many files as it may.
    #[error(
        "La société {societe} a déjà {max} fichiers, le maximum. Supprimez-en ou augmentez relay.files_per_societe_max"
    )]
    TooManyFiles {
        /// Whose.
        societe: SocieteName,
        /// The limit.
        max: usize,
    },
    /// No such société.
    #[error("Société {0} non trouvée")]
    NoSociete(SocieteName),
    /// No such file.
    #[error("Fichier non trouvé")]
    NoFile,
    /// No such version, or it is no longer kept.
    #[error("Version {0} non trouvée : elle n'existe pas ou n'est plus conservée")]
    NoVersion(u64),
    /// The content of a version is kept, but no longer as it was stored.
    #[error(
        "Le contenu enregistré de « {filename} » est abîmé sur le disque du serveur : renvoyez le fichier, ou restaurez une sauvegarde"
    )]
    Damaged {
        /// Whose file.
        societe: SocieteName,
        /// Which file.
        filename: FileName,
        /// What is wrong with it, for the log.
        what: String,
    },
    /// Somebody else was quicker.
    #[error("Le fichier a changé entre-temps : relisez-le avant de l'écrire")]
    Precondition {
        /// The hash of what is stored now.
        current: Option<String>,
    },
    /// The cursor is from another life of the log, or too old.
    #[error(
        "Ce curseur ne peut plus être repris : relisez la liste des fichiers, puis continuez avec le curseur joint"
    )]
    CursorExpired(Cursor),
    /// The folder or the file is something else: a link, a directory.
    #[error("« {0} » n'est pas un fichier ou un dossier ordinaire : un lien ou un dossier occupe son nom")]
    Occupied(String),
    /// The disk is full.
    #[error("{}", crate::error::DISK_FULL)]
    DiskFull,
    /// The folder cannot be written.
    #[error(
        "Le dossier des fichiers n'est pas accessible en écriture : rien n'a été modifié. Vérifiez ses droits et son montage"
    )]
    ReadOnly,
    /// The disk failed otherwise.
    #[error("disk: {0}")]
    Io(io::Error),
    /// The caller may not do it any more.
    #[error("{}", .0.message())]
    Refused(AppError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<AppError> for RelayError {
    fn from(error: AppError) -> Self {
        Self::Refused(error)
    }
}

impl RelayError {
    /// Whether it is about the whole relay, so that going on with something else would meet it again.
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
