//! The chart of accounts of the sample: numbers and labels of the French plan comptable général, grouped by the
//! lines of the income statement, with what a firm of four million euros has on them in a year.

/// Whether a line costs or earns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Class 6: the amount is debit minus credit.
    Charge,
    /// Class 7: the amount is credit minus debit.
    Produit,
}

/// When an account moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rhythm {
    /// Every month.
    Monthly,
    /// In the last month of a quarter.
    Quarterly,
    /// In December.
    Yearly,
}

/// One account: number, label, thousands of euros a year, rhythm.
pub(super) type Account = (&'static str, &'static str, i64, Rhythm);

/// A line of the income statement.
pub(super) struct Poste {
    /// Its key in the files.
    pub key: &'static str,
    /// Its label.
    pub label: &'static str,
    /// What its amounts count as.
    pub side: Side,
    /// Its accounts.
    pub accounts: &'static [Account],
}

use Rhythm::{Monthly as M, Quarterly as Q, Yearly as Y};
use Side::{Charge, Produit};

/// Every line, in the order of the income statement.
pub(super) const POSTES: &[Poste] = &[
    Poste {
        key: "ventes_marchandises",
        label: "Ventes de marchandises",
        side: Produit,
        accounts: &[
            ("707100", "Ventes de marchandises - France", 1310, M),
            ("707200", "Ventes de marchandises - Union européenne", 140, M),
            ("707300", "Ventes de marchandises - Export", 45, Q),
            ("709700", "Rabais, remises et ristournes accordés sur ventes de marchandises", -22, Q),
        ],
    },
    Poste {
        key: "achats_marchandises",
        label: "Coût d'achat des marchandises vendues",
        side: Charge,
        accounts: &[
            ("607100", "Achats de marchandises - France", 835, M),
            ("607200", "Achats de marchandises - Union européenne", 120, M),
            ("603700", "Variation des stocks de marchandises", -14, Y),
            ("608000", "Frais accessoires d'achat", 19, M),
            ("609700", "Rabais, remises et ristournes obtenus sur achats de marchandises", -17, Q),
        ],
    },
    Poste {
        key: "production",
        label: "Production de l'exercice",
        side: Produit,
        accounts: &[
            ("701000", "Ventes de produits finis", 310, M),
            ("704000", "Travaux", 1480, M),
            ("704100", "Travaux - sous-traitance reçue", 190, M),
            ("705000", "Études", 65, M),
            ("706000", "Prestations de services", 420, M),
            ("706100", "Contrats d'entretien", 96, M),
            ("708300", "Locations diverses", 18, M),
            ("708500", "Ports et frais accessoires facturés", 24, M),
            ("709400", "Rabais, remises et ristournes accordés sur travaux", -31, Q),
            ("713300", "Variation des en-cours de production de biens", 28, Y),
            ("722000", "Production immobilisée - immobilisations corporelles", 12, Y),
        ],
    },
    Poste {
        key: "achats_matieres",
        label: "Achats de matières et approvisionnements",
        side: Charge,
        accounts: &[
            ("601100", "Matières premières", 395, M),
            ("601200", "Fournitures de chantier", 172, M),
            ("602100", "Matières consommables", 38, M),
            ("602200", "Fournitures consommables", 21, M),
            ("603100", "Variation des stocks de matières premières", -9, Y),
            ("604000", "Achats d'études et prestations de services", 74, M),
            ("605000", "Achats de matériel, équipements et travaux", 56, Q),
            ("606100", "Fournitures non stockables (eau, énergie)", 33, M),
            ("606150", "Carburants", 47, M),
            ("606300", "Fournitures d'entretien et de petit équipement", 26, M),
            ("606400", "Fournitures administratives", 7, M),
            ("606800", "Vêtements de travail et équipements de protection", 9, Q),
        ],
    },
    Poste {
        key: "services_exterieurs",
        label: "Services extérieurs",
        side: Charge,
        accounts: &[
            ("611000", "Sous-traitance générale", 268, M),
            ("612200", "Crédit-bail mobilier", 41, M),
            ("613200", "Locations immobilières", 62, M),
            ("613500", "Locations mobilières", 35, M),
            ("614000", "Charges locatives et de copropriété", 8, Q),
            ("615200", "Entretien et réparations sur biens immobiliers", 6, Q),
            ("615500", "Entretien et réparations sur biens mobiliers", 23, M),
            ("615600", "Maintenance", 14, M),
            ("616100", "Assurance multirisques", 17, Q),
            ("616300", "Assurance transport", 5, Q),
            ("616500", "Assurance décennale", 31, Q),
            ("618300", "Documentation technique", 2, Q),
        ],
    },
    Poste {
        key: "autres_services_exterieurs",
        label: "Autres services extérieurs",
        side: Charge,
        accounts: &[
            ("621100", "Personnel intérimaire", 88, M),
            ("622600", "Honoraires", 24, M),
            ("622700", "Frais d'actes et de contentieux", 4, Q),
            ("623100", "Annonces et insertions", 6, M),
            ("623400", "Cadeaux à la clientèle", 2, Y),
            ("624100", "Transports sur achats", 16, M),
            ("624200", "Transports sur ventes", 22, M),
            ("625100", "Voyages et déplacements", 19, M),
            ("625600", "Missions", 11, M),
            ("625700", "Réceptions", 5, M),
            ("626100", "Frais postaux", 3, M),
            ("626200", "Télécommunications", 12, M),
            ("627000", "Services bancaires et assimilés", 9, M),
            ("628100", "Cotisations professionnelles", 4, Y),
        ],
    },
    Poste {
        key: "subventions",
        label: "Subventions d'exploitation",
        side: Produit,
        accounts: &[
            ("740000", "Subventions d'exploitation", 11, Q),
            ("741000", "Aides à l'apprentissage", 9, Q),
        ],
    },
    Poste {
        key: "impots_taxes",
        label: "Impôts, taxes et versements assimilés",
        side: Charge,
        accounts: &[
            ("631200", "Taxe d'apprentissage", 6, M),
            ("633300", "Formation professionnelle continue", 9, M),
            ("635110", "Contribution économique territoriale", 21, Y),
            ("635120", "Taxe foncière", 8, Y),
            ("635400", "Droits d'enregistrement et de timbre", 1, Q),
            ("637100", "Contribution sociale de solidarité", 4, Y),
        ],
    },
    Poste {
        key: "charges_personnel",
        label: "Charges de personnel",
        side: Charge,
        accounts: &[
            ("641100", "Salaires et appointements", 742, M),
            ("641200", "Congés payés", 61, M),
            ("641300", "Primes et gratifications", 38, Q),
            ("641400", "Indemnités et avantages divers", 27, M),
            ("645100", "Cotisations à l'URSSAF", 211, M),
            ("645200", "Cotisations aux mutuelles", 19, M),
            ("645300", "Cotisations aux caisses de retraite", 64, M),
            ("645800", "Cotisations aux caisses de congés payés", 46, M),
            ("647500", "Médecine du travail", 5, Q),
            ("648000", "Autres charges de personnel", 7, M),
        ],
    },
    Poste {
        key: "autres_produits",
        label: "Autres produits de gestion courante",
        side: Produit,
        accounts: &[
            ("752000", "Revenus des immeubles non affectés à l'activité", 6, M),
            ("758000", "Produits divers de gestion courante", 4, M),
        ],
    },
    Poste {
        key: "reprises",
        label: "Reprises et transferts de charges",
        side: Produit,
        accounts: &[
            ("781700", "Reprises sur dépréciations des actifs circulants", 9, Y),
            ("791000", "Transferts de charges d'exploitation", 14, Q),
        ],
    },
    Poste {
        key: "autres_charges",
        label: "Autres charges de gestion courante",
        side: Charge,
        accounts: &[
            ("651100", "Redevances pour concessions, brevets et licences", 11, M),
            ("654000", "Pertes sur créances irrécouvrables", 7, Y),
            ("658000", "Charges diverses de gestion courante", 2, M),
        ],
    },
    Poste {
        key: "dotations",
        label: "Dotations aux amortissements et provisions",
        side: Charge,
        accounts: &[
            ("681110", "Dotations aux amortissements des immobilisations incorporelles", 8, M),
            ("681120", "Dotations aux amortissements des immobilisations corporelles", 83, M),
            ("681500", "Dotations aux provisions d'exploitation", 12, Y),
            ("681740", "Dotations aux dépréciations des créances", 10, Y),
        ],
    },
    Poste {
        key: "produits_financiers",
        label: "Produits financiers",
        side: Produit,
        accounts: &[
            ("764000", "Revenus des valeurs mobilières de placement", 3, Q),
            ("765000", "Escomptes obtenus", 4, M),
        ],
    },
    Poste {
        key: "charges_financieres",
        label: "Charges financières",
        side: Charge,
        accounts: &[
            ("661100", "Intérêts des emprunts et dettes", 22, M),
            ("661600", "Intérêts bancaires", 5, Q),
            ("665000", "Escomptes accordés", 3, M),
        ],
    },
    Poste {
        key: "produits_exceptionnels",
        label: "Produits exceptionnels",
        side: Produit,
        accounts: &[
            ("771000", "Produits exceptionnels sur opérations de gestion", 3, Q),
            ("775000", "Produits des cessions d'éléments d'actif", 18, Y),
        ],
    },
    Poste {
        key: "charges_exceptionnelles",
        label: "Charges exceptionnelles",
        side: Charge,
        accounts: &[
            ("671200", "Pénalités et amendes", 1, Q),
            ("675000", "Valeurs comptables des éléments d'actif cédés", 12, Y),
        ],
    },
    Poste {
        key: "participation_impots",
        label: "Participation et impôts sur les bénéfices",
        side: Charge,
        accounts: &[
            ("691000", "Participation des salariés aux résultats", 14, Y),
            ("695000", "Impôts sur les bénéfices", 62, Y),
        ],
    },
];
