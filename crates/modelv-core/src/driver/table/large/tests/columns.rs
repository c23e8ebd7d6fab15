//! Tables whose columns differ, small and large.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::driver::table::rows::{Sheet, parts_of};

const CSV: Driver = Driver::Table(',');

/// What a merge of base, ours and theirs comes to, large and small, from both sides.
fn both_ways(driver: Driver, base: &str, ours: &str, theirs: &str) -> [Merged; 2] {
    [[ours, theirs], [theirs, ours]].map(|[o, t]| {
        let versions = [base, o, t].map(Some);
        agree(driver, None, versions);
        small(driver, None, versions)
    })
}

fn items(merged: &Merged) -> Vec<String> {
    let name = |c: &Conflict| match &c.item {
        Item::Key(key) => key.clone(),
        other => format!("{other:?}"),
    };
    merged.conflicts.iter().map(name).collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn columns_of_one_side_meet_the_rows_of_the_other() {
    for (what, base, ours, theirs, want, conflicts) in [
        (
            "added, and a cell edited",
            "id,v\n1,a\n2,b\n3,c\n",
            "id,v,n\n1,a,x\n2,b,y\n3,c,z\n",
            "id,v\n1,a\n2,b\n3,C\n",
            "id,v,n\n1,a,x\n2,b,y\n3,C,z\n",
            vec![],
        ),
        (
            "added in front, and rows added and removed",
            "id,v\n1,a\n2,b\n3,c\n",
            "n,id,v\nx,1,a\ny,2,b\nz,3,c\n",
            "id,v\n1,a\n3,c\n4,d\n",
            "n,id,v\nx,1,a\nz,3,c\n,4,d\n",
            vec![],
        ),
        (
            "dropped, and rows edited elsewhere",
            "id,v,w\n1,a,p\n2,b,q\n",
            "id,w\n1,p\n2,q\n",
            "id,v,w\n1,a,P\n2,b,q\n3,,r\n",
            "id,w\n1,P\n2,q\n3,r\n",
            vec![],
        ),
        (
            "dropped, and its cells edited",
            "id,v,w\n1,a,p\n2,b,q\n",
            "id,w\n1,p\n2,q\n",
            "id,v,w\n1,A,p\n2,b,q\n3,c,r\n",
            "id,v,w\n1,A,p\n2,b,q\n3,c,r\n",
            vec!["column v"],
        ),
        (
            "dropped on both",
            "id,v,w\n1,a,p\n",
            "id,w\n1,p\n",
            "id,w\n1,P\n",
            "id,w\n1,P\n",
            vec![],
        ),
        (
            "moved, and a cell edited",
            "id,v,w\n1,a,p\n2,b,q\n",
            "id,w,v\n1,p,a\n2,q,b\n",
            "id,v,w\n1,A,p\n2,b,q\n",
            "id,w,v\n1,p,A\n2,q,b\n",
            vec![],
        ),
        (
            "moved where some cells are alike, so that lines would meet",
            "id,v,w\n1,a,a\n2,b,b\n3,c,c\n4,d,d\n5,e,f\n",
            "id,w,v\n1,a,a\n2,b,b\n3,c,c\n4,d,d\n5,f,e\n",
            "id,v,w\n1,a,a\n2,b,b\n9,l,r\n3,c,c\n4,d,d\n5,e,f\n",
            "id,w,v\n1,a,a\n2,b,b\n9,r,l\n3,c,c\n4,d,d\n5,f,e\n",
            vec![],
        ),
        (
            "different ones on both",
            "id,v\n1,a\n2,b\n",
            "id,v,n\n1,a,x\n2,b,y\n",
            "id,v,m\n1,a,7\n2,b,8\n",
            "id,v,n,m\n1,a,x,7\n2,b,y,8\n",
            vec![],
        ),
        (
            "the same on both, with the same cells but one",
            "id,v\n1,a\n2,b\n",
            "id,v,n\n1,a,x\n2,b,y\n",
            "id,v,n\n1,a,x\n2,b,Y\n",
            "",
            vec!["row id=2"],
        ),
        (
            "a row removed under a new column, and one edited",
            "id,v\n1,a\n2,b\n",
            "id,v,n\n1,a,x\n2,B,y\n",
            "id,v\n",
            "",
            vec!["row id=2"],
        ),
        (
            "a row of one key on both, in different columns",
            "id,v\n1,a\n",
            "id,v,n\n1,a,x\n2,b,y\n",
            "id,v\n1,a\n2,b\n",
            "id,v,n\n1,a,x\n2,b,y\n",
            vec![],
        ),
        (
            "renamed in its place, and a cell beside edited",
            "id,v\n1,a\n2,b\n",
            "id,name\n1,a\n2,b\n",
            "id,v\n1,A\n2,b\n",
            "id,name\n1,A\n2,b\n",
            vec![],
        ),
        (
            "renamed and moved is another column",
            "id,v,w\n1,a,p\n",
            "id,w,u\n1,p,a\n",
            "id,v,w\n1,A,p\n",
            "",
            vec!["column v"],
        ),
        (
            "quotes, line ends within and without, a byte order mark, no final line end",
            "\u{feff}id,\"v\"\r\n1,\"a\r\nb\"\r\n2,c",
            "\u{feff}id,\"v\",n\r\n1,\"a\r\nb\",\"x,y\"\r\n2,c,z",
            "\u{feff}id,\"v\"\r\n1,\"A\r\nb\"\r\n2,c",
            "\u{feff}id,\"v\",n\r\n1,\"A\r\nb\",\"x,y\"\r\n2,c,z",
            vec![],
        ),
    ] {
        for (way, merged) in both_ways(CSV, base, ours, theirs).iter().enumerate() {
            assert_eq!(items(merged), conflicts, "{what}");
            if way == 0 && !want.is_empty() || conflicts.is_empty() {
                assert_eq!(String::from_utf8_lossy(&merged.bytes), want, "{what}");
            }
        }
    }
    let [tsv, _] = both_ways(
        Driver::Table('\t'),
        "id\tv\n1\ta\n2\tb\n",
        "id\tv\tn\n1\ta\t\"x\n2\tb\ty\n",
        "id\tv\n1\tA\n2\tb\n",
    );
    assert_eq!(tsv.bytes, b"id\tv\tn\n1\tA\t\"x\n2\tb\ty\n");
    let [lines, _] = both_ways(
        Driver::JsonLines,
        "{\"id\":1,\"v\":\"a\"}\n{\"id\":2,\"v\":\"b\"}\n",
        "{\"id\":1,\"v\":\"a\",\"n\":1}\n{\"id\":2,\"v\":\"b\",\"n\":2}\n",
        "{\"id\":1,\"v\":\"A\"}\n{\"id\":2,\"v\":\"b\"}\n",
    );
    assert_eq!(
        lines.bytes,
        b"{\"id\":1,\"v\":\"A\",\"n\":1}\n{\"id\":2,\"v\":\"b\",\"n\":2}\n"
    );
}

/// Puts decisions into a small and a large table, one by one and at once.
fn settled(merged: &Merged, decisions: &[(&str, Option<&str>)]) -> String {
    let mut bytes = merged.bytes.clone();
    for (item, value) in decisions {
        bytes = settle_small(CSV, &bytes, &Item::Key((*item).into()), *value).unwrap();
    }
    let (mut source, mut room) = (Cursor::new(&merged.bytes), InMemory::default());
    let large = settle(Some(','), &mut source, decisions, &mut room).unwrap();
    let small = String::from_utf8(bytes).unwrap();
    assert_eq!(text(large), small, "{decisions:?}");
    small
}

#[test]
fn a_dropped_column_is_decided_by_its_cells() {
    let [merged, turned] = both_ways(
        CSV,
        "id,v,w\n1,a,p\n2,b,q\n3,c,r\n",
        "id,w\n1,O\n2,q\n3,r\n",
        "id,v,w\n1,A,T\n2,\"B,b\",q\n3,c,r\n",
    );
    assert_eq!(items(&merged), ["column v", "row id=1"]);
    let [column, row] = [&merged.conflicts[0], &merged.conflicts[1]];
    let edits = Some("{\"id=1\":\"A\",\"id=2\":\"B,b\"}");
    assert_eq!(
        column.base.as_deref(),
        Some("{\"id=1\":\"a\",\"id=2\":\"b\"}")
    );
    assert_eq!(
        (column.ours.as_deref(), column.theirs.as_deref()),
        (None, edits)
    );
    assert_eq!(turned.conflicts[0].ours.as_deref(), edits);
    assert_eq!(
        row.ours.as_deref(),
        Some("{\"id\":\"1\",\"v\":\"A\",\"w\":\"O\"}")
    );
    let (c, r) = ("column v", "row id=1");
    let of = |x: &Conflict, n: usize| [&x.base, &x.ours, &x.theirs][n].clone();
    for (column_to, row_to, want) in [
        (1, 1, "id,w\n1,O\n2,q\n3,r\n"),
        (1, 2, "id,w\n1,T\n2,q\n3,r\n"),
        (2, 1, "id,v,w\n1,A,O\n2,\"B,b\",q\n3,c,r\n"),
    ] {
        let (cells, cell) = (of(column, column_to), of(row, row_to));
        // In any order, for a row says which of its cells is which.
        let decisions = [(c, cells.as_deref()), (r, cell.as_deref())];
        assert_eq!(settled(&merged, &decisions), want);
        assert_eq!(settled(&merged, &[decisions[1], decisions[0]]), want);
    }
    let base = of(column, 0);
    assert_eq!(
        settled(&merged, &[(c, base.as_deref())]),
        "id,v,w\n1,a,O\n2,b,q\n3,c,r\n"
    );
    assert_eq!(
        settled(&merged, &[(c, Some("{\"id=3\":\"say \\\"hi\\\"\"}"))]),
        "id,v,w\n1,A,O\n2,\"B,b\",q\n3,\"say \"\"hi\"\"\",r\n"
    );
    for (item, value, word) in [
        ("column x", None, "no column `x`"),
        ("column v", Some("A"), "no object of cells"),
        ("column v", Some("{\"1\":\"A\"}"), "names no row"),
    ] {
        let said = settle_small(CSV, &merged.bytes, &Item::Key(item.into()), value).unwrap_err();
        assert!(said.to_string().contains(word), "{said}");
        let mut source = Cursor::new(&merged.bytes);
        assert!(
            settle(
                Some(','),
                &mut source,
                &[(item, value)],
                &mut InMemory::default()
            )
            .is_err()
        );
    }
}

/// A table: names of the columns behind the key, and cells by key.
#[derive(Debug, Clone)]
struct Model {
    columns: Vec<char>,
    rows: Vec<(u8, BTreeMap<char, String>)>,
}

#[derive(Debug, Clone)]
enum Edit {
    AddColumn(usize, char, u8),
    DropColumn(usize),
    MoveColumn(usize, usize),
    Set(usize, usize, u8),
    AddRow(usize, u8, u8),
    RemoveRow(usize),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        3 => (0..6usize, prop::char::range('p', 's'), 0..3u8).prop_map(|(i, c, v)| Edit::AddColumn(i, c, v)),
        2 => (0..6usize).prop_map(Edit::DropColumn),
        1 => (0..6usize, 0..6usize).prop_map(|(i, j)| Edit::MoveColumn(i, j)),
        4 => (0..12usize, 0..6usize, 0..3u8).prop_map(|(i, c, v)| Edit::Set(i, c, v)),
        2 => (0..12usize, 12..16u8, 0..3u8).prop_map(|(i, k, v)| Edit::AddRow(i, k, v)),
        1 => (0..12usize).prop_map(Edit::RemoveRow),
    ];
    prop::collection::vec(edit, 0..6)
}

