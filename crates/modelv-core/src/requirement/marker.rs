//! Environment markers as PEP 508 defines them: evaluated, and tried out on all environments that
//! could make a difference, to tell whether two of them can hold at once.

use std::collections::BTreeSet;

use super::{Specifiers, Version};

/// Deeper nesting and more comparisons are not read.
const DEPTH_MAX: usize = 32;
const ATOMS_MAX: usize = 64;

/// More environments are not tried: then nothing is said.
const TRIES_MAX: usize = 200_000;

/// A condition on an environment.
#[derive(Debug, Clone, PartialEq)]
pub enum Marker {
    /// Either holds.
    Or(Box<Marker>, Box<Marker>),
    /// Both hold.
    And(Box<Marker>, Box<Marker>),
    /// A comparison of a variable, or of a text with a variable.
    Compare {
        /// Left of the operator.
        left: Term,
        /// The operator.
        op: String,
        /// Right of it.
        right: Term,
    },
}

/// A side of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Term {
    /// A variable of the environment.
    Variable(String),
    /// Quoted text.
    Text(String),
}

/// Gives the value of a variable of an environment; one it does not know is empty.
pub type Environment<'e> = &'e dyn Fn(&str) -> String;

const VARIABLES: [&str; 11] = [
    "python_version",
    "python_full_version",
    "os_name",
    "sys_platform",
    "platform_release",
    "platform_system",
    "platform_version",
    "platform_machine",
    "platform_python_implementation",
    "implementation_name",
    "implementation_version",
];

const OPS: [&str; 9] = ["===", "~=", "==", "!=", "<=", ">=", "<", ">", "in"];

struct Reader<'t> {
    rest: &'t str,
    atoms: usize,
}

impl<'t> Reader<'t> {
    fn word(&mut self, word: &str) -> bool {
        let text = self.rest.trim_start();
        let Some(behind) = text.strip_prefix(word) else {
            return false;
        };
        let ends = !behind.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        if ends {
            self.rest = behind;
        }
        ends
    }

    fn sign(&mut self, sign: &str) -> bool {
        match self.rest.trim_start().strip_prefix(sign) {
            Some(behind) => {
                self.rest = behind;
                true
            }
            None => false,
        }
    }

    fn any(&mut self, depth: usize) -> Option<Marker> {
        let mut left = self.all(depth)?;
        while self.word("or") {
            left = Marker::Or(Box::new(left), Box::new(self.all(depth)?));
        }
        Some(left)
    }

    fn all(&mut self, depth: usize) -> Option<Marker> {
        let mut left = self.one(depth)?;
        while self.word("and") {
            left = Marker::And(Box::new(left), Box::new(self.one(depth)?));
        }
        Some(left)
    }

    fn one(&mut self, depth: usize) -> Option<Marker> {
        self.atoms += 1;
        if depth > DEPTH_MAX || self.atoms > ATOMS_MAX {
            return None;
        }
        if self.sign("(") {
            let inner = self.any(depth + 1)?;
            return self.sign(")").then_some(inner);
        }
        let left = self.term()?;
        let op = if self.word("not") {
            self.word("in").then_some("not in")?
        } else if self.word("in") {
            "in"
        } else {
            OPS[..8].iter().copied().find(|op| self.sign(op))?
        };
        let right = self.term()?;
        let variable = |t: &Term| matches!(t, Term::Variable(_));
        if variable(&left) == variable(&right) {
            return None;
        }
        Some(Marker::Compare {
            left,
            op: op.to_owned(),
            right,
        })
    }

    fn term(&mut self) -> Option<Term> {
        let text: &'t str = self.rest.trim_start();
        if let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) {
            let (inside, behind) = text[1..].split_once(quote)?;
            self.rest = behind;
            return Some(Term::Text(inside.to_owned()));
        }
        let end = text
            .find(|c: char| !(c.is_ascii_alphanumeric() || "_.".contains(c)))
            .unwrap_or(text.len());
        let (name, behind) = text.split_at(end);
        // Old names of the same variables.
        let name = match name {
            "os.name" => "os_name",
            "sys.platform" => "sys_platform",
            "platform.version" => "platform_version",
            "platform.machine" => "platform_machine",
            "platform.python_implementation" | "python_implementation" => {
                "platform_python_implementation"
            }
            name => name,
        };
        if name != "extra" && !VARIABLES.contains(&name) {
            return None;
        }
        self.rest = behind;
        Some(Term::Variable(name.to_owned()))
    }
}

impl Marker {
    /// Reads a marker; `None` where it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut reader = Reader {
            rest: text,
            atoms: 0,
        };
        let marker = reader.any(0)?;
        reader.rest.trim().is_empty().then_some(marker)
    }

    /// Whether it holds in an environment.
    #[must_use]
    pub fn holds(&self, environment: Environment<'_>) -> bool {
        match self {
            Self::Or(a, b) => a.holds(environment) || b.holds(environment),
            Self::And(a, b) => a.holds(environment) && b.holds(environment),
            Self::Compare { left, op, right } => {
                let value = |t: &Term| match t {
                    Term::Variable(name) => environment(name),
                    Term::Text(text) => text.clone(),
                };
                let extra = [left, right].contains(&&Term::Variable("extra".into()));
                let (mut left, mut right) = (value(left), value(right));
                if extra {
                    (left, right) = (
                        crate::env::normal_name(&left),
                        crate::env::normal_name(&right),
                    );
                }
                compare(&left, op, &right)
            }
        }
    }

    /// Whether there is an environment in which it holds.
    #[must_use]
    pub fn can_hold(&self) -> bool {
        any_environment(&[self])
    }

    /// Whether there is an environment in which both hold.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        any_environment(&[self, other])
    }

    fn texts(&self, variable: &str, out: &mut BTreeSet<String>) {
        match self {
            Self::Or(a, b) | Self::And(a, b) => {
                a.texts(variable, out);
                b.texts(variable, out);
            }
            Self::Compare { left, op, right } => {
                let (name, text) = match (left, right) {
                    (Term::Variable(n), Term::Text(t)) | (Term::Text(t), Term::Variable(n)) => {
                        (n, t)
                    }
                    _ => return,
                };
                if name == variable {
                    out.insert(text.clone());
                    // `in` looks for a part, or for one of several.
                    if op.ends_with("in") {
                        let words = text.split(|c: char| c == ',' || c == '|' || c.is_whitespace());
                        out.extend(words.filter(|w| !w.is_empty()).map(str::to_owned));
                    }
                }
            }
        }
    }
}

