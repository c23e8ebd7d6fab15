//! What the reference runtime says to the same nodes, version 1.31.

use super::super::testing::Value::{self, Floats, Int, Ints, Text, Texts};
use super::super::testing::{node, operator, refused};
use super::*;
use crate::proto::NodeProto;

fn texts_of(dims: &[usize], all: &[&str]) -> Tensor {
    let all = all.iter().map(|t| (*t).to_owned()).collect();
    Tensor::new(dims.to_vec(), Data::Text(all)).unwrap()
}

fn list(all: &[&str]) -> Tensor {
    texts_of(&[all.len()], all)
}

fn run(node: &NodeProto, input: &Tensor) -> Tensor {
    operator(node).run(&[input]).unwrap().remove(0)
}

#[test]
fn texts_are_normalized() {
    let normal = |attributes: &[(&str, Value)], input: Tensor| {
        run(&node("StringNormalizer", attributes), &input)
    };
    let lower = || ("case_change_action", Text("LOWER"));
    let stop = || ("stopwords", Texts(&["the"]));
    assert_eq!(
        normal(&[lower()], list(&["ÀÉ Straße", ""])),
        list(&["àé straße", ""])
    );
    assert_eq!(normal(&[], list(&["The"])), list(&["The"]));
    let four = || list(&["The", "cat", "THE", "the"]);
    assert_eq!(normal(&[stop()], four()), list(&["cat"]));
    let exact = ("is_case_sensitive", Int(1));
    let upper = ("case_change_action", Text("UPPER"));
    assert_eq!(
        normal(&[stop(), exact, upper], four()),
        list(&["THE", "CAT", "THE"])
    );
    assert_eq!(normal(&[stop(), lower()], list(&["the"])), list(&[""]));
    let row = texts_of(&[1, 2], &["the", "Cat"]);
    assert_eq!(normal(&[stop(), lower()], row), texts_of(&[1, 1], &["cat"]));
    for dims in [&[2, 1][..], &[0], &[1, 1, 2], &[]] {
        let all = vec![String::new(); dims.iter().product()];
        let input = Tensor::new(dims.to_vec(), Data::Text(all)).unwrap();
        assert!(
            operator(&node("StringNormalizer", &[]))
                .run(&[&input])
                .is_err()
        );
    }
    for locale in ["tr_TR.UTF-8", "en_US", "de_DE.ISO-8859-1", ""] {
        let said = refused(&node(
            "StringNormalizer",
            &[lower(), ("locale", Text(locale))],
        ));
        assert!(said.contains("with `locale`"), "{said}");
    }
}

#[test]
fn texts_become_words() {
    let check = |attributes: &[(&str, Value)], input: &Tensor, dims: &[usize], want: &[&str]| {
        let mut node = node("Tokenizer", attributes);
        node.attribute
            .extend(self::node("", &[("pad_value", Text("#"))]).attribute);
        assert_eq!(run(&node, input), texts_of(dims, want));
    };
    let words = |text| ("tokenexp", Text(text));
    let mark = || ("mark", Int(1));
    let two = || ("mincharnum", Int(2));
    let three = list(&["a bc  d", "", "xx"]);
    let some = ["a", "bc", "d", "#", "#", "#", "xx", "#", "#"];
    check(&[words("[a-z]+")], &three, &[3, 3], &some);
    let marked = [
        "\x02", "a", "bc", "d", "\x03", "\x02", "\x03", "#", "#", "#", "\x02", "xx", "\x03", "#",
        "#",
    ];
    check(&[words("[a-z]+"), mark()], &three, &[3, 5], &marked);
    check(
        &[words("[a-zé]+"), two()],
        &list(&["a bc  d", "éé"]),
        &[2, 1],
        &["bc", "éé"],
    );
    check(&[words("[a-z]+"), mark()], &list(&["", " "]), &[2, 0], &[]);
    check(&[words("a*")], &list(&["bébaé"]), &[1, 1], &["a"]);
    check(&[words("a*"), two()], &list(&["baaac"]), &[1, 1], &["aaa"]);
    check(
        &[words("a|ab|abc")],
        &list(&["abcd xabx"]),
        &[1, 2],
        &["abc", "ab"],
    );
    check(
        &[words(r"\w+")],
        &list(&["naïve _1"]),
        &[1, 3],
        &["na", "ve", "_1"],
    );
    let letters = list(&["aé😀", "", "b"]);
    let all = ["a", "é", "😀", "#", "#", "#", "b", "#", "#"];
    check(&[words(".")], &letters, &[3, 3], &all);
    check(&[("separators", Texts(&[""]))], &letters, &[3, 3], &all);
    let between = || ("separators", Texts(&[" ", ","]));
    let parts = list(&["a b,c", "", "x,,y z"]);
    check(
        &[between()],
        &parts,
        &[3, 3],
        &["a", "b", "c", "#", "#", "#", "x", "y", "z"],
    );
    let parts = list(&["a bb,ccc", "x,y"]);
    check(
        &[between(), two()],
        &parts,
        &[2, 2],
        &["bb", "ccc", "#", "#"],
    );
    check(&[between()], &list(&[" , ", ""]), &[2, 0], &[]);
    let table = texts_of(&[2, 1], &["a b", "c"]);
    check(&[words("[a-z]")], &table, &[2, 1, 2], &["a", "b", "c", "#"]);
    check(&[words("[a-z]")], &texts_of(&[2, 0], &[]), &[2, 0], &[]);
}