impl Model {
    fn base(count: u8) -> Self {
        let columns = vec!['a', 'b', 'c'];
        let cells = |i: u8| columns.iter().map(move |c| (*c, format!("{c}{}", i % 3)));
        let rows = (0..count).map(|i| (i, cells(i).collect())).collect();
        Self { columns, rows }
    }

    fn edited(&self, edits: &[Edit]) -> Self {
        let mut out = self.clone();
        let value = |v: u8| ["", "new", "\"x,\"\"y\""][usize::from(v)].to_owned();
        for edit in edits {
            let (wide, long) = (out.columns.len(), out.rows.len());
            match *edit {
                Edit::AddColumn(at, name, v) if !out.columns.contains(&name) => {
                    out.columns.insert(at.min(wide), name);
                    let fill = |(k, row): &mut (u8, BTreeMap<char, String>)| {
                        row.insert(
                            name,
                            if v == 0 {
                                format!("{name}{k}")
                            } else {
                                value(v)
                            },
                        );
                    };
                    out.rows.iter_mut().for_each(fill);
                }
                Edit::DropColumn(at) if at < wide => {
                    let name = out.columns.remove(at);
                    out.rows
                        .iter_mut()
                        .for_each(|(_, row)| drop(row.remove(&name)));
                }
                Edit::MoveColumn(from, to) if from < wide => {
                    let name = out.columns.remove(from);
                    out.columns.insert(to.min(wide - 1), name);
                }
                Edit::Set(row, column, v) if row < long && column < wide => {
                    out.rows[row].1.insert(out.columns[column], value(v));
                }
                Edit::AddRow(at, key, v) if out.rows.iter().all(|(k, _)| *k != key) => {
                    let cells = out.columns.iter().map(|c| (*c, value(v)));
                    out.rows.insert(at.min(long), (key, cells.collect()));
                }
                Edit::RemoveRow(at) if at < long => drop(out.rows.remove(at)),
                _ => {}
            }
        }
        out
    }

