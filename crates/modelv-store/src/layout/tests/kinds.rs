//! ONNX, Parquet and tar.

use super::make::*;
use super::*;

fn by_content(start: u64, len: u64, group: u32, name: &str) -> Part {
    Part {
        within: Within::Content,
        group,
        ..part(start, len, Content::Unknown, name)
    }
}

/// Where a run of sevens of this length begins.
fn sevens(file: &[u8], len: usize, nth: usize) -> u64 {
    let mut runs = Vec::new();
    let mut at = 0;
    while at < file.len() {
        let run = file[at..].iter().take_while(|b| **b == 7).count();
        if run == len {
            runs.push(at as u64);
        }
        at += run.max(1);
    }
    runs[nth]
}

#[test]
fn onnx_is_cut_at_the_data_of_tensors() {
    let initializers = [
        onnx_tensor("half", 10, 9, 80_000),
        onnx_tensor("small", 1, 9, 1000),
        onnx_tensor("strings", 8, 6, 90_000),
        onnx_tensor("floats", 1, 4, 100_000),
        onnx_tensor("doubles", 11, 10, 110_000),
        onnx_tensor("quarter", 22, 9, 140_000),
    ];
    let file = onnx(&initializers, &onnx_tensor("constant", 16, 9, 70_000));
    let found = layout(&file);
    let want = [
        (70_000, TWO, "constant"),
        (80_000, TWO, "half"),
        (100_000, FOUR, "floats"),
        (110_000, EIGHT, "doubles"),
        (140_000, Content::Unknown, "quarter"),
    ];
    let want =
        want.map(|(len, content, name)| part(sevens(&file, len, 0), len as u64, content, name));
    assert_eq!(found, want);
}

/// What only looks like a model, or holds lengths that lead out of it, is cut by content.
#[test]
fn onnx_that_is_none_gives_no_layout() {
    let tensor = onnx_tensor("w", 1, 9, 80_000);
    let whole = onnx(std::slice::from_ref(&tensor), &[]);
    let longer = [&whole[..], &[0x0a]].concat();
    let mut tensor_out_of_graph = whole.clone();
    // The length of the raw data, three bytes before them.
    let at = usize::try_from(sevens(&whole, 80_000, 0)).unwrap();
    tensor_out_of_graph[at - 1] += 1;
    let group = [number_field(1, 8), vec![0x3b; 70_000]].concat();
    let zeros = [vec![8], vec![0; 70_000]].concat();
    let never_ends = [vec![8], vec![0xff; 70_000]].concat();
    for file in [longer, tensor_out_of_graph, group, zeros, never_ends] {
        assert_eq!(layout(&file), []);
    }
    assert_eq!(layout(&whole).len(), 1);
}

#[test]
fn parquet_is_cut_at_columns_and_row_groups() {
    let groups = [
        vec![
            ("a", 1, 1000, 70_000, Some(900)),
            ("b", 0, 71_000, 100, Some(0)),
            ("c", 0, 71_100, 200, None),
        ],
        vec![("a", 1, 71_300, 300, None), ("b", 0, 80_000, 90_000, None)],
    ];
    let name = |s: &str| format!("root.{s}");
    let packed = Part {
        content: Content::Bytes,
        ..by_content(900, 70_000, 0, &name("a"))
    };
    let small = Part {
        content: Content::Bytes,
        ..by_content(71_300, 300, 1, &name("a"))
    };
    let want = [
        packed,
        by_content(71_000, 300, 0, &name("b")),
        // Not joined to the row group before it.
        small,
        by_content(80_000, 90_000, 1, &name("b")),
    ];
    assert_eq!(layout(&parquet(&groups, 200_000)), want);
}

