//! Whether elements of a list that two sides changed are still the same ones. By position alone an
//! edit of one entry would land on another where a side moved, removed or put in an entry.

use crate::value::Value;

/// Fields that name an entry, the surest first.
const NAMES: [&str; 4] = ["id", "uuid", "name", "key"];

/// In longer lists every change counts as a move.
const ELEMENTS_MAX: usize = 1000;

/// Whether lists of one length may be merged element by element: where both sides changed an
/// element, it has one name on all sides, or, without names, no side has moved any.
pub(super) fn stay(base: &[Value], ours: &[Value], theirs: &[Value]) -> bool {
    let is_open = |i: &usize| {
        let (b, o, t) = (&base[*i], &ours[*i], &theirs[*i]);
        !o.same(b) && !t.same(b) && !o.same(t)
    };
    let mut open = (0..base.len()).filter(is_open).peekable();
    if open.peek().is_none() {
        return true;
    }
    let sides = [base, ours, theirs];
    let all_have = |name: &&&str| {
        sides
            .iter()
            .all(|l| l.iter().all(|v| name_of(v, name).is_some()))
    };
    if let Some(name) = NAMES.iter().find(all_have) {
        return open.all(|i| {
            let [b, o, t] = sides.map(|l| name_of(&l[i], name));
            b == o && o == t
        });
    }
    !moved(base, ours) && !moved(base, theirs)
}

fn name_of<'v>(entry: &'v Value, name: &str) -> Option<&'v Value> {
    match entry {
        Value::Map(fields) => fields
            .get(name)
            .filter(|v| !matches!(v, Value::Map(_) | Value::List(_) | Value::Null)),
        _ => None,
    }
}

/// Whether an element stands where another was, and that is there no more.
fn moved(base: &[Value], side: &[Value]) -> bool {
    if base.len() > ELEMENTS_MAX {
        return true;
    }
    let changed: Vec<usize> = (0..base.len())
        .filter(|i| !side[*i].same(&base[*i]))
        .collect();
    let is_from = |i: &usize| changed.iter().any(|j| i != j && side[*i].same(&base[*j]));
    changed.iter().any(is_from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{Format, config_values};

    fn list(text: &str) -> Vec<Value> {
        // Through a file, so that numbers and maps are what files have.
        let doc = format!("l = {text}\n");
        match config_values(Format::Toml, doc.as_bytes())
            .unwrap()
            .remove("l")
        {
            Some(Value::List(items)) => items,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn elements_stay_while_nobody_moved_what_both_changed() {
        for (base, ours, theirs, want) in [
            // One side alone changed each element: whole elements are taken, wherever they come from.
            ("[1, 2, 3]", "[2, 1, 3]", "[1, 2, 9]", true),
            ("[1, 2]", "[3, 2]", "[4, 2]", true),
            ("[1, 2]", "[2, 1]", "[4, 2]", false),
            (
                "[{ name = 'a', x = 1 }, { name = 'b', x = 1 }]",
                "[{ name = 'a', x = 2 }, { name = 'b', x = 1 }]",
                "[{ name = 'a', x = 1, y = 1 }, { name = 'b', x = 3 }]",
                true,
            ),
            (
                "[{ name = 'a', x = 1 }, { name = 'b', x = 1 }]",
                "[{ name = 'a', x = 2 }, { name = 'b', x = 1 }]",
                "[{ name = 'b', x = 1 }, { name = 'a', x = 1 }]",
                false,
            ),
            (
                "[{ name = 'a', x = 1 }, { name = 'b', x = 1 }]",
                "[{ name = 'a', x = 2 }, { name = 'b', x = 1 }]",
                "[{ name = 'b', x = 1 }, { name = 'c', x = 1 }]",
                false,
            ),
            // Without names a move is seen by what stands elsewhere now.
            (
                "[{ x = 1, y = 1 }, { x = 1, y = 2 }]",
                "[{ x = 3, y = 1 }, { x = 1, y = 2 }]",
                "[{ x = 1, y = 1, z = 0 }, { x = 1, y = 2 }]",
                true,
            ),
            (
                "[{ x = 1, y = 1 }, { x = 1, y = 2 }]",
                "[{ x = 3, y = 1 }, { x = 1, y = 2 }]",
                "[{ x = 1, y = 2 }, { x = 1, y = 1 }]",
                false,
            ),
            (
                "[['a', 1], ['b', 1]]",
                "[['a', 5], ['b', 1]]",
                "[['b', 1], ['a', 1]]",
                false,
            ),
        ] {
            let [b, o, t] = [base, ours, theirs].map(list);
            assert_eq!(stay(&b, &o, &t), want, "{base} {ours} {theirs}");
            assert_eq!(stay(&b, &t, &o), want, "{base} {theirs} {ours}");
        }
    }

    #[test]
    fn long_lists_are_not_searched() {
        let base: Vec<Value> = (0..2000).map(Value::Int).collect();
        let change = |to: i64| {
            let mut list = base.clone();
            list[0] = Value::Int(to);
            list
        };
        assert!(stay(&base, &change(-1), &base));
        assert!(!stay(&base, &change(-1), &change(-2)));
    }
}
