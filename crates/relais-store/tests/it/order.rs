//! One order of texts on both databases.

use relais_store::{Backend, Query as _, StoreError, params};

use super::on_each;

const WORDS: &[&str] = &["b", "É", "a-2", "B", "a1", "é", "Z", "a", "_"];

#[test]
fn texts_are_in_the_order_of_their_bytes_also_where_a_language_had_ordered_them() {
    on_each(|mut bench| {
        let mut expected: Vec<String> = WORDS.iter().map(|word| (*word).to_owned()).collect();
        expected.sort();
        let written = bench.write(|tx| {
            if tx.backend() == Backend::Postgres {
                // As an earlier version left it, on a server that was set up for a language.
                tx.execute("ALTER TABLE notes ALTER COLUMN id TYPE text COLLATE \"und-x-icu\"", params![])?;
            }
            for word in WORDS {
                tx.execute("INSERT INTO notes (id, body) VALUES ($1, '')", params![*word])?;
            }
            Ok::<_, StoreError>(tx.backend())
        });
        if written.unwrap() == Backend::Postgres {
            assert_ne!(bench.notes(), expected, "the order of a language");
        }
        bench.reopen();
        assert_eq!(bench.notes(), expected);
        bench.reopen();
        assert_eq!(bench.notes(), expected);
    });
}
