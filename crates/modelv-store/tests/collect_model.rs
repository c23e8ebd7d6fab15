//! The protocol of collecting on a remote, as a model: two writers and two collections, of which each may stop,
//! wait or die between any two requests, and answers to puts that may be lost. All states are visited.
//!
//! It models `spec/remote.md`, REMOTE-2, -10 to -13, in their hardest form (collections that wait for nothing), not
//! the code. Leaving a rule out must lead to a loss: otherwise the model would prove nothing.

use std::collections::{BTreeSet, HashSet, VecDeque};

/// Names that a pack with the one content may have: its own, and those with salt.
const NAMES: u8 = 3;
/// Roots that are put; a bound for the state space. With 6 there are 422,270 states, and nothing is lost either.
const ROOTS: u8 = 4;

type Set = BTreeSet<u8>;

/// Which rule is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    /// A writer does not look whether what it relies on is still listed.
    Fence,
    /// A writer lists what is condemned.
    Condemned,
    /// A collection puts its root over any other.
    ExactRoot,
    /// A name is forgotten as soon as its pack is gone.
    Memory,
    /// A collection deletes before the root condemns.
    Order,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Root {
    seq: u8,
    listed: Set,
    condemned: Set,
    /// Whether a ref needs the content.
    needed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Writer {
    Start,
    /// Has read a root, and relies on a listed pack, or has still to send one.
    Decided {
        root: Root,
        relied: Set,
        send: Option<u8>,
    },
    /// Has sent what was missing.
    Sent {
        seq: u8,
        relied: Set,
        sent: Option<u8>,
    },
    /// Has read the root that it is going to replace.
    Ready {
        base: Root,
        sent: Option<u8>,
    },
    Done,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Collection {
    Start,
    Looked { base: Root, drop: Set },
    Deleting { left: Set },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    root: Root,
    objects: Set,
    writers: [Writer; 2],
    collections: [Collection; 2],
}

impl State {
    /// A pack is there and listed, and nothing leads to it.
    fn first() -> Self {
        let a = Set::from([0]);
        Self {
            root: Root {
                listed: a.clone(),
                ..Root::default()
            },
            objects: a,
            writers: [Writer::Start, Writer::Start],
            collections: [Collection::Start, Collection::Start],
        }
    }

    /// What a root lists is there, and what refs need is listed.
    fn is_whole(&self) -> bool {
        let listed = &self.root.listed;
        listed.is_subset(&self.objects) && (!self.root.needed || !listed.is_empty())
    }

    fn is_idle(&self) -> bool {
        let writers = self.writers.iter();
        writers
            .clone()
            .all(|w| matches!(w, Writer::Start | Writer::Done))
            && self.collections.iter().all(|c| *c == Collection::Start)
    }

    fn next(&self, without: Without) -> Vec<Self> {
        let mut out = Vec::new();
        for n in 0..2 {
            self.write(n, without, &mut out);
            self.collect(n, without, &mut out);
            // Anybody may die at any time, and begin again.
            let mut dead = self.clone();
            if dead.writers[n] != Writer::Done {
                dead.writers[n] = Writer::Start;
            }
            out.push(dead);
            let mut dead = self.clone();
            dead.collections[n] = Collection::Start;
            out.push(dead);
        }
        // A name is forgotten when nobody can be at work any more who knew of it.
        if self.is_idle() || without == Without::Memory {
            let gone = self.root.condemned.difference(&self.objects);
            for name in gone.copied().collect::<Vec<_>>() {
                let mut state = self.clone();
                state.root.condemned.remove(&name);
                state.root.seq += 1;
                out.push(state);
            }
        }
        out.retain(|s| s.root.seq <= ROOTS);
        out
    }

    fn write(&self, n: usize, without: Without, out: &mut Vec<Self>) {
        let mut go = |writer: Writer, change: &dyn Fn(&mut Self)| {
            let mut state = self.clone();
            state.writers[n] = writer;
            change(&mut state);
            out.push(state);
        };
        match self.writers[n].clone() {
            Writer::Done => {}
            Writer::Start => {
                let root = self.root.clone();
                let relied = root.listed.clone();
                let free = (0..NAMES).find(|name| !root.condemned.contains(name));
                let send = free.filter(|_| relied.is_empty());
                if send.is_some() || !relied.is_empty() {
                    go(Writer::Decided { root, relied, send }, &|_| {});
                }
            }
            // What is there already is not sent again.
            Writer::Decided { root, relied, send } => {
                let (seq, sent) = (root.seq, send);
                go(Writer::Sent { seq, relied, sent }, &|s| {
                    s.objects.extend(send);
                });
            }
            Writer::Sent { seq, relied, sent } => {
                let base = self.root.clone();
                let is_named = sent.is_some_and(|name| base.condemned.contains(&name));
                let moved = base.seq != seq;
                let is_gone = moved && sent.is_some_and(|name| !self.objects.contains(&name));
                let fence = !relied.is_subset(&base.listed) && without != Without::Fence;
                let refused = (is_named && without != Without::Condemned) || is_gone || fence;
                match refused {
                    true => go(Writer::Start, &|_| {}),
                    false => go(Writer::Ready { base, sent }, &|_| {}),
                }
            }
            Writer::Ready { base, sent } => {
                if base != self.root {
                    // Refused; it looks again, with what it has sent.
                    return go(Writer::Start, &|_| {});
                }
                let put = |s: &mut Self| {
                    s.root.seq += 1;
                    s.root.listed.extend(sent);
                    s.root.needed = true;
                };
                go(Writer::Done, &put);
                // The answer is lost: the nonce in the root says that it has won.
                go(Writer::Done, &put);
                // The request is lost: the root is the same, and it is put again.
                go(Writer::Ready { base, sent }, &|_| {});
            }
        }
    }

    fn collect(&self, n: usize, without: Without, out: &mut Vec<Self>) {
        let mut go = |collection: Collection, change: &dyn Fn(&mut Self)| {
            let mut state = self.clone();
            state.collections[n] = collection;
            change(&mut state);
            out.push(state);
        };
        match self.collections[n].clone() {
            Collection::Start => {
                let base = self.root.clone();
                let named: Set = base.listed.union(&base.condemned).copied().collect();
                let mut drop: Set = self.objects.difference(&named).copied().collect();
                if !base.needed {
                    drop.extend(&base.listed);
                }
                let due: Set = base
                    .condemned
                    .intersection(&self.objects)
                    .copied()
                    .collect();
                if without == Without::Order {
                    let left = drop.union(&due).copied().collect();
                    go(Collection::Deleting { left }, &|_| {});
                }
                match drop.is_empty() {
                    false => go(Collection::Looked { base, drop }, &|_| {}),
                    true => go(Collection::Deleting { left: due }, &|_| {}),
                }
            }
            Collection::Looked { base, drop } => {
                if base != self.root && without != Without::ExactRoot {
                    return go(Collection::Start, &|_| {});
                }
                let mut next = base.clone();
                next.seq = self.root.seq + 1;
                next.needed = self.root.needed;
                next.listed.retain(|name| !drop.contains(name));
                next.condemned.extend(&drop);
                let left = next.condemned.clone();
                go(Collection::Deleting { left }, &|s| s.root = next.clone());
            }
            Collection::Deleting { left } => {
                let Some(name) = left.first().copied() else {
                    return go(Collection::Start, &|_| {});
                };
                let rest = left.iter().copied().filter(|other| *other != name);
                let left = rest.collect();
                go(Collection::Deleting { left }, &|s| {
                    s.objects.remove(&name);
                });
            }
        }
    }
}

/// Visits all states; the number of them, or one that lost something.
fn visit(without: Without) -> Result<usize, Box<State>> {
    let mut seen: HashSet<State> = HashSet::from([State::first()]);
    let mut waiting: VecDeque<State> = seen.iter().cloned().collect();
    while let Some(state) = waiting.pop_front() {
        if !state.is_whole() {
            return Err(Box::new(state));
        }
        for next in state.next(without) {
            if seen.insert(next.clone()) {
                waiting.push_back(next);
            }
        }
    }
    Ok(seen.len())
}

#[test]
fn nothing_is_lost_in_any_order_of_steps() {
    let states = visit(Without::Nothing).expect("nothing is lost");
    assert!(states > 10_000, "{states} states");
}

#[test]
fn every_rule_is_needed() {
    for rule in [
        Without::Fence,
        Without::Condemned,
        Without::ExactRoot,
        Without::Memory,
        Without::Order,
    ] {
        let lost = visit(rule);
        assert!(lost.is_err(), "without {rule:?} nothing is lost");
    }
}
