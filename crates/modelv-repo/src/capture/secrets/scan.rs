//! Finding credentials in a stream of bytes: bounded memory, time linear in the bytes.

use std::io::Read;
use std::ops::Range;
use std::sync::{LazyLock, OnceLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind, StartKind};
use regex::bytes::{Captures, Regex, RegexBuilder};

use super::rules::{self, RULES, TextKind};

/// Bytes that are looked at together.
const CHUNK: usize = 256 << 10;
/// How far before and after a keyword a match may reach.
const BEFORE: usize = 256;
const AFTER: usize = 640;
/// The same for a rule that goes over several lines.
const AFTER_LINES: usize = 1280;

/// One credential in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Which rule found it.
    pub rule: &'static str,
    /// Line, from 1.
    pub line: u64,
    /// Where the value starts, in bytes.
    pub start: u64,
    /// The value itself. Never shown or stored.
    pub(super) value: Vec<u8>,
}

struct Scanner {
    keywords: AhoCorasick,
    /// For each keyword, the rules it stands for.
    rules: Vec<Vec<usize>>,
    patterns: Vec<OnceLock<Option<Regex>>>,
}

static SCANNER: LazyLock<Option<Scanner>> = LazyLock::new(|| {
    let mut words: Vec<&str> = RULES
        .iter()
        .flat_map(|r| r.keywords.iter().copied())
        .collect();
    words.sort_unstable();
    words.dedup();
    let of = |word: &&str| {
        (0..RULES.len())
            .filter(|i| RULES[*i].keywords.contains(word))
            .collect()
    };
    Some(Scanner {
        rules: words.iter().map(of).collect(),
        keywords: AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .kind(Some(AhoCorasickKind::DFA))
            .start_kind(StartKind::Unanchored)
            .build(&words)
            .ok()?,
        patterns: RULES.iter().map(|_| OnceLock::new()).collect(),
    })
});

/// A pattern, made when it is first needed. That all of them are valid is tested.
fn pattern(scanner: &Scanner, rule: usize) -> Option<&Regex> {
    let made = scanner.patterns[rule].get_or_init(|| {
        RegexBuilder::new(RULES[rule].pattern)
            .unicode(false)
            .multi_line(true)
            .build()
            .ok()
    });
    made.as_ref()
}

/// Reads to the end and gives what it found, in order. Bytes that are no text are nothing to search.
///
/// # Errors
/// The stream can't be read.
pub fn scan(stream: &mut dyn Read, kind: TextKind) -> std::io::Result<Vec<Hit>> {
    scan_sized(stream, kind, 0)
}

