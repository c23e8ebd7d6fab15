//! Models made by hand, sound and otherwise. What real tools make is compared with their runtime in `tests/onnx.rs`.

use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::proto::{
    Attribute, Dim, EXTERNAL, GraphProto, ModelProto, NodeProto, OperatorSet, Pair, Shape,
    TensorProto, TensorType, TypeProto, ValueInfo, element,
};

fn value(name: &str, kind: i32, dims: &[i64]) -> ValueInfo {
    let dims = dims.iter().map(|d| Dim {
        value: (*d >= 0).then_some(*d),
        param: (*d < 0).then(|| "n".to_owned()),
    });
    let tensor = TensorType {
        element: Some(kind),
        shape: Some(Shape {
            dims: dims.collect(),
        }),
    };
    ValueInfo {
        name: Some(name.into()),
        kind: Some(TypeProto {
            tensor: Some(tensor),
            ..TypeProto::default()
        }),
    }
}

fn floats(name: &str, dims: &[i64], data: &[f32]) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: dims.to_vec(),
        data_type: Some(element::FLOAT),
        float_data: data.to_vec(),
        ..TensorProto::default()
    }
}

fn node(domain: &str, operator: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let names = |all: &[&str]| all.iter().map(|n| (*n).to_owned()).collect();
    NodeProto {
        input: names(inputs),
        output: names(outputs),
        name: Some(format!("the {operator}")),
        op_type: Some(operator.into()),
        attribute: Vec::new(),
        domain: Some(domain.into()),
    }
}

fn with(mut node: NodeProto, name: &str, set: impl FnOnce(&mut Attribute)) -> NodeProto {
    let mut attribute = Attribute {
        name: Some(name.into()),
        ..Attribute::default()
    };
    set(&mut attribute);
    node.attribute.push(attribute);
    node
}

fn model(graph: GraphProto) -> Vec<u8> {
    let set = |domain: &str, version| OperatorSet {
        domain: Some(domain.into()),
        version: Some(version),
    };
    ModelProto {
        ir_version: Some(8),
        graph: Some(graph),
        opset_import: vec![set("", 18), set("ai.onnx.ml", 3)],
    }
    .encode_to_vec()
}

/// `relu(x * w)`, and a tree on what comes of it.
fn mixed() -> GraphProto {
    let ml = "ai.onnx.ml";
    let tree = node(ml, "TreeEnsembleRegressor", &["r"], &["y"]);
    let ints = |list: &[i64]| {
        let list = list.to_vec();
        move |a: &mut Attribute| a.ints = list
    };
    let texts = |list: &[&'static str]| {
        let list = list.iter().map(|t| t.as_bytes().into()).collect();
        move |a: &mut Attribute| a.strings = list
    };
    let tree = with(tree, "nodes_treeids", ints(&[0, 0, 0]));
    let tree = with(tree, "nodes_nodeids", ints(&[0, 1, 2]));
    let tree = with(tree, "nodes_featureids", ints(&[1, 0, 0]));
    let tree = with(tree, "nodes_values", |a| a.floats = vec![2.5, 0.0, 0.0]);
    let tree = with(tree, "nodes_modes", texts(&["BRANCH_LEQ", "LEAF", "LEAF"]));
    let tree = with(tree, "nodes_truenodeids", ints(&[1, 0, 0]));
    let tree = with(tree, "nodes_falsenodeids", ints(&[2, 0, 0]));
    let tree = with(tree, "target_treeids", ints(&[0, 0]));
    let tree = with(tree, "target_nodeids", ints(&[1, 2]));
    let tree = with(tree, "target_ids", ints(&[0, 0]));
    let tree = with(tree, "target_weights", |a| a.floats = vec![-1.0, 10.0]);
    GraphProto {
        node: vec![
            node("", "MatMul", &["x", "w"], &["m"]),
            node("", "Relu", &["m"], &["r"]),
            tree,
        ],
        initializer: vec![floats("w", &[2, 2], &[1.0, 0.0, 0.0, 2.0])],
        input: vec![value("x", element::FLOAT, &[-1, 2])],
        output: vec![value("y", element::FLOAT, &[-1, 1])],
        ..GraphProto::default()
    }
}

