//! Small files of every kind, made by hand.

pub(super) fn safetensors(tensors: &[(&str, &str, usize)]) -> Vec<u8> {
    let mut json = String::from(r#"{"__metadata__":{"format":"pt"}"#);
    let mut at = 0;
    for (name, dtype, len) in tensors {
        let end = at + len;
        json +=
            &format!(r#","{name}":{{"dtype":"{dtype}","shape":[1],"data_offsets":[{at},{end}]}}"#);
        at = end;
    }
    json.push('}');
    let mut out = (json.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(json.as_bytes());
    out.resize(out.len() + at, 7);
    out
}

pub(super) fn npy(descr: &str, len: usize) -> Vec<u8> {
    let dict = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (1,), }}\n");
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend_from_slice(&u16::try_from(dict.len()).unwrap().to_le_bytes());
    out.extend_from_slice(dict.as_bytes());
    out.resize(out.len() + len, 7);
    out
}

/// A zip of members; with wide fields if asked to.
pub(super) fn zip(members: &[(&str, Vec<u8>)], method: u16, wide: bool) -> Vec<u8> {
    let (mut out, mut central) = (Vec::new(), Vec::new());
    let u16s = |v: &[u16]| v.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
    let u32s = |v: &[u32]| v.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
    for (name, bytes) in members {
        let (at, len) = (out.len() as u64, bytes.len() as u64);
        let name_len = u16::try_from(name.len()).unwrap();
        let [short_len, short_at] = if wide {
            [u32::MAX; 2]
        } else {
            [len, at].map(|n| u32::try_from(n).unwrap())
        };
        let mut extra = Vec::new();
        if wide {
            extra = u16s(&[1, 24]);
            extra.extend([len, len, at].iter().flat_map(|n| n.to_le_bytes()));
        }
        out.extend([&b"PK\x03\x04"[..], &u16s(&[20, 0, method, 0, 0])].concat());
        out.extend([u32s(&[0, 0, 0]), u16s(&[name_len, 3])].concat());
        out.extend([name.as_bytes(), b"pad", bytes].concat());
        central.extend([&b"PK\x01\x02"[..], &u16s(&[20, 20, 0, method, 0, 0])].concat());
        central.extend(u32s(&[0, short_len, short_len]));
        let extra_len = u16::try_from(extra.len()).unwrap();
        central.extend([u16s(&[name_len, extra_len, 0, 0, 0]), u32s(&[0, short_at])].concat());
        central.extend([name.as_bytes(), &extra].concat());
    }
    let (start, len) = (out.len() as u64, central.len() as u64);
    out.extend(&central);
    if wide {
        let record = out.len() as u64;
        out.extend([&b"PK\x06\x06"[..], &[0; 36]].concat());
        out.extend([len, start].iter().flat_map(|n| n.to_le_bytes()));
        out.extend([&b"PK\x06\x07"[..], &[0; 4], &record.to_le_bytes(), &[0; 4]].concat());
    }
    out.extend([&b"PK\x05\x06"[..], &[0; 8]].concat());
    out.extend(if wide {
        u32s(&[u32::MAX; 2])
    } else {
        u32s(&[len, start].map(|n: u64| u32::try_from(n).unwrap()))
    });
    out.extend([0; 2]);
    out
}

pub(super) fn gguf(tensors: &[(&str, u32, u64)], data: usize) -> Vec<u8> {
    let text = |out: &mut Vec<u8>, s: &str| {
        out.extend((s.len() as u64).to_le_bytes());
        out.extend(s.as_bytes());
    };
    let mut out = b"GGUF\x03\0\0\0".to_vec();
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend(3u64.to_le_bytes());
    text(&mut out, "general.alignment");
    out.extend([4u32, 64].iter().flat_map(|n| n.to_le_bytes()));
    text(&mut out, "tokens");
    out.extend([9u32, 8].iter().flat_map(|n| n.to_le_bytes()));
    out.extend(2u64.to_le_bytes());
    text(&mut out, "first");
    text(&mut out, "second");
    text(&mut out, "rope");
    out.extend([12u32, 0, 0].iter().flat_map(|n| n.to_le_bytes()));
    for (name, kind, offset) in tensors {
        text(&mut out, name);
        out.extend(2u32.to_le_bytes());
        out.extend([9u64, 9].iter().flat_map(|n| n.to_le_bytes()));
        out.extend(kind.to_le_bytes());
        out.extend(offset.to_le_bytes());
    }
    out.resize(out.len().next_multiple_of(64) + data, 7);
    out
}

/// A protobuf field of bytes.
pub(super) fn bytes_field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2], &varint(bytes.len() as u64)[..], bytes].concat()
}

