//! What lock files say of archives and extras: uv.lock, poetry.lock, pdm.lock, pylock.toml, Pipfile.lock,
//! requirements with hashes, conda-lock. What does not parse says nothing.

use std::collections::{BTreeMap, BTreeSet};

use modelv_core::env::{Package, normal_name};
use modelv_core::requirement::Requirement;
use toml::{Table, Value};

/// Largest lock file that is read, in bytes.
pub(super) const BYTES_MAX: usize = 16 << 20;

/// File name (empty where none is given) and SHA-256 of an archive.
type Archive = (String, [u8; 32]);

/// What all lock files of a working tree say together.
#[derive(Debug, Default)]
pub(super) struct Locked {
    /// Archives by name and version.
    archives: BTreeMap<(String, String), BTreeSet<Archive>>,
    /// Extras that are asked for, by name.
    pub(super) extras: BTreeMap<String, BTreeSet<String>>,
}

impl Locked {
    /// Takes in a lock file by its name.
    pub(super) fn add(&mut self, name: &str, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        match name {
            "uv.lock" | "poetry.lock" | "pdm.lock" | "pylock.toml" => {
                if let Ok(table) = text.parse::<Table>() {
                    self.add_toml(&table);
                }
            }
            "Pipfile.lock" => {
                if let Ok(json) = serde_json::from_str(&text) {
                    self.add_pipfile(&json);
                }
            }
            "conda-lock.yml" => self.add_conda(&text),
            _ if name.ends_with(".txt") => self.add_requirements(&text),
            _ => {}
        }
    }

    /// SHA-256 of the archive that a package was installed from, by the tags in its WHEEL: that of the wheel
    /// with just these, of the source where no wheel has them, or the only one.
    pub(super) fn archive_of(
        &self,
        package: &Package,
        tags: &BTreeSet<String>,
    ) -> Option<[u8; 32]> {
        let key = (package.name.clone(), package.version.clone());
        let known = self.archives.get(&key)?;
        let is_wheel = |name: &str| name.ends_with(".whl");
        let fits = |name: &str| {
            let parts = package.wheel_tags(name.strip_suffix(".whl")?)?;
            (expanded(&parts)? == *tags).then_some(())
        };
        let mut named = known.iter().filter(|(name, _)| fits(name).is_some());
        if let (Some((_, hash)), None) = (named.next(), named.next()) {
            return Some(*hash);
        }
        let others: Vec<_> = known.iter().filter(|(name, _)| !is_wheel(name)).collect();
        match others.as_slice() {
            [(_, hash)] => Some(*hash),
            _ => None,
        }
    }

    fn put(&mut self, package: &str, version: &str, file: &str, hash: &str) {
        let Some(hash) = hash.strip_prefix("sha256:") else {
            return;
        };
        if let Ok(hash) = modelv_core::id::from_hex(&hash.to_ascii_lowercase()) {
            let file = file.split(['?', '#']).next().unwrap_or(file);
            let file = file.rsplit('/').next().unwrap_or(file);
            // Local versions stand escaped in URLs.
            let file = file.replace("%2B", "+").replace("%2b", "+");
            let known = self
                .archives
                .entry((normal_name(package), version.to_owned()));
            known.or_default().insert((file, hash));
        }
    }

    fn add_toml(&mut self, table: &Table) {
        let rows = |key: &str| table.get(key).and_then(Value::as_array);
        for package in rows("package")
            .into_iter()
            .chain(rows("packages"))
            .flatten()
        {
            let text = |key: &str| package.get(key).and_then(Value::as_str).unwrap_or("");
            let (name, version) = (text("name"), text("version"));
            for key in ["wheels", "files"] {
                let files = package.get(key).and_then(Value::as_array);
                files
                    .into_iter()
                    .flatten()
                    .for_each(|f| self.add_file(name, version, f));
            }
            if let Some(source) = package.get("sdist") {
                self.add_file(name, version, source);
            }
            // pdm has a row of its own for a package with extras.
            self.ask(name, package.get("extras"));
            match package.get("dependencies") {
                // uv: a table for each.
                Some(Value::Array(all)) => all.iter().for_each(|d| {
                    let name = d.get("name").and_then(Value::as_str).unwrap_or("");
                    self.ask(name, d.get("extra"));
                }),
                // Poetry: a table for all.
                Some(Value::Table(all)) => {
                    all.iter().for_each(|(n, d)| self.ask(n, d.get("extras")));
                }
                _ => {}
            }
        }
        // Poetry before 1.3 had the hashes of all packages at the end, without versions of their own.
        let old = table
            .get("metadata")
            .and_then(|m| m.get("files")?.as_table());
        for (name, files) in old.into_iter().flatten() {
            let version = rows("package").into_iter().flatten().find_map(|p| {
                let same = p.get("name")?.as_str()? == name;
                p.get("version")?.as_str().filter(|_| same)
            });
            for file in files.as_array().into_iter().flatten() {
                self.add_file(name, version.unwrap_or(""), file);
            }
        }
    }

