//! What a search finds: the same on both databases, whatever people write.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use relais_store::{Backend, Query as _, StoreError, params};
use reqwest::Method;
use serde_json::{Value, json};

use super::{World, on_both};
use crate::world::{Person, until};

/// Messages by the names that [`QUERIES`] knows them by, the first first.
const MESSAGES: &[(&str, &str)] = &[
    ("facture", "Merci de régler la facture FA-2026-0042 avant le 2026-11-30."),
    ("mail", "Écrivez à paul.martin@example.com, ou à L.Durand+chantier@mairie-dakar.sn"),
    ("fichier", "J'ai déposé devis_toiture.pdf et Plan-Étage2.v3.DWG"),
    ("réseau", "Le serveur est à 192.168.1.10, port 8443 : https://relais.example.com/modules?id=7"),
    ("œuvre", "La main-d’œuvre de l'été coûte 1 234,56 € HT"),
    ("japonais", "明日の午後、第3会議室で打ち合わせます"),
    ("chinois", "请把发票发送到北京市朝阳区"),
    ("coréen", "내일 회의실에서 만나요"),
    ("thaï", "พรุ่งนี้ประชุมที่ห้องประชุมใหญ่"),
    ("allemand", "Die Straße zum Großmarkt ist gesperrt"),
    ("russe", "Ёлка стоит в офисе"),
    ("grec", "Η ΟΔΌΣ είναι κλειστή"),
    ("arabe", "الفاتورة جاهِزة"),
    ("polonais", "Łódź, ul. Żeromskiego 12"),
    ("turc", "İstanbul ofisi"),
    ("téléphone", "Tél. +221 77 123 45 67"),
    ("code", "fn main() { println!(\"bonjour\"); } // TODO: C++ et C#"),
    ("iban", "IBAN FR76 3000 6000 0112 3456 7890 189"),
    ("heure", "Réunion à 14h30, salle B-12, 3e étage"),
    ("ligature", "Le ﬁchier ﬂuide"),
    ("large", "ＡＢＣ１２３ 完了"),
    ("pouce", "Parfait 👍🏽 à demain"),
    ("béton", "Chantier n°42 : 12 m² de béton à 95%"),
    ("décomposé", "re\u{301}union a\u{300} Se\u{301}zanne"),
    ("césure", "une co\u{ad}opération d'aujourd'hui, peut-être"),
    ("hindi", "नमस्ते दुनिया"),
    ("hébreu", "שָׁלוֹם לכולם"),
    ("long", "référence AAAAAAAAAABBBBBBBBBBCCCCCCCCCCDDDDDDDDDDEEEEEEEEEEFFFFFFFFFFGGGGGGGGGG"),
    ("guillemets", "il a dit « l'important » & 'rien' | \"tout\" ! \\o/ (x:*)"),
    ("nordique", "Smørrebrød på Ærø, Þórr"),
];

