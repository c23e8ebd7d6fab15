use std::io::{Cursor, Write as _};

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};

use super::*;

fn scanned(name: &str, bytes: &[u8]) -> Scan {
    scan(name, &mut Cursor::new(bytes)).unwrap()
}

fn reasons(name: &str, bytes: &[u8]) -> (Verdict, Vec<String>) {
    let found = scanned(name, bytes);
    let reasons = found.findings.iter().map(Finding::to_string).collect();
    (found.verdict(), reasons)
}

const EVIL: &[u8] = b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R.";
const PLAIN: &[u8] = b"\x80\x02]K\x01a.";

/// A zip; method 8 deflates. `flags` go into both headers, checksums are zero.
fn zip(members: &[(&str, &[u8])], method: u16, flags: u16) -> Vec<u8> {
    let (mut out, mut table) = (Vec::new(), Vec::new());
    for (name, plain) in members {
        let at = u32::try_from(out.len()).unwrap();
        let packed = if method == 8 {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        } else {
            plain.to_vec()
        };
        let small = |n: usize| u32::try_from(n).unwrap().to_le_bytes();
        let name_len = u16::try_from(name.len()).unwrap().to_le_bytes();
        let common = [
            [20, 0].as_slice(),
            &flags.to_le_bytes(),
            &method.to_le_bytes(),
            &[0; 8],
            &small(packed.len()),
            &small(plain.len()),
            &name_len,
            &[0, 0],
        ]
        .concat();
        out.extend([b"PK\x03\x04", common.as_slice(), name.as_bytes(), &packed].concat());
        table.extend(
            [
                b"PK\x01\x02\x14\x00",
                common.as_slice(),
                &[0; 10],
                &at.to_le_bytes(),
                name.as_bytes(),
            ]
            .concat(),
        );
    }
    let (at, size) = (
        u32::try_from(out.len()).unwrap(),
        u32::try_from(table.len()).unwrap(),
    );
    out.extend(table);
    out.extend(
        [
            b"PK\x05\x06",
            [0; 8].as_slice(),
            &size.to_le_bytes(),
            &at.to_le_bytes(),
            &[0, 0],
        ]
        .concat(),
    );
    out
}

#[test]
fn what_runs_code_is_dangerous_whatever_the_file_is_called() {
    let evil = (Verdict::Dangerous, vec!["imports os.system".to_owned()]);
    for name in ["m.pkl", "m.bin", "README", "m.safetensors"] {
        assert_eq!(reasons(name, EVIL), evil, "{name}");
    }
    assert_eq!(reasons("m.pkl", b"(S'id'\nios\nsystem\n."), evil);
    assert_eq!(reasons("noname", b"cos\nsystem\n(S'id'\ntR."), evil);
    // The second of two, and one behind a harmless one.
    assert_eq!(reasons("m.pkl", &[PLAIN, EVIL].concat()), evil);
    let cut = reasons("m.pkl", &EVIL[..EVIL.len() - 2]);
    assert_eq!(cut.0, Verdict::Dangerous);
    assert!(
        cut.1.contains(&"imports os.system".into()) && cut.1.len() == 2,
        "{cut:?}"
    );
    let mut gz = GzEncoder::new(Vec::new(), Compression::best());
    gz.write_all(EVIL).unwrap();
    assert_eq!(reasons("m.joblib", &gz.finish().unwrap()), evil);
}

#[test]
fn archives_are_looked_through_as_programs_read_them() {
    let found = |m: &[(&str, &[u8])], method, flags| reasons("m.pt", &zip(m, method, flags));
    let want = |member: &str| format!("{member}: imports os.system");
    for (method, flags) in [(0, 0), (8, 0), (0, 1), (0, 8)] {
        let one = found(
            &[("m/data.pkl", EVIL), ("m/data/0", b"\0\0\0\0")],
            method,
            flags,
        );
        assert_eq!(one, (Verdict::Dangerous, vec![want("m/data.pkl")]));
    }
    let two = found(&[("m/data.pkl", PLAIN), ("x/data.pkl", EVIL)], 0, 0);
    assert_eq!(two.1[0], want("x/data.pkl"));
    assert!(two.1[1].contains("2 pickles"), "{two:?}");
    // A tensor's bytes that are a pickle, under another name.
    assert_eq!(found(&[("m/data/0", EVIL)], 0, 0).1, [want("m/data/0")]);
    let array = |descr: &str, body: &[u8]| {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (1,), }}\n");
        let len = u16::try_from(header.len()).unwrap().to_le_bytes();
        [
            b"\x93NUMPY\x01\x00",
            len.as_slice(),
            header.as_bytes(),
            body,
        ]
        .concat()
    };
    assert_eq!(
        found(&[("a.npy", &array("|O", EVIL))], 8, 0).1,
        [want("a.npy")]
    );
    assert_eq!(found(&[("a.npy", &array("<f8", &[0; 8]))], 8, 0).1, [""; 0]);
    let inner = zip(&[("data.pkl", EVIL)], 0, 0);
    let nested = found(&[("inner.zip", &inner)], 8, 0);
    assert_eq!(nested.1, [want("inner.zip/data.pkl")]);
    // Stored within another: at least said.
    assert_eq!(found(&[("inner.zip", &inner)], 0, 0).0, Verdict::Suspicious);
    let bomb = vec![0u8; usize::try_from(INFLATED_BYTES_MAX).unwrap() + 10];
    let said = found(&[("bomb", &bomb)], 8, 0).1;
    assert!(said[0].contains("inflates to more"), "{said:?}");
    let broken = &zip(&[("a", PLAIN)], 0, 0)[..20];
    assert_eq!(reasons("m.pt", broken).0, Verdict::Suspicious);
}

