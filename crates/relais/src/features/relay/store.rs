//! The relay's tables.

use relais_store::packs::{PACK_BYTES, Place};
use relais_store::{Migration, Query, Row, StoreError, WriteTx, params};

use super::model::{FileMeta, Origin, Version};
use super::name::{FileName, SocieteName};

/// The migrations.
pub const MIGRATIONS: &[Migration] = &[FILES, PLAIN_FILES];

/// The stat of a plain file, in addition to its modification time; 0 is unknown.
const PLAIN_FILES: Migration = Migration {
    version: 201,
    name: "relay inodes",
    sql: "ALTER TABLE relay_files ADD COLUMN ctime_ns BIGINT NOT NULL DEFAULT 0;
          ALTER TABLE relay_files ADD COLUMN ino BIGINT NOT NULL DEFAULT 0;",
};

const FILES: Migration = Migration {
    version: 200,
    name: "relay files",
    sql: "CREATE TABLE relay_files (
              societe TEXT NOT NULL,
              filename TEXT NOT NULL,
              version BIGINT NOT NULL,
              size BIGINT NOT NULL,
              sha256 TEXT NOT NULL,
              modified_at BIGINT NOT NULL,
              mtime_ns BIGINT NOT NULL,
              seq BIGINT NOT NULL,
              deleted BIGINT NOT NULL,
              PRIMARY KEY (societe, filename)
          ) {clustered};
          CREATE TABLE relay_versions (
              societe TEXT NOT NULL,
              filename TEXT NOT NULL,
              version BIGINT NOT NULL,
              size BIGINT NOT NULL,
              sha256 TEXT NOT NULL,
              created_at BIGINT NOT NULL,
              created_by TEXT NOT NULL,
              origin TEXT NOT NULL,
              place BIGINT,
              content {blob},
              PRIMARY KEY (societe, filename, version)
          ) {clustered};
          CREATE INDEX relay_versions_blob ON relay_versions (sha256) WHERE place IS NULL AND content IS NULL;
          CREATE TABLE relay_folders (id TEXT PRIMARY KEY, settled_seq BIGINT NOT NULL);",
};

/// A row of `relay_files`.
#[derive(Clone, Debug)]
pub(crate) struct FileRow {
    pub(crate) societe: SocieteName,
    pub(crate) meta: FileMeta,
    pub(crate) deleted: bool,
}

const ALL: &str = "SELECT filename, version, size, sha256, modified_at, mtime_ns, seq, deleted, societe, \
                   ctime_ns, ino FROM relay_files ORDER BY societe, filename";
const ONE: &str = "SELECT filename, version, size, sha256, modified_at, mtime_ns, seq, deleted, societe, \
                   ctime_ns, ino FROM relay_files WHERE societe = $1 AND filename = $2";

fn file_row(row: &Row<'_>) -> Result<FileRow, StoreError> {
    let name = |e: super::name::NameFault| StoreError::Value(e.to_string());
    Ok(FileRow {
        societe: SocieteName::new(row.str(8)?).map_err(name)?,
        meta: FileMeta {
            filename: FileName::new(row.str(0)?).map_err(name)?,
            version: row.u64(1)?,
            size: row.u64(2)?,
            sha256: row.str(3)?.into(),
            modified_at: row.timestamp(4)?,
            mtime_ns: row.i64(5)?,
            ctime_ns: row.i64(9)?,
            // Inodes use all 64 bits on some file systems, and columns are signed.
            ino: row.i64(10)?.cast_unsigned(),
            seq: row.u64(6)?,
        },
        deleted: row.bool(7)?,
    })
}

/// An invalid row.
#[derive(Clone, Debug)]
pub(crate) struct BrokenRow {
    /// The société, as far as it can be read.
    pub(crate) societe: String,
    /// The file, as far as it can be read.
    pub(crate) filename: String,
    /// The fault.
    pub(crate) fault: String,
}

/// Every file, deleted ones included, and the invalid rows.
pub(crate) fn all_files(tx: &mut impl Query) -> Result<(Vec<FileRow>, Vec<BrokenRow>), StoreError> {
    let mut broken = Vec::new();
    let rows = tx.query(ALL, params![], |row| match file_row(row) {
        Ok(found) => Ok(Some(found)),
        Err(StoreError::Value(fault)) => {
            let text = |column| row.text(column).unwrap_or_else(|_| "?".to_owned());
            broken.push(BrokenRow { societe: text(8), filename: text(0), fault });
            Ok(None)
        }
        Err(error) => Err(error),
    })?;
    Ok((rows.into_iter().flatten().collect(), broken))
}

/// One file, also if it is deleted.
pub(crate) fn file(
    tx: &mut impl Query,
    societe: &SocieteName,
    filename: &FileName,
) -> Result<Option<FileRow>, StoreError> {
    tx.query_opt(ONE, params![societe.as_str(), filename.as_str()], file_row)
}

