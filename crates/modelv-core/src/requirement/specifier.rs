//! Version specifiers as PEP 440 defines them, and whether any version can meet several of them.

use super::Version;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Compatible,
    Equal,
    NotEqual,
    AtLeast,
    AtMost,
    Below,
    Above,
    Identical,
}

/// One comparison.
#[derive(Debug, Clone, PartialEq)]
struct Specifier {
    op: Op,
    /// As it is written, for `===`.
    text: String,
    /// `None` behind `===` alone.
    version: Option<Version>,
    /// Whether it ends in `.*`.
    prefix: bool,
}

/// Comparisons that must all hold; none: any version will do.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Specifiers(Vec<Specifier>);

/// More comparisons than these are not read.
const COUNT_MAX: usize = 64;

impl Specifier {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let ops = [
            ("===", Op::Identical),
            ("~=", Op::Compatible),
            ("==", Op::Equal),
            ("!=", Op::NotEqual),
            (">=", Op::AtLeast),
            ("<=", Op::AtMost),
            ("<", Op::Below),
            (">", Op::Above),
        ];
        let (word, op) = ops.into_iter().find(|(word, _)| text.starts_with(word))?;
        let text = text[word.len()..].trim();
        if op == Op::Identical {
            let whole = !text.is_empty() && !text.contains(char::is_whitespace);
            return whole.then(|| Self {
                op,
                text: text.to_ascii_lowercase(),
                version: Version::parse(text),
                prefix: false,
            });
        }
        let (plain, prefix) = match text.strip_suffix(".*") {
            Some(plain) => (plain, true),
            None => (text, false),
        };
        let version = Version::parse(plain)?;
        let equal = matches!(op, Op::Equal | Op::NotEqual);
        let bare = version == version.base() && !version.has_local();
        if prefix && !(equal && bare)
            || op == Op::Compatible && version.release.len() < 2
            || version.has_local() && !equal
        {
            return None;
        }
        Some(Self {
            op,
            text: text.to_owned(),
            version: Some(version),
            prefix,
        })
    }

    fn contains(&self, found: &Version) -> bool {
        let Some(version) = &self.version else {
            return found.to_string() == self.text;
        };
        match self.op {
            Op::Identical => found.to_string() == self.text,
            Op::Equal => self.equals(version, found),
            Op::NotEqual => !self.equals(version, found),
            Op::AtLeast => found.public() >= *version,
            Op::AtMost => found.public() <= *version,
            Op::Compatible => {
                let n = version.release.len().saturating_sub(1);
                found.public() >= *version && starts(found, version.epoch, &version.release[..n])
            }
            Op::Below if version.is_prerelease() => found < version,
            // Its own pre-releases are not below it; those of what a post-release comes after are.
            Op::Below => *found < version.first_of_its_own(),
            Op::Above => {
                // Of a version, later posts are not above it; of a development release there are none.
                let own = found.is_postrelease() && found.before_post() == *version;
                found.public() > *version && !own
            }
        }
    }

    fn equals(&self, version: &Version, found: &Version) -> bool {
        if self.prefix {
            starts(found, version.epoch, &version.release)
        } else if version.has_local() {
            found == version
        } else {
            found.public() == *version
        }
    }
}

/// Whether a release begins so; places that it does not have are zero.
fn starts(found: &Version, epoch: u64, release: &[u64]) -> bool {
    let at = |i: usize| found.release.get(i).copied().unwrap_or(0);
    found.epoch == epoch && release.iter().enumerate().all(|(i, n)| at(i) == *n)
}

impl Specifiers {
    /// Reads comparisons between commas; `None` where one is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split(',').filter(|p| !p.trim().is_empty()).collect();
        if parts.len() > COUNT_MAX {
            return None;
        }
        let parts = parts.into_iter().map(Specifier::parse);
        parts.collect::<Option<_>>().map(Self)
    }

    /// Whether a version will do, a pre-release too.
    #[must_use]
    pub fn contains(&self, version: &Version) -> bool {
        self.0.iter().all(|s| s.contains(version))
    }
}

/// A version that meets all, if there can be one. Every set of versions that a specifier describes
/// begins and ends next to the version it names, so that looking there is enough.
#[must_use]
pub fn witness(all: &[&Specifiers]) -> Option<Version> {
    let named = all.iter().flat_map(|s| &s.0);
    let mut candidates: Vec<Version> = named
        .filter_map(|s| s.version.as_ref())
        .flat_map(Version::around)
        .collect();
    candidates.push(Version::of(0, vec![1]));
    // Releases first: nobody is glad about a pre-release.
    candidates.sort_by_key(Version::is_prerelease);
    candidates
        .into_iter()
        .find(|v| all.iter().all(|s| s.contains(v)))
}

/// Whether any version can meet all of these. Says yes of what no version is compared with.
#[must_use]
pub fn together(all: &[&Specifiers]) -> bool {
    let unknown = |s: &Specifier| s.version.is_none();
    all.iter().flat_map(|s| &s.0).any(unknown) || witness(all).is_some()
}
