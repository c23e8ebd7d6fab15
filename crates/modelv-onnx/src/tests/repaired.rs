//! What rten alone computes otherwise than ONNX says.

use super::*;

#[test]
fn the_first_of_the_largest_counts_and_what_is_not_zero_is_true_and_has_a_sign() {
    let run = |nodes: Vec<NodeProto>, kind: i32, dims: &[i64]| {
        let graph = GraphProto {
            node: nodes,
            input: vec![value("x", element::FLOAT, &[-1, 3])],
            output: vec![value("repaired", kind, dims)],
            ..GraphProto::default()
        };
        let x = Tensor::floats(vec![2, 3], vec![0.5, 2.0, 2.0, -0.5, 0.0, -0.5]).unwrap();
        let outputs = read(graph).unwrap().run(vec![x], &Runner::new());
        outputs.unwrap().remove(0)
    };
    let places = |operator: &str, keeps: i64, dims: &[i64]| {
        let node = node("", operator, &["x"], &["repaired"]);
        let node = with(node, "axis", |a| (a.i, a.kind) = (Some(1), Some(2)));
        let node = with(node, "keepdims", |a| (a.i, a.kind) = (Some(keeps), Some(2)));
        run(vec![node], element::INT64, dims)
    };
    let ints = |dims: &[usize], all: &[i64]| {
        Tensor::new(dims.to_vec(), Data::Int64(all.to_vec())).unwrap()
    };
    assert_eq!(places("ArgMax", 0, &[-1]), ints(&[2], &[1, 1]));
    assert_eq!(places("ArgMax", 1, &[-1, 1]), ints(&[2, 1], &[1, 1]));
    assert_eq!(places("ArgMin", 0, &[-1]), ints(&[2], &[0, 0]));
    let cast = |from: &str, to: &str, kind: i32| {
        let cast = node("", "Cast", &[from], &[to]);
        with(cast, "to", |a| {
            (a.i, a.kind) = (Some(i64::from(kind)), Some(2));
        })
    };
    let truth = cast("x", "repaired", element::BOOL);
    let want = Data::Bool(vec![true, true, true, true, false, true]);
    let dims = &[-1, 3];
    assert_eq!(
        run(vec![truth], element::BOOL, dims),
        Tensor::new(vec![2, 3], want).unwrap()
    );
    let nodes = vec![
        cast("x", "truth", element::BOOL),
        cast("truth", "repaired", element::FLOAT),
    ];
    let want = Tensor::floats(vec![2, 3], vec![1.0, 1.0, 1.0, 1.0, 0.0, 1.0]).unwrap();
    assert_eq!(run(nodes, element::FLOAT, dims), want);
}

#[test]
fn tables_times_a_vector_are_vectors() {
    let check = |dims: &[usize], declared: &[i64], want: &[usize]| {
        let open = vec![-1; want.len()];
        let graph = GraphProto {
            node: vec![node("", "MatMul", &["x", "w"], &["y"])],
            initializer: vec![floats("w", &[2], &[1.0, 10.0])],
            input: vec![value("x", element::FLOAT, declared)],
            output: vec![value("y", element::FLOAT, &open)],
            ..GraphProto::default()
        };
        let x: Vec<f32> = (0u8..8).map(f32::from).collect();
        let size = dims.iter().product();
        let x = Tensor::floats(dims.to_vec(), x[..size].to_vec()).unwrap();
        let y = read(graph).unwrap().run(vec![x], &Runner::new()).unwrap();
        let all = [10.0, 32.0, 54.0, 76.0];
        let wanted = Tensor::floats(want.to_vec(), all[..size / 2].to_vec()).unwrap();
        assert_eq!(y, [wanted]);
    };
    check(&[2, 2, 2], &[-1, 2, 2], &[2, 2]);
    check(&[4, 2], &[-1, 2], &[4]);
    check(&[2], &[2], &[]);
}