    fn add_file(&mut self, name: &str, version: &str, file: &Value) {
        let text = |key: &str| file.get(key).and_then(Value::as_str);
        let place = ["file", "name", "url", "path"].iter().find_map(|k| text(k));
        let listed = file.get("hashes").and_then(|h| h.get("sha256")?.as_str());
        let listed = listed.map(|h| format!("sha256:{h}"));
        let hash = text("hash").or(listed.as_deref());
        self.put(name, version, place.unwrap_or(""), hash.unwrap_or(""));
    }

    fn ask(&mut self, name: &str, extras: Option<&Value>) {
        let names = extras.and_then(Value::as_array).into_iter().flatten();
        for extra in names.filter_map(Value::as_str) {
            self.ask_for(name, extra);
        }
    }

    pub(super) fn ask_for(&mut self, name: &str, extra: &str) {
        let known = self.extras.entry(normal_name(name)).or_default();
        known.insert(normal_name(extra));
    }

    fn add_pipfile(&mut self, json: &serde_json::Value) {
        for part in ["default", "develop"] {
            for (name, package) in json[part].as_object().into_iter().flatten() {
                let version = package["version"]
                    .as_str()
                    .unwrap_or("")
                    .trim_start_matches("==");
                for hash in package["hashes"].as_array().into_iter().flatten() {
                    self.put(name, version, "", hash.as_str().unwrap_or(""));
                }
                for extra in package["extras"].as_array().into_iter().flatten() {
                    self.ask_for(name, extra.as_str().unwrap_or(""));
                }
            }
        }
    }

    fn add_requirements(&mut self, text: &str) {
        let joined = text.replace("\\\n", " ").replace("\\\r\n", " ");
        for line in joined.lines() {
            let line = line.split(" #").next().unwrap_or("").trim();
            if line.is_empty() || line.starts_with(['-', '#']) {
                continue;
            }
            let mut words = line.split(" --hash=");
            let Some(demand) = words.next().and_then(|d| Requirement::parse(d.trim())) else {
                continue;
            };
            demand
                .extras
                .iter()
                .for_each(|e| self.ask_for(&demand.name, e));
            let version = line.split("==").nth(1).unwrap_or("");
            let end = |c: char| c.is_whitespace() || ";,".contains(c);
            let version = version.split(end).next().unwrap_or("");
            words.for_each(|hash| self.put(&demand.name, version, "", hash.trim()));
        }
    }

    /// The lines that conda-lock writes: what pip is to install in a conda environment.
    fn add_conda(&mut self, text: &str) {
        let mut fields: BTreeMap<&str, &str> = BTreeMap::new();
        for line in text.lines().chain(["- name: end"]) {
            let is_new = line.trim_start().starts_with("- ");
            if is_new && line.contains("name:") {
                let get = |key: &str| fields.get(key).copied().unwrap_or("");
                if get("manager") == "pip" {
                    let hash = format!("sha256:{}", get("sha256"));
                    self.put(get("name"), get("version"), get("url"), &hash);
                }
                fields.clear();
            }
            if let Some((key, value)) = line.trim_start_matches([' ', '-']).split_once(": ") {
                fields
                    .entry(key)
                    .or_insert(value.trim().trim_matches(['\'', '"']));
            }
        }
    }
}

