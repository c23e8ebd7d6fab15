//! The protocol of a remote's root, as a model that `stateright` visits in all its states: two writers and two
//! collections, of which each may stop, wait or die between any two requests; puts whose answers are lost, that
//! arrive late, or twice.
//!
//! It models `spec/remote.md`, REMOTE-2, -3 and -10 to -13, in their hardest form (collections that wait for nothing,
//! writers whose update would be wrong if it happened twice), not the code. Leaving a rule out must lead to a loss:
//! otherwise the model would prove nothing.

use stateright::{Checker, HasDiscoveries, Model, Property};

/// Names that a pack with the one content may have: its own, and those with salt.
const NAMES: u8 = 3;
/// Roots that are put; a bound for the state space. `MODELV_TEST_ROOTS` sets another one, for the long form.
const ROOTS: u8 = 3;

/// Names, or nonces, as bits.
type Set = u16;

/// Which rule is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    /// A writer does not look whether what it relies on is still listed.
    Fence,
    /// Who lost an answer does not look for its nonce: another root than the one it replaced means that it lost.
    Nonce,
    /// A collection deletes what it found at its first look, without a look at the root that condemns.
    SecondLook,
    /// A writer lists what is condemned.
    Condemned,
    /// A collection puts its root over any other.
    ExactRoot,
    /// A name is forgotten as soon as its pack is gone.
    Memory,
    /// A collection deletes before the root condemns.
    Order,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Root {
    seq: u8,
    /// Of this root and all before it, as long as a root remembers them.
    nonces: Set,
    listed: Set,
    condemned: Set,
    /// Whether a ref needs the content.
    needed: bool,
}

