//! Versions as PEP 440 defines them: read in any spelling, compared, written in normal form.

use std::fmt;

/// A part of a local version. Words come before numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Local {
    Word(String),
    Number(u64),
}

/// Kinds of pre-releases, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Pre {
    A,
    B,
    Rc,
}

/// A version.
#[derive(Debug, Clone)]
pub struct Version {
    pub(super) epoch: u64,
    pub(super) release: Vec<u64>,
    pre: Option<(Pre, u64)>,
    post: Option<u64>,
    dev: Option<u64>,
    local: Option<Vec<Local>>,
}

/// Longer versions are none, in bytes.
const BYTES_MAX: usize = 512;

struct Cursor<'t> {
    rest: &'t str,
    /// A tag without a number may have a separator behind it.
    spare: bool,
}

const SEPARATORS: [char; 3] = ['-', '_', '.'];

fn digits(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

impl<'t> Cursor<'t> {
    fn number(&mut self) -> Option<u64> {
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(self.rest.len());
        let number = self.rest[..end].parse().ok()?;
        self.rest = &self.rest[end..];
        self.spare = false;
        Some(number)
    }

    /// Where the next part can begin.
    fn starts(&self) -> impl Iterator<Item = &'t str> + use<'t> {
        let behind = self.rest.strip_prefix(SEPARATORS).filter(|_| self.spare);
        std::iter::once(self.rest).chain(behind)
    }

    /// One of these words with an optional separator before it, and its number with another.
    fn tagged(&mut self, words: &[&str]) -> Option<(usize, u64)> {
        let (found, rest) = self.starts().find_map(|rest| {
            let rest = rest.strip_prefix(SEPARATORS).unwrap_or(rest);
            let found = words.iter().position(|w| rest.starts_with(w))?;
            Some((found, &rest[words[found].len()..]))
        })?;
        let number = rest.strip_prefix(SEPARATORS).filter(|r| digits(r));
        (self.rest, self.spare) = (number.unwrap_or(rest), true);
        if digits(self.rest) {
            return Some((found, self.number()?));
        }
        Some((found, 0))
    }
}

impl Version {
    /// Reads a version; `None` where it is none, or has numbers beyond 64 bits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        if text.len() > BYTES_MAX {
            return None;
        }
        let mut at = Cursor {
            rest: text.strip_prefix('v').unwrap_or(&text),
            spare: false,
        };
        let mut first = at.number()?;
        let mut epoch = 0;
        if let Some(rest) = at.rest.strip_prefix('!') {
            (at.rest, epoch) = (rest, first);
            first = at.number()?;
        }
        let mut release = vec![first];
        while let Some(rest) = at.rest.strip_prefix('.').filter(|r| digits(r)) {
            at.rest = rest;
            release.push(at.number()?);
        }
        // Longer spellings first: `a` begins `alpha`.
        let words = ["alpha", "beta", "preview", "pre", "rc", "a", "b", "c"];
        let pre = at.tagged(&words).map(|(which, n)| match which {
            0 | 5 => (Pre::A, n),
            1 | 6 => (Pre::B, n),
            _ => (Pre::Rc, n),
        });
        let bare = |rest: &'_ str| rest.strip_prefix('-').is_some_and(digits);
        let post = match at.starts().find(|r| bare(r)) {
            Some(rest) => {
                at.rest = &rest[1..];
                Some(at.number()?)
            }
            None => at.tagged(&["post", "rev", "r"]).map(|(_, n)| n),
        };
        let dev = at.tagged(&["dev"]).map(|(_, n)| n);
        let end = at.starts().find(|r| r.is_empty() || r.starts_with('+'))?;
        let local = match end.strip_prefix('+') {
            Some(rest) => Some(local(rest)?),
            None => None,
        };
        Some(Self {
            epoch,
            release,
            pre,
            post,
            dev,
            local,
        })
    }

    /// Whether it is a pre-release or a development release.
    #[must_use]
    pub fn is_prerelease(&self) -> bool {
        self.pre.is_some() || self.dev.is_some()
    }

    pub(super) fn is_postrelease(&self) -> bool {
        self.post.is_some()
    }

    pub(super) fn has_local(&self) -> bool {
        self.local.is_some()
    }

    /// Without its local part.
    pub(super) fn public(&self) -> Self {
        Self {
            local: None,
            ..self.clone()
        }
    }

    /// What a post-release comes after: without post, development and local part.
    pub(super) fn before_post(&self) -> Self {
        Self {
            post: None,
            dev: None,
            ..self.public()
        }
    }

    /// The first development release that leads to it.
    pub(super) fn first_of_its_own(&self) -> Self {
        Self {
            dev: Some(0),
            ..self.public()
        }
    }

    /// Epoch and release alone.
    pub(super) fn base(&self) -> Self {
        Self {
            pre: None,
            post: None,
            dev: None,
            ..self.public()
        }
    }

    /// A release of this epoch.
    pub(super) fn of(epoch: u64, release: Vec<u64>) -> Self {
        Self {
            epoch,
            release,
            pre: None,
            post: None,
            dev: None,
            local: None,
        }
    }

    /// Versions next to it, in places where specifiers that name it can begin or end.
    pub(super) fn around(&self) -> Vec<Self> {
        let base = self.base();
        let mut out = vec![self.clone(), self.public(), base.clone()];
        let longer = |release: &[u64], n: u64| {
            let mut longer = release.to_vec();
            longer.push(n);
            Self::of(self.epoch, longer)
        };
        out.extend([longer(&base.release, 1), longer(&base.release, 0)]);
        for (post, dev, pre) in [
            (
                self.post.map_or(Some(0), |n| n.checked_add(1)),
                None,
                self.pre,
            ),
            (self.post, Some(0), self.pre),
            (self.post, self.dev.and_then(|n| n.checked_add(1)), self.pre),
            (self.post, self.dev.and_then(|n| n.checked_sub(1)), self.pre),
            (
                None,
                None,
                self.pre.and_then(|(p, n)| Some((p, n.checked_add(1)?))),
            ),
            (
                None,
                None,
                self.pre.and_then(|(p, n)| Some((p, n.checked_sub(1)?))),
            ),
            // The first that there is of its release, below all pre-releases.
            (None, Some(0), None),
            (None, None, Some((Pre::A, 0))),
            (None, None, Some((Pre::Rc, u64::MAX))),
        ] {
            out.push(Self {
                post,
                dev,
                pre,
                ..base.clone()
            });
        }
        // The next, and what is right below, at every place of the release.
        for (i, n) in base.release.iter().enumerate() {
            let with = |n: u64| {
                let mut release = base.release[..=i].to_vec();
                release[i] = n;
                release
            };
            out.extend(n.checked_add(1).map(|n| Self::of(self.epoch, with(n))));
            if let Some(below) = n.checked_sub(1) {
                out.push(Self::of(self.epoch, with(below)));
                out.push(longer(&with(below), u64::MAX));
            }
        }
        out
    }

    /// The release without zeros at its end.
    fn trimmed(&self) -> &[u64] {
        let end = self
            .release
            .iter()
            .rposition(|n| *n != 0)
            .map_or(0, |i| i + 1);
        &self.release[..end]
    }

    #[expect(clippy::type_complexity, reason = "the order of PEP 440, part by part")]
    fn key(
        &self,
    ) -> (
        u64,
        &[u64],
        (u8, Option<(Pre, u64)>),
        Option<u64>,
        (u8, u64),
        Option<&Vec<Local>>,
    ) {
        // A development release of nothing else comes before all pre-releases.
        let pre = match (self.pre, self.post, self.dev) {
            (None, None, Some(_)) => 0,
            (Some(_), ..) => 1,
            _ => 2,
        };
        let dev = self.dev.map_or((1, 0), |n| (0, n));
        (
            self.epoch,
            self.trimmed(),
            (pre, self.pre),
            self.post,
            dev,
            self.local.as_ref(),
        )
    }
}

