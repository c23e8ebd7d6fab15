use std::io::Cursor;

use proptest::prelude::*;

use super::*;

/// Numbers of a type, by name.
type Tensors<'a> = [(&'a str, &'a str, Vec<u8>)];

fn file(tensors: &Tensors<'_>, metadata: &str) -> Vec<u8> {
    let (mut header, mut body) = (String::from("{"), Vec::new());
    if !metadata.is_empty() {
        let _ = write!(header, "\"__metadata__\":{metadata},");
    }
    for (name, dtype, bytes) in tensors {
        let width = match *dtype {
            "F64" | "I64" => 8,
            "F32" => 4,
            "F16" | "BF16" => 2,
            _ => 1,
        };
        let (begin, count) = (body.len(), bytes.len() / width);
        body.extend(bytes);
        let _ = write!(
            header,
            "\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":[{count}],\"data_offsets\":[{begin},{}]}},",
            body.len()
        );
    }
    let header = format!("{}}}", header.trim_end_matches(','));
    [
        &(header.len() as u64).to_le_bytes(),
        header.as_bytes(),
        &body,
    ]
    .concat()
}

fn f32s(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}

fn one(numbers: &[f32]) -> Vec<u8> {
    file(&[("w", "F32", f32s(numbers))], "")
}

fn side<'a>(label: &str, bytes: &'a [u8]) -> Side<'a> {
    Side {
        label: label.into(),
        source: Box::new(Cursor::new(bytes)),
    }
}

fn run(
    method: &str,
    models: &[&[u8]],
    base: Option<&[u8]>,
) -> Result<(Vec<u8>, Tally), WeightsError> {
    let sides = models.iter().zip(["A", "B", "C", "D"]);
    let models = sides.map(|(bytes, label)| side(label, bytes)).collect();
    let mut sides = Sides::new(models, base.map(|b| side("base", b)));
    let mut out = Vec::new();
    let tally = merge(
        &method.parse().unwrap(),
        &mut sides,
        "how",
        &mut out,
        &mut |_| Ok(()),
    )?;
    Ok((out, tally))
}

fn numbers_of(bytes: &[u8], name: &str) -> Vec<f64> {
    let header = read_safetensors(&mut Cursor::new(bytes)).unwrap();
    let tensor = &header.tensors[name];
    let (at, len) = (
        usize::try_from(tensor.offset).unwrap(),
        usize::try_from(tensor.bytes).unwrap(),
    );
    let mut out = Vec::new();
    tensor
        .number
        .unwrap()
        .decode(&bytes[at..at + len], &mut out);
    out
}

fn merged(method: &str, models: &[&[f32]], base: Option<&[f32]>) -> Vec<f64> {
    let models: Vec<Vec<u8>> = models.iter().map(|m| one(m)).collect();
    let models: Vec<&[u8]> = models.iter().map(Vec::as_slice).collect();
    let base = base.map(one);
    let (out, _) = run(method, &models, base.as_deref()).unwrap();
    numbers_of(&out, "w")
}

fn near(found: &[f64], want: &[f64]) {
    assert_eq!(found.len(), want.len());
    for (a, b) in found.iter().zip(want) {
        assert!(
            (a - b).abs() <= 1e-6 * b.abs().max(1.0),
            "{found:?} {want:?}"
        );
    }
}

#[test]
fn a_mean_weighs_its_models() {
    let (a, b, c) = ([1.0, 2.0, -4.0], [3.0, 6.0, 4.0], [5.0, 1.0, 0.0]);
    near(&merged("linear", &[&a, &b], None), &[2.0, 4.0, 0.0]);
    near(&merged("linear=0.25", &[&a, &b], None), &[1.5, 3.0, -2.0]);
    near(
        &merged("linear=1:1:2", &[&a, &b, &c], None),
        &[3.5, 2.5, 0.0],
    );
}

