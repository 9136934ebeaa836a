//! Contents beside the embedded database.

use futures_util::future::join_all;
use relais_store::packs::{CONTENT_BYTES_MAX, Place};
use relais_store::{Query, StoreError, WriteTx, params};

use super::{Bench, on_each};

/// Notes where `content` is, as a note of that name.
pub(crate) fn keep(tx: &mut WriteTx<'_>, id: &str, content: &[u8]) -> Result<Option<Place>, StoreError> {
    let place = tx.pack(content)?;
    let body = place.map_or_else(|| "row".to_owned(), |place| place.0.to_string());
    let bytes = if place.is_none() { Some(content) } else { None };
    tx.execute("INSERT INTO notes (id, body, bytes) VALUES ($1, $2, $3)", params![id, &body, bytes])?;
    Ok(place)
}

/// A note's name, where its content lies, and the content if it lies in the row.
type Note = (String, String, Option<Vec<u8>>);

/// Every note's name and content.
pub(crate) fn kept(store: &relais_store::Store, runtime: &tokio::runtime::Runtime) -> Vec<(String, Vec<u8>)> {
    let read = store.read(|tx| {
        tx.query("SELECT id, body, bytes FROM notes ORDER BY id", params![], |row| {
            Ok((row.text(0)?, row.text(1)?, row.opt_bytes(2)?))
        })
    });
    let rows: Result<Vec<Note>, StoreError> = runtime.block_on(read);
    let content = |(id, body, bytes): Note| {
        let content = bytes.unwrap_or_else(|| {
            let place = Place(body.parse().unwrap());
            store.packs().unwrap().read(place, id.len() * 100).unwrap().unwrap()
        });
        (id, content)
    };
    rows.unwrap().into_iter().map(content).collect()
}

/// The content of a note: its name, again and again.
pub(crate) fn content_of(id: &str) -> Vec<u8> {
    id.repeat(100).into_bytes()
}

#[test]
fn a_content_goes_beside_a_file_and_into_the_row_of_a_server() {
    on_each(|bench| {
        let place = bench.write(|tx| keep(tx, "a", &content_of("a"))).unwrap();
        assert_eq!(place.is_none(), bench.db.is_postgres());
        assert_eq!(bench.store.packs().is_none(), bench.db.is_postgres());
        assert_eq!(kept(&bench.store, &bench.runtime), [("a".to_owned(), content_of("a"))]);
    });
}

#[test]
fn contents_of_closures_that_fail_leave_the_others_whole() {
    on_each(|mut bench: Bench| {
        let writes = (100..200).map(|n| {
            bench.store.write(move |tx| {
                let id = n.to_string();
                keep(tx, &id, &content_of(&id))?;
                if n % 3 == 0 { Err(StoreError::Value("no".into())) } else { Ok(()) }
            })
        });
        let done = bench.runtime.block_on(join_all(writes));
        assert_eq!(done.iter().filter(|result| result.is_err()).count(), 33);
        bench.reopen();
        bench.write(|tx| keep(tx, "200", &content_of("200"))).unwrap();
        let kept = kept(&bench.store, &bench.runtime);
        assert_eq!(kept.len(), 68);
        assert!(kept.iter().all(|(id, content)| *content == content_of(id)));
    });
}

#[test]
fn a_content_that_is_too_large_is_an_error_of_its_closure() {
    on_each(|bench| {
        let result = bench.write(|tx| tx.pack(&vec![0; CONTENT_BYTES_MAX + 1]).map(|place| place.is_some()));
        assert!(bench.db.is_postgres() || matches!(result, Err(StoreError::Value(_))));
    });
}