/// A protobuf field of a number.
pub(super) fn number_field(number: u8, value: u64) -> Vec<u8> {
    [&[number << 3], &varint(value)[..]].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value > 127 {
        out.push((value & 127) as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// A tensor of ONNX whose data are in a field.
pub(super) fn onnx_tensor(name: &str, kind: u64, field: u8, len: usize) -> Vec<u8> {
    [
        number_field(1, len as u64),
        number_field(2, kind),
        bytes_field(8, name.as_bytes()),
        bytes_field(field, &vec![7; len]),
    ]
    .concat()
}

/// A model of ONNX with initializers, and one tensor in a constant node.
pub(super) fn onnx(initializers: &[Vec<u8>], constant: &[u8]) -> Vec<u8> {
    let attribute = [bytes_field(1, b"value"), bytes_field(5, constant)].concat();
    let node = [bytes_field(2, b"out"), bytes_field(5, &attribute)].concat();
    let mut graph = [bytes_field(1, &node), bytes_field(2, b"graph")].concat();
    for tensor in initializers {
        graph.extend(bytes_field(5, tensor));
    }
    [
        number_field(1, 8),
        bytes_field(2, b"test"),
        bytes_field(7, &graph),
        bytes_field(8, &number_field(2, 17)),
    ]
    .concat()
}

/// A column of Parquet: name, codec, begin, length, begin of its dictionary.
pub(super) type Column<'a> = (&'a str, u64, u64, u64, Option<u64>);

/// A Parquet file of row groups; what lies before the footer is the caller's.
pub(super) fn parquet(groups: &[Vec<Column<'_>>], data: usize) -> Vec<u8> {
    let int = |value: u64| varint(value << 1);
    let list = |count: usize, kind: u8| match u8::try_from(count) {
        Ok(count @ 0..15) => vec![count << 4 | kind],
        _ => [vec![0xf0 | kind], varint(count as u64)].concat(),
    };
    let text = |s: &str| [varint(s.len() as u64), s.as_bytes().to_vec()].concat();
    let column = |(name, codec, start, len, dictionary): &Column<'_>| {
        let mut facts = [vec![0x15], int(5), vec![0x19], list(1, 5), int(0)].concat();
        facts.extend(
            [
                vec![0x19],
                list(2, 8),
                text("root"),
                text(name),
                vec![0x15],
                int(*codec),
            ]
            .concat(),
        );
        facts.extend(
            [
                vec![0x16],
                int(9),
                vec![0x16],
                int(9),
                vec![0x16],
                int(*len),
            ]
            .concat(),
        );
        // Two fields further; a map of statistics is skipped.
        facts.extend([vec![0x26], int(*start)].concat());
        if let Some(at) = dictionary {
            facts.extend([vec![0x26], int(*at)].concat());
        }
        facts.extend([vec![0x0b], int(40), vec![0, 0]].concat());
        [vec![0x26], int(0), vec![0x1c], facts, vec![0]].concat()
    };
    let mut footer = [
        vec![0x15],
        int(1),
        vec![0x19],
        list(0, 12),
        vec![0x16],
        int(9),
    ]
    .concat();
    footer.extend([vec![0x19], list(groups.len(), 12)].concat());
    for columns in groups {
        footer.extend(
            [
                vec![0x19],
                list(columns.len(), 12),
                columns.iter().flat_map(column).collect(),
            ]
            .concat(),
        );
        footer.extend([vec![0x16], int(1), vec![0]].concat());
    }
    footer.extend([vec![0x28], text("by hand"), vec![0]].concat());
    let mut out = b"PAR1".to_vec();
    out.resize(data, 7);
    out.extend(&footer);
    out.extend(u32::try_from(footer.len()).unwrap().to_le_bytes());
    out.extend(b"PAR1");
    out
}

/// A header of tar.
pub(super) fn tar_header(name: &str, kind: u8, size: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 512];
    out[..name.len()].copy_from_slice(name.as_bytes());
    out[124..124 + size.len()].copy_from_slice(size);
    out[156] = kind;
    out[257..265].copy_from_slice(b"ustar\x0000");
    out[148..156].fill(b' ');
    let sum: u32 = out.iter().map(|b| u32::from(*b)).sum();
    out[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    out
}

/// A member of tar with its padding.
pub(super) fn tar_member(name: &str, kind: u8, bytes: &[u8]) -> Vec<u8> {
    let size = format!("{:011o}", bytes.len());
    let mut out = [&tar_header(name, kind, size.as_bytes()), bytes].concat();
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

/// Members, and the end of an archive.
pub(super) fn tar(members: &[Vec<u8>]) -> Vec<u8> {
    [members.concat(), vec![0; 1024]].concat()
}