#[test]
fn an_arc_keeps_the_length_of_its_ends() {
    let half = 0.5f64.sqrt();
    near(
        &merged("slerp", &[&[1.0, 0.0], &[0.0, 1.0]], None),
        &[half, half],
    );
    // At 30 of 90 degrees.
    let third = merged("slerp=0.3333333333", &[&[2.0, 0.0], &[0.0, 2.0]], None);
    near(&third, &[2.0 * 0.75f64.sqrt(), 1.0]);
    // Parallel, opposite and zero vectors have no arc: the straight line.
    near(
        &merged("slerp", &[&[1.0, 1.0], &[3.0, 3.0]], None),
        &[2.0, 2.0],
    );
    near(
        &merged("slerp=0.25", &[&[1.0, 0.0], &[-1.0, 0.0]], None),
        &[0.5, 0.0],
    );
    near(
        &merged("slerp", &[&[0.0, 0.0], &[2.0, 4.0]], None),
        &[1.0, 2.0],
    );
}

#[test]
fn tasks_add_up_on_their_base() {
    let base: &[f32] = &[1.0, 1.0, 1.0];
    let models: [&[f32]; 2] = [&[2.0, 1.0, 0.0], &[1.0, 3.0, 0.0]];
    near(&merged("task", &models, Some(base)), &[2.0, 3.0, -1.0]);
    near(&merged("task=0.5", &models, Some(base)), &[1.5, 2.0, 0.0]);
    // To forget: the second task with the other sign.
    near(
        &merged("task=1,weights=1:-1", &models, Some(base)),
        &[2.0, -1.0, 1.0],
    );
    near(
        &merged("task=-1", &[&[2.0, 1.0, 0.0]], Some(base)),
        &[0.0, 1.0, 2.0],
    );
}

#[test]
fn ties_trims_elects_and_averages_what_agrees() {
    // The figure of the paper in small: of five numbers each, the two largest stay.
    let base: &[f32] = &[10.0; 5];
    let a: &[f32] = &[14.0, 10.5, 7.0, 10.1, 10.0]; // keeps +4 and -3
    let b: &[f32] = &[8.0, 10.2, 9.0, 15.0, 10.1]; // keeps -2 and +5
    // Elected: + by 4 against 2; nothing; -; +; nothing.
    near(
        &merged("ties=0.4", &[a, b], Some(base)),
        &[14.0, 10.0, 7.0, 15.0, 10.0],
    );
    // All stay: 4; mean of 0.5 and 0.2; mean of -3 and -1; mean of 0.1 and 5; 0.1 alone.
    let all = [14.0, 10.35, 8.0, 12.55, 10.1];
    near(&merged("ties=1", &[a, b], Some(base)), &all);
    near(
        &merged("ties=1,scale=0.5,weights=1:3", &[a, b], Some(base)),
        &[9.0, 10.1375, 9.25, 11.8875, 10.05],
    );
    // Of equal magnitudes the first stay; a draw of signs goes to plus.
    near(
        &merged("ties=0.5", &[&[2.0, 2.0, 2.0, 2.0]], Some(&[1.0; 4])),
        &[2.0, 2.0, 1.0, 1.0],
    );
    near(&merged("ties=1", &[&[3.0], &[-1.0]], Some(&[1.0])), &[3.0]);
}

#[test]
fn dare_drops_by_its_seed_and_keeps_the_mean() {
    let count = 20_000;
    let (base, model) = (vec![1.0f32; count], vec![2.0f32; count]);
    let first = merged("dare=0.75,seed=7", &[&model], Some(&base));
    let kept = first.iter().filter(|v| **v == 5.0).count();
    let dropped = first.iter().filter(|v| **v == 1.0).count();
    assert_eq!(kept + dropped, count);
    assert!((4_700..5_300).contains(&kept), "{kept}");
    assert_eq!(first, merged("dare=0.75,seed=7", &[&model], Some(&base)));
    assert_ne!(first, merged("dare=0.75,seed=8", &[&model], Some(&base)));
    near(
        &merged("dare=0", &[&[2.0, 0.0]], Some(&[1.0, 1.0])),
        &[2.0, 0.0],
    );
    // Models draw apart: of 0.25 each, both keep about a sixteenth.
    let both = merged("dare=0.75,seed=7", &[&model, &model], Some(&base));
    let twice = both.iter().filter(|v| **v == 9.0).count();
    assert!((1_100..1_400).contains(&twice), "{twice}");
    // Part of the format (`spec/weights.md`): the first sixteen numbers of this tensor under seed 7.
    let first: String = first[..16]
        .iter()
        .map(|v| if *v > 1.0 { '1' } else { '0' })
        .collect();
    assert_eq!(first, "0000010000100010");
}