#[test]
fn parquet_that_lies_gives_no_layout() {
    let column = |start, len| vec![vec![("a", 0, start, len, None)]];
    let whole = parquet(&column(4, 80_000), 100_000);
    assert_eq!(layout(&whole).len(), 1);
    let mut encrypted = whole.clone();
    let end = encrypted.len();
    encrypted[end - 1] = b'E';
    let mut long = whole.clone();
    long[end - 8..end - 4].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut footer_of_lists = whole.clone();
    footer_of_lists.truncate(100_000);
    footer_of_lists.extend([0x19; 4000]);
    footer_of_lists.extend(4000u32.to_le_bytes());
    footer_of_lists.extend(b"PAR1");
    let lies = [
        encrypted,
        long,
        footer_of_lists,
        // Into the footer, and before the file.
        parquet(&column(50_000, 50_001), 100_000),
        parquet(&column(u64::MAX >> 1, 5), 100_000),
        parquet(&column(4, u64::MAX >> 1), 100_000),
    ];
    for (number, lie) in lies.iter().enumerate() {
        assert_eq!(layout(lie), [], "number {number}");
    }
}

#[test]
fn tar_members_are_cut_as_files_of_their_own() {
    let small = tar_member("readme", b'0', &[1; 40_000]);
    let tensors = safetensors(&[("a", "BF16", 100_000), ("b", "F32", 70_000)]);
    let file = tar(&[
        tar_member("folder/", b'5', b""),
        tar_member("models/m.safetensors", b'0', &tensors),
        small.clone(),
        tar_member("text", 0, &[9; 66_000]),
        tar_member("link", b'1', b""),
        tar_member("a.npy", b'0', &npy("<f8", 90_000)),
    ]);
    let member = 1024 + tensors.len() as u64 - 170_000;
    let text = 1024 + (tensors.len() as u64).next_multiple_of(512) + small.len() as u64 + 512;
    let array = sevens(&file, 90_000, 0);
    let grouped = |group, part: Part| Part { group, ..part };
    let want = [
        part(member, 100_000, TWO, "models/m.safetensors\0a"),
        part(member + 100_000, 70_000, FOUR, "models/m.safetensors\0b"),
        by_content(text, 66_000, 1, "text"),
        grouped(2, part(array, 90_000, EIGHT, "a.npy\0")),
    ];
    assert_eq!(layout(&file), want);
    // Without the blocks of zeros it ends with its last member.
    assert_eq!(layout(&file[..file.len() - 1024]), want);
}

#[test]
fn tar_knows_long_sizes_and_names() {
    let mut size = [0u8; 12];
    size[0] = 0x80;
    size[9..].copy_from_slice(&[1, 0x11, 0x70]);
    let binary = [tar_header("x", b'0', &size), vec![7; 70_000], vec![0; 144]].concat();
    let found = layout(&tar(&[binary]));
    assert_eq!(found, [by_content(512, 70_000, 0, "x")]);
    let extended = tar_member("pax", b'x', b"18 path=long/name\n14 size=70000\n");
    let stated_zero = [
        tar_header("x", b'0', b"00000000000"),
        vec![7; 70_000],
        vec![0; 144],
    ]
    .concat();
    let long_name = tar_member("././@LongLink", b'L', b"a/very/long/name");
    let found = layout(&tar(&[long_name, extended, stated_zero]));
    assert_eq!(found, [by_content(5 * 512 - 512 + 512, 70_000, 0, "x")]);
}

#[test]
fn tar_that_lies_gives_no_layout() {
    let good = tar_member("x", b'0', &[7; 70_000]);
    let damaged = {
        let mut second = good.clone();
        second[0] = b'y';
        tar(&[good.clone(), second])
    };
    let lies = [
        damaged,
        tar(&[good.clone(), tar_header("x", b'0', b"77777777777")]),
        tar(&[good.clone(), tar_header("x", b'0', b"9")]),
        tar(&[good.clone(), tar_header("x", b'0', &[0xff; 12])]),
        tar(&[good.clone(), tar_header("sparse", b'S', b"00000000000")]),
        tar(&[good.clone(), tar_member("pax", b'x', b"5 size=1\n")]),
        tar(&[good.clone(), tar_member("pax", b'x', b"no length")]),
        tar(&[good.clone(), tar_member("pax", b'x', &[b'1'; 70_000])]),
        tar(&[good, tar_member("x", b'0', &[7; 70_000])[..1000].to_vec()])[..71_680].to_vec(),
    ];
    for (number, lie) in lies.iter().enumerate() {
        assert_eq!(layout(lie), [], "number {number}");
    }
}