fn local(text: &str) -> Option<Vec<Local>> {
    text.split(['-', '_', '.'])
        .map(|part| {
            if part.is_empty() || !part.bytes().all(|b| b.is_ascii_alphanumeric()) {
                return None;
            }
            if part.bytes().all(|b| b.is_ascii_digit()) {
                return part.parse().ok().map(Local::Number);
            }
            Some(Local::Word(part.to_owned()))
        })
        .collect()
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.epoch != 0 {
            write!(f, "{}!", self.epoch)?;
        }
        let release: Vec<String> = self.release.iter().map(u64::to_string).collect();
        f.write_str(&release.join("."))?;
        if let Some((kind, n)) = self.pre {
            let word = match kind {
                Pre::A => "a",
                Pre::B => "b",
                Pre::Rc => "rc",
            };
            write!(f, "{word}{n}")?;
        }
        if let Some(n) = self.post {
            write!(f, ".post{n}")?;
        }
        if let Some(n) = self.dev {
            write!(f, ".dev{n}")?;
        }
        for (i, part) in self.local.iter().flatten().enumerate() {
            f.write_str(if i == 0 { "+" } else { "." })?;
            match part {
                Local::Word(word) => f.write_str(word)?,
                Local::Number(n) => write!(f, "{n}")?,
            }
        }
        Ok(())
    }
}