#[test]
fn types_order_and_metadata_are_those_of_the_first() {
    let tensors = |v: u16, n: f64| {
        [
            ("z", "BF16", v.to_le_bytes().repeat(3)),
            ("a", "F64", n.to_le_bytes().to_vec()),
            ("ids", "I64", 7i64.to_le_bytes().to_vec()),
            ("q", "F8_E4M3", vec![1, 2]),
        ]
    };
    let a = file(&tensors(0x3f80, 1.0), "{\"format\":\"pt\"}");
    let b = file(&tensors(0x4000, 1.0 + 1e-12), "{\"format\":\"np\"}");
    let (out, tally) = run("linear", &[&a, &b], None).unwrap();
    let header = read_safetensors(&mut Cursor::new(&out)).unwrap();
    assert_eq!(header.in_order(), ["z", "a", "ids", "q"]);
    assert_eq!(header.metadata["format"], "pt");
    assert_eq!(header.metadata[RECORD_KEY], "how");
    assert_eq!(numbers_of(&out, "z"), [1.5; 3]);
    assert_eq!(numbers_of(&out, "a"), [1.0 + 5e-13]);
    assert_eq!((tally.tensors, tally.same), (4, 2));
    assert_eq!(header.tensors["z"].offset % 8, 0);
}

#[test]
fn what_does_not_fit_is_named() {
    let a = file(
        &[
            ("w", "F32", f32s(&[1.0, 2.0])),
            ("x", "F32", f32s(&[1.0])),
            ("n", "F32", f32s(&[1.0])),
        ],
        "",
    );
    let b = file(
        &[
            ("w", "F32", f32s(&[1.0])),
            ("x", "F16", vec![0, 0]),
            ("y", "F32", f32s(&[1.0])),
            ("n", "F32", f32s(&[1.0])),
        ],
        "",
    );
    let Err(WeightsError::Conflicts(found)) = run("linear", &[&a, &b], None) else {
        panic!("they fit");
    };
    assert_eq!(
        found,
        [
            "`w` is F32 [1] in B, F32 [2] in A",
            "`x` is F16 [1] in B, F32 [1] in A",
            "`y` is missing in A",
        ]
    );
    let ids = |n: u8| file(&[("ids", "U8", vec![n])], "");
    let error = run("linear", &[&ids(1), &ids(2)], None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the models do not fit: \n  `ids`: U8 [1] can't be averaged, and differs"
    );
    let error = run("ties", &[&a, &a], None).unwrap_err();
    assert!(matches!(error, WeightsError::NoBase(_)));
    let error = run("slerp", &[&a, &a], Some(&a)).unwrap_err();
    assert_eq!(error.to_string(), "slerp takes no base");
    let error = run("linear", &[&a, b"{}"], None).unwrap_err();
    assert!(error.to_string().starts_with("`B`: "), "{error}");
}

#[test]
fn what_is_not_finite_stays_where_all_agree_and_poisons_nothing_else() {
    let nan = f32::NAN;
    let inf = f32::INFINITY;
    let a = one(&[nan, inf, -inf, 1.0, 3.0]);
    let b = one(&[1.0, inf, inf, 3.0, 4.0]);
    let base = one(&[0.0, inf, 0.0, 0.0, inf]);
    for method in ["linear", "slerp", "task", "ties=1", "dare=0.1"] {
        let needs: Method = method.parse().unwrap();
        let base = needs.kind.needs_base().then_some(base.as_slice());
        let (out, tally) = run(method, &[&a, &b], base).unwrap();
        let found = numbers_of(&out, "w");
        assert!(found[0].is_nan() && found[2].is_nan(), "{method} {found:?}");
        assert_eq!(found[1], f64::INFINITY, "{method}");
        assert!(found[3].is_finite(), "{method}");
        assert_eq!(found[4].is_nan(), base.is_some(), "{method}");
        assert_eq!(tally.not_finite, if base.is_some() { 3 } else { 2 });
    }
    let large = |n: u16| file(&[("w", "F16", n.to_le_bytes().to_vec())], "");
    let (out, tally) = run("task=1", &[&large(0x7bff), &large(0x7bff)], Some(&large(0))).unwrap();
    assert_eq!(numbers_of(&out, "w"), [f64::INFINITY]);
    assert_eq!(tally.overflows, 1);
}