#[test]
fn what_is_known_is_safe_and_what_is_not_is_named() {
    let imports = |name: &str| {
        let (module, name) = name.rsplit_once('.').unwrap();
        reasons("m.pkl", format!("c{module}\n{name}\n.").as_bytes())
    };
    for name in [
        "collections.OrderedDict",
        "numpy.core.multiarray._reconstruct",
        "numpy._core.multiarray.scalar",
        "torch.BFloat16Storage",
        "torch.float16",
        "torch.nn.modules.linear.Linear",
        "sklearn.linear_model._logistic.LogisticRegression",
        "sklearn.tree._tree.Tree",
    ] {
        assert_eq!(imports(name), (Verdict::Safe, vec![]), "{name}");
    }
    for name in [
        "mymodel.Net",
        "torch.load",
        "torch.hub.load",
        "numpy.load",
        "sklearn.utils.run",
    ] {
        assert_eq!(
            imports(name),
            (Verdict::Suspicious, vec![format!("imports {name}")])
        );
    }
    for name in [
        "builtins.eval",
        "__builtin__.getattr",
        "posix.system",
        "subprocess.Popen",
        "operator.attrgetter",
    ] {
        assert_eq!(
            imports(name),
            (Verdict::Dangerous, vec![format!("imports {name}")])
        );
    }
    // A way out through a dotted name below a module that is allowed.
    assert_ne!(imports("numpy.core._internal.sys.modules").0, Verdict::Safe);
    assert_ne!(
        imports("torch.nn.modules.linear.os.system").0,
        Verdict::Safe
    );
}

#[test]
fn models_of_other_formats_that_run_or_reach_out_are_found() {
    let keras = |text: &str| reasons("m.keras", &zip(&[("config.json", text.as_bytes())], 8, 0));
    assert_eq!(keras("{\"class_name\": \"Dense\"}").0, Verdict::Safe);
    let lambda = keras("{\"layers\": [{\"class_name\": \"Lambda\"}]}");
    assert_eq!(
        lambda,
        (
            Verdict::Dangerous,
            vec!["config.json: a Lambda layer of Keras holds code".into()]
        )
    );
    let h5 = [
        b"\x89HDF\r\n\x1a\n".as_slice(),
        &[0; 2_000_000],
        b"\"class_name\":\"Lambda\"",
    ]
    .concat();
    assert_eq!(reasons("m.h5", &h5).0, Verdict::Dangerous);

    let text = |t: &str| [&(t.len() as u64).to_le_bytes()[..], t.as_bytes()].concat();
    let gguf = |template: &str| {
        let head = [
            3u32.to_le_bytes().as_slice(),
            &0u64.to_le_bytes(),
            &1u64.to_le_bytes(),
        ]
        .concat();
        let pair = [
            text("tokenizer.chat_template"),
            8u32.to_le_bytes().to_vec(),
            text(template),
        ]
        .concat();
        reasons("m.gguf", &[b"GGUF", head.as_slice(), &pair].concat())
    };
    assert_eq!(
        gguf("{% for m in messages %}{{ m.content }}{% endfor %}").0,
        Verdict::Safe
    );
    let bad = gguf("{{ ().__class__.__base__ }}");
    assert_eq!(
        bad,
        (
            Verdict::Suspicious,
            vec!["tokenizer.chat_template has `__`".into()]
        )
    );

    let field =
        |n: u8, body: &[u8]| [&[n << 3 | 2, u8::try_from(body.len()).unwrap()], body].concat();
    let onnx = |domain: &str, location: &str| {
        let entry = [field(1, b"location"), field(2, location.as_bytes())].concat();
        // Field 13 takes a tag of one byte: 13 << 3 | 2 is 106.
        let tensor = [field(8, b"w"), field(13, &entry)].concat();
        let node = field(7, domain.as_bytes());
        let graph = [field(1, &node), field(5, &tensor)].concat();
        reasons("m.onnx", &[&[8, 9][..], &field(7, &graph)].concat())
    };
    assert_eq!(onnx("ai.onnx", "w.bin").0, Verdict::Safe);
    let said = onnx("evil.ops", "../../etc/passwd");
    assert_eq!(said.0, Verdict::Dangerous);
    assert_eq!(
        said.1,
        [
            "data outside of its folder: `../../etc/passwd`",
            "operators of the domain `evil.ops`"
        ]
    );
    assert_eq!(onnx("", "/etc/passwd").0, Verdict::Dangerous);
}

#[test]
fn files_that_are_none_of_these_are_quiet() {
    for (name, bytes) in [
        ("a.py", b"(a, b) = 1, 2\nprint(a)\n".as_slice()),
        ("c.txt", b"class A:\n    pass\n"),
        ("empty", b""),
        ("a.csv", b"id,v\n1,2\n"),
        ("x.safetensors", b"\x02\0\0\0\0\0\0\0{}"),
        ("one", b"\x80"),
        ("png", b"\x89PNG\r\n\x1a\n"),
    ] {
        assert_eq!(reasons(name, bytes), (Verdict::Safe, vec![]), "{name}");
    }
}

/// A header of 640 bytes has the length 0x280, and so begins as a pickle does.
#[test]
fn the_length_of_a_header_is_no_mark() {
    let header = format!("{:640}", "{\"__metadata__\":{}}");
    let bytes = [&640u64.to_le_bytes(), header.as_bytes()].concat();
    assert_eq!(bytes[..2], [0x80, 2]);
    assert_eq!(reasons("m.safetensors", &bytes), (Verdict::Safe, vec![]));
    // Of a file that is called otherwise, or is none, nothing is believed.
    assert_eq!(reasons("m.bin", &bytes).0, Verdict::Dangerous);
    let cut = reasons("m.safetensors", &bytes[..600]);
    assert_eq!(cut.0, Verdict::Dangerous);
}