#[test]
fn what_is_no_tokenizer_is_refused() {
    for (attributes, want) in [
        (
            vec![("tokenexp", Text(r"\p{L}+"))],
            "with `tokenexp` of `\\p`",
        ),
        (
            vec![("tokenexp", Text("(a"))],
            "with `tokenexp` of no pattern",
        ),
        (
            vec![("separators", Texts(&["[0-9]*"]))],
            "with `separators` that may be empty",
        ),
        (
            vec![("tokenexp", Text(".")), ("mincharnum", Int(2))],
            "`mincharnum` above",
        ),
        (vec![("mincharnum", Int(0))], "words of no character"),
        (vec![], "neither `separators` nor `tokenexp`"),
    ] {
        let said = refused(&node("Tokenizer", &attributes));
        assert!(said.contains(want), "{want}: {said}");
    }
}

/// One and two words of 1 and 2.
fn grams(more: Vec<(&'static str, Value)>) -> NodeProto {
    let mut all = vec![
        ("mode", Text("TF")),
        ("ngram_counts", Ints(&[0, 2])),
        ("ngram_indexes", Ints(&[0, 1, 2, 3])),
        ("pool_int64s", Ints(&[1, 2, 1, 2, 2, 1])),
        ("min_gram_length", Int(1)),
        ("max_gram_length", Int(2)),
    ];
    let names: Vec<&str> = more.iter().map(|(name, _)| *name).collect();
    all.retain(|(name, _)| !names.contains(name));
    all.extend(more);
    node("TfIdfVectorizer", &all)
}

#[test]
fn n_grams_are_counted() {
    let row = Tensor::new(vec![1, 6], Data::Int64(vec![1, 2, 1, 3, 2, 1])).unwrap();
    let check = |more, want: [f32; 4]| {
        let got = run(&grams(more), &row);
        assert_eq!(got, Tensor::floats(vec![1, 4], want.to_vec()).unwrap());
    };
    check(vec![], [3.0, 2.0, 1.0, 2.0]);
    check(vec![("max_skip_count", Int(1))], [3.0, 2.0, 2.0, 2.0]);
    check(vec![("max_skip_count", Int(5))], [3.0, 2.0, 3.0, 3.0]);
    check(
        vec![("max_skip_count", Int(i64::MAX))],
        [3.0, 2.0, 3.0, 3.0],
    );
    check(vec![("min_gram_length", Int(2))], [0.0, 0.0, 1.0, 2.0]);
    check(vec![("max_gram_length", Int(1))], [3.0, 2.0, 0.0, 0.0]);
    let weights = || ("weights", Floats(&[10.0, 20.0, 30.0, 40.0]));
    let turned = || ("ngram_indexes", Ints(&[3, 0, 1, 2]));
    check(
        vec![("mode", Text("IDF")), weights(), turned()],
        [20.0, 30.0, 40.0, 10.0],
    );
    check(
        vec![("mode", Text("TFIDF")), weights()],
        [30.0, 40.0, 30.0, 80.0],
    );
    check(vec![("mode", Text("IDF"))], [1.0; 4]);
    let texts = node(
        "TfIdfVectorizer",
        &[
            ("mode", Text("TF")),
            ("ngram_counts", Ints(&[0])),
            ("ngram_indexes", Ints(&[5, 0, 0])),
            ("pool_strings", Texts(&["a", "é", "c"])),
            ("min_gram_length", Int(1)),
            ("max_gram_length", Int(1)),
        ],
    );
    let floats = |dims: &[usize], all: &[f32]| Tensor::floats(dims.to_vec(), all.to_vec()).unwrap();
    let got = run(&texts, &texts_of(&[2, 3], &["a", "é", "c", "#", "a", "a"]));
    let want = [2.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0];
    assert_eq!(got, floats(&[2, 6], &want));
    assert_eq!(
        run(&texts, &texts_of(&[2, 0], &[])),
        floats(&[2, 6], &[0.0; 12])
    );
    assert_eq!(run(&texts, &list(&[])), floats(&[6], &[0.0; 6]));
    assert!(
        operator(&texts).run(&[&row]).is_err(),
        "numbers are no texts"
    );
}

#[test]
fn pools_that_are_none_are_refused() {
    for (more, want) in [
        (vec![("ngram_counts", Ints(&[0, 3]))], "of other lengths"),
        (vec![("ngram_counts", Ints(&[0, 7]))], "of other lengths"),
        (vec![("ngram_counts", Ints(&[0, -1]))], "of other lengths"),
        (
            vec![("ngram_counts", Ints(&[0]))],
            "of the lengths that it asks for",
        ),
        (
            vec![("ngram_indexes", Ints(&[0, 1, 2]))],
            "without a column",
        ),
        (
            vec![("ngram_indexes", Ints(&[0, 1, 2, 3, 4]))],
            "without an n-gram",
        ),
        (
            vec![("ngram_indexes", Ints(&[0, 1, 2, -3]))],
            "of no number",
        ),
        (
            vec![("ngram_indexes", Ints(&[0, 1, 2, 1 << 40]))],
            "above 2^24",
        ),
        (
            vec![("pool_int64s", Ints(&[1, 1, 1, 2, 2, 1]))],
            "one n-gram twice",
        ),
        (
            vec![("weights", Floats(&[1.0]))],
            "other numbers of weights",
        ),
        (vec![("mode", Text("DF"))], "with `mode` DF"),
        (vec![("max_skip_count", Int(-1))], "less than no word"),
        (
            vec![
                ("mode", Text("IDF")),
                ("ngram_indexes", Ints(&[0, 0, 1, 2])),
            ],
            "several n-grams in one column",
        ),
    ] {
        let said = refused(&grams(more));
        assert!(said.contains(want), "{want}: {said}");
    }
}

#[test]
fn a_request_for_more_than_there_is_room_is_unfit() {
    let words = node("Tokenizer", &[("tokenexp", Text("."))]);
    let mut all = vec![String::new(); 5000];
    all[7] = "x".repeat(5000);
    let input = Tensor::new(vec![5000], Data::Text(all)).unwrap();
    let said = operator(&words).run(&[&input]).unwrap_err();
    assert!(
        matches!(&said, Error::Unfit(text) if text.contains("too many words")),
        "{said}"
    );
    let wide = grams(vec![("ngram_indexes", Ints(&[0, 1, 2, (1 << 24) - 1]))]);
    let input = Tensor::new(vec![17, 1], Data::Int64(vec![1; 17])).unwrap();
    let said = operator(&wide).run(&[&input]).unwrap_err();
    assert!(
        matches!(&said, Error::Unfit(text) if text.contains("too many columns")),
        "{said}"
    );
}

#[test]
fn texts_are_joined_and_flattened() {
    let (a, b) = (
        texts_of(&[2, 1], &["a", "b"]),
        texts_of(&[2, 2], &["c", "d", "e", "f"]),
    );
    let concat = |axis| operator(&node("Concat", &[("axis", Int(axis))]));
    for axis in [1, -1] {
        let got = concat(axis).run(&[&a, &b]).unwrap();
        assert_eq!(got, [texts_of(&[2, 3], &["a", "c", "d", "b", "e", "f"])]);
    }
    let got = concat(0).run(&[&a, &a]).unwrap();
    assert_eq!(got, [texts_of(&[4, 1], &["a", "b", "a", "b"])]);
    let short = list(&["a"]);
    let numbers = Tensor::floats(vec![2, 1], vec![1.0, 2.0]).unwrap();
    for (axis, inputs) in [
        (0, vec![&a, &b]),
        (2, vec![&a]),
        (1, vec![&a, &numbers]),
        (1, vec![&a, &short]),
        (1, vec![]),
    ] {
        assert!(concat(axis).run(&inputs).is_err(), "{axis} {inputs:?}");
    }
    assert!(refused(&node("Concat", &[])).contains("in which dimension"));
    let four = texts_of(&[2, 1, 2], &["a", "b", "c", "d"]);
    for (axis, dims) in [(1, [2, 2]), (0, [1, 4]), (3, [4, 1]), (-1, [2, 2])] {
        let flat = run(&node("Flatten", &[("axis", Int(axis))]), &four);
        assert_eq!(flat, texts_of(&dims, &["a", "b", "c", "d"]));
    }
    assert!(
        operator(&node("Flatten", &[("axis", Int(4))]))
            .run(&[&four])
            .is_err()
    );
}
