//! The order in which a history is carried over. Knows nothing of what the commits are.

use std::collections::HashSet;
use std::hash::Hash;

use crate::error::Result;

/// Commits that lead to `tips`, every one behind its parents, first parents first. `parents` gives `None` for
/// a commit that is not to come, nor what is before it. However long a history is, the stack of calls is not.
///
/// # Errors
/// Those of `parents`.
pub(crate) fn parents_first<T: Copy + Eq + Hash>(
    tips: impl IntoIterator<Item = T>,
    mut parents: impl FnMut(T) -> Result<Option<Vec<T>>>,
) -> Result<Vec<T>> {
    let (mut seen, mut out) = (HashSet::new(), Vec::new());
    // With `true`: its parents are done.
    let mut stack: Vec<(T, bool)> = tips.into_iter().map(|id| (id, false)).collect();
    stack.reverse();
    while let Some((id, is_ready)) = stack.pop() {
        if is_ready {
            out.push(id);
            continue;
        }
        if !seen.insert(id) {
            continue;
        }
        if let Some(before) = parents(id)? {
            stack.push((id, true));
            stack.extend(before.into_iter().rev().map(|p| (p, false)));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    /// A diamond: 4 is made of 2 and 3, both of 1.
    fn diamond(id: u32) -> Vec<u32> {
        match id {
            4 => vec![2, 3],
            2 | 3 => vec![1],
            _ => Vec::new(),
        }
    }

    #[test]
    fn every_commit_is_behind_its_parents() {
        let order = parents_first([4], |id| Ok(Some(diamond(id)))).unwrap();
        assert_eq!(order, [1, 2, 3, 4]);
        let order = parents_first([3, 4, 3], |id| Ok(Some(diamond(id)))).unwrap();
        assert_eq!(order, [1, 3, 2, 4]);
    }

    #[test]
    fn what_is_known_ends_the_walk() {
        let new = |id| Ok((id > 2).then(|| diamond(id)));
        assert_eq!(parents_first([4], new).unwrap(), [3, 4]);
    }

    #[test]
    fn an_error_ends_it() {
        let broken = |id: u32| match id {
            1 => Err(Error::State("no".into())),
            id => Ok(Some(diamond(id))),
        };
        assert!(parents_first([4], broken).is_err());
    }

    #[test]
    fn a_long_history_needs_no_deep_stack() {
        let line = |id: u32| Ok(Some((id > 0).then(|| id - 1).into_iter().collect()));
        assert_eq!(parents_first([1_000_000], line).unwrap().len(), 1_000_001);
    }
}