/// The number of files and bytes of a société.
pub(crate) fn usage(tx: &mut impl Query, societe: &SocieteName) -> Result<(u64, u64), StoreError> {
    tx.query_one(
        "SELECT COUNT(*), CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM relay_files \
         WHERE societe = $1 AND deleted = 0",
        params![societe.as_str()],
        |row| Ok((row.u64(0)?, row.u64(1)?)),
    )
}

/// Writes the current state of a file.
pub(crate) fn put_file(
    tx: &mut WriteTx<'_>,
    societe: &SocieteName,
    meta: &FileMeta,
    deleted: bool,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO relay_files \
             (societe, filename, version, size, sha256, modified_at, mtime_ns, seq, deleted, ctime_ns, ino) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
         ON CONFLICT (societe, filename) DO UPDATE SET version = excluded.version, size = excluded.size, \
             sha256 = excluded.sha256, modified_at = excluded.modified_at, mtime_ns = excluded.mtime_ns, \
             seq = excluded.seq, deleted = excluded.deleted, ctime_ns = excluded.ctime_ns, ino = excluded.ino",
        params![
            societe.as_str(),
            meta.filename.as_str(),
            meta.version,
            meta.size,
            &*meta.sha256,
            meta.modified_at,
            meta.mtime_ns,
            meta.seq,
            deleted,
            meta.ctime_ns,
            meta.ino.cast_signed()
        ],
    )?;
    Ok(())
}

/// Stores the stat of a row's plain file, if the row still has the same event.
pub(crate) fn put_stat(
    tx: &mut WriteTx<'_>,
    societe: &SocieteName,
    meta: &FileMeta,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE relay_files SET mtime_ns = $1, ctime_ns = $2, ino = $3 \
         WHERE societe = $4 AND filename = $5 AND seq = $6",
        params![
            meta.mtime_ns,
            meta.ctime_ns,
            meta.ino.cast_signed(),
            societe.as_str(),
            meta.filename.as_str(),
            meta.seq
        ],
    )?;
    Ok(())
}

/// Where the bytes of a version are.
#[derive(Debug)]
pub(crate) enum Kept<T> {
    /// In its row.
    Row(T),
    /// In the packs beside the database.
    Pack(Place),
    /// In the blobs, under their hash.
    Blob,
}

/// Adds a version.
pub(crate) fn add_version(
    tx: &mut WriteTx<'_>,
    societe: &SocieteName,
    meta: &FileMeta,
    by: &str,
    origin: Origin,
    kept: &Kept<&[u8]>,
) -> Result<(), StoreError> {
    let (place, content) = match *kept {
        Kept::Row(content) => (None, Some(content)),
        Kept::Pack(place) => (Some(place.0), None),
        Kept::Blob => (None, None),
    };
    tx.execute(
        "INSERT INTO relay_versions \
             (societe, filename, version, size, sha256, created_at, created_by, origin, place, content) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        params![
            societe.as_str(),
            meta.filename.as_str(),
            meta.version,
            meta.size,
            &*meta.sha256,
            meta.modified_at,
            by,
            origin.as_str(),
            place,
            content
        ],
    )?;
    Ok(())
}

/// Deletes the versions up to and including `last`.
pub(crate) fn drop_versions(
    tx: &mut WriteTx<'_>,
    societe: &SocieteName,
    filename: &FileName,
    last: u64,
) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM relay_versions WHERE societe = $1 AND filename = $2 AND version <= $3",
        params![societe.as_str(), filename.as_str(), last],
    )?;
    Ok(())
}

/// The kept versions, newest first.
pub(crate) fn versions(
    tx: &mut impl Query,
    societe: &SocieteName,
    filename: &FileName,
) -> Result<Vec<Version>, StoreError> {
    tx.query(
        "SELECT v.version, v.size, v.sha256, v.created_at, v.created_by, v.origin, \
             CASE WHEN f.version = v.version AND f.deleted = 0 THEN 1 ELSE 0 END \
         FROM relay_versions v JOIN relay_files f ON f.societe = v.societe AND f.filename = v.filename \
         WHERE v.societe = $1 AND v.filename = $2 ORDER BY v.version DESC LIMIT 1000",
        params![societe.as_str(), filename.as_str()],
        |row| {
            Ok(Version {
                version: row.u64(0)?,
                size: row.u64(1)?,
                sha256: row.text(2)?,
                created_at: row.timestamp(3)?,
                created_by: row.text(4)?,
                origin: row.text(5)?,
                current: row.bool(6)?,
            })
        },
    )
}

/// Where the content of a version is, and how to verify it.
pub(crate) struct VersionContent {
    pub(crate) sha256: String,
    pub(crate) size: usize,
    pub(crate) kept: Kept<Vec<u8>>,
}