#[test]
fn work_stops_when_it_is_asked_to() {
    let a = one(&[1.0]);
    let found = merge(
        &"linear".parse().unwrap(),
        &mut Sides::new(vec![side("x", &a), side("y", &a)], None),
        "",
        &mut Vec::new(),
        &mut |_| Err(io::ErrorKind::Interrupted.into()),
    );
    assert!(matches!(found, Err(WeightsError::Io(_))));
}

fn vectors() -> impl Strategy<Value = (Vec<f32>, Vec<f32>, Vec<f32>)> {
    prop::collection::vec((-8.0f32..8.0, -8.0f32..8.0, -8.0f32..8.0), 1..40).prop_map(|rows| {
        let mut out = (vec![], vec![], vec![]);
        for (a, b, c) in rows {
            out.0.push(a);
            out.1.push(b);
            out.2.push(c);
        }
        out
    })
}

const METHODS: [&str; 6] = ["linear", "slerp", "task", "ties=0.3", "ties=1", "dare=0.5"];

fn base_for<'b>(method: &str, base: &'b [f32]) -> Option<&'b [f32]> {
    let method: Method = method.parse().unwrap();
    method.kind.needs_base().then_some(base)
}

proptest! {
    /// A model merged with itself and its base is itself, to the bit.
    #[test]
    fn nothing_comes_of_nothing((a, _, _) in vectors()) {
        for method in METHODS {
            let found = merged(method, &[&a, &a], base_for(method, &a));
            prop_assert!(found.iter().zip(&a).all(|(f, a)| *f == f64::from(*a)), "{}", method);
        }
    }

    /// Which model is called the first does not matter where weights are alike; DARE draws by place.
    #[test]
    fn the_order_does_not_matter((a, b, base) in vectors()) {
        for method in &METHODS[..5] {
            let base = base_for(method, &base);
            let (ab, ba) = (merged(method, &[&a, &b], base), merged(method, &[&b, &a], base));
            prop_assert!(ab.iter().zip(&ba).all(|(x, y)| (x - y).abs() < 1e-5), "{}", method);
        }
    }

    /// The ends of the arc and the line are the models; without a scale the base.
    #[test]
    fn the_ends_are_the_models((a, b, base) in vectors()) {
        let is = |found: &[f64], want: &[f32]| {
            found.iter().zip(want).all(|(f, w)| (f - f64::from(*w)).abs() < 1e-5)
        };
        for method in ["linear", "slerp"] {
            prop_assert!(is(&merged(&(method.to_owned() + "=0"), &[&a, &b], None), &a));
            prop_assert!(is(&merged(&(method.to_owned() + "=1"), &[&a, &b], None), &b));
        }
        prop_assert!(is(&merged("task=0", &[&a, &b], Some(&base)), &base));
        prop_assert!(is(&merged("task=1", &[&a], Some(&base)), &a));
        prop_assert!(is(&merged("ties=1", &[&a], Some(&base)), &a));
    }

    /// TIES against the definition, written down without any of the tricks.
    #[test]
    fn ties_is_what_the_paper_says((a, b, base) in vectors(), density in 0.05f64..1.0) {
        let keep = ((a.len() as f64 * density) as usize).max(1);
        let trimmed = |model: &[f32]| -> Vec<f64> {
            let deltas: Vec<f64> = model.iter().zip(&base)
                .map(|(m, b)| f64::from(*m) - f64::from(*b)).collect();
            let mut order: Vec<usize> = (0..deltas.len()).collect();
            order.sort_by(|x, y| deltas[*y].abs().total_cmp(&deltas[*x].abs()).then(x.cmp(y)));
            let mut out = vec![0.0; deltas.len()];
            order[..keep].iter().for_each(|at| out[*at] = deltas[*at]);
            out
        };
        let (p, q) = (trimmed(&a), trimmed(&b));
        let want: Vec<f64> = (0..a.len()).map(|i| {
            let sign = if p[i] + q[i] >= 0.0 { 1.0 } else { -1.0 };
            let agree: Vec<f64> = [p[i], q[i]].into_iter().filter(|d| d * sign > 0.0).collect();
            f64::from(base[i]) + agree.iter().sum::<f64>() / (agree.len().max(1) as f64)
        }).collect();
        let found = merged(&format!("ties={density}"), &[&a, &b], Some(&base));
        prop_assert!(found.iter().zip(&want).all(|(f, w)| (f - w).abs() < 1e-5), "{found:?} {want:?}");
    }
}
