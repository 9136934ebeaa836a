//! The indicators of the income statement, each computed from the one before it and a few lines.

use serde::Serialize;

use super::documents::euros;
use super::ledger::Period;
use super::plan::{POSTES, Poste, Side};

/// How an indicator is made.
struct Recipe {
    code: &'static str,
    label: &'static str,
    /// The indicator it goes on from.
    from: Option<&'static str>,
    /// The lines added or, for charges, taken away.
    postes: &'static [&'static str],
}

const RECIPES: [Recipe; 5] = [
    Recipe {
        code: "MC",
        label: "Marge commerciale",
        from: None,
        postes: &["ventes_marchandises", "achats_marchandises"],
    },
    Recipe {
        code: "VA",
        label: "Valeur ajoutée",
        from: Some("MC"),
        postes: &["production", "achats_matieres", "services_exterieurs", "autres_services_exterieurs"],
    },
    Recipe {
        code: "EBE",
        label: "Excédent brut d'exploitation",
        from: Some("VA"),
        postes: &["subventions", "impots_taxes", "charges_personnel"],
    },
    Recipe {
        code: "RE",
        label: "Résultat d'exploitation",
        from: Some("EBE"),
        postes: &["autres_produits", "reprises", "autres_charges", "dotations"],
    },
    Recipe {
        code: "R",
        label: "Résultat net",
        from: Some("RE"),
        postes: &[
            "produits_financiers",
            "charges_financieres",
            "produits_exceptionnels",
            "charges_exceptionnelles",
            "participation_impots",
        ],
    },
];

/// An indicator of a period.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Indicator {
    pub code: &'static str,
    pub libelle: &'static str,
    pub valeur: f64,
    pub formule_text: String,
    pub formule_numeric: String,
    pub sous_indicateurs: Vec<SubIndicator>,
    /// The value in cents, which is exact.
    #[serde(skip)]
    cents: i64,
}

/// One part of an indicator.
#[derive(Clone, Debug, Serialize)]
pub(super) struct SubIndicator {
    pub code: &'static str,
    pub libelle: &'static str,
    /// `+` or `-`: how it counts.
    pub signe: &'static str,
    pub valeur: f64,
    pub formule_text: String,
    pub formule_numeric: String,
    #[serde(skip)]
    cents: i64,
}

/// The five indicators of a period, in the order in which they are made.
pub(super) fn indicators(period: &Period) -> Vec<Indicator> {
    let mut made: Vec<Indicator> = Vec::with_capacity(RECIPES.len());
    for recipe in &RECIPES {
        let indicator = make(recipe, period, &made);
        made.push(indicator);
    }
    made
}

fn make(recipe: &Recipe, period: &Period, made: &[Indicator]) -> Indicator {
    let before = made.iter().find(|indicator| Some(indicator.code) == recipe.from);
    let mut parts: Vec<SubIndicator> = before.map(carried).into_iter().collect();
    let postes = recipe.postes.iter().filter_map(|key| POSTES.iter().find(|poste| poste.key == *key));
    parts.extend(postes.map(|poste| part(poste, period)));
    let signed = |part: &SubIndicator| if part.signe == "-" { -part.cents } else { part.cents };
    let cents = parts.iter().map(signed).sum();
    Indicator {
        code: recipe.code,
        libelle: recipe.label,
        valeur: euros(cents),
        formule_text: formula(&parts, |part| part.libelle.to_owned()),
        formule_numeric: formula(&parts, |part| number(part.cents)),
        sous_indicateurs: parts,
        cents,
    }
}

/// An indicator as the first part of the next one.
fn carried(before: &Indicator) -> SubIndicator {
    SubIndicator {
        code: before.code,
        libelle: before.libelle,
        signe: "+",
        valeur: before.valeur,
        formule_text: before.formule_text.clone(),
        formule_numeric: before.formule_numeric.clone(),
        cents: before.cents,
    }
}

fn part(poste: &'static Poste, period: &Period) -> SubIndicator {
    let moved = poste.accounts.iter().filter_map(|(code, ..)| Some((code, period.of(code)?)));
    let moved: Vec<(&str, i64)> = moved.map(|(code, m)| (*code, m.amount(poste.side))).collect();
    let cents = period.amount(poste);
    SubIndicator {
        code: poste.key,
        libelle: poste.label,
        signe: if poste.side == Side::Charge { "-" } else { "+" },
        valeur: euros(cents),
        formule_text: moved.iter().map(|(code, _)| *code).collect::<Vec<_>>().join(" + "),
        formule_numeric: moved.iter().map(|(_, amount)| number(*amount)).collect::<Vec<_>>().join(" + "),
        cents,
    }
}

fn formula(parts: &[SubIndicator], term: impl Fn(&SubIndicator) -> String) -> String {
    let mut text = String::new();
    for part in parts {
        if !text.is_empty() {
            text.push_str(&format!(" {} ", part.signe));
        }
        text.push_str(&term(part));
    }
    text
}

/// Cents as `1234.56`, in brackets if negative so that a formula stays readable.
fn number(cents: i64) -> String {
    let text = format!("{}.{:02}", cents.abs() / 100, cents.abs() % 100);
    if cents < 0 { format!("(-{text})") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample::ledger::{PROFILES, entries};

    /// Computes `12.50 + (-3.00) - 1.00` in cents.
    fn compute(formula: &str) -> i64 {
        let (mut sum, mut sign) = (0, 1);
        for word in formula.split(' ') {
            match word {
                "+" => sign = 1,
                "-" => sign = -1,
                word => {
                    let digits = word.trim_matches(['(', ')']).replace('.', "");
                    sum += sign * digits.parse::<i64>().unwrap();
                }
            }
        }
        sum
    }

    #[test]
    fn every_formula_computes_its_value() {
        let year = entries(&PROFILES[2], 2024, 1);
        for period in year.months.iter().chain([&year.total]) {
            for indicator in indicators(period) {
                assert_eq!(compute(&indicator.formule_numeric), indicator.cents, "{}", indicator.code);
                for part in indicator.sous_indicateurs.iter().filter(|part| !part.formule_numeric.is_empty())
                {
                    assert_eq!(compute(&part.formule_numeric), part.cents, "{}", part.code);
                }
            }
        }
    }

    #[test]
    fn the_result_is_everything_earned_minus_everything_spent() {
        let year = entries(&PROFILES[0], 2023, 1);
        let signed = |p: &Poste| match p.side {
            Side::Charge => -year.total.amount(p),
            Side::Produit => year.total.amount(p),
        };
        let result: i64 = POSTES.iter().map(signed).sum();
        let made = indicators(&year.total);
        assert_eq!(made.iter().map(|i| i.code).collect::<Vec<_>>(), ["MC", "VA", "EBE", "RE", "R"]);
        assert_eq!(made[4].cents, result);
    }
}
