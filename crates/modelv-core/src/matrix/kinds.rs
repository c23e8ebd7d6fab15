//! Kinds of files, and how each writes its parts.

use super::{Kind, Parts, Unit};

/// All kinds that the merge knows.
pub(super) fn all() -> Vec<Kind> {
    use Unit::{Lines, Together, Whole};
    let kind = |path, write, unit| Kind { path, write, unit };
    let key = Unit::Parts(str::to_owned);
    vec![
        kind("train.py", text, Lines),
        kind("a.toml", toml, key),
        kind("a.json", json, key),
        kind("a.yaml", yaml, key),
        kind("a.ini", ini, Unit::Parts(|p| format!("s.{p}"))),
        kind(".env", env, key),
        kind("requirements.txt", requirements, key),
        kind(
            "pyproject.toml",
            pyproject,
            Unit::Parts(|_| "project.dependencies".into()),
        ),
        kind("uv.lock", lock, key),
        kind("environment.yml", conda, key),
        kind("a.csv", csv, Unit::Parts(|p| format!("row id={p}"))),
        kind("a.tsv", tsv, Unit::Parts(|p| format!("row id={p}"))),
        kind("a.jsonl", jsonl, Unit::Parts(|p| format!("row id=\"{p}\""))),
        kind("a.ipynb", notebook, Unit::Parts(|p| format!("cell {p}"))),
        kind("a.safetensors", safetensors, Together),
        kind("a.npz", npz, Together),
        kind("a.gguf", gguf, Together),
        kind("a.onnx", onnx, Together),
        kind("a.npy", npy, Whole),
        kind("a.png", png, Whole),
        kind("a.parquet", parquet, Whole),
        kind("a.bin", binary, Whole),
    ]
}

/// Each part as a line, or whatever it takes.
fn each(parts: Parts<'_>, head: &str, write: fn(&str, &str) -> String) -> Vec<u8> {
    let parts = parts.iter().map(|(name, value)| write(name, value));
    [head.to_owned()]
        .into_iter()
        .chain(parts)
        .collect::<String>()
        .into_bytes()
}

/// Lines between the parts, so that each can change by itself.
fn text(parts: Parts<'_>) -> Vec<u8> {
    each(parts, "import os\n", |n, v| {
        format!("{n} = {v}\nprint({n})\n")
    })
}

fn toml(parts: Parts<'_>) -> Vec<u8> {
    each(parts, "# about\n", |n, v| format!("{n} = {v} # of {n}\n"))
}

fn json(parts: Parts<'_>) -> Vec<u8> {
    let entries: Vec<String> = parts
        .iter()
        .map(|(n, v)| format!("  \"{n}\": {v}"))
        .collect();
    format!("{{\n{}\n}}\n", entries.join(",\n")).into_bytes()
}

fn yaml(parts: Parts<'_>) -> Vec<u8> {
    each(parts, "# about\n", |n, v| format!("{n}: {v}\n"))
}

fn ini(parts: Parts<'_>) -> Vec<u8> {
    each(parts, "[s]\n", |n, v| format!("{n} = {v}\n"))
}

fn env(parts: Parts<'_>) -> Vec<u8> {
    each(parts, "", |n, v| format!("{n}={v}\n"))
}

fn requirements(parts: Parts<'_>) -> Vec<u8> {
    each(parts, "# pins\n", |n, v| format!("{n}=={v}\n"))
}

fn pyproject(parts: Parts<'_>) -> Vec<u8> {
    let list: Vec<String> = parts
        .iter()
        .map(|(n, v)| format!("    \"{n}>={v}\",\n"))
        .collect();
    format!(
        "[project]\nname = \"x\"\ndependencies = [\n{}]\n",
        list.concat()
    )
    .into_bytes()
}

fn lock(parts: Parts<'_>) -> Vec<u8> {
    let mut out = each(
        parts,
        "version = 1\nrequires-python = \">=3.9\"\n\n",
        |n, v| {
            format!(
                "[[package]]\nname = \"{n}\"\nversion = \"{v}\"\nsource = {{ registry = \"x\" }}\n\n"
            )
        },
    );
    out.pop();
    out
}

fn conda(parts: Parts<'_>) -> Vec<u8> {
    let mut out = each(
        parts,
        "name: x\nchannels:\n  - conda-forge\ndependencies:\n",
        |n, v| format!("  - {n}={v}\n"),
    );
    out.extend(b"prefix: /x\n");
    out
}

fn csv(parts: Parts<'_>) -> Vec<u8> {
    each(parts, "id,text\n", |n, v| format!("{n},\"{v}, {n}\"\n"))
}

fn tsv(parts: Parts<'_>) -> Vec<u8> {
    each(parts, "id\tvalue\n", |n, v| format!("{n}\t{v}\n"))
}

fn jsonl(parts: Parts<'_>) -> Vec<u8> {
    each(parts, "", |n, v| {
        format!("{{\"id\": \"{n}\", \"value\": {v}}}\n")
    })
}

fn notebook(parts: Parts<'_>) -> Vec<u8> {
    let cell = |(n, v): &(&str, &str)| {
        serde_json::json!({
            "cell_type": "code", "id": n, "metadata": {}, "execution_count": 1,
            "outputs": [], "source": [format!("{n} = {v}")],
        })
    };
    let book = serde_json::json!({
        "cells": parts.iter().map(cell).collect::<Vec<_>>(),
        "metadata": {}, "nbformat": 4, "nbformat_minor": 5,
    });
    let mut out = serde_json::to_vec_pretty(&book).unwrap();
    out.push(b'\n');
    out
}