    fn write(&self) -> String {
        let names: String = self.columns.iter().map(|c| format!(",{c}")).collect();
        let mut out = format!("id{names}\n");
        for (key, row) in &self.rows {
            let cells: String = self
                .columns
                .iter()
                .map(|c| format!(",{}", row[c]))
                .collect();
            out += &format!("{key}{cells}\n");
        }
        out
    }

    fn read(text: &str) -> Self {
        let sheet = Sheet::read(text.as_bytes(), Some(',')).unwrap();
        let columns: Vec<char> = sheet.header[1..]
            .iter()
            .map(|n| n.chars().next().unwrap())
            .collect();
        let row = |at| {
            let parts = parts_of(sheet.raw(at), ',');
            let cells = columns
                .iter()
                .zip(&parts[1..])
                .map(|(c, p)| (*c, (*p).to_owned()));
            (parts[0].parse().unwrap(), cells.collect())
        };
        let rows = (0..sheet.rows.len()).map(row).collect();
        Self { columns, rows }
    }

    fn cell(&self, key: u8, column: char) -> Option<&String> {
        self.row(key)?.get(&column)
    }

    fn row(&self, key: u8) -> Option<&BTreeMap<char, String>> {
        self.rows
            .iter()
            .find(|(k, _)| *k == key)
            .map(|(_, row)| row)
    }
}

