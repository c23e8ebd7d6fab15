//! A folder from which any builder makes the image: its layers, and a Dockerfile that puts them together.

use std::fmt::Write;
use std::path::Path;

use modelv_repo::Cancel;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::layout::{blob_path, read_json, read_manifest};
use crate::packing::Packing;
use crate::place::Folder;

/// Writes the folder, which must be empty or missing.
///
/// # Errors
/// The layout is damaged, its layers can't be put together by a Dockerfile, the folder is taken, or it was
/// interrupted: then there is none.
pub fn write_context(layout: &Path, dir: &Path, cancel: &Cancel) -> Result<()> {
    let (_, manifest) = read_manifest(layout)?;
    let digest = manifest["config"]["digest"].as_str().unwrap_or_default();
    let config = read_json(layout, digest)?;
    let folder = Folder::new(dir)?;
    let mut file = String::from(
        "# Puts together the layers of an image that is made already.\nFROM scratch\n",
    );
    let empty = Vec::new();
    let layers = manifest["layers"].as_array().unwrap_or(&empty);
    for (i, layer) in layers.iter().enumerate() {
        cancel.check()?;
        let name = layer["annotations"]["dev.modelv.layer"]
            .as_str()
            .unwrap_or("layer");
        let media = layer["mediaType"].as_str().unwrap_or_default();
        let end = match Packing::of_media(media) {
            Some(Packing::None) => "tar",
            Some(Packing::Gzip) => "tar.gz",
            _ => {
                return Err(refused(
                    layout,
                    "a Dockerfile unpacks no zstd; use `--compression gzip`",
                ));
            }
        };
        let file_name = format!("layer-{i:03}.{end}");
        let from = blob_path(layout, layer["digest"].as_str().unwrap_or_default())?;
        if takes_away(&from).map_err(Error::io("read", &from))? {
            return Err(refused(
                layout,
                "a Dockerfile can't take away what an image below it holds; use another base",
            ));
        }
        let to = folder.path().join(&file_name);
        std::fs::copy(&from, &to).map_err(Error::io("write", &to))?;
        let name: String = name.chars().filter(|c| !c.is_control()).collect();
        let _ = write!(file, "# {name}\nADD {file_name} /\n");
    }
    write_config(&mut file, &config["config"]);
    let to = folder.path().join("Dockerfile");
    std::fs::write(&to, file).map_err(Error::io("write", &to))?;
    folder.publish()
}

/// Whether a layer takes files of layers below it away: a Dockerfile would add what stands for that as files.
fn takes_away(blob: &Path) -> std::io::Result<bool> {
    let packing = Packing::of(blob).map_err(std::io::Error::other)?;
    let packing = packing.map_err(std::io::Error::other)?;
    let input = packing.open(blob).map_err(std::io::Error::other)?;
    for entry in tar::Archive::new(input).entries()? {
        let path = entry?.path_bytes().into_owned();
        let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
        if name.starts_with(b".wh.") {
            return Ok(true);
        }
    }
    Ok(false)
}

fn refused(layout: &Path, detail: &str) -> Error {
    Error::Packing {
        image: layout.display().to_string(),
        detail: detail.into(),
    }
}

/// A value in quotes, as a Dockerfile reads it: `$` would name a variable there.
fn quoted(value: &str) -> String {
    let text = Value::from(value).to_string();
    text.replace('$', "\\$")
}

/// What the configuration says, as instructions.
fn write_config(file: &mut String, config: &Value) {
    let empty = serde_json::Map::new();
    let map = |key: &str| config[key].as_object().unwrap_or(&empty);
    for (key, value) in map("Labels") {
        let value = value.as_str().unwrap_or_default();
        let _ = writeln!(file, "LABEL {}={}", quoted(key), quoted(value));
    }
    // What has a line of its own and is not in quotes could begin an instruction: bases are made by others.
    let is_word = |text: &str| !text.contains(char::is_control);
    for variable in config["Env"].as_array().into_iter().flatten() {
        let pair = variable.as_str().and_then(|v| v.split_once('='));
        if let Some((name, value)) = pair.filter(|(name, _)| is_word(name)) {
            let _ = writeln!(file, "ENV {name}={}", quoted(value));
        }
    }
    for port in map("ExposedPorts").keys().filter(|port| is_word(port)) {
        let _ = writeln!(file, "EXPOSE {port}");
    }
    for (key, word) in [
        ("User", "USER"),
        ("WorkingDir", "WORKDIR"),
        ("StopSignal", "STOPSIGNAL"),
    ] {
        if let Some(value) = config[key].as_str().filter(|value| is_word(value)) {
            let _ = writeln!(file, "{word} {value}");
        }
    }
    let health = &config["Healthcheck"];
    if let Some(("CMD", rest)) = health["Test"]
        .as_array()
        .and_then(|t| Some((t.first()?.as_str()?, &t[1..])))
    {
        let seconds = |key: &str| health[key].as_u64().unwrap_or(0) / 1_000_000_000;
        let command = Value::from(rest.to_vec());
        let _ = writeln!(
            file,
            "HEALTHCHECK --interval={}s --timeout={}s --start-period={}s --retries={} CMD {command}",
            seconds("Interval"),
            seconds("Timeout"),
            seconds("StartPeriod"),
            health["Retries"]
        );
    }
    if config["Entrypoint"].is_array() {
        let _ = writeln!(file, "ENTRYPOINT {}", config["Entrypoint"]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_that_takes_away_is_found() {
        use crate::layer::{Content, Files};
        let dir = tempfile::tempdir().unwrap();
        let packer = crate::packer::Packer::at(dir.path());
        for (path, want) in [("a/.wh.b", true), ("a/.whiskers", false), ("x.wh.y", false)] {
            let mut files = Files::default();
            files.add_file(path, false, Content::Bytes(Vec::new()));
            let layer = packer.pack_files(&files).unwrap();
            let blob = dir.path().join(crate::layer::digits(&layer.digest));
            assert_eq!(takes_away(&blob).unwrap(), want, "{path}");
        }
    }

    #[test]
    fn what_an_image_says_becomes_instructions() {
        let config = serde_json::json!({
            "User": "65532:65532", "WorkingDir": "/a", "Entrypoint": ["/m", "serve"],
            "Env": ["PATH=/x:$HOME"], "Labels": {"k": "a \"b\" $c"}, "ExposedPorts": {"8080/tcp": {}},
            "Healthcheck": {"Test": ["CMD", "/m"], "Interval": 10_000_000_000_u64, "Timeout": 5_000_000_000_u64,
                "StartPeriod": 0, "Retries": 3},
        });
        let mut file = String::new();
        write_config(&mut file, &config);
        let want = "LABEL \"k\"=\"a \\\"b\\\" \\$c\"\nENV PATH=\"/x:\\$HOME\"\nEXPOSE 8080/tcp\nUSER 65532:65532\n\
            WORKDIR /a\nHEALTHCHECK --interval=10s --timeout=5s --start-period=0s --retries=3 CMD [\"/m\"]\n\
            ENTRYPOINT [\"/m\",\"serve\"]\n";
        assert_eq!(file, want);
    }
}
