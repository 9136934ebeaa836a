//! Values at stable, reused numbers.

use slab::Slab;

/// A [`Slab`] whose numbers take four bytes, as many are kept with every session.
pub(crate) struct Slots<T>(Slab<T>);

impl<T> Slots<T> {
    pub(crate) const fn new() -> Self {
        Self(Slab::new())
    }

    pub(crate) fn insert(&mut self, value: T) -> u32 {
        u32::try_from(self.0.insert(value)).expect("fewer than four billion values fit in memory")
    }

    pub(crate) fn remove(&mut self, slot: u32) -> Option<T> {
        self.0.try_remove(slot as usize)
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&T> {
        self.0.get(slot as usize)
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.0.get_mut(slot as usize)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.0.iter().map(|(slot, value)| (slot as u32, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_reused_only_after_its_value_is_gone() {
        let mut slots = Slots::new();
        let (a, b) = (slots.insert('a'), slots.insert('b'));
        assert_eq!((slots.remove(a), slots.remove(a)), (Some('a'), None));
        assert_eq!(slots.insert('c'), a);
        assert_eq!((slots.get(b), slots.len()), (Some(&'b'), 2));
    }
}