/// Every tag that the compressed ones of a file name stand for (PEP 425).
fn expanded(parts: &[&str]) -> Option<BTreeSet<String>> {
    let [.., pythons, abis, platforms] = parts else {
        return None;
    };
    let mut out = BTreeSet::new();
    for python in pythons.split('.') {
        for abi in abis.split('.') {
            out.extend(platforms.split('.').map(|p| format!("{python}-{abi}-{p}")));
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first byte of the hash that is found, as it was written.
    fn found(lock: (&str, &str), version: &str, tags: &[&str]) -> Option<u8> {
        let mut locked = Locked::default();
        locked.add(lock.0, lock.1.as_bytes());
        let tags = tags.iter().map(|t| (*t).to_owned()).collect();
        locked
            .archive_of(&Package::new("a-b", version), &tags)
            .map(|h| h[0])
    }

    fn hash(byte: &str) -> String {
        byte.repeat(32)
    }

    const OWN: [&str; 2] = [
        "cp311-cp311-manylinux_2_17_x86_64",
        "cp311-cp311-manylinux2014_x86_64",
    ];

    #[test]
    fn the_wheel_with_the_tags_that_are_installed_is_found() {
        let wheel = "a_b-1.0-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl";
        let (one, two, three) = (hash("01"), hash("02"), hash("03"));
        let uv = format!(
            "[[package]]\nname = \"a-b\"\nversion = \"1.0\"\nsdist = {{ url = \"https://h/a_b-1.0.tar.gz\", hash = \"sha256:{three}\" }}\n\
             wheels = [\n {{ url = \"https://h/x/{wheel}\", hash = \"sha256:{one}\" }},\n \
             {{ url = \"https://h/a_b-1.0-cp312-cp312-win_amd64.whl\", hash = \"sha256:{two}\" }},\n]\n"
        );
        assert_eq!(found(("uv.lock", &uv), "1.0", &OWN), Some(1));
        assert_eq!(found(("uv.lock", &uv), "1.1", &OWN), None);
        assert_eq!(
            found(("uv.lock", &uv), "1.0", &["cp311-cp311-linux_x86_64"]),
            Some(3),
            "built here"
        );
        let poetry = format!(
            "[[package]]\nname = \"A_b\"\nversion = \"1.0\"\nfiles = [\n {{file = \"{wheel}\", hash = \"sha256:{two}\"}}]\n"
        );
        for name in ["poetry.lock", "pdm.lock"] {
            assert_eq!(found((name, &poetry), "1.0", &OWN), Some(2));
        }
        let old = format!(
            "[[package]]\nname = \"a-b\"\nversion = \"1.0\"\n[metadata.files]\na-b = [{{file = \"{wheel}\", hash = \"sha256:{one}\"}}]\n"
        );
        assert_eq!(found(("poetry.lock", &old), "1.0", &OWN), Some(1));
        let pylock = format!(
            "[[packages]]\nname = \"a-b\"\nversion = \"1.0\"\n[[packages.wheels]]\nurl = \"https://h/{wheel}\"\nhashes = {{sha256 = \"{three}\"}}\n"
        );
        assert_eq!(found(("pylock.toml", &pylock), "1.0", &OWN), Some(3));
        let conda = format!(
            "package:\n- name: python\n  version: '3'\n  manager: conda\n  hash:\n    sha256: {one}\n- name: a-b\n  version: '1.0'\n  \
             manager: pip\n  dependencies:\n    numpy: '>=1'\n  url: https://h/{wheel}\n  hash:\n    sha256: {two}\n  category: main\n"
        );
        assert_eq!(found(("conda-lock.yml", &conda), "1.0", &OWN), Some(2));
    }

    #[test]
    fn hashes_without_names_are_taken_where_there_is_one() {
        let (one, two, three) = (hash("01"), hash("02"), hash("03"));
        let text = format!(
            "# x\n-r other.txt\na.b[fast]==1.0 \\\n    --hash=sha256:{one}\nc==2 --hash=sha256:{two}\n"
        );
        assert_eq!(found(("requirements.txt", &text), "1.0", &OWN), Some(1));
        let several = text.replacen("--hash", &format!("--hash=sha256:{three} --hash"), 1);
        assert_eq!(found(("requirements-dev.txt", &several), "1.0", &OWN), None);
        let pipfile = format!(
            "{{\"default\": {{\"a-b\": {{\"version\": \"==1.0\", \"hashes\": [\"sha256:{one}\"], \"extras\": [\"s\"]}}}}}}"
        );
        assert_eq!(found(("Pipfile.lock", &pipfile), "1.0", &OWN), Some(1));
        for (name, text) in [
            ("uv.lock", "[["),
            ("Pipfile.lock", "{"),
            ("uv.lock", "package = 3"),
            ("x.md", "a==1"),
        ] {
            assert_eq!(found((name, text), "1.0", &OWN), None);
        }
    }

    #[test]
    fn extras_that_are_asked_for_are_found() {
        let mut locked = Locked::default();
        locked.add(
            "requirements.txt",
            b"Uvicorn[Standard,x_y]>=0.1 ; python_version > '3'\n",
        );
        locked.add("uv.lock", b"[[package]]\nname = \"a\"\nversion = \"1\"\ndependencies = [{ name = \"b\", extra = [\"e\"] }]\n");
        locked.add("poetry.lock", b"[[package]]\nname = \"a\"\nversion = \"1\"\n[package.dependencies]\nc = {version = \"*\", extras = [\"f\"]}\nd = \"*\"\n");
        let shown: Vec<String> = locked
            .extras
            .iter()
            .map(|(n, e)| format!("{n} {e:?}"))
            .collect();
        assert_eq!(
            shown,
            [r#"b {"e"}"#, r#"c {"f"}"#, r#"uvicorn {"standard", "x-y"}"#]
        );
    }
}