fn read(graph: GraphProto) -> Result<Model> {
    Model::read(model(graph), &mut |name| {
        Err(malformed(format!("nobody asked for {name}")))
    })
}

fn said(graph: GraphProto) -> String {
    read(graph).err().expect("it is refused").to_string()
}

#[test]
fn parts_of_a_model_are_run_by_whom_they_are_for() {
    let model = read(mixed()).unwrap();
    assert_eq!(
        (model.inputs()[0].dims.as_slice(), model.takes_rows()),
        (&[None, Some(2)][..], true)
    );
    let x = Tensor::floats(vec![3, 2], vec![1.0, 1.0, 0.0, 9.0, 0.0, -9.0]).unwrap();
    let y = model.run(vec![x], &Runner::new()).unwrap();
    assert_eq!(
        y,
        [Tensor::floats(vec![3, 1], vec![-1.0, 10.0, -1.0]).unwrap()]
    );
    // What does not fit is said, whatever it is.
    let flat = Tensor::floats(vec![2], vec![1.0, 1.0]).unwrap();
    let unfit = model.run(vec![flat], &Runner::new()).unwrap_err();
    assert_eq!(
        unfit.to_string(),
        "`x` has the shape [2], the model takes [-1, 2]"
    );
    let ints = Tensor::new(vec![1, 2], Data::Int64(vec![1, 2])).unwrap();
    let unfit = model.run(vec![ints], &Runner::new()).unwrap_err();
    assert_eq!(unfit.to_string(), "`x` is INT64, the model takes FP32");
    assert!(matches!(
        model.run(vec![], &Runner::new()),
        Err(Error::Unfit(_))
    ));
}

fn said_of(change: fn(&mut GraphProto)) -> String {
    let mut graph = mixed();
    change(&mut graph);
    said(graph)
}

#[test]
fn what_would_be_computed_otherwise_is_refused_by_name() {
    for (change, want) in [
        (
            (|g| {
                g.node[1] = with(node("", "MaxPool", &["m"], &["r"]), "auto_pad", |a| {
                    a.s = Some(b"SAME_LOWER".as_slice().into());
                });
            }) as fn(&mut GraphProto),
            "the operator `MaxPool` (node `the MaxPool`) with `auto_pad` SAME_LOWER",
        ),
        (
            |g| {
                g.node[1] = with(node("", "Resize", &["m"], &["r"]), "mode", |a| {
                    a.s = Some(b"cubic".as_slice().into());
                });
            },
            "with `mode` cubic",
        ),
        (
            |g| {
                let resize = node("", "Resize", &["m", "", "scales"], &["r"]);
                g.node[1] = with(resize, "coordinate_transformation_mode", |a| {
                    a.s = Some(b"align_corners".as_slice().into());
                });
                g.initializer.push(floats("scales", &[2], &[1.0, 0.6]));
            },
            "align_corners and a scale of parts",
        ),
        (
            |g| g.node[1].op_type = Some("NonMaxSuppression".into()),
            "the operator `NonMaxSuppression`",
        ),
    ] {
        let said = said_of(change);
        assert!(said.contains(want), "{want}: {said}");
    }
}

#[test]
fn what_nobody_runs_is_refused_by_name() {
    for (change, want) in [
        (
            (|g| g.node[1].op_type = Some("Hardmax".into())) as fn(&mut GraphProto),
            "the operator `Hardmax` (node `the Relu`) is not one that the server runs",
        ),
        (
            |g| g.node[2].op_type = Some("CategoryMapper".into()),
            "the operator `ai.onnx.ml.CategoryMapper` (node",
        ),
        (
            |g| g.output[0].kind.as_mut().unwrap().tensor = None,
            "`y` is of no type",
        ),
        (
            |g| g.input[0] = value("x", element::DOUBLE, &[-1, 2]),
            "`x` is of doubles",
        ),
        (
            |g| g.node[0].input[0] = "z".into(),
            "a value that nobody makes",
        ),
        (|g| g.output.clear(), "it has no output"),
        (
            |g| g.node[2].attribute[5].ints[0] = 0,
            "has a tree without a root",
        ),
        (
            |g| g.node[2].attribute[6].ints[0] = 1,
            "has two branches to one node",
        ),
        (
            |g| g.node[2].attribute[5].ints[0] = 7,
            "has a branch to no node",
        ),
        (
            |g| g.node[2].attribute[9].ints[0] = 1,
            "gives a weight to no class or target",
        ),
        (
            |g| {
                let to = with(node("", "Cast", &["m"], &["d"]), "to", |a| a.i = Some(11));
                g.node.insert(1, to);
            },
            "the operator `Cast` (node `the Cast`) to doubles",
        ),
    ] {
        let said = said_of(change);
        assert!(said.contains(want), "{want}: {said}");
    }
    let large = TensorProto {
        data_type: Some(element::INT64),
        int64_data: vec![5, 1 << 40],
        ..floats("k", &[2], &[])
    };
    let mut graph = mixed();
    graph.initializer.push(large.clone());
    assert!(said(graph.clone()).contains("has the number 1099511627776"));
    graph.initializer[1].int64_data[1] = i64::MAX;
    assert!(read(graph).is_ok(), "it means: to the end");
}

