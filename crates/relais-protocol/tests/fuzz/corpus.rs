//! The seeds of a fuzz target, and a fixed set of mutations of them.

use std::path::Path;

/// A small generator of its own, so that every run tries the same inputs (xorshift64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).expect("less than a usize")
    }
}

/// Runs `target` on every seed and on mutations of it: bytes changed, duplicated and removed.
pub fn run(corpus: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(corpus);
    let mut seeds: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    seeds.sort();
    assert!(seeds.len() >= 3, "{} has a few seeds", folder.display());
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    for seed in seeds {
        let bytes = std::fs::read(seed).unwrap();
        target(&bytes);
        for _ in 0..4000 {
            let mut varied = bytes.clone();
            for _ in 0..=chance.below(4) {
                vary(&mut varied, &mut chance);
            }
            target(&varied);
        }
    }
}

fn vary(bytes: &mut Vec<u8>, chance: &mut Chance) {
    let at = chance.below(bytes.len() + 1);
    match chance.below(4) {
        0 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
        1 if at < bytes.len() => drop(bytes.remove(at)),
        2 => bytes.insert(at, u8::try_from(chance.below(256)).expect("below 256")),
        _ => {
            let tail = bytes[at..].to_vec();
            bytes.extend_from_slice(&tail[..tail.len().min(300)]);
        }
    }
}
