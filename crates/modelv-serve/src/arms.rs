//! The commits that are served: who gets a request, by weight or by a key of the client.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::model::Model;

/// One commit, its share, and whether it only gets copies.
#[derive(Clone)]
pub(crate) struct Slot {
    pub(crate) model: Arc<Model>,
    pub(crate) weight: u32,
    pub(crate) mirror: bool,
}

/// All commits that are served.
pub(crate) struct Arms {
    slots: RwLock<Vec<Slot>>,
    turn: AtomicU64,
}

impl Arms {
    pub(crate) fn new(slots: Vec<Slot>) -> Self {
        Self {
            slots: RwLock::new(slots),
            turn: AtomicU64::new(0),
        }
    }

    pub(crate) fn all(&self) -> Vec<Slot> {
        self.slots
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The commit that is served first of all.
    pub(crate) fn main(&self) -> Arc<Model> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner)[0]
            .model
            .clone()
    }

    /// Whose turn it is; with a key, always the same one's as long as the arms are the same.
    pub(crate) fn choose(&self, key: Option<&[u8]>) -> Arc<Model> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        if slots.len() == 1 {
            return slots[0].model.clone();
        }
        let weights: Vec<u32> = slots
            .iter()
            .map(|s| if s.mirror { 0 } else { s.weight })
            .collect();
        let at = match key {
            Some(key) => hash(key),
            None => mix(self.turn.fetch_add(1, Ordering::Relaxed)),
        };
        slots[place(&weights, at)].model.clone()
    }

    /// Those that get a copy of a request.
    pub(crate) fn mirrors(&self) -> Vec<Arc<Model>> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let mirrors = slots.iter().filter(|s| s.mirror);
        mirrors.map(|s| s.model.clone()).collect()
    }

    /// Puts a commit in the place of the first one.
    pub(crate) fn swap(&self, model: Arc<Model>) -> Arc<Model> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut slots[0].model, model)
    }
}

/// The place that a number falls on, each as wide as its weight.
fn place(weights: &[u32], number: u64) -> usize {
    let total: u64 = weights.iter().map(|w| u64::from(*w)).sum();
    let mut left = number % total.max(1);
    for (at, weight) in weights.iter().enumerate() {
        match left.checked_sub(u64::from(*weight)) {
            Some(rest) => left = rest,
            None => return at,
        }
    }
    0
}

/// Spreads numbers that follow one another (SplitMix64).
pub(crate) fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The same for the same key in every process (FNV-1a, then spread).
fn hash(key: &[u8]) -> u64 {
    let fold = |h: u64, b: &u8| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
    mix(key.iter().fold(0xcbf2_9ce4_8422_2325, fold))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_shares_and_a_key_stays_where_it_is() {
        let mut counts = [0; 3];
        for n in 0..100_000 {
            counts[place(&[90, 0, 10], mix(n))] += 1;
        }
        assert!(
            (89_000..91_000).contains(&counts[0]) && counts[1] == 0,
            "{counts:?}"
        );
        let mut counts = [0; 2];
        for n in 0..10_000 {
            let at = hash(format!("user-{n}").as_bytes());
            counts[place(&[1, 1], at)] += 1;
            assert_eq!(at, hash(format!("user-{n}").as_bytes()));
        }
        assert!((4_800..5_200).contains(&counts[0]), "{counts:?}");
        assert_eq!(place(&[0, 0], 7), 0);
    }
}
