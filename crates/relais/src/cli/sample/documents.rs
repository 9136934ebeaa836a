//! The files of one société: accounts, monthly accounts and indicators, in the shapes that the apps read.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::indicators::{Indicator, SubIndicator, indicators};
use super::ledger::{Period, Profile, Year, entries};
use super::plan::{POSTES, Poste};

/// The page size that the apps ask for; a line of the sample has fewer accounts.
const PAGE: usize = 50;

/// A file to write: its name and its content.
pub(super) struct Document {
    pub filename: String,
    pub content: Vec<u8>,
}

/// The accounts of one line, as one page of a list.
#[derive(Serialize)]
struct Page {
    /// How many accounts there are.
    total: usize,
    limit: usize,
    offset: usize,
    /// The sum of their amounts.
    montant_total: f64,
    comptes: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    code_compte: &'static str,
    libelle_compte: &'static str,
    montant: f64,
    debit: f64,
    credit: f64,
}

/// Every file of `profile` for the years given, the same for the same `seed`.
pub(super) fn documents(
    profile: &Profile,
    years: std::ops::RangeInclusive<u16>,
    seed: u64,
) -> serde_json::Result<Vec<Document>> {
    let years: Vec<Year> = years.map(|year| entries(profile, year, seed)).collect();
    let mut files = Files::default();
    let accounts: BTreeMap<String, _> = years.iter().map(|y| (y.year.to_string(), pages(&y.total))).collect();
    let computed: BTreeMap<String, _> =
        years.iter().map(|y| (y.year.to_string(), by_code(&y.total))).collect();
    let period = match years.as_slice() {
        [only] => only.year.to_string(),
        [first, .., last] => format!("{}-{}", first.year, last.year),
        [] => String::new(),
    };
    files.add("comptes_global_annee", &json!({ "periode": period, "comptes": accounts }))?;
    files.add("indicateurs_global_annee", &json!({ "periode": period, "indicateurs": computed }))?;
    for year in &years {
        add_year(&mut files, year)?;
    }
    Ok(files.0)
}

fn add_year(files: &mut Files, year: &Year) -> serde_json::Result<()> {
    let (n, total) = (year.year, &year.total);
    let accounts = json!({ "periode": n.to_string(), "comptes": { n.to_string(): pages(total) } });
    files.add(&format!("comptes_global_annee_{n}"), &accounts)?;
    files.add(&format!("comptes_mensuel_{n}"), &monthly(year, "mois", |month| json!(pages(month))))?;
    for (month, period) in (1..).zip(&year.months) {
        let content = json!({ "annee": n, "mois": { month.to_string(): pages(period) } });
        files.add(&format!("comptes_mensuel_{n}_{month:02}"), &content)?;
    }
    let content = json!({ "annee": n, "indicateurs": by_code(total) });
    files.add(&format!("indicateurs_global_annee_{n}"), &content)?;
    files.add(&format!("indicateurs_mensuel_{n}"), &monthly(year, "mois", |month| json!(by_code(month))))?;
    let content = json!({ "annee": n, "sous_indicateurs": parts(total) });
    files.add(&format!("sous_indicateurs_global_annee_{n}"), &content)?;
    files.add(&format!("sous_indicateurs_mensuel_{n}"), &monthly(year, "mois", |month| json!(parts(month))))
}

#[derive(Default)]
struct Files(Vec<Document>);

impl Files {
    fn add(&mut self, stem: &str, content: &Value) -> serde_json::Result<()> {
        let content = serde_json::to_vec(content)?;
        self.0.push(Document { filename: format!("{stem}.json"), content });
        Ok(())
    }
}

fn monthly(year: &Year, field: &str, content: impl Fn(&Period) -> Value) -> Value {
    let months = (1..).zip(&year.months).map(|(month, period): (u8, _)| (month.to_string(), content(period)));
    let months: BTreeMap<String, Value> = months.collect();
    json!({ "annee": year.year, field: months })
}

fn pages(period: &Period) -> BTreeMap<&'static str, Page> {
    let moved = POSTES.iter().map(|poste| (poste.key, page(poste, period)));
    moved.filter(|(_, page)| page.total > 0).collect()
}