/// The content of one version.
pub(crate) fn version_content(
    tx: &mut impl Query,
    societe: &SocieteName,
    filename: &FileName,
    version: u64,
) -> Result<Option<VersionContent>, StoreError> {
    let Ok(version) = i64::try_from(version) else { return Ok(None) };
    tx.query_opt(
        "SELECT sha256, size, place, content FROM relay_versions \
         WHERE societe = $1 AND filename = $2 AND version = $3",
        params![societe.as_str(), filename.as_str(), version],
        |row| {
            let kept = match (row.opt_u64(2)?, row.opt_bytes(3)?) {
                (Some(place), _) => Kept::Pack(Place(place)),
                (None, Some(content)) => Kept::Row(content),
                (None, None) => Kept::Blob,
            };
            Ok(VersionContent { sha256: row.text(0)?, size: size(row, 1)?, kept })
        },
    )
}

fn size(row: &Row<'_>, column: usize) -> Result<usize, StoreError> {
    usize::try_from(row.u64(column)?).map_err(|e| StoreError::Value(e.to_string()))
}

/// A version whose content is in a pack.
pub(crate) struct Packed {
    pub(crate) societe: String,
    pub(crate) filename: String,
    pub(crate) version: u64,
    pub(crate) place: Place,
    pub(crate) size: usize,
    pub(crate) sha256: String,
}

/// The packs that versions refer to, and how many bytes of each are needed.
pub(crate) fn packed_bytes(tx: &mut impl Query) -> Result<Vec<(u64, u64)>, StoreError> {
    tx.query(
        "SELECT place / $1, CAST(SUM(size) AS BIGINT) FROM relay_versions WHERE place IS NOT NULL GROUP BY 1",
        params![PACK_BYTES],
        |row| Ok((row.u64(0)?, row.u64(1)?)),
    )
}

/// At most `limit` of the versions whose contents begin in `from..to`.
pub(crate) fn packed_between(
    tx: &mut impl Query,
    from: Place,
    to: Place,
    limit: usize,
) -> Result<Vec<Packed>, StoreError> {
    tx.query(
        "SELECT societe, filename, version, place, size, sha256 FROM relay_versions \
         WHERE place >= $1 AND place < $2 ORDER BY place LIMIT $3",
        params![from.0, to.0, limit],
        |row| {
            Ok(Packed {
                societe: row.text(0)?,
                filename: row.text(1)?,
                version: row.u64(2)?,
                place: Place(row.u64(3)?),
                size: size(row, 4)?,
                sha256: row.text(5)?,
            })
        },
    )
}

/// Records that a content was moved, if its version still exists.
pub(crate) fn move_packed(tx: &mut WriteTx<'_>, packed: &Packed, place: Place) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE relay_versions SET place = $5 \
         WHERE societe = $1 AND filename = $2 AND version = $3 AND place = $4",
        params![&*packed.societe, &*packed.filename, packed.version, packed.place.0, place.0],
    )?;
    Ok(())
}

/// Whether the file ever held, according to the kept versions, a content with this hash.
pub(crate) fn held(
    tx: &mut impl Query,
    societe: &SocieteName,
    filename: &FileName,
    sha256: &str,
) -> Result<bool, StoreError> {
    let found = tx.query_opt(
        "SELECT 1 FROM relay_versions WHERE societe = $1 AND filename = $2 AND sha256 = $3 LIMIT 1",
        params![societe.as_str(), filename.as_str(), sha256],
        |row| row.i64(0),
    )?;
    Ok(found.is_some())
}

/// Whether any version still needs the blob of this hash.
pub(crate) fn blob_is_used(tx: &mut impl Query, sha256: &str) -> Result<bool, StoreError> {
    let found = tx.query_opt(
        "SELECT 1 FROM relay_versions WHERE sha256 = $1 AND place IS NULL AND content IS NULL LIMIT 1",
        params![sha256],
        |row| row.i64(0),
    )?;
    Ok(found.is_some())
}

/// The position in the log up to which the plain files of a folder are known to be on the disk; 0 for an unknown
/// folder.
pub(crate) fn settled_seq(tx: &mut impl Query, folder: &str) -> Result<u64, StoreError> {
    let sql = "SELECT settled_seq FROM relay_folders WHERE id = $1";
    Ok(tx.query_opt(sql, params![folder], |row| row.u64(0))?.unwrap_or(0))
}

/// Sets that position.
pub(crate) fn set_settled_seq(tx: &mut WriteTx<'_>, folder: &str, seq: u64) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO relay_folders (id, settled_seq) VALUES ($1, $2) \
         ON CONFLICT (id) DO UPDATE SET settled_seq = excluded.settled_seq",
        params![folder, seq],
    )?;
    Ok(())
}
