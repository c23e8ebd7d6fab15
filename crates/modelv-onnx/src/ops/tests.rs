//! Support vectors, ensembles and distances: small ones by hand, and what is none.

use super::distances::Rounds;
use super::testing::Value::{self, Floats, Int, Ints, Tensor as Numbers, Text, Texts};
use super::testing::{node, operator, refused};
use crate::proto::{GraphProto, NodeProto, TensorProto, ValueInfo, element};
use crate::tensor::{Data, Tensor};

/// What users are told.
const README: &str = include_str!("../../../../README.md");

#[test]
fn operators_are_those_that_users_are_told() {
    let start = README.find("| | operators of `ai.onnx.ml`").unwrap();
    let table = README[start..].split("\n\n").next().unwrap();
    let words = table
        .lines()
        .skip(2)
        .flat_map(|line| line.split('`').skip(1).step_by(2));
    let names: Vec<&str> = words.filter(|w| w.len() > 3 && w.is_ascii()).collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        let is_read = !matches!(super::read(&node(name, &[]), false), Ok(None));
        assert!(is_read || name == "Scan", "{name}");
        assert!(super::is_own(&node(name, &[])), "{name}");
    }
}

type Attributes = Vec<(&'static str, Value)>;

/// Attributes with others in the place of those of the same names.
fn changed(mut all: Attributes, more: Attributes) -> Attributes {
    let names: Vec<&str> = more.iter().map(|(name, _)| *name).collect();
    all.retain(|(name, _)| !names.contains(name));
    all.extend(more);
    all
}

fn floats(dims: &[usize], all: &[f32]) -> Tensor {
    Tensor::floats(dims.to_vec(), all.to_vec()).unwrap()
}

/// Three classes with a vector each.
fn classifier(more: Attributes) -> NodeProto {
    let all = vec![
        ("classlabels_strings", Texts(&["a", "b", "c"])),
        ("vectors_per_class", Ints(&[1, 1, 1])),
        ("support_vectors", Floats(&[1.0, 0.0, 0.0, 1.0, -1.0, -1.0])),
        ("coefficients", Floats(&[1.0, -1.0, -1.0, 1.0, 1.0, -1.0])),
        ("rho", Floats(&[0.0, 0.0, 0.0])),
    ];
    node("SVMClassifier", &changed(all, more))
}

#[test]
fn support_vectors_vote() {
    let rows = floats(&[2, 2], &[2.0, 0.5, -3.0, -3.0]);
    let got = operator(&classifier(vec![])).run(&[&rows]).unwrap();
    assert_eq!(got[0].data, Data::Text(vec!["a".into(), "c".into()]));
    assert_eq!(got[1], floats(&[2, 3], &[1.5, 4.5, 3.0, 0.0, -9.0, -9.0]));
    let shares = vec![
        ("prob_a", Floats(&[-1.0, -1.0, -1.0])),
        ("prob_b", Floats(&[0.0, 0.0, 0.0])),
    ];
    let got = operator(&classifier(shares)).run(&[&rows]).unwrap();
    let Data::Float(all) = &got[1].data else {
        panic!("{got:?}")
    };
    for row in all.chunks_exact(3) {
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{row:?}");
    }
    assert!(
        all[0] > all[1] && all[1] > all[2] && all[5] > 0.9,
        "{all:?}"
    );
    let narrow = floats(&[1, 1], &[1.0]);
    assert!(operator(&classifier(vec![])).run(&[&narrow]).is_err());
}

#[test]
fn kernels_are_what_they_are_called() {
    let check = |kernel, parameters, want: f32| {
        let all = [
            ("kernel_type", Text(kernel)),
            ("kernel_params", Floats(parameters)),
            ("n_supports", Int(1)),
            ("support_vectors", Floats(&[1.0, 2.0])),
            ("coefficients", Floats(&[2.0])),
            ("rho", Floats(&[0.5])),
        ];
        let got = operator(&node("SVMRegressor", &all)).run(&[&floats(&[1, 2], &[3.0, 1.0])]);
        assert_eq!(got.unwrap(), [floats(&[1, 1], &[want])], "{kernel}");
    };
    check("LINEAR", &[], 10.5);
    check("POLY", &[1.0, -6.0, 3.0], -1.5);
    check("RBF", &[0.0, 0.0, 0.0], 2.5);
    check("SIGMOID", &[0.0, 0.0, 0.0], 0.5);
}

#[test]
fn support_vectors_that_are_none_are_refused() {
    for (more, want) in [
        (
            vec![("vectors_per_class", Ints(&[]))],
            "with no support vectors",
        ),
        (vec![("vectors_per_class", Ints(&[3]))], "of other classes"),
        (
            vec![("vectors_per_class", Ints(&[1, -1, 3]))],
            "less than no",
        ),
        (
            vec![("vectors_per_class", Ints(&[i64::MAX, i64::MAX, 3]))],
            "less than no",
        ),
        (
            vec![("vectors_per_class", Ints(&[1 << 40, 1, 1]))],
            "too few coefficients",
        ),
        (
            vec![("coefficients", Floats(&[1.0]))],
            "too few coefficients",
        ),
        (vec![("rho", Floats(&[0.0, 0.0]))], "too few coefficients"),
        (vec![("support_vectors", Floats(&[1.0; 5]))], "of no length"),
        (
            vec![("prob_a", Floats(&[1.0]))],
            "probabilities for other classes",
        ),
        (
            vec![("kernel_type", Text("COSINE"))],
            "with `kernel_type` COSINE",
        ),
        (
            vec![("kernel_params", Floats(&[1.0]))],
            "another number of `kernel_params`",
        ),
        (
            vec![("post_transform", Text("PROBIT"))],
            "with `post_transform` PROBIT",
        ),
        (
            vec![("classlabels_strings", Texts(&[]))],
            "no list of classes",
        ),
    ] {
        let said = refused(&classifier(more));
        assert!(said.contains(want), "{want}: {said}");
    }
    for (all, want) in [
        (vec![], "with no support vectors"),
        (
            vec![("n_supports", Int(2)), ("coefficients", Floats(&[1.0]))],
            "too few",
        ),
    ] {
        let said = refused(&node("SVMRegressor", &all));
        assert!(said.contains(want), "{want}: {said}");
    }
}

/// Two trees; the second has a branch alone, to one leaf.
fn ensemble(more: Attributes) -> NodeProto {
    let all = vec![
        ("n_targets", Int(1)),
        ("nodes_featureids", Ints(&[0, 1, 0])),
        ("nodes_modes", Numbers(&[0.0, 6.0, 3.0])),
        ("nodes_splits", Numbers(&[2.5, 0.0, 5.0])),
        ("nodes_truenodeids", Ints(&[1, 0, 2])),
        ("nodes_trueleafs", Ints(&[0, 1, 1])),
        ("nodes_falsenodeids", Ints(&[2, 1, 2])),
        ("nodes_falseleafs", Ints(&[1, 1, 1])),
        ("leaf_targetids", Ints(&[0, 0, 0])),
        ("leaf_weights", Numbers(&[1.0, 10.0, 100.0])),
        ("membership_values", Numbers(&[7.0, 9.0, f32::NAN])),
        ("tree_roots", Ints(&[0, 2])),
    ];
    node("TreeEnsemble", &changed(all, more))
}

#[test]
fn ensembles_look_up_sets() {
    let rows = floats(&[4, 2], &[0.0, 9.0, 0.0, 8.0, 3.0, 9.0, f32::NAN, 7.0]);
    let got = operator(&ensemble(vec![])).run(&[&rows]).unwrap();
    assert_eq!(got, [floats(&[4, 1], &[101.0, 110.0, 200.0, 200.0])]);
    let missing = vec![("nodes_missing_value_tracks_true", Ints(&[1, 0, 0]))];
    let got = operator(&ensemble(missing)).run(&[&rows]).unwrap();
    assert_eq!(got, [floats(&[4, 1], &[101.0, 110.0, 200.0, 101.0])]);
}

#[test]
fn ensembles_that_are_none_are_refused() {
    for (more, want) in [
        (vec![("n_targets", Int(0))], "has no targets"),
        (vec![("leaf_targetids", Ints(&[0, 0, 1]))], "to no target"),
        (
            vec![("leaf_targetids", Ints(&[0, 0]))],
            "leaves of different lengths",
        ),
        (
            vec![("nodes_splits", Numbers(&[1.0]))],
            "nodes of different lengths",
        ),
        (
            vec![("nodes_featureids", Ints(&[0, -1, 0]))],
            "a column of no number",
        ),
        (
            vec![("nodes_modes", Numbers(&[7.0, 6.0, 3.0]))],
            "with `nodes_modes` 7",
        ),
        (
            vec![("nodes_modes", Numbers(&[0.0, 1.0, 3.0]))],
            "has sets for other nodes",
        ),
        (
            vec![("membership_values", Numbers(&[1.0]))],
            "has sets for other nodes",
        ),
        (
            vec![
                ("nodes_truenodeids", Ints(&[0, 0, 2])),
                ("tree_roots", Ints(&[1, 2])),
            ],
            "without a root",
        ),
        (vec![("nodes_truenodeids", Ints(&[9, 0, 2]))], "to no node"),
        (vec![("nodes_truenodeids", Ints(&[1, 9, 2]))], "to no leaf"),
        (
            vec![("nodes_truenodeids", Ints(&[2, 0, 2]))],
            "a root that is none",
        ),
        (vec![("tree_roots", Ints(&[0, 0]))], "a root that is none"),
        (
            vec![("tree_roots", Ints(&[0, 1, 2]))],
            "a root that is none",
        ),
        (vec![("tree_roots", Ints(&[0]))], "without a root"),
        (vec![("tree_roots", Ints(&[0, -7]))], "a root that is none"),
        (
            vec![("aggregate_function", Int(4))],
            "with `aggregate_function` 4",
        ),
        (vec![("post_transform", Int(1))], "with `post_transform` 1"),
        (vec![("post_transform", Int(3))], "of one score"),
    ] {
        let said = refused(&ensemble(more));
        assert!(said.contains(want), "{want}: {said}");
    }
}

fn name(name: &str) -> ValueInfo {
    ValueInfo {
        name: Some(name.into()),
        kind: None,
    }
}

/// A loop over rows, which says how far each is from those that stay.
fn rounds(change: fn(&mut GraphProto)) -> NodeProto {
    let step = |operator: &str, inputs: &[&str], output: &str| NodeProto {
        op_type: Some(operator.into()),
        input: inputs.iter().map(|i| (*i).to_owned()).collect(),
        output: vec![output.into()],
        ..NodeProto::default()
    };
    let mut sum = step("ReduceSumSquare", &["apart", "one"], "sum");
    sum.attribute = node("Scan", &[("keepdims", Int(0))]).attribute;
    let axis = TensorProto {
        name: Some("one".into()),
        dims: vec![1],
        data_type: Some(element::INT64),
        int64_data: vec![1],
        ..TensorProto::default()
    };
    let mut body = GraphProto {
        node: vec![
            step("Identity", &["all"], "kept"),
            step("Sub", &["all", "row"], "apart"),
            sum,
            step("Identity", &["sum"], "told"),
        ],
        initializer: vec![axis],
        input: vec![name("all"), name("row")],
        output: vec![name("kept"), name("told")],
        ..GraphProto::default()
    };
    change(&mut body);
    let mut scan = node("Scan", &[("num_scan_inputs", Int(1)), ("body", Int(0))]);
    scan.attribute[1].g = Some(body);
    scan.input = vec!["x".into(), "rows".into()];
    scan
}

#[test]
fn a_loop_over_rows_is_known_by_its_body() {
    let state = floats(&[3, 2], &[0.0, 0.0, 1.0, 1.0, 3.0, 4.0]);
    let rows = floats(&[2, 2], &[0.0, 0.0, 0.0, 1.0]);
    let got = operator(&rounds(|_| {})).run(&[&state, &rows]).unwrap();
    let far = floats(&[2, 3], &[0.0, 2.0, 25.0, 1.0, 1.0, 18.0]);
    assert_eq!(got, [state.clone(), far]);
    let others: [fn(&mut GraphProto); 8] = [
        |g| g.node[1].op_type = Some("Add".into()),
        |g| g.node[1].input[1] = "all".into(),
        |g| g.node[0].input[0] = "row".into(),
        |g| g.node[2].attribute.clear(),
        |g| g.initializer[0].int64_data[0] = 0,
        |g| g.node[3].input[0] = "told".into(),
        |g| g.output.truncate(1),
        |g| g.node[2].output[0] = "apart".into(),
    ];
    for change in others {
        assert!(Rounds::read(&rounds(change)).is_none());
    }
    let narrow = floats(&[2, 1], &[0.0, 1.0]);
    assert!(operator(&rounds(|_| {})).run(&[&state, &narrow]).is_err());
}

#[test]
fn distances_are_of_a_known_metric() {
    let (a, b) = (
        floats(&[1, 2], &[0.0, 0.0]),
        floats(&[2, 2], &[3.0, 4.0, 0.0, 1.0]),
    );
    let check = |metric, want: &[f32]| {
        let cdist = operator(&node("CDist", &[("metric", Text(metric))]));
        assert_eq!(cdist.run(&[&a, &b]).unwrap(), [floats(&[1, 2], want)]);
        assert!(cdist.run(&[&a]).is_err());
    };
    check("euclidean", &[5.0, 1.0]);
    check("sqeuclidean", &[25.0, 1.0]);
    assert!(refused(&node("CDist", &[("metric", Text("cosine"))])).contains("`metric` cosine"));
    let many = Tensor::new(vec![1 << 15, 0], Data::Float(vec![])).unwrap();
    let cdist = operator(&node("CDist", &[]));
    assert!(
        cdist
            .run(&[&many, &many])
            .unwrap_err()
            .to_string()
            .contains("too many distances")
    );
}