/// What is asked for, and the messages that have it.
const QUERIES: &[(&str, &[&str])] = &[
    ("FA-2026-0042", &["facture"]),
    ("fa-2026", &["facture"]),
    ("FA 2026 0042", &["facture"]),
    ("0042", &["facture"]),
    ("FA/2026/0042", &["facture"]),
    ("FA-2026-0043", &[]),
    ("2026-11-30", &["facture"]),
    ("30/11/2026", &["facture"]),
    ("2026", &["facture"]),
    ("regler facture", &["facture"]),
    ("RÉGLER", &["facture"]),
    ("factures", &[]),
    ("actur", &[]),
    ("paul.martin@example.com", &["mail"]),
    ("martin@example", &["mail"]),
    ("@example.com", &["mail", "réseau"]),
    ("Paul Martin", &["mail"]),
    ("l.durand+chantier@mairie-dakar.sn", &["mail"]),
    ("mairie", &["mail"]),
    ("dakar.sn", &["mail"]),
    ("ecrivez", &["mail"]),
    ("devis_toiture.pdf", &["fichier"]),
    ("devis", &["fichier"]),
    ("toiture", &["fichier"]),
    ("toiture.pdf", &["fichier"]),
    (".pdf", &["fichier"]),
    ("plan-etage2", &["fichier"]),
    ("etage", &["fichier", "heure"]),
    ("v3", &["fichier"]),
    ("dwg", &["fichier"]),
    ("j'ai", &["fichier"]),
    ("j’ai", &["fichier"]),
    ("192.168.1.10", &["réseau"]),
    ("192.168", &["réseau"]),
    ("192.168.1.11", &[]),
    ("8443", &["réseau"]),
    ("https://relais.example.com", &["réseau"]),
    ("relais.example.com/modules?id=7", &["réseau"]),
    ("modules", &["réseau"]),
    ("oeuvre", &["œuvre"]),
    ("œuvre", &["œuvre"]),
    ("Œuvre", &["œuvre"]),
    ("main-d’œuvre", &["œuvre"]),
    ("main-d'oeuvre", &["œuvre"]),
    ("main d oeuvre", &["œuvre"]),
    ("ete", &["œuvre"]),
    ("l'été", &["œuvre"]),
    ("ÉTÉ", &["œuvre"]),
    ("coute", &["œuvre"]),
    ("1 234,56", &["œuvre"]),
    ("1234", &[]),
    ("会議室", &["japonais"]),
    ("会議", &["japonais"]),
    ("議室", &["japonais"]),
    ("室", &["japonais"]),
    ("第3会議室", &["japonais"]),
    ("明日", &["japonais"]),
    ("打ち合わせ", &["japonais"]),
    ("会社", &[]),
    ("议室", &[]),
    ("发票", &["chinois"]),
    ("朝阳区", &["chinois"]),
    ("北京市", &["chinois"]),
    ("北京 发票", &["chinois"]),
    ("发 票", &["chinois"]),
    ("上海", &[]),
    ("회의실", &["coréen"]),
    ("의실", &["coréen"]),
    ("만나", &["coréen"]),
    ("ประชุม", &["thaï"]),
    ("ห้องประชุม", &["thaï"]),
    ("strasse", &["allemand"]),
    ("STRASSE", &["allemand"]),
    ("Straße", &["allemand"]),
    ("grossmarkt", &["allemand"]),
    ("елка", &["russe"]),
    ("ЁЛКА", &["russe"]),
    ("офис", &["russe"]),
    ("οδος", &["grec"]),
    ("ΟΔΟΣ", &["grec"]),
    ("κλειστη", &["grec"]),
    ("جاهزة", &["arabe"]),
    ("الفاتورة", &["arabe"]),
    ("lodz", &["polonais"]),
    ("Łódź", &["polonais"]),
    ("zeromskiego", &["polonais"]),
    ("istanbul", &["turc"]),
    ("İSTANBUL", &["turc"]),
    ("+221 77 123 45 67", &["téléphone"]),
    ("77 123", &["téléphone"]),
    ("tel", &["téléphone"]),
    ("println", &["code"]),
    ("println!(\"bonjour\")", &["code"]),
    ("C++", &["mail", "réseau", "œuvre", "code", "béton", "césure"]),
    ("TODO: C#", &["code"]),
    ("FR76 3000 6000", &["iban"]),
    ("189", &["iban"]),
    ("14h30", &["heure"]),
    ("14h", &["heure"]),
    ("salle b-12", &["heure"]),
    ("reunion", &["heure", "décomposé"]),
    ("réunion", &["heure", "décomposé"]),
    ("re\u{301}union", &["heure", "décomposé"]),
    ("sezanne", &["décomposé"]),
    ("fichier", &["ligature"]),
    ("ﬁchier", &["ligature"]),
    ("fluide", &["ligature"]),
    ("abc123", &["large"]),
    ("ＡＢＣ", &["large"]),
    ("完了", &["large"]),
    ("parfait", &["pouce"]),
    ("demain 👍", &["pouce"]),
    ("n°42", &["béton"]),
    ("m2 beton", &["béton"]),
    ("95%", &["béton"]),
    ("chantier", &["mail", "béton"]),
    ("cooperation", &["césure"]),
    ("aujourd'hui", &["césure"]),
    ("aujourd’hui", &["césure"]),
    ("peut-être", &["césure"]),
    ("peut etre", &["césure"]),
    ("नमस्ते", &["hindi"]),
    ("दुनिया", &["hindi"]),
    ("שלום", &["hébreu"]),
    ("aaaaaaaaaabbbbbbbbbb", &["long"]),
    ("AAAAAAAAAABBBBBBBBBBCCCCCCCCCCDDDDDDDDDDEEEEEEEEEEFFFFFFFFFFGGGGGGGGGG", &["long"]),
    ("l'important", &["guillemets"]),
    ("\"tout\"", &["guillemets"]),
    ("'rien' | 'x'", &["guillemets"]),
    ("rien OR parpaing", &[]),
    ("rien & !tout", &["guillemets"]),
    ("smorrebrod", &["nordique"]),
    ("aero thorr", &["nordique"]),
    ("!?", &[]),
    ("👍", &[]),
    ("*", &[]),
];

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut all, byte| {
        let _ = write!(all, "%{byte:02X}");
        all
    })
}

async fn found(world: &World, who: &Person, query: &str) -> (Vec<String>, bool) {
    let found = world.get(who, &format!("search?q={}&limit=50", encoded(query))).await;
    let ids = found["messages"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap().to_owned());
    (ids.collect(), found["complete"].as_bool().unwrap())
}