/// A conditional put. The network may deliver it as often as it likes; the root it replaces is there once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Put {
    base: Root,
    next: Root,
    nonce: Set,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Writer {
    Start,
    /// Has read a root, and relies on a listed pack, or has still to send one.
    Decided {
        seq: u8,
        relied: Set,
        send: Set,
    },
    /// Has sent what was missing.
    Sent {
        seq: u8,
        relied: Set,
        sent: Set,
    },
    /// Has read the root that it is going to replace.
    Ready {
        base: Root,
        sent: Set,
    },
    /// Its request is on the way.
    Waiting(Put),
    /// The answer was lost.
    Doubt(Put),
    /// Has told the user that it is done.
    Done,
    /// Died when nobody could know whether it was done; its request may still be on the way.
    Dead(Put),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Collection {
    Start,
    Looked { base: Root, drop: Set },
    Deleting { left: Set },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    root: Root,
    objects: Set,
    writers: [Writer; 2],
    /// How often the update of a writer became a root.
    applied: [u8; 2],
    collections: [Collection; 2],
}

/// What somebody did, and what came of it.
#[derive(Debug, Clone, PartialEq)]
struct Step {
    who: (&'static str, usize),
    does: &'static str,
    to: State,
}

/// The protocol without a rule, and with so many roots.
struct Protocol(Without, u8);

impl State {
    /// A pack is there and listed, and nothing leads to it.
    fn first() -> Self {
        Self {
            root: Root {
                listed: 1,
                ..Root::default()
            },
            objects: 1,
            writers: [Writer::Start; 2],
            applied: [0; 2],
            collections: [Collection::Start; 2],
        }
    }

    /// What a root lists is there, and what refs need is listed.
    fn is_whole(&self) -> bool {
        let listed = self.root.listed;
        listed & !self.objects == 0 && (!self.root.needed || listed != 0)
    }

    /// No update happens twice, and whoever says that it is done is right.
    fn is_once(&self) -> bool {
        let mut both = self.writers.iter().zip(self.applied);
        both.all(|(writer, applied)| applied <= 1 && (*writer != Writer::Done || applied == 1))
    }

    fn is_idle(&self) -> bool {
        let at_work = |w: &Writer| !matches!(w, Writer::Start | Writer::Done | Writer::Dead(_));
        !self.writers.iter().any(at_work)
            && self.collections.iter().all(|c| *c == Collection::Start)
    }

    /// The service gets a put.
    fn deliver(&mut self, writer: usize, put: &Put) {
        if self.root == put.base {
            self.root = put.next;
            self.applied[writer] += 1;
        }
    }
}

impl Protocol {
    /// A writer until it knows what to put.
    fn prepare(&self, n: usize, state: &State, out: &mut Vec<Step>) {
        let mut go = |does, writer: Writer, sent: Set| {
            let mut to = *state;
            to.writers[n] = writer;
            to.objects |= sent;
            let who = ("writer", n);
            out.push(Step { who, does, to });
        };
        let root = state.root;
        match state.writers[n] {
            Writer::Start => {
                let (seq, relied) = (root.seq, root.listed);
                let mut names = (0..NAMES).map(|name| 1 << name);
                let free = names.find(|name| root.condemned & name == 0);
                let send = if relied == 0 { free.unwrap_or(0) } else { 0 };
                if relied | send != 0 {
                    go("decides", Writer::Decided { seq, relied, send }, 0);
                }
                return;
            }
            // What is there already is not sent again.
            Writer::Decided { seq, relied, send } => {
                let sent = send;
                go("sends", Writer::Sent { seq, relied, sent }, sent);
            }
            Writer::Sent { seq, relied, sent } => {
                let is_named = sent & root.condemned != 0 && self.0 != Without::Condemned;
                let is_gone = root.seq != seq && sent & !state.objects != 0;
                let fence = relied & !root.listed != 0 && self.0 != Without::Fence;
                match is_named || is_gone || fence {
                    true => go("begins again", Writer::Start, 0),
                    false => go("reads the root", Writer::Ready { base: root, sent }, 0),
                }
            }
            _ => return,
        }
        // Nobody has seen anything of it yet: the user begins again.
        go("dies", Writer::Start, 0);
    }

    /// A writer from its put on.
    fn put(&self, n: usize, state: &State, out: &mut Vec<Step>) {
        let mut go = |does, writer: Writer, arrives: Option<Put>| {
            let mut to = *state;
            to.writers[n] = writer;
            if let Some(put) = arrives {
                to.deliver(n, &put);
            }
            let who = ("writer", n);
            out.push(Step { who, does, to });
        };
        let root = state.root;
        match state.writers[n] {
            Writer::Ready { base, sent } => {
                let nonce = 1 << base.seq << (n * 8);
                let next = Root {
                    seq: base.seq + 1,
                    nonces: base.nonces | nonce,
                    listed: base.listed | sent,
                    needed: true,
                    ..base
                };
                go("puts", Writer::Waiting(Put { base, next, nonce }), None);
                go("dies", Writer::Start, None);
            }
            Writer::Waiting(put) => {
                let (does, writer) = match root == put.base {
                    true => ("wins", Writer::Done),
                    // A refusal may be that of a second request whose first one has won.
                    false => ("is refused", Writer::Doubt(put)),
                };
                go(does, writer, Some(put));
                go("loses the request", Writer::Doubt(put), None);
                go("loses the answer", Writer::Doubt(put), Some(put));
                go("dies", Writer::Dead(put), None);
            }
            Writer::Doubt(put) => {
                let knows = root.nonces & put.nonce != 0 && self.0 != Without::Nonce;
                let (does, writer) = match (knows, root == put.base) {
                    (true, _) => ("finds its nonce", Writer::Done),
                    (false, true) => ("puts again", Writer::Waiting(put)),
                    (false, false) => ("has lost", Writer::Start),
                };
                go(does, writer, None);
                go("dies", Writer::Dead(put), None);
                // What was slow arrives after all.
                go("is late", Writer::Doubt(put), Some(put));
            }
            Writer::Dead(put) => go("is late", Writer::Dead(put), Some(put)),
            _ => {}
        }
    }

    fn collect(&self, n: usize, state: &State, out: &mut Vec<Step>) {
        let mut go = |does, collection: Collection, root: Root, gone: Set| {
            let mut to = *state;
            to.collections[n] = collection;
            to.root = root;
            to.objects &= !gone;
            let who = ("collection", n);
            out.push(Step { who, does, to });
        };
        let root = state.root;
        match state.collections[n] {
            Collection::Start => {
                let base = state.root;
                let left_behind = state.objects & !(base.listed | base.condemned);
                let unused = if base.needed { 0 } else { base.listed };
                let drop = left_behind | unused;
                let due = base.condemned & state.objects;
                if self.0 == Without::Order {
                    let left = drop | due;
                    go("deletes first", Collection::Deleting { left }, root, 0);
                }
                match drop {
                    0 => go("looks", Collection::Deleting { left: due }, root, 0),
                    drop => go("looks", Collection::Looked { base, drop }, root, 0),
                }
            }
            Collection::Looked { base, drop } => {
                if base != state.root && self.0 == Without::SecondLook {
                    return go("is refused", Collection::Deleting { left: drop }, root, 0);
                }
                if base != state.root && self.0 != Without::ExactRoot {
                    return go("is refused", Collection::Start, root, 0);
                }
                let next = Root {
                    seq: state.root.seq + 1,
                    nonces: state.root.nonces,
                    needed: state.root.needed,
                    listed: base.listed & !drop,
                    condemned: base.condemned | drop,
                };
                let left = next.condemned;
                go("condemns", Collection::Deleting { left }, next, 0);
            }
            Collection::Deleting { left: 0 } => go("ends", Collection::Start, root, 0),
            Collection::Deleting { left } => {
                let name = left & left.wrapping_neg();
                let left = left & !name;
                go("deletes", Collection::Deleting { left }, root, name);
            }
        }
        if state.collections[n] != Collection::Start {
            go("dies", Collection::Start, root, 0);
        }
    }

    /// A name is forgotten when nobody can be at work any more who knew of it.
    fn forget(&self, state: &State, out: &mut Vec<Step>) {
        let gone = state.root.condemned & !state.objects;
        let names = (0..NAMES).map(|name| 1 << name);
        for name in names.filter(|name| gone & name != 0) {
            if state.is_idle() || self.0 == Without::Memory {
                let mut to = *state;
                to.root.condemned &= !name;
                to.root.seq += 1;
                let who = ("time", 0);
                let does = "forgets";
                out.push(Step { who, does, to });
            }
        }
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State::first()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Step>) {
        for n in 0..2 {
            self.prepare(n, state, actions);
            self.put(n, state, actions);
            self.collect(n, state, actions);
        }
        self.forget(state, actions);
    }

    fn next_state(&self, _: &State, step: Step) -> Option<State> {
        Some(step.to)
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.root.seq <= self.1
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(WHOLE, |_, state: &State| state.is_whole()),
            Property::always(ONCE, |_, state: &State| state.is_once()),
            // A model in which nothing happens would be safe, too.
            Property::sometimes("both writers are done", |_, state: &State| {
                state.writers == [Writer::Done; 2]
            }),
            Property::sometimes(
                "what was sent comes back under another name",
                |_, s: &State| s.root.needed && s.root.condemned & 1 != 0 && s.root.listed & 2 != 0,
            ),
        ]
    }
}

const WHOLE: &str = "what a root lists is there, and what refs need is listed";
const ONCE: &str = "an update happens once, and is told right";

#[test]
fn nothing_is_lost_and_nothing_happens_twice_in_any_order_of_steps() {
    let roots = std::env::var("MODELV_TEST_ROOTS");
    let roots = roots.map_or(ROOTS, |text| text.parse().expect("a number"));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let checker = Protocol(Without::Nothing, roots).checker().threads(threads);
    let checked = checker.spawn_bfs().join();
    checked.assert_properties();
    let states = checked.unique_state_count();
    println!("{states} states");
    assert!(states > 100_000, "{states} states");
}

#[test]
fn every_rule_is_needed() {
    for (rule, lost) in [
        (Without::Fence, WHOLE),
        (Without::Nonce, ONCE),
        (Without::SecondLook, WHOLE),
        (Without::Condemned, WHOLE),
        (Without::ExactRoot, WHOLE),
        (Without::Memory, WHOLE),
        (Without::Order, WHOLE),
    ] {
        let checker = Protocol(rule, ROOTS).checker();
        let until = HasDiscoveries::AnyOf([lost].into());
        let checked = checker.finish_when(until).spawn_bfs().join();
        let path = checked.discovery(lost);
        let path = path.unwrap_or_else(|| panic!("without {rule:?} nothing is lost"));
        let steps: Vec<_> = path.into_actions();
        let steps = steps
            .iter()
            .map(|s| format!("{} {} {}", s.who.0, s.who.1, s.does));
        println!("without {rule:?}: {}", steps.collect::<Vec<_>>().join(", "));
    }
}