fn number(value: &str) -> [u8; 4] {
    value.parse::<f32>().unwrap().to_le_bytes()
}

fn safetensors(parts: Parts<'_>) -> Vec<u8> {
    let tensor = |(i, (n, _)): (usize, &(&str, &str))| {
        let (begin, end) = (4 * i, 4 * i + 4);
        format!("\"{n}\":{{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[{begin},{end}]}}")
    };
    let header: Vec<String> = parts.iter().enumerate().map(tensor).collect();
    let header = format!("{{{}}}", header.join(","));
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header.as_bytes());
    parts.iter().for_each(|(_, v)| out.extend(number(v)));
    out
}

fn npy(parts: Parts<'_>) -> Vec<u8> {
    let shape = format!("({},)", parts.len());
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    let mut out = [b"\x93NUMPY\x01\x00", length.as_slice(), header.as_bytes()].concat();
    parts.iter().for_each(|(_, v)| out.extend(number(v)));
    out
}

fn npz(parts: Parts<'_>) -> Vec<u8> {
    let (mut out, mut table) = (Vec::new(), Vec::new());
    for part in parts {
        let (name, body) = (format!("{}.npy", part.0), npy(&[*part]));
        let at = u32::try_from(out.len()).unwrap().to_le_bytes();
        let size = u32::try_from(body.len()).unwrap().to_le_bytes();
        let n = u16::try_from(name.len()).unwrap().to_le_bytes();
        let common = [
            &[20, 0, 0, 0, 0, 0],
            [0; 8].as_slice(),
            &size,
            &size,
            &n,
            &[0, 0],
        ]
        .concat();
        out.extend([b"PK\x03\x04", common.as_slice(), name.as_bytes(), &body].concat());
        let entry = [b"PK\x01\x02\x14\x00", common.as_slice(), &[0; 10], &at];
        table.extend([entry.concat().as_slice(), name.as_bytes()].concat());
    }
    let at = u32::try_from(out.len()).unwrap().to_le_bytes();
    let size = u32::try_from(table.len()).unwrap().to_le_bytes();
    out.extend(table);
    out.extend([b"PK\x05\x06", [0; 8].as_slice(), &size, &at, &[0, 0]].concat());
    out
}

/// A value of the same name beside each tensor.
fn gguf(parts: Parts<'_>) -> Vec<u8> {
    let text = |t: &str| [&(t.len() as u64).to_le_bytes()[..], t.as_bytes()].concat();
    let count = (parts.len() as u64).to_le_bytes();
    let mut out = [b"GGUF\x03\0\0\0".as_slice(), &count, &count].concat();
    for (name, value) in parts {
        out.extend([text(name), 8u32.to_le_bytes().to_vec(), text(value)].concat());
    }
    for (i, (name, _)) in parts.iter().enumerate() {
        let head = [
            text(name),
            1u32.to_le_bytes().to_vec(),
            1u64.to_le_bytes().to_vec(),
        ];
        out.extend(head.concat());
        out.extend(0u32.to_le_bytes());
        out.extend((32 * i as u64).to_le_bytes());
    }
    for (_, value) in parts {
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(number(value));
    }
    out
}

/// A graph of a name and initializers.
fn onnx(parts: Parts<'_>) -> Vec<u8> {
    let field =
        |n: u8, body: &[u8]| [&[n << 3 | 2, u8::try_from(body.len()).unwrap()], body].concat();
    let tensor = |(n, v): &(&str, &str)| {
        let tensor = [
            &[8, 1, 16, 1][..],
            &field(8, n.as_bytes()),
            &field(9, &number(v)),
        ]
        .concat();
        field(5, &tensor)
    };
    let tensors: Vec<u8> = parts.iter().flat_map(tensor).collect();
    let graph = [field(2, b"graph"), tensors, field(10, b"about")].concat();
    let producer = field(2, "who made it, in which version ".repeat(4).as_bytes());
    [&[8, 9][..], &producer, &field(7, &graph)].concat()
}

/// A picture of one row.
fn png(parts: Parts<'_>) -> Vec<u8> {
    let width = u32::try_from(parts.len() + 1).unwrap();
    let mut row = vec![0; 3];
    for (name, value) in parts {
        let sum = |s: &str| {
            s.bytes()
                .fold(7u8, |n, b| n.wrapping_mul(31).wrapping_add(b))
        };
        row.extend([sum(name), sum(value), 9]);
    }
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, 1);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&row).unwrap();
    drop(writer);
    out
}

fn parquet(parts: Parts<'_>) -> Vec<u8> {
    use crate::driver::parquet_testing::{TRUTH, Values, write};
    let hash = |s: &str| {
        s.bytes()
            .fold(7i64, |n, b| (n * 31 + i64::from(b)) % 99_991)
    };
    let column = |of: fn(&(&str, &str)) -> String| -> Vec<i64> {
        parts.iter().map(|part| hash(&of(part))).collect()
    };
    let columns = [
        ("id", Values::Int(column(|p| p.0.to_owned()))),
        ("value", Values::Int(column(|p| p.1.to_owned()))),
    ];
    write(&columns, TRUTH)
}

fn binary(parts: Parts<'_>) -> Vec<u8> {
    each(parts, "\0", |n, v| format!("{n}\0{v}\n"))
}
