//! Moving the root by conditional put. Each attempt carries a fresh nonce; an answer that does not
//! say what happened is resolved by reading the root again and looking for that nonce, never by
//! guessing. What can't be resolved is an outcome of its own.

use std::time::{Duration, Instant};

use modelv_core::id::to_hex;

use super::backend::{Backend, PutIf, Version};
use super::root::{self, ListRef, Make, Root};
use super::{Remote, RemoteError, Result, Sent};

/// How long attempts go on.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What became of one attempt.
enum Attempt {
    Won,
    Lost,
}

/// Waits longer after each failure, and never two processes in step.
struct Backoff {
    tries: u32,
    until: Instant,
}

impl Backoff {
    fn new(patience: Duration) -> Self {
        Self {
            tries: 0,
            until: Instant::now() + patience,
        }
    }

    /// Waits; `false` when the time is over.
    fn wait(&mut self) -> bool {
        if Instant::now() >= self.until {
            return false;
        }
        let cap = 20u64 << self.tries.min(7);
        let random = u64::from(u16::from_le_bytes([root::nonce()[0], root::nonce()[1]]));
        std::thread::sleep(Duration::from_millis(cap * random / 65536));
        self.tries += 1;
        true
    }
}

/// See [`Remote::swap`].
pub(crate) fn swap<E: From<RemoteError>>(
    remote: &Remote,
    sent: &Sent,
    patience: Duration,
    make: &mut Make<'_, E>,
) -> Result<Option<Root>, E> {
    let backend = remote.backend.as_ref();
    let mut backoff = Backoff::new(patience);
    loop {
        let found = read(backend, &remote.url)?;
        let base = found.as_ref().map(|(root, _)| root);
        if !sent.relied.holds(remote, base, sent)? {
            let url = remote.url.clone();
            return Err(RemoteError::Collected { url }.into());
        }
        let Some(change) = make(base)? else {
            return Ok(found.map(|(root, _)| root));
        };
        let lists = with_packs(remote, base, sent)?;
        let next = Root::after(base, change, lists);
        let version = found.as_ref().map(|(_, version)| version);
        match attempt(backend, &remote.url, &next, version, &mut backoff)? {
            Attempt::Won => return Ok(Some(next)),
            Attempt::Lost if backoff.wait() => {}
            Attempt::Lost => {
                let url = remote.url.clone();
                return Err(RemoteError::Busy { url }.into());
            }
        }
    }
}

fn read(backend: &dyn Backend, url: &str) -> Result<Option<(Root, Version)>> {
    let found = backend.read(root::KEY, root::BYTES_MAX)?;
    found
        .map(|(bytes, version)| Ok((root::decode_root(url, &bytes)?, version)))
        .transpose()
}

/// Puts one root, and finds out what came of it. The same bytes are sent again as long as the root
/// is the one they replace: all of these are one attempt with one nonce.
fn attempt(
    backend: &dyn Backend,
    url: &str,
    next: &Root,
    expected: Option<&Version>,
    backoff: &mut Backoff,
) -> Result<Attempt> {
    let bytes = root::encode_root(next)?;
    let mut in_doubt = false;
    loop {
        match backend.put_if(root::KEY, &bytes, expected) {
            PutIf::Done => return Ok(Attempt::Won),
            PutIf::Failed(e) if !in_doubt => return Err(e),
            PutIf::Failed(_) | PutIf::Refused => {}
            PutIf::Ambiguous(_) => in_doubt = true,
        }
        if let Ok(now) = read(backend, url) {
            let same = now.as_ref().map(|(_, version)| version) == expected;
            match now {
                Some((root, _)) if root.remembers(&next.nonce) => return Ok(Attempt::Won),
                // So many roots have followed that ours may be forgotten.
                Some((root, _)) if in_doubt && root.seq >= next.seq + root::RECENT_MAX as u64 => {
                    return Err(unknown(url, next));
                }
                // Another root took the place of the one we compared with: ours never can.
                _ if !same => return Ok(Attempt::Lost),
                _ => {}
            }
        }
        if !backoff.wait() {
            if in_doubt {
                return Err(unknown(url, next));
            }
            return Ok(Attempt::Lost);
        }
    }
}