/// The same where another name at one place is a rename.
fn by_place(models: [&Model; 4]) -> [Model; 4] {
    let [_, b, o, t] = models.map(|m| &m.columns);
    let still = |x: &[char], y: &[char]| {
        let at = |c: &char| y.iter().position(|d| d == c);
        x.len() == y.len()
            && x.iter()
                .enumerate()
                .all(|(i, c)| at(c).is_none_or(|j| i == j))
    };
    let is_still = still(b, o) && still(b, t) && still(o, t);
    models.map(|model| {
        if !is_still {
            return model.clone();
        }
        let names = || model.columns.iter().zip('A'..);
        let cells =
            |row: &BTreeMap<char, String>| names().map(|(c, n)| (n, row[c].clone())).collect();
        Model {
            columns: names().map(|(_, n)| n).collect(),
            rows: model.rows.iter().map(|(k, row)| (*k, cells(row))).collect(),
        }
    })
}

/// Each cell that a side alone wrote is in the result or to be decided, and what it took away of what
/// the other left alone is not there.
fn nothing_is_lost(merged: &Merged, base: &Model, side: &Model, other: &Model) {
    let items: BTreeSet<String> = items(merged).into_iter().collect();
    if items.iter().any(|i| i.starts_with("Lines")) {
        return;
    }
    let result = Model::read(std::str::from_utf8(&merged.bytes).unwrap());
    let models = [&result, base, side, other];
    // A name at the same place is a rename or another column, as the cells have it.
    let as_named = first_loss(&items, models);
    let renamed = by_place(models);
    let lost = as_named.and_then(|lost| {
        first_loss(&items, renamed.each_ref())?;
        Some(lost)
    });
    assert_eq!(lost, None);
}