/// Sends all messages; each name by the message's id.
async fn said(world: &World, lea: &Person, conversation: &str) -> BTreeMap<String, &'static str> {
    let mut names = BTreeMap::new();
    for (name, text) in MESSAGES {
        let message = world.send(lea, conversation, text).await;
        names.insert(message["id"].as_str().unwrap().to_owned(), *name);
    }
    names
}

/// Asks everything, and compares with what is to be found.
async fn ask_everything(world: &World, paul: &Person, names: &BTreeMap<String, &'static str>) {
    let mut wrong = Vec::new();
    for (query, expected) in QUERIES {
        let (ids, complete) = found(world, paul, query).await;
        assert!(complete);
        let mut got: Vec<&str> = ids.iter().rev().map(|id| names[id]).collect();
        let mut expected = expected.to_vec();
        got.sort_unstable();
        expected.sort_unstable();
        if got != expected {
            wrong.push(format!("{query:?} found {got:?} instead of {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), QUERIES.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn both_databases_find_the_same() {
    assert!(QUERIES.len() >= 100);
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let id = world.befriend(&lea, &paul).await;
        let names = said(&world, &lea, &id).await;
        ask_everything(&world, &paul, &names).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_goes_on_where_it_ended_and_refuses_what_it_would_have_to_leave_out() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let id = world.befriend(&lea, &paul).await;
        for number in 1..=5 {
            world.send(&lea, &id, &format!("béton {number}")).await;
        }
        let (mut path, mut all) = ("search?q=beton&limit=2".to_owned(), Vec::new());
        loop {
            let page = world.get(&paul, &path).await;
            let contents = page["messages"].as_array().unwrap().iter().map(|m| m["content"].clone());
            all.extend(contents);
            let Some(cursor) = page["cursor"].as_u64() else { break };
            path = format!("search?q=beton&limit=2&before={cursor}");
        }
        assert_eq!(all, ["béton 5", "béton 4", "béton 3", "béton 2", "béton 1"]);
        let many: String = (0..33).fold(String::new(), |all, n| format!("{all} {}x", 10 + n));
        for query in [many, "é".repeat(300)] {
            let path = format!("search?q={}", encoded(&query));
            assert_eq!(world.call(&paul, Method::GET, &path, Value::Null).await.0, 400, "{query}");
        }
    })
    .await;
}

/// Takes the database back to before words were made by the program; what it had of its own is gone.
async fn take_back(world: &World) {
    let undone = world.running.app().store().write(|tx| {
        for sql in ["DROP TABLE chat_words", "DROP TABLE chat_told", "DROP TABLE chat_backfill"] {
            tx.execute(sql, params![])?;
        }
        tx.execute("ALTER TABLE chat_messages DROP COLUMN seq", params![])?;
        let old = match tx.backend() {
            Backend::Sqlite => {
                "CREATE VIRTUAL TABLE chat_search USING fts5(words, content = '', contentless_delete = 1)"
            }
            Backend::Postgres => "CREATE TABLE chat_search (key BIGINT PRIMARY KEY, words TSVECTOR NOT NULL)",
        };
        tx.execute(old, params![])?;
        tx.execute("DELETE FROM migrations WHERE version IN (302, 350)", params![])
    });
    let undone: Result<u64, StoreError> = undone.await;
    assert_eq!(undone.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_upgrade_older_messages_are_found_also_if_it_is_cut_off() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let id = world.befriend(&lea, &paul).await;
        let names = said(&world, &lea, &id).await;
        let more = world.running.app().store().write(|tx| {
            tx.execute(
                "INSERT INTO chat_messages (key, id, conversation_id, number, sender_id, content, mentions, \
                 attachments, created_at) \
                 WITH RECURSIVE n (number) AS (SELECT 1000 UNION ALL SELECT number + 1 FROM n WHERE number < 2499) \
                 SELECT n.number, m.id || n.number, m.conversation_id, n.number, m.sender_id, 'x', '', '', \
                 m.created_at FROM chat_messages m CROSS JOIN n WHERE m.key = 1",
                params![],
            )
        });
        let more: Result<u64, StoreError> = more.await;
        assert_eq!(more.unwrap(), 1_500);
        take_back(&world).await;
        // Stopped as soon as it runs, it goes on where it was.
        let world = world.restart().await.restart().await;
        world.send(&lea, &id, "xylophone").await;
        assert_eq!(found(&world, &paul, "xylo").await.0.len(), 1, "what is new is found at once");
        until("the words of older messages are noted", async || found(&world, &paul, "facture").await.1).await;
        ask_everything(&world, &paul, &names).await;
        let edited = names.iter().find(|(_, name)| **name == "facture").unwrap().0;
        world.put(&lea, &format!("messages/{edited}"), json!({ "content": "avoir AV-7" })).await;
        assert_eq!(found(&world, &paul, "0042").await.0.len(), 0);
        assert_eq!(found(&world, &paul, "av-7").await.0, [edited.as_str()]);
    })
    .await;
}
