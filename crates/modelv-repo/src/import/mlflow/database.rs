//! MLflow's SQLite database. It is opened to be read only.

use std::path::{Path, PathBuf};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row};

use super::{Foreign, Tracked, bad, local, point};
use crate::ctx::Ctx;
use crate::error::Result;
use crate::run::Point;

/// A database.
pub(super) struct Database {
    path: PathBuf,
    connection: Connection,
}

impl Database {
    /// Opens a database.
    ///
    /// # Errors
    /// It is none, or not one of MLflow's.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(|e| bad(path, e))?;
        let out = Self {
            path: path.to_owned(),
            connection,
        };
        for table in ["runs", "params", "metrics", "tags", "experiments"] {
            if !out.has(table)? {
                return Err(bad(path, format!("it has no table `{table}`")));
            }
        }
        Ok(out)
    }

    fn has(&self, table: &str) -> Result<bool> {
        let text = "select count(*) from sqlite_master where type = 'table' and name = ?1";
        let found = self
            .connection
            .query_row(text, [table], |row| row.get::<_, i64>(0));
        found.map(|n| n > 0).map_err(|e| bad(&self.path, e))
    }

    /// Calls `each` with every row.
    fn rows(
        &self,
        text: &str,
        of: Option<&str>,
        mut each: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
    ) -> Result<()> {
        let mut run = || -> rusqlite::Result<()> {
            let mut statement = self.connection.prepare(text)?;
            let mut rows = match of {
                Some(id) => statement.query([id])?,
                None => statement.query([])?,
            };
            while let Some(row) = rows.next()? {
                each(row)?;
            }
            Ok(())
        };
        run().map_err(|e| bad(&self.path, e))
    }

    fn pairs(&self, table: &str, run: &str) -> Result<Vec<(String, String)>> {
        let mut out = Vec::new();
        let text = format!("select key, value from {table} where run_uuid = ?1 order by key");
        self.rows(&text, Some(run), |row| {
            out.push((text_at(row, 0)?, text_at(row, 1)?));
            Ok(())
        })?;
        Ok(out)
    }
}

/// A column as text; NULL is none.
fn text_at(row: &Row<'_>, at: usize) -> rusqlite::Result<String> {
    Ok(match row.get_ref(at)? {
        ValueRef::Null => String::new(),
        ValueRef::Integer(n) => n.to_string(),
        ValueRef::Real(n) => n.to_string(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            String::from_utf8_lossy(bytes).into_owned()
        }
    })
}

impl Tracked for Database {
    fn runs(&self, ctx: &Ctx<'_>) -> Result<Vec<Foreign>> {
        let mut out = Vec::new();
        let text = "select r.run_uuid, e.name, r.name, r.status, coalesce(r.start_time, 0), \
                    coalesce(r.end_time, r.start_time, 0), r.artifact_uri \
                    from runs r left join experiments e on e.experiment_id = r.experiment_id \
                    where r.lifecycle_stage = 'active' order by r.start_time, r.run_uuid";
        self.rows(text, None, |row| {
            let artifacts = text_at(row, 6)?;
            out.push(Foreign {
                id: text_at(row, 0)?,
                experiment: text_at(row, 1)?,
                name: text_at(row, 2)?,
                status: text_at(row, 3)?,
                start: row.get(4)?,
                end: row.get(5)?,
                artifacts: vec![(String::new(), artifacts)],
                ..Foreign::default()
            });
            Ok(())
        })?;
        let has_models = self.has("logged_models")?;
        for run in &mut out {
            ctx.cancel.check()?;
            run.params = self.pairs("params", &run.id)?;
            run.tags = self.pairs("tags", &run.id)?.into_iter().collect();
            if has_models {
                let text = "select name, artifact_location from logged_models where \
                            source_run_id = ?1 and lifecycle_stage = 'active' order by name";
                let models = &mut run.artifacts;
                self.rows(text, Some(&run.id), |row| {
                    models.push((text_at(row, 0)?, text_at(row, 1)?));
                    Ok(())
                })?;
            }
        }
        Ok(out)
    }

    fn points(&self, run: &Foreign, each: &mut dyn FnMut(Point) -> Result<()>) -> Result<()> {
        let text = "select key, value, step, timestamp, is_nan from metrics where run_uuid = ?1 \
                    order by key, step, timestamp";
        let mut failed = None;
        self.rows(text, Some(&run.id), |row| {
            let is_nan: i64 = row.get(4)?;
            let value = if is_nan == 0 { row.get(1)? } else { f64::NAN };
            let found = point(&text_at(row, 0)?, value, row.get(2)?, row.get(3)?);
            if failed.is_none() {
                failed = each(found).err();
            }
            Ok(())
        })?;
        failed.map_or(Ok(()), Err)
    }

    fn place(&self, uri: &str) -> Option<PathBuf> {
        let path = local(uri)?;
        let beside = self.path.parent().unwrap_or(Path::new("."));
        if beside.join(&path).exists() {
            return Some(beside.join(path));
        }
        // A project that was moved: MLflow notes whole paths.
        let parts: Vec<_> = path.iter().collect();
        let at = parts.iter().rposition(|part| *part == "mlruns")?;
        let here = beside.join(parts[at..].iter().collect::<PathBuf>());
        // One that nothing was logged to is not made.
        Some(if here.exists() { here } else { path })
    }
}
