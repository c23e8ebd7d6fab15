//! Large tables with different columns: each is written anew, laid out by the columns of all, and
//! these are merged by key. What that means is said in `table/columns.rs`.

use super::super::super::{Labels, Source};
use super::super::TableError;
use super::super::columns::Columns;
use super::scan::{Writer, batches};
use super::{AsSource, Joined, Room, Scratch, Sides, keyed, lend};

/// Merges three tables by the key that their rows have in `column`.
pub(super) fn merge(
    mut columns: Columns,
    column: &str,
    sides: &mut Sides<'_>,
    labels: &Labels<'_>,
    room: &mut dyn Room,
) -> Result<Joined, TableError> {
    let contested = contested(&columns, column, sides, room)?;
    columns.drop_but(&contested);
    let mut files = Vec::with_capacity(3);
    for (i, side) in sides.iter_mut().enumerate() {
        files.push(lay(&columns, i, lend(side), room)?);
    }
    let mut laid = files.iter_mut().map(|file| AsSource(&mut **file));
    let [mut b, mut o, mut t] = std::array::from_fn(|_| laid.next());
    let mut laid = [&mut b, &mut o, &mut t].map(|s| s.as_mut().map(|s| s as &mut dyn Source));
    let separator = columns.separator();
    let plan = keyed::plan(separator, column, &mut laid, room)?;
    let mut plan = plan.ok_or_else(|| super::beyond("no column names every row once"))?;
    if columns.is_contested() {
        plan.look_at_all();
    }
    let by = (separator, column, Some(&columns));
    keyed::write(by, plan, &mut laid, labels, room)
}

/// The dropped columns whose cells the other side changed, or gave to new rows.
fn contested(
    columns: &Columns,
    column: &str,
    sides: &mut Sides<'_>,
    room: &mut dyn Room,
) -> Result<Vec<String>, TableError> {
    let separator = columns.separator();
    let mut out = Vec::new();
    for keeper in [1, 2] {
        let all = columns.dropped().into_iter().filter(|(_, k)| *k == keeper);
        let names: Vec<String> = all.map(|(name, _)| name).collect();
        let mut differ = |names: &[String]| {
            let (base, others) = sides.split_at_mut(1);
            let pair = [lend(&mut base[0]), lend(&mut others[keeper - 1])];
            keyed::differ((separator, column), names, pair, room)
        };
        if names.is_empty() || !differ(&names)? {
            continue;
        }
        for name in names {
            if differ(std::slice::from_ref(&name))? {
                out.push(name);
            }
        }
    }
    Ok(out)
}

/// One table, laid out.
fn lay(
    columns: &Columns,
    side: usize,
    mut source: Option<&mut dyn Source>,
    room: &mut dyn Room,
) -> Result<Box<dyn Scratch>, TableError> {
    let separator = columns.separator();
    let mut like = batches(lend(&mut source), separator, &mut |_| Ok(true))?;
    like.head = columns.head();
    like.head.push_str(if like.crlf { "\r\n" } else { "\n" });
    let mut file = room.file()?;
    let mut out = Writer::new(&mut *file, &like)?;
    batches(lend(&mut source), separator, &mut |sheet| {
        for at in 0..sheet.rows.len() {
            out.row(&columns.lay(side, sheet.raw(at))?)?;
        }
        Ok(true)
    })?;
    out.finish()?;
    Ok(file)
}