/// The first cell or column that is lost, or that is back.
fn first_loss(
    items: &BTreeSet<String>,
    [result, base, side, other]: [&Model; 4],
) -> Option<String> {
    let is_open = |key: u8, column: char| {
        items.contains(&format!("row id={key}")) || items.contains(&format!("column {column}"))
    };
    for (key, row) in &side.rows {
        for (column, cell) in row {
            if base.cell(*key, *column) == Some(cell) || is_open(*key, *column) {
                continue;
            }
            let removed = base.row(*key).is_some() && other.row(*key).is_none();
            let is_new = !base.columns.contains(column);
            let dropped = !is_new && !other.columns.contains(column);
            let may_go =
                removed && is_new || dropped && cell.is_empty() && base.row(*key).is_none();
            let found = result.cell(*key, *column);
            if found != Some(cell) && !may_go {
                return Some(format!("{key} {column} {cell:?}: {found:?}"));
            }
        }
    }
    for column in &base.columns {
        let gone = !side.columns.contains(column) && !items.contains(&format!("column {column}"));
        if gone && result.columns.contains(column) {
            return Some(format!("{column} is back"));
        }
    }
    for column in &side.columns {
        let theirs = base.columns.contains(column) && !other.columns.contains(column);
        if !theirs && !result.columns.contains(column) {
            return Some(format!("{column} is gone"));
        }
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn no_column_row_or_cell_is_lost(count in 0..12u8, a in edits(), b in edits()) {
        let base = Model::base(count);
        let (ours, theirs) = (base.edited(&a), base.edited(&b));
        let [forward, backward] = both_ways(CSV, &base.write(), &ours.write(), &theirs.write());
        prop_assert_eq!(items(&forward), items(&backward));
        if forward.conflicts.is_empty() {
            prop_assert_eq!(&forward.bytes, &backward.bytes);
        }
        nothing_is_lost(&forward, &base, &ours, &theirs);
        nothing_is_lost(&forward, &base, &theirs, &ours);
        // What is to be decided can be, for one side, in any order.
        if forward.conflicts.iter().all(|c| matches!(c.item, Item::Key(_))) && !forward.conflicts.is_empty() {
            let names = items(&forward);
            let mut decisions: Vec<(&str, Option<&str>)> = names.iter().map(String::as_str)
                .zip(forward.conflicts.iter().map(|c| c.theirs.as_deref())).collect();
            let first = settled(&forward, &decisions);
            decisions.reverse();
            let mut rows = Model::read(&first).rows;
            let mut again = Model::read(&settled(&forward, &decisions)).rows;
            rows.sort_unstable_by_key(|(k, _)| *k);
            again.sort_unstable_by_key(|(k, _)| *k);
            prop_assert_eq!(rows, again);
        }
    }
}

#[test]
fn a_column_in_the_place_of_another_is_no_rename() {
    let base = "id,a,b\n1,1,9\n2,2,8\n3,3,7\n";
    let replaced = "id,a,weight\n1,1,0.5\n2,2,0.25\n3,3,0.125\n";
    let renamed = "id,a,weight\n1,1,9\n2,2,8\n3,3,7\n";
    let added = "id,a,b\n1,1,9\n2,2,8\n3,3,7\n4,4,6\n";
    let merged = merge_by(
        CSV,
        None,
        [base, replaced, added].map(|t| Some(t.as_bytes())),
        &LABELS,
    );
    assert_eq!(items(&merged), ["column b"]);
    let joined = large(CSV, None, [Some(base), Some(replaced), Some(added)]);
    assert_eq!(joined.unwrap().1.len(), 1);
    let merged = merge_by(
        CSV,
        None,
        [base, renamed, added].map(|t| Some(t.as_bytes())),
        &LABELS,
    );
    assert_eq!(
        std::str::from_utf8(&merged.bytes).unwrap(),
        format!("{renamed}4,4,6\n")
    );
}

#[test]
fn a_decision_about_a_row_that_is_not_there_is_refused() {
    let table = "id,a\n1,1\n";
    let settled = |value| {
        settle_small(
            CSV,
            table.as_bytes(),
            &Item::Key("column a".into()),
            Some(value),
        )
    };
    assert_eq!(settled("{\"id=1\": 5}").unwrap(), b"id,a\n1,5\n");
    let e = settled("{\"id=7\": \"z\"}").unwrap_err();
    assert!(e.to_string().contains("the table has no row `id=7`"), "{e}");
}