/// [`scan`] of a stream of about so many bytes: one of the right size is read at once.
pub(super) fn scan_sized(
    stream: &mut dyn Read,
    kind: TextKind,
    size: u64,
) -> std::io::Result<Vec<Hit>> {
    let mut found = Vec::new();
    let Some(scanner) = SCANNER.as_ref() else {
        return Ok(found);
    };
    let room = usize::try_from(size).map_or(CHUNK, |n| n.min(CHUNK)) + 1;
    let mut buffer: Vec<u8> = Vec::with_capacity(room);
    // Offset of the buffer in the stream, lines before it, and what of it was searched already.
    let (mut offset, mut lines, mut searched) = (0u64, 0u64, 0usize);
    loop {
        let have = buffer.len();
        stream.take(CHUNK as u64).read_to_end(&mut buffer)?;
        let is_end = buffer.len() < have + CHUNK;
        if offset == 0 && have == 0 && is_binary(&buffer) {
            std::io::copy(stream, &mut std::io::sink())?;
            return Ok(found);
        }
        let until = if is_end {
            buffer.len()
        } else {
            buffer.len().saturating_sub(AFTER_LINES + 64).max(searched)
        };
        let mut hits = search(scanner, &buffer, searched..until, kind);
        for hit in &mut hits {
            let at = usize::try_from(hit.start).unwrap_or(0);
            hit.line = lines + newlines(&buffer[..at]) + 1;
            hit.start += offset;
        }
        found.append(&mut hits);
        if is_end {
            found.dedup();
            return Ok(found);
        }
        let gone = until.saturating_sub(BEFORE);
        lines += newlines(&buffer[..gone]);
        offset += gone as u64;
        searched = until - gone;
        buffer.drain(..gone);
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    bytes.iter().map(|b| u64::from(*b == b'\n')).sum()
}

fn is_binary(head: &[u8]) -> bool {
    head[..head.len().min(8192)].contains(&0)
}

/// Hits whose keyword starts in `part`, in order, one for each place.
fn search(scanner: &Scanner, bytes: &[u8], part: Range<usize>, kind: TextKind) -> Vec<Hit> {
    let mut hits: Vec<(usize, Hit)> = Vec::new();
    // For each rule, how far it has looked: a line is searched once however many keywords it has.
    let mut done = vec![0usize; RULES.len()];
    let haystack = &bytes[part.start..];
    for word in scanner.keywords.find_overlapping_iter(haystack) {
        let (start, end) = (part.start + word.start(), part.start + word.end());
        if start >= part.end {
            break;
        }
        for &number in &scanner.rules[word.pattern().as_usize()] {
            let rule = &RULES[number];
            if !rule.scope.covers(kind) {
                continue;
            }
            let window = window(bytes, start, end, rule.multi_line);
            if window.end <= done[number] {
                continue;
            }
            done[number] = window.end;
            if !rules::is_worth_it(rule, &bytes[window.clone()]) {
                continue;
            }
            let Some(regex) = pattern(scanner, number) else {
                continue;
            };
            for captures in regex.captures_iter(&bytes[window.clone()]) {
                hits.extend(judge(number, &captures, window.start).map(|h| (number, h)));
            }
        }
    }
    // The telling rule before the general one where both found the same.
    hits.sort_by_key(|(number, hit)| (hit.start, *number));
    let mut out: Vec<Hit> = Vec::new();
    for (number, hit) in hits {
        let end = |h: &Hit| h.start + h.value.len() as u64;
        let Some(last) = out.last_mut() else {
            out.push(hit);
            continue;
        };
        if hit.start >= end(last) {
            out.push(hit);
        } else if RULES
            .iter()
            .position(|r| r.id == last.rule)
            .is_some_and(|p| number < p)
        {
            *last = hit;
        }
    }
    out
}

/// The line around a keyword, or the part of a long one that a match may lie in.
fn window(bytes: &[u8], start: usize, end: usize, multi_line: bool) -> Range<usize> {
    if multi_line {
        return start..bytes.len().min(end + AFTER_LINES);
    }
    let from = start.saturating_sub(BEFORE);
    let to = bytes.len().min(end + AFTER);
    let line_start = bytes[from..start].iter().rposition(|b| *b == b'\n');
    let line_end = bytes[end..to].iter().position(|b| *b == b'\n');
    line_start.map_or(from, |i| from + i + 1)..line_end.map_or(to, |i| end + i)
}

fn judge(number: usize, captures: &Captures<'_>, offset: usize) -> Option<Hit> {
    let rule = &RULES[number];
    let value = captures.name("v")?;
    let name = captures.name("n").map_or(&b""[..], |n| n.as_bytes());
    let text = std::str::from_utf8(value.as_bytes()).ok()?;
    rules::is_plausible(rule, &String::from_utf8_lossy(name), text).then(|| Hit {
        rule: rule.id,
        line: 0,
        start: (offset + value.start()) as u64,
        value: value.as_bytes().to_vec(),
    })
}

#[cfg(test)]
pub(super) fn all_patterns_compile() -> bool {
    SCANNER
        .as_ref()
        .is_some_and(|s| (0..RULES.len()).all(|i| pattern(s, i).is_some()))
}