#[test]
fn files_of_tensors_stay_below_the_folder() {
    let dir = std::env::temp_dir().join(format!("modelv-onnx-{}", std::process::id()));
    let root = dir.join("root");
    std::fs::create_dir_all(root.join("sub")).unwrap();
    let write = |path: &str, bytes: &[u8]| std::fs::write(dir.join(path), bytes).unwrap();
    let w: Vec<u8> = [1f32, 0.0, 0.0, 2.0]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    write("outside", &w);
    write("root/sub/w.bin", &w);
    write("root/sub/short", &w[1..]);
    std::os::unix::fs::symlink("../../outside", root.join("sub/link")).unwrap();
    let at = |place: &str| {
        let pair = |key: &str, value: &str| Pair {
            key: Some(key.into()),
            value: Some(value.into()),
        };
        let mut graph = mixed();
        graph.node.truncate(2);
        graph.output = vec![value("r", element::FLOAT, &[-1, 2])];
        let w = &mut graph.initializer[0];
        w.float_data.clear();
        w.data_location = Some(EXTERNAL);
        w.external_data = vec![pair("location", place)];
        write("root/sub/m.onnx", &model(graph));
        Model::load(&root, "sub/m.onnx").map_err(|e| e.to_string())
    };
    let found = at("w.bin").unwrap();
    let x = Tensor::floats(vec![1, 2], vec![3.0, 4.0]).unwrap();
    let y = found.run(vec![x], &Runner::new()).unwrap();
    assert_eq!(y, [Tensor::floats(vec![1, 2], vec![3.0, 8.0]).unwrap()]);
    for (place, want) in [
        ("../../outside", "no path below"),
        ("/etc/passwd", "no path below"),
        ("link", "leads out of the folder"),
        ("gone", "No such file"),
        ("short", "which is too short"),
    ] {
        let said = at(place).err().expect("it is refused");
        assert!(said.contains(want), "{place}: {said}");
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn many_nodes_in_a_row_are_no_end_of_the_stack() {
    let mut graph = mixed();
    graph.node.truncate(1);
    let mut last = "m".to_owned();
    for n in 0..15_000 {
        let next = format!("v{n}");
        graph.node.push(node("", "Relu", &[&last], &[&next]));
        last = next;
    }
    graph.output = vec![value(&last, element::FLOAT, &[-1, 2])];
    let bytes = model(graph.clone());
    let mut none = |_: &str| Err(malformed("no file"));
    check(bytes, &mut none).unwrap();
    for _ in 0..6_000 {
        graph.node.push(node("", "Relu", &["m"], &["spare"]));
    }
    assert!(said(graph).contains("more than 20000 nodes"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_are_the_end_of_it(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        end in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = model(mixed());
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(end) = end {
            bytes.truncate(end.index(bytes.len()));
        }
        let read = Model::read(bytes, &mut |_| Err(malformed("no file")));
        if let Ok(model) = read
            && let [slot] = model.inputs()
            && slot.dims == [None, Some(2)]
            && slot.kind == Kind::Float
        {
            let x = Tensor::floats(vec![1, 2], vec![1.0, -1.0]).unwrap();
            let _ = model.run(vec![x], &Runner::new());
        }
    }
}

mod repaired;