/// As PEP 508 compares: as versions where both are, else as text.
fn compare(left: &str, op: &str, right: &str) -> bool {
    match op {
        "in" => return right.contains(left),
        "not in" => return !right.contains(left),
        _ => {}
    }
    if let (Some(specifiers), Some(version)) = (
        Specifiers::parse(&format!("{op}{right}")),
        Version::parse(left),
    ) {
        return specifiers.contains(&version);
    }
    match op {
        "==" | "===" => left == right,
        "!=" => left != right,
        "<" => left < right,
        "<=" => left <= right,
        ">" => left > right,
        ">=" => left >= right,
        _ => false,
    }
}

/// Systems with the names that belong together.
const SYSTEMS: [[&str; 3]; 4] = [
    ["posix", "linux", "Linux"],
    ["posix", "darwin", "Darwin"],
    ["nt", "win32", "Windows"],
    ["posix", "other", "Other"],
];

/// Whether all markers hold in some environment. Says yes where there are too many to try.
fn any_environment(markers: &[&Marker]) -> bool {
    let texts = |variable: &str| {
        let mut out = BTreeSet::new();
        markers.iter().for_each(|m| m.texts(variable, &mut out));
        out
    };
    let pythons = pythons(&texts("python_version"), &texts("python_full_version"));
    let mut systems: Vec<[String; 3]> = SYSTEMS.map(|s| s.map(str::to_owned)).to_vec();
    // A name we do not know stands for a system of its own.
    for (i, variable) in ["os_name", "sys_platform", "platform_system"]
        .iter()
        .enumerate()
    {
        for text in texts(variable) {
            if !SYSTEMS.iter().any(|s| s[i] == text) {
                let mut system = SYSTEMS[3].map(str::to_owned);
                system[i] = text;
                systems.push(system);
            }
        }
    }
    let free: Vec<(&str, Vec<String>)> = VARIABLES[6..]
        .iter()
        .chain(&["platform_release", "extra"])
        .map(|v| (*v, texts(v)))
        .filter(|(_, texts)| !texts.is_empty())
        .map(|(v, texts)| {
            let around = texts.iter().filter_map(|t| Version::parse(t));
            let mut values: Vec<String> = around
                .flat_map(|v| v.around())
                .map(|v| v.to_string())
                .collect();
            values.extend(texts);
            values.push(String::new());
            (v, values)
        })
        .collect();
    let tries = free
        .iter()
        .fold(pythons.len() * systems.len(), |all, (_, v)| {
            all.saturating_mul(v.len())
        });
    if tries > TRIES_MAX {
        return true;
    }
    (0..tries).any(|mut n| {
        let mut pick = |count: usize| {
            let at = n % count;
            n /= count;
            at
        };
        let (python, system) = (&pythons[pick(pythons.len())], &systems[pick(systems.len())]);
        let free: Vec<(&str, &String)> = free
            .iter()
            .map(|(v, all)| (*v, &all[pick(all.len())]))
            .collect();
        let value = |name: &str| match name {
            "python_version" => python.0.clone(),
            "python_full_version" => python.1.clone(),
            "os_name" => system[0].clone(),
            "sys_platform" => system[1].clone(),
            "platform_system" => system[2].clone(),
            name => free
                .iter()
                .find(|(v, _)| *v == name)
                .map_or_else(String::new, |(_, t)| (*t).clone()),
        };
        markers.iter().all(|m| m.holds(&value))
    })
}

/// Interpreters on both sides of every version that is named: short and full version.
fn pythons(short: &BTreeSet<String>, full: &BTreeSet<String>) -> Vec<(String, String)> {
    let mut out = BTreeSet::from([[3, 12, 1]]);
    for text in short.iter().chain(full) {
        let text = text.trim_end_matches(".*");
        let Some(version) = Version::parse(text) else {
            continue;
        };
        let at = |i: usize| version.release.get(i).copied().unwrap_or(0);
        let (major, minor, micro) = (at(0), at(1), at(2));
        for minor in [minor.saturating_sub(1), minor, minor.saturating_add(1)] {
            for micro in [0, micro.saturating_sub(1), micro, micro.saturating_add(1)] {
                out.insert([major, minor, micro]);
            }
        }
        for major in [major.saturating_sub(1), major.saturating_add(1)] {
            out.insert([major, 0, 0]);
        }
    }
    out.into_iter()
        .map(|[a, b, c]| (format!("{a}.{b}"), format!("{a}.{b}.{c}")))
        .collect()
}
