//! Masking (section 5.3).

/// XORs `bytes` with `key`, repeated from its first byte: masks plain bytes and unmasks masked ones.
pub fn apply_mask(bytes: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(key.into_iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_byte_meets_the_key_byte_of_its_place(bytes: Vec<u8>, key: [u8; 4]) {
            let mut masked = bytes.clone();
            apply_mask(&mut masked, key);
            for (i, byte) in bytes.iter().enumerate() {
                prop_assert_eq!(masked[i], byte ^ key[i % 4]);
            }
        }
    }
}