/// Puts a root in the place of exactly one other; `None`: another one is there.
pub(crate) fn replace(remote: &Remote, base: &Root, next: Root) -> Result<Option<Root>> {
    let backend = remote.backend.as_ref();
    let Some((now, version)) = read(backend, &remote.url)? else {
        return Ok(None);
    };
    if now.nonce != base.nonce {
        return Ok(None);
    }
    let mut backoff = Backoff::new(PATIENCE);
    match attempt(backend, &remote.url, &next, Some(&version), &mut backoff)? {
        Attempt::Won => Ok(Some(next)),
        Attempt::Lost => Ok(None),
    }
}

/// Puts all packs into new lists.
pub(crate) fn one_list(remote: &Remote, mut packs: Vec<root::PackInfo>) -> Result<Vec<ListRef>> {
    packs.sort_unstable();
    packs.dedup_by_key(|p| p.name);
    let mut lists = Vec::new();
    for some in packs.chunks(root::LIST_PACKS_MAX) {
        let (list, bytes) = root::encode_list(some.to_vec())?;
        remote.backend.put(&list.key(), &bytes)?;
        lists.push(list);
    }
    Ok(lists)
}

fn unknown(url: &str, next: &Root) -> RemoteError {
    RemoteError::Unknown {
        url: url.to_owned(),
        attempt: to_hex(&next.nonce),
    }
}

/// The lists of the next root: the new packs, merged with short lists at the end, so that the
/// number of lists grows with the logarithm of the number of packs.
fn with_packs(remote: &Remote, base: Option<&Root>, sent: &Sent) -> Result<Vec<ListRef>> {
    let mut lists = base.map(|b| b.lists.clone()).unwrap_or_default();
    if sent.packs.is_empty() {
        return Ok(lists);
    }
    let mut packs = sent.packs.clone();
    while let Some(last) = lists.last() {
        let fits = packs.len() + last.packs as usize <= root::LIST_PACKS_MAX;
        if last.packs as usize > packs.len() || !fits {
            break;
        }
        packs.extend(remote.list(last)?.packs);
        lists.pop();
    }
    let (list, bytes) = root::encode_list(packs)?;
    remote.backend.put(&list.key(), &bytes)?;
    lists.push(list);
    Ok(lists)
}

/// Writers that race in one round.
const RACERS: usize = 4;

/// See [`Remote::check_swap`].
pub(crate) fn probe(backend: &dyn Backend, url: &str) -> Result<()> {
    let key = format!("probe/{}", to_hex(&root::nonce()));
    let done = probe_key(backend, url, &key);
    // Best effort: a leftover of a few bytes harms nobody.
    let _ = backend.delete(&key);
    done
}

fn probe_key(backend: &dyn Backend, url: &str, key: &str) -> Result<()> {
    let no_swap = |detail: String| RemoteError::NoSwap {
        url: url.to_owned(),
        detail,
    };
    let version = || {
        let found = backend.read(key, 1024)?;
        found
            .map(|(_, version)| version)
            .ok_or_else(|| no_swap("an object that was written is not there".into()))
    };
    let created = race(backend, key, None)?;
    if created != 1 {
        let detail = format!("{created} of {RACERS} writers that may only create made the object");
        return Err(no_swap(detail));
    }
    let first = version()?;
    let replaced = race(backend, key, Some(&first))?;
    if replaced != 1 {
        let detail = format!("{replaced} of {RACERS} writers that expect one version replaced it");
        return Err(no_swap(detail));
    }
    if matches!(backend.put_if(key, b"stale", Some(&first)), PutIf::Done) {
        return Err(no_swap("a writer that expects an old version won".into()));
    }
    Ok(())
}

/// How many of several writers with one condition say that they won.
fn race(backend: &dyn Backend, key: &str, expected: Option<&Version>) -> Result<usize> {
    let outcomes: Vec<PutIf> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..RACERS)
            .map(|_| scope.spawn(|| backend.put_if(key, &root::nonce(), expected)))
            .collect();
        racers.into_iter().filter_map(|r| r.join().ok()).collect()
    });
    let mut won = 0;
    for outcome in outcomes {
        match outcome {
            PutIf::Done => won += 1,
            PutIf::Refused => {}
            PutIf::Ambiguous(e) | PutIf::Failed(e) => return Err(e),
        }
    }
    Ok(won)
}
