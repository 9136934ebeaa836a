//! What the check of a JSON text costs: the quick pass and, where it is not sure, the full walk, beside the full walk
//! alone and beside a reader that only skips values.
//!
//! `cargo run --release -p relais --example json_check`. Medians of several rounds in turns, in microseconds.
#![expect(clippy::print_stdout, reason = "the figures are what this program is for")]
#![expect(clippy::disallowed_methods, reason = "what is measured takes real time")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use relais::features::relay::json::{Rules, check, check_beginning};
use serde::de::IgnoredAny;

const RULES: Rules = Rules { depth_max: 64, duplicate_keys: false };
const ROUNDS: usize = 7;
const BYTES_PER_ROUND: usize = 20_000_000;

fn main() {
    println!("{:>9} {:>14} {:>10} {:>10} {:>10}", "bytes", "text", "check", "full walk", "skipping");
    for size in [1_000, 10_000, 1_000_000] {
        for (kind, text) in [("export", export(size)), ("with escapes", escaped(size))] {
            let [checked, walked, skipped] = measure(&text);
            let micros = |time: Duration| time.as_secs_f64() * 1e6;
            println!(
                "{:>9} {kind:>14} {:>10.2} {:>10.2} {:>10.2}",
                text.len(),
                micros(checked),
                micros(walked),
                micros(skipped)
            );
        }
    }
}

/// An accounting export, as files of the relay mostly are.
fn export(size: usize) -> String {
    let line = |n: usize| {
        format!(
            "{{\"code_compte\":\"{}\",\"libelle_compte\":\"Achats de fournitures n° {n}\",\"montant\":{}.{:02},\
             \"debit\":{}.00,\"credit\":0.00}}",
            600_000 + n * 7,
            n * 137 % 9973,
            n % 100,
            n * 31 % 7919
        )
    };
    lines(size, line)
}

/// A text whose strings have escape sequences, which the quick pass has to look at.
fn escaped(size: usize) -> String {
    lines(size, |n| {
        format!("{{\"chemin\":\"C:\\\\exports\\\\{n}.json\",\"note\":\"ligne\\nsuite \\u00e9\"}}")
    })
}

fn lines(size: usize, line: impl Fn(usize) -> String) -> String {
    let mut text = String::from("{\"comptes\":[");
    let mut n = 0;
    while text.len() < size {
        if n > 0 {
            text.push(',');
        }
        text.push_str(&line(n));
        n += 1;
    }
    text.push_str("]}");
    text
}

/// The median time of one text by each way.
fn measure(text: &str) -> [Duration; 3] {
    let ways: [&dyn Fn(&str) -> bool; 3] = [
        &|text| check(text.as_bytes(), RULES).is_ok(),
        &|text| check_beginning(text.as_bytes(), RULES).is_ok(),
        &|text| serde_json::from_str::<IgnoredAny>(text).is_ok(),
    ];
    let mut times = [const { Vec::new() }; 3];
    let repeats = u32::try_from(BYTES_PER_ROUND / text.len()).unwrap_or(1).max(1);
    for _ in 0..ROUNDS {
        for (way, times) in ways.iter().zip(&mut times) {
            let start = Instant::now();
            for _ in 0..repeats {
                assert!(way(black_box(text)), "the text is valid");
            }
            times.push(start.elapsed() / repeats);
        }
    }
    times.map(|mut times| {
        times.sort();
        times[ROUNDS / 2]
    })
}