fn page(poste: &'static Poste, period: &Period) -> Page {
    let lines = poste.accounts.iter().filter_map(|&(code_compte, libelle_compte, ..)| {
        let moved = period.of(code_compte)?;
        let (debit, credit) = (euros(moved.debit), euros(moved.credit));
        Some(Line { code_compte, libelle_compte, montant: euros(moved.amount(poste.side)), debit, credit })
    });
    let comptes: Vec<Line> = lines.collect();
    Page { total: comptes.len(), limit: PAGE, offset: 0, montant_total: euros(period.amount(poste)), comptes }
}

fn by_code(period: &Period) -> BTreeMap<&'static str, Indicator> {
    indicators(period).into_iter().map(|indicator| (indicator.code, indicator)).collect()
}

/// The parts of each indicator with the accounts they are made of.
fn parts(period: &Period) -> BTreeMap<&'static str, Vec<Value>> {
    let detail = |part: &SubIndicator| {
        let poste = POSTES.iter().find(|poste| poste.key == part.code);
        let comptes = poste.map(|poste| page(poste, period).comptes);
        json!({
            "code": part.code, "libelle": part.libelle, "signe": part.signe, "valeur": part.valeur,
            "formule_text": part.formule_text, "formule_numeric": part.formule_numeric,
            "comptes": comptes.unwrap_or_default(),
        })
    };
    let made = indicators(period).into_iter();
    made.map(|made| (made.code, made.sous_indicateurs.iter().map(detail).collect())).collect()
}

/// Cents in euros: exact to the cent as JSON writes it.
pub(super) fn euros(cents: i64) -> f64 {
    cents as f64 / 100.0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cli::sample::ledger::PROFILES;

    fn all() -> Vec<Document> {
        documents(&PROFILES[1], 2022..=2024, 1).unwrap()
    }

    fn read(files: &[Document], name: &str) -> Value {
        let file = files.iter().find(|file| file.filename == name).unwrap();
        serde_json::from_slice(&file.content).unwrap()
    }

    fn cents(value: &Value) -> i64 {
        (value.as_f64().unwrap() * 100.0).round() as i64
    }

    #[test]
    fn the_names_are_those_that_the_apps_ask_for() {
        let files = all();
        let names: BTreeSet<&str> = files.iter().map(|file| file.filename.as_str()).collect();
        assert_eq!(names.len(), 3 * 18 + 2);
        for name in [
            "comptes_global_annee.json",
            "comptes_global_annee_2023.json",
            "comptes_mensuel_2023.json",
            "comptes_mensuel_2023_01.json",
            "indicateurs_global_annee_2023.json",
            "sous_indicateurs_mensuel_2024.json",
        ] {
            assert!(names.contains(name), "{name}");
        }
    }

    #[test]
    fn sizes_are_those_of_real_exports() {
        for file in all() {
            assert!(
                (100..=300_000).contains(&file.content.len()),
                "{} {}",
                file.filename,
                file.content.len()
            );
        }
    }

    #[test]
    fn the_accounts_of_a_line_add_up_and_its_indicator_uses_the_sum() {
        let files = all();
        let accounts = read(&files, "comptes_global_annee_2023.json");
        let sales = &accounts["comptes"]["2023"]["ventes_marchandises"];
        let lines = sales["comptes"].as_array().unwrap();
        assert_eq!(sales["total"], lines.len());
        for line in lines {
            assert_eq!(cents(&line["montant"]), cents(&line["credit"]) - cents(&line["debit"]), "{line}");
        }
        let sum: i64 = lines.iter().map(|line| cents(&line["montant"])).sum();
        assert_eq!(sum, cents(&sales["montant_total"]));
        let margin = &read(&files, "indicateurs_global_annee_2023.json")["indicateurs"]["MC"];
        assert_eq!(cents(&margin["sous_indicateurs"][0]["valeur"]), sum);
    }

    #[test]
    fn the_same_seed_writes_the_same_bytes() {
        let same = all().iter().zip(all()).all(|(a, b)| a.filename == b.filename && a.content == b.content);
        assert!(same);
    }
}
